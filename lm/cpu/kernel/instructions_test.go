package kernel

import (
	"math/rand/v2"
	"testing"
)

// eachSet runs a test with every instruction set that this machine has.
func eachSet(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	before := active
	defer func() { active = before }()
	for _, set := range append(supported(), &instructionSet{name: "go"}) {
		active = set
		t.Run(set.name, test)
	}
}

// fill writes normal random numbers.
func fill(random *rand.Rand, slices ...[]float32) {
	for _, s := range slices {
		for i := range s {
			s[i] = float32(random.NormFloat64())
		}
	}
}

func TestAnInstructionSetCanBeForced(t *testing.T) {
	for _, set := range append(supported(), &instructionSet{name: "go"}) {
		if got, err := choose(set.name); err != nil || got.name != set.name {
			t.Errorf("%q gives %q, %v", set.name, got.name, err)
		}
	}
	if _, err := choose("sse"); err == nil {
		t.Error("an unknown set gives no error")
	}
}
