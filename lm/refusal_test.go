package lm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
)

var errCannot = errors.New("this engine cannot")

// limited is an engine that shows and changes decoder blocks alone, and knows one
// operator; it computes nothing.
type limited struct{ engine.Engine }

func (limited) Check(_ int, site arch.Site, operator engine.Operator) error {
	if _, known := operator.(scaled); site != lm.DecoderBlock || operator != nil && !known {
		return errCannot
	}
	return nil
}

func (limited) NewSession() engine.Session { panic("something is computed") }

// What an engine cannot do is said before anything is computed.
func TestWhatAnEngineRefusesIsNotComputed(t *testing.T) {
	m, err := lm.Open(t.Context(), gpt2, lm.OnEngine(func(ctx context.Context, source engine.Source, dtype lm.DType) (engine.Engine, error) {
		e, err := cpu.Open(ctx, source, dtype)
		return limited{e}, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	vector := make([]float32, m.Decoder().Hidden)
	edit := func(site lm.Site, operator lm.Operator) lm.Edit {
		return lm.Edit{Site: site, Layers: map[int][]float32{1: vector}, Operator: operator}
	}
	for _, test := range []struct {
		name    string
		err     func() error
		refused bool
	}{
		{"an operator that it knows", func() error { _, err := m.With(edit(lm.DecoderBlock, scaled{by: 1})); return err }, false},
		{"a function", func() error { _, err := m.With(edit(lm.DecoderBlock, addition)); return err }, true},
		{"another site", func() error { _, err := m.Steering(edit(lm.MLP, scaled{by: 1})); return err }, true},
		{"a tap", func() error {
			_, err := m.Forward(t.Context(), []lm.Input{{Tokens: []int{1}}}, lm.ForwardOptions{
				Taps: []lm.Address{{Layer: 0, Site: lm.SelfAttn}}, Activation: func(int, int, lm.Address, []float32) {},
			})
			return err
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.err(); errors.Is(err, errCannot) != test.refused {
				t.Errorf("error %v, want a refusal: %v", err, test.refused)
			}
		})
	}
}
