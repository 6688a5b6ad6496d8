package arch

import (
	"errors"
	"fmt"

	"github.com/steervec/steer/internal/finite"
)

// Streams are several residual streams in place of one. Each block predicts all of
// them, passes the first as if it were the only one, and corrects all by what has
// become of it ([AltUp]). As the block leaves them they stand side by side in one row
// [Count*hidden], which is the site decoder_block.
type Streams struct {
	Count int

	// Begin [hidden, hidden] makes each stream past the first of the embedding, which is
	// the first; {stream} in its name stands for the stream's number, from 0 for the one
	// past the first. Past the last block End turns them back, and the mean of all goes
	// on to the last norm. What either gives is brought to the root mean square of the
	// first stream; its own counts as at least √Epsilon.
	Begin, End Linear
	Epsilon    float32
}

// AltUp is how a block treats the streams of its decoder (Baykal et al. 2023,
// algorithm 1): with the weights w(x) = tanh(Router·Norm(x)/hidden) [streams],
//
//	predicted i = stream i + Σj (Predict·w(stream 0))[i*streams+j]·stream j
//	corrected i = predicted i + (1 + Correct·w(x))[i]·(x - predicted 0)
//
// where x is what the block has made of predicted 0.
type AltUp struct {
	Norm    *Norm
	Router  Linear // [streams, hidden]
	Predict Linear // [streams*streams, streams]
	Correct Linear // [streams, streams]
}

// Laurel adds a learned residual beside attention: x + Norm(Up·Down·x) of what
// attention reads (Menghani, Kumar and Kumar 2024, section 2.1). It joins what
// attention gives past the norm that stands there.
type Laurel struct {
	Rank int
	Down Linear // [Rank, hidden]
	Up   Linear // [hidden, Rank]
	Norm *Norm
}

// LayerInputs gives every layer a row of its own for each token, which [LayerInput]
// takes in: with the token's embedding x and row t of Tokens, both cut into a part
// [Width] for each layer,
//
//	SumScale·(Norm(ProjectScale·Project·x) + Scale·t)
type LayerInputs struct {
	Width        int
	Tokens       string // tensor [Vocabulary, layers*Width]
	Vocabulary   int    // tokens from here on have the row of token 0
	Scale        float32
	Project      Linear // [layers*Width, hidden]
	ProjectScale float32
	Norm         *Norm // [Width]
	SumScale     float32
}

// LayerInput lets a block take in its part t of the [LayerInputs] at its end:
// Norm(Up·(activation(Gate·(Scale∘x))∘t)), x being the first stream, is added to the
// streams past the first, or to the only one.
type LayerInput struct {
	Scale      string // tensor [hidden]; "": ones
	Gate       Linear // [Width, hidden]
	Activation Activation
	Up         Linear // [hidden, Width]
	Norm       *Norm
}

// StreamWidth returns the number of elements of the residual stream between blocks,
// or of all streams together.
func (d *Decoder) StreamWidth() int {
	if d.Streams == nil {
		return d.Hidden
	}
	return d.Streams.Count * d.Hidden
}

// checkStreams checks what a decoder has beside one residual stream.
func (d *Decoder) checkStreams() error {
	if s := d.Streams; s != nil {
		if err := checkSizes(measure{"number of residual streams", s.Count}, measure{"width of the residual streams", min(s.Count, maxWidth) * d.Hidden}); err != nil {
			return err
		}
		switch {
		case s.Count < 2 || s.Count > 16:
			return fmt.Errorf("there are %d residual streams, not from 2 to 16", s.Count)
		case s.Begin.Weight == "" || s.End.Weight == "" || s.Begin.Bias != "" || s.End.Bias != "":
			return errors.New("streams do not begin or end with a product without bias")
		case !(s.Epsilon > 0) || !finite.Is(s.Epsilon):
			return fmt.Errorf("the size of a stream counts as at least √%v", s.Epsilon)
		}
	}
	if in := d.Embedding.LayerInputs; in != nil {
		layers := len(d.Blocks)
		err := checkSizes(
			measure{"width of a layer's input", in.Width}, measure{"width of all layers' inputs", min(in.Width, maxWidth) * layers},
			measure{"vocabulary of the layers' inputs", in.Vocabulary},
		)
		switch {
		case err != nil:
			return err
		case !finite.Is(in.Scale) || !finite.Is(in.ProjectScale) || !finite.Is(in.SumScale):
			return fmt.Errorf("inputs of layers are scaled by %v, %v and %v", in.Scale, in.ProjectScale, in.SumScale)
		case in.Tokens == "" || in.Project.Weight == "" || in.Norm == nil || d.Embedding.Width != 0:
			return errors.New("inputs of layers lack their embedding, projection or norm, or are projected of an embedding of another width")
		}
	}
	for _, b := range d.Passed() {
		switch {
		case (b.AltUp == nil) != (d.Streams == nil):
			return errors.New("a block predicts streams that there are not, or does not predict those that there are")
		case b.AltUp != nil && (b.First != nil || d.isFirst(b) || b.AltUp.Norm == nil):
			return errors.New("a layer of two blocks has several streams, or their router lacks its norm")
		case b.Laurel != nil && (b.Laurel.Norm == nil || b.AttentionAddsResidual || b.Parallel):
			return errors.New("a learned residual lacks its norm, or stands beside attention that adds the stream itself, or in a parallel block")
		case b.LayerInput != nil && (d.Embedding.LayerInputs == nil || b.LayerInput.Norm == nil || d.isFirst(b)):
			return errors.New("a block takes in an input that there is not, or without a norm")
		}
		if b.Laurel != nil {
			if err := checkSizes(measure{"rank of a learned residual", b.Laurel.Rank}); err != nil {
				return err
			}
		}
	}
	return nil
}
