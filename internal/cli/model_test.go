package cli

import "testing"

func TestGarbageIsAShareOfASmallHeapAndAnAmountOfALargeOne(t *testing.T) {
	for heap, want := range map[uint64]int{0: 100, 1 << 20: 100, garbage: 100, 2 * garbage: 50, 8 * garbage: 12, 1 << 40: 5} {
		if got := garbagePercent(heap); got != want {
			t.Errorf("%d bytes: %d %%, want %d", heap, got, want)
		}
	}
}
