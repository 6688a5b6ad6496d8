package steer_test

import (
	"errors"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// Whether tokenizing or computing refuses a prompt, the error says whose it is.
func TestErrorsOfSamplesNameTheirSampleAndSide(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	good := steer.Sample{PositiveIDs: []int{1, 2}, NegativeIDs: []int{1, 3}}
	for name, test := range map[string]struct {
		bad  steer.Sample
		side string
	}{
		"a prompt that is empty":  {steer.Sample{Positive: "a"}, "negative"},
		"a token that is none":    {steer.Sample{PositiveIDs: []int{1 << 20}, NegativeIDs: []int{1}}, "positive"},
		"a reading that is above": {steer.Sample{PositiveIDs: []int{1}, NegativeIDs: []int{1}, ReadNegative: steer.ReadAt(9)}, "negative"},
	} {
		_, err := steer.Collect(t.Context(), model, []steer.Sample{good, test.bad}, steer.TrainOptions{})
		wrong := (*steer.SampleError)(nil)
		if !errors.As(err, &wrong) || wrong.Sample != 1 || wrong.Side != test.side || wrong.Err == nil {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
