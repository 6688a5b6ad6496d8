package main

import (
	"testing"

	"github.com/steervec/steer/llamacpp"
)

func TestLayersAreANumberOrAll(t *testing.T) {
	for _, test := range []struct {
		text  string
		want  int
		wrong bool
	}{
		{"all", llamacpp.AllLayers, false}, {"0", 0, false}, {"24", 24, false},
		{"-1", 0, true}, {"many", 0, true}, {"", 0, true}, {"1.5", 0, true},
	} {
		var l layers
		err := l.Set(test.text)
		if (err != nil) != test.wrong || err == nil && (int(l) != test.want || l.String() != test.text) {
			t.Errorf("%q is %v (%v)", test.text, int(l), err)
		}
	}
}
