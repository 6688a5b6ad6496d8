package steer

import (
	"slices"
	"testing"
)

// More prompts than memory may hold wait in a file and come back to the bit,
// in any order.
func TestHeldActivationsComeBack(t *testing.T) {
	h := newHeld(3)
	h.limit = 2
	defer h.close()
	want := func(side int) []float32 { return []float32{float32(side), -float32(side) / 3, 1e-40} }
	put := func(side int) {
		copy(h.open(side), want(side))
		if err := h.put(side); err != nil {
			t.Fatal(err)
		}
	}
	take := func(side int) {
		got, err := h.take(side)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want(side)) {
			t.Errorf("side %d is %v, want %v", side, got, want(side))
		}
		h.forget(side)
	}
	for side := 0; side < 40; side += 2 {
		put(side)
	}
	if len(h.sides) > h.limit || len(h.stored) != 18 {
		t.Errorf("%d prompts are in memory and %d in the file; %d may be in memory", len(h.sides), len(h.stored), h.limit)
	}
	for side := 38; side >= 20; side -= 2 {
		take(side)
	}
	size := h.end
	for side := 100; side < 110; side++ {
		put(side)
	}
	if h.end != size {
		t.Errorf("the file grew from %d to %d bytes although there was room in it", size, h.end)
	}
	for side := 0; side < 20; side += 2 {
		take(side)
	}
	for side := 100; side < 110; side++ {
		take(side)
	}
}
