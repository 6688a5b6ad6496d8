package cpu

import (
	"testing"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu/kernel"
)

func TestConstantsOfAnActivationActOnTheGate(t *testing.T) {
	const want = 15 // (1·2² + 0.5·2)·3
	m := mlp{MLP: &arch.MLP{}, xielu: &kernel.XIELU{Positive: 1, Beta: 0.5}, gate: &linear{}}
	gate := []float32{2}
	m.activate(gate, []float32{3})
	if gate[0] != want {
		t.Errorf("a gate of 2 makes %v of 3, want %v", gate[0], want)
	}
}
