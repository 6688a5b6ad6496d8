package steer

import (
	"slices"
	"testing"
)

// More prompts than memory may hold wait in a file and come back to the bit,
// in any order.
func TestPendingActivationsComeBack(t *testing.T) {
	p := newPending(3)
	p.limit = 2
	defer p.close()
	want := func(side int) []float32 { return []float32{float32(side), -float32(side) / 3, 1e-40} }
	put := func(side int) {
		copy(p.open(side), want(side))
		if err := p.put(side); err != nil {
			t.Fatal(err)
		}
	}
	take := func(side int) {
		got, err := p.take(side)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want(side)) {
			t.Errorf("side %d is %v, want %v", side, got, want(side))
		}
		p.forget(side)
	}
	for side := 0; side < 40; side += 2 {
		put(side)
	}
	if len(p.sides) > p.limit || len(p.stored) != 18 {
		t.Errorf("%d prompts are in memory and %d in the file; %d may be in memory", len(p.sides), len(p.stored), p.limit)
	}
	for side := 38; side >= 20; side -= 2 {
		take(side)
	}
	size := p.end
	for side := 100; side < 110; side++ {
		put(side)
	}
	if p.end != size {
		t.Errorf("the file grew from %d to %d bytes although there was room in it", size, p.end)
	}
	for side := 0; side < 20; side += 2 {
		take(side)
	}
	for side := 100; side < 110; side++ {
		take(side)
	}
}
