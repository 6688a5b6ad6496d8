package steer

import "testing"

// Every part of where statistics come from keeps them apart.
func TestOriginsDifferInEveryPart(t *testing.T) {
	base := origin{Layers: []int{1}, Widths: []int{8}}
	for name, change := range map[string]func(o *origin){
		"family":          func(o *origin) { o.Family = "x" },
		"weights":         func(o *origin) { o.WeightsHash = "x" },
		"number format":   func(o *origin) { o.DType = "x" },
		"instruction set": func(o *origin) { o.Instructions = "x" },
		"steering":        func(o *origin) { o.Steering = "x" },
		"layer type":      func(o *origin) { o.Site = "x" },
		"layers":          func(o *origin) { o.Layers = []int{2} },
		"widths":          func(o *origin) { o.Widths = []int{9} },
		"aggregator":      func(o *origin) { o.Aggregator = "x" },
		"reading":         func(o *origin) { o.Read = "x" },
	} {
		other := base
		change(&other)
		checkError(t, base.differs(other), name)
	}
	checkError(t, base.differs(base), "")
}
