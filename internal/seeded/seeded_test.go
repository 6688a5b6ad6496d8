package seeded

import (
	"math"
	"testing"
)

// The values are those that the goldens' makers publish beside them.
func TestElementsAreThePublishedOnes(t *testing.T) {
	for _, test := range []struct {
		seed      uint64
		name      string
		index     int
		mean, std float64
		dtype     string
		bits      uint32
	}{
		{1, "model.layers.0.self_attn.q_proj.weight", 0, 0.0, 0.2, "F32", 0xbe475beb},
		{1, "model.layers.0.self_attn.q_proj.weight", 1, 0.0, 0.2, "F32", 0x3e1bf314},
		{1, "model.layers.0.self_attn.q_proj.weight", 2, 0.0, 0.2, "F32", 0xbe8d6252},
		{1, "model.layers.0.self_attn.q_proj.weight", 47, 0.0, 0.2, "F32", 0x3e7dedf2},
		{1, "model.layers.0.self_attn.q_proj.weight", 1000, 0.0, 0.2, "F32", 0xbe83b62e},
		{1, "model.norm.weight", 0, 1.0, 0.3, "F32", 0x3f955950},
		{1, "model.norm.weight", 7, 1.0, 0.3, "F32", 0x3f9d2888},
		{0, "a", 0, 0.0, 1.0, "F32", 0x3f65a700},
		{0, "", 0, 0.0, 1.0, "F32", 0x3f9385a3},
		{18446744073709551615, "a", 1, 0.0, 1.0, "F32", 0x3ef30744},
		{7005, "model.layers.2.mlp.gate.e_score_correction_bias", 3, 0.0, 0.2, "F32", 0x3e8dd768},
		{2, "transformer.wte.weight", 12000, 0.0, 0.5, "F32", 0x3f279c18},
		{13, "lm_head.weight", 5, 0.0, 0.2, "BF16", 0x3e1b0000},
		{13, "lm_head.weight", 6, 0.0, 0.2, "BF16", 0x3e9c0000},
		{13, "model.norm.weight", 1, 1.0, 0.3, "BF16", 0x3fa40000},
		{44, "lm_head.weight", 5, 0.0, 0.2, "F16", 0xbde6c000},
		{44, "lm_head.weight", 6, 0.0, 0.2, "F16", 0x3de60000},
		{44, "tiny", 2, 0.0, 1e-6, "F16", 0x35400000},
		{5, "ünïcode.weight", 1, -0.3, 0.2, "F32", 0xbf0b1cfd},
		{5, "constant", 9, -1e-6, 0.0, "F32", 0xb58637bd},
	} {
		made := tensor(Tensor{test.name, []int{test.index + 1}, test.mean, test.std, test.dtype}, test.seed)
		values, err := made.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		if got := math.Float32bits(values[test.index]); got != test.bits {
			t.Errorf("seed %d, %q, element %d: %08x, want %08x", test.seed, test.name, test.index, got, test.bits)
		}
	}
}
