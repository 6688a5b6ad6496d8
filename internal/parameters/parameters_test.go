package parameters_test

import (
	"strings"
	"testing"

	"github.com/steervec/steer/internal/parameters"
)

func TestParametersAreReadAsTheyAreWritten(t *testing.T) {
	text := parameters.Name("turn", parameters.Pair("by", 2.5, 0), parameters.Pair("rank", 1, 1), "", parameters.Pair("only", "up", ""))
	if text != "turn:by=2.5,only=up" {
		t.Errorf("written %q", text)
	}
	name, p, err := parameters.Parse(text)
	if err != nil || name != "turn" || p.Needed("by") != 2.5 || p.Count("rank", 1) != 1 || !p.Flag("only", "up") || p.Has("by") || p.End() != nil {
		t.Errorf("%q is not read back: %v, %v", text, err, p.End())
	}
}

func TestWrongParametersAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"a:": "KEY=VALUE", "a:b": "KEY=VALUE", "a:n=1,n=2": "KEY=VALUE", "a:n=one": "n=one is not a number", "a:n=Inf": "not a number",
		"a:n=0": "above zero", "a:n=1,k=0": "k=0 is not a whole number", "a:n=1,k=1.5": "k=1.5", "a:n=1,w=x": "w=x is unknown; it can be y, z",
		"a:n=1,other=1": `there is no parameter "other"`, "a": "need is missing",
	} {
		_, p, err := parameters.Parse(text)
		if err == nil {
			p.Positive("n", 1)
			p.Count("k", 1)
			p.Choice("w", "y", "z")
			if text == "a" {
				p.Needed("need")
			}
			err = p.End()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
