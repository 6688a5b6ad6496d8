package random

import (
	"fmt"
	"strings"

	"github.com/steervec/steer/lm/arch"
)

// scaling is how a config spells the scaling of a rope, and the length that it
// calls trained. %s stands for a list of factors.
type scaling struct {
	name, config string
	trained      int
}

var dynamic = scaling{"dynamic", `{"rope_type": "dynamic", "factor": 2}`, 24}

// scalings are those that package arch knows.
var scalings = []scaling{
	{"plain", `null`, 64},
	{"linear", `{"rope_type": "linear", "factor": 3}`, 64},
	dynamic,
	{"llama3", `{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 32}`, 64},
	{"yarn", `{"rope_type": "yarn", "factor": 4}`, 32},
	{"longrope", `{"rope_type": "longrope", "short_factor": [%s], "long_factor": [%s], "original_max_position_embeddings": 20, "factor": 2}`, 40},
}

// drawRopes chooses the scalings of the decoder's ropes, one for most, and two
// where layers differ in them.
func (d *drawing) drawRopes() {
	d.ropes = make([]*arch.Rope, 1+d.IntN(2))
}

// rope returns the rope of a block; nil where it has none. Blocks share a rope
// where they can, as loaders expect of families.
func (d *drawing) rope(headSize int) *arch.Rope {
	if d.options.Dynamic == 0 && d.note(d.chance(35), "attention: no rope") {
		return nil
	}
	slot := &d.ropes[d.IntN(len(d.ropes))]
	if *slot != nil && (*slot).Size <= headSize {
		return *slot
	}
	size := headSize / 2 * 2
	if size > 2 && d.note(d.chance(40), "rope: part of a head") {
		size = 2 + 2*d.IntN(size/2)
	}
	s := scalings[d.IntN(len(scalings))]
	if d.options.Dynamic > 0 {
		s = dynamic
		s.trained = d.options.Dynamic
	}
	if s.name == dynamic.name && size == 2 {
		s = scalings[0] // the stretched base of a single pair is undefined
	}
	d.note(true, "rope: %s", s.name)
	*slot = s.rope(size)
	(*slot).Interleaved = d.note(d.chance(30), "rope: interleaved")
	return *slot
}

// rope takes a rope from a config: its frequencies come no other way.
func (s scaling) rope(size int) *arch.Rope {
	if strings.Contains(s.config, "%s") {
		factors := func(step float64) string {
			out := make([]string, size/2)
			for i := range out {
				out[i] = fmt.Sprint(1 + step*float64(i+1))
			}
			return strings.Join(out, ",")
		}
		s.config = fmt.Sprintf(s.config, factors(0.1), factors(0.7))
	}
	decoder, err := arch.Parse(fmt.Appendf(nil, `{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
		"intermediate_size": 8, "vocab_size": 8, "head_dim": %d, "max_position_embeddings": %d, "rope_theta": 1000, "rope_scaling": %s}`, size, s.trained, s.config))
	if err != nil {
		panic(err)
	}
	return decoder.Blocks[0].Attention.Rope
}
