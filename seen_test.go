package steer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// What See says is read is what Extract reads, as the model gets it.
func TestWhatIsSeenIsWhatIsExtracted(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := model.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	const positive, negative = "Mia found a kite. Mia was very happy.", "Mia found a kite. Mia was very sad."
	for _, read := range []steer.Reading{nil, steer.ReadAt(-2), steer.ReadMean(steer.From(1)), steer.ReadMean(steer.Response()), steer.ReadText("very")} {
		s := steer.Sample{Positive: positive, Negative: negative, PositiveResponse: 18, NegativeResponse: 18}
		p, n, err := steer.See(tokens, s, read)
		if err != nil {
			t.Fatal(err)
		}
		extracted, err := steer.Extract(t.Context(), model, []steer.Sample{s}, steer.ExtractOptions{Layers: []int{2}, Read: read})
		if err != nil {
			t.Fatal(err)
		}
		for _, side := range []struct {
			seen steer.Seen
			got  []float32
		}{{p, extracted.Positive[2][0]}, {n, extracted.Negative[2][0]}} {
			in := lm.Input{Tokens: side.seen.Tokens, Mean: side.seen.Read}
			var want []float32
			_, err := model.Forward(context.Background(), []lm.Input{in}, lm.ForwardOptions{Taps: []lm.Address{{Layer: 2, Site: lm.DecoderBlock}},
				Activation: func(_, _ int, _ lm.Address, activation []float32) { want = slices.Clone(activation) }})
			if err != nil || !slices.Equal(side.got, want) {
				t.Errorf("%v: what is seen is not what is extracted (%v)", read, err)
			}
		}
	}
}

func TestWhatCannotBeReadIsNotSeen(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := model.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = steer.See(tokens, steer.Sample{Positive: "a", Negative: "b"}, steer.ReadAt(-9))
	if wrong := (*steer.SampleError)(nil); !errors.As(err, &wrong) || wrong.Side != "positive" || !strings.Contains(err.Error(), "outside its") {
		t.Errorf("the error is %v", err)
	}
}
