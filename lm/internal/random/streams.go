package random

import (
	"math"

	"github.com/steervec/steer/lm/arch"
)

// streams draws several residual streams.
func (d *drawing) streams() {
	hidden := d.Decoder.Hidden
	s := &arch.Streams{Count: 2 + d.IntN(3), Epsilon: 1e-5}
	for name, to := range map[string]*arch.Linear{"begin": &s.Begin, "end": &s.End} {
		d.each(name+".{stream}", "{stream}", s.Count-1, tensor{shape: []int{hidden, hidden}, spread: 1 / math.Sqrt(float64(hidden))})
		to.Weight = name + ".{stream}"
	}
	d.Decoder.Streams = s
}

// layerInputs draws a row of each token for every layer.
func (d *drawing) layerInputs(layers int) {
	dec := d.Decoder
	in := &arch.LayerInputs{
		Width: oneOf(d, 3, 8, 12), Vocabulary: dec.Vocabulary, Tokens: "layer_tokens", Scale: d.between(0.5, 3), ProjectScale: d.between(0.2, 1), SumScale: d.between(0.3, 1),
	}
	if d.note(d.chance(50), "embedding: fewer tokens in the inputs of layers") {
		in.Vocabulary = 1 + d.IntN(dec.Vocabulary)
	}
	d.tensors[in.Tokens] = tensor{shape: []int{in.Vocabulary, layers * in.Width}, spread: 1}
	in.Project, in.Norm = d.linear("layer_project", layers*in.Width, dec.Hidden), d.norm("layer_norm", in.Width)
	dec.Embedding.LayerInputs = in
}

// beyond draws what a block has beside one residual stream.
func (d *drawing) beyond(b *arch.Block) {
	hidden := d.Decoder.Hidden
	if s := d.Decoder.Streams; s != nil {
		b.AltUp = &arch.AltUp{
			Norm: d.norm("router_norm", hidden), Router: d.linear("router", s.Count, hidden),
			Predict: d.linear("predict", s.Count*s.Count, s.Count), Correct: d.linear("correct", s.Count, s.Count),
		}
	}
	if !b.Parallel && !b.AttentionAddsResidual && d.note(d.chance(12), "block: learned residual") {
		rank := oneOf(d, 1, 4, 9)
		b.Laurel = &arch.Laurel{Rank: rank, Down: d.linear("laurel_down", rank, hidden), Up: d.linear("laurel_up", hidden, rank), Norm: d.norm("laurel_norm", hidden)}
	}
	if in := d.Decoder.Embedding.LayerInputs; in != nil && d.note(d.chance(60), "block: takes in a layer's input") {
		b.LayerInput = &arch.LayerInput{
			Gate: d.linear("input_gate", in.Width, hidden), Activation: oneOf(d, arch.GELUTanh, arch.SiLU, arch.ReLU),
			Up: d.linear("input_up", hidden, in.Width), Norm: d.norm("input_norm", hidden),
		}
		if d.note(d.chance(50), "block: the stream is scaled before a layer's input") {
			b.LayerInput.Scale = d.vector("input_scale", hidden, 0.5)
		}
	}
}
