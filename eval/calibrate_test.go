package eval_test

import (
	"math"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/eval"
)

// The calibrated multiplier costs the budget, by every operator that has a strength,
// and a smaller budget asks for less.
func TestTheCalibratedStrengthCostsTheBudget(t *testing.T) {
	m := openDemo(t)
	v := moodVector(t, m, moodLayer)
	for _, operator := range []string{"add", "ablate-then-add", "add-same-norm"} {
		t.Run(operator, func(t *testing.T) {
			before := 0.0
			for _, budget := range []float64{0.5, 1} {
				c, err := eval.Calibrate(t.Context(), m, use(v, operator, ""), eval.CalibrateOptions{Text: neutralText(12), Budget: budget})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%v nats at %.4f, measured %.4f [%.3f, %.3f] after %d tries", budget, c.Multiplier, c.Measured.Value, c.Measured.Low, c.Measured.High, c.Tries)
				if math.Abs(c.Measured.Value/budget-1) > 0.05 {
					t.Errorf("a budget of %v nats is given %v, which costs %v", budget, c.Multiplier, c.Measured.Value)
				}
				if c.Multiplier <= before {
					t.Errorf("%v nats ask for %v, less for %v", budget, c.Multiplier, before)
				}
				before = c.Multiplier

				// Strength 1 is what was measured.
				steered := *v
				steered.Calibration = &c.Calibration
				one := 1.0
				again := eval.Use{Vector: &steered, Intervention: steer.Intervention{Operator: operator, Strength: &one}}
				if factor, err := again.Factor(&steered); err != nil || factor != c.Multiplier {
					t.Errorf("strength 1 is %v (%v), want %v", factor, err, c.Multiplier)
				}
			}
		})
	}
}

func TestWhatCannotBeCalibratedIsRefused(t *testing.T) {
	m := openDemo(t)
	v := moodVector(t, m, moodLayer)
	for _, test := range []struct {
		name, operator string
		opts           eval.CalibrateOptions
		want           string
	}{
		{"no length", "ablate", eval.CalibrateOptions{Text: neutralText(2), Continue: -1}, "does not bring it to 1"},
		{"a cost that ablation alone exceeds", "ablate-then-add", eval.CalibrateOptions{Text: neutralText(2), Continue: -1, Budget: 1e-6}, "is still"},
		{"no text", "add", eval.CalibrateOptions{}, "no paragraph"},
		{"a negative budget", "add", eval.CalibrateOptions{Text: neutralText(2), Budget: -1}, "makes no sense"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := eval.Calibrate(t.Context(), m, use(v, test.operator, ""), test.opts)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
