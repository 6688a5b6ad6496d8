package steer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

func TestLayersAreNumbersAndRanges(t *testing.T) {
	model, err := lm.Open(t.Context(), "demo") // of 6 layers
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int{
		"3": {3}, "-1": {5}, "1,2,-1": {1, 2, 5}, "2,1,2": {1, 2}, "1-3": {1, 2, 3}, "-3--1": {3, 4, 5}, "1--2": {1, 2, 3, 4},
		"2:5": {2, 3, 4}, "0:6:2": {0, 2, 4}, ":": {0, 1, 2, 3, 4, 5}, "3:": {3, 4, 5}, ":-4": {0, 1}, "-2:": {4, 5}, " 1 , 3-4": {1, 3, 4}, "::3": {0, 3},
	} {
		selection, err := steer.ParseLayers(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := selection.Of(model); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: layers %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": `"" is not a layer`, "a": `"a" is not a layer`, "1,": `"" is not a layer`, "1:2:0": "the step 0 is not positive", "1:2:3:4": "is not a layer",
		"6": "layer 6 is out of range", "-7": "layer -7 is out of range", "3:7": "layer 7 is out of range", "4-6": "layer 6 is out of range",
		"3:3": "selects none", "4-2": "selects none", "99999999999999999999": "is not the number of a layer", "1:-9": "layer -9 is out of range",
	} {
		selection, err := steer.ParseLayers(text)
		if err == nil {
			_, err = selection.Of(model)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}
