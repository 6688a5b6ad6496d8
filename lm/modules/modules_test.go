package modules

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/steervec/steer/lm"
)

// guessGolden is one model of testdata/guesses.txt.
type guessGolden struct {
	name    string
	modules []string
	guess   map[lm.Site]string
	layers  map[lm.Site]int
}

func readGuessGoldens(t *testing.T) []guessGolden {
	t.Helper()
	file, err := os.Open("testdata/guesses.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var goldens []guessGolden
	var path []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		words := strings.Fields(line)
		switch {
		case line[0] == '#':
		case words[0] == "model" && line[0] != ' ':
			goldens = append(goldens, guessGolden{words[1], []string{""}, map[lm.Site]string{}, map[lm.Site]int{}})
		case words[0] == "guess" && line[0] != ' ':
			g := &goldens[len(goldens)-1]
			g.guess[lm.Site(words[1])] = words[2]
			if g.layers[lm.Site(words[1])], err = strconv.Atoi(words[3]); err != nil {
				t.Fatal(err)
			}
		default:
			depth := len(line) - len(words[0])
			path = append(path[:depth-1:depth-1], words[0])
			g := &goldens[len(goldens)-1]
			g.modules = append(g.modules, strings.Join(path, "."))
		}
	}
	return goldens
}

func TestGuessesEqualTheReferencesOnRealModels(t *testing.T) {
	goldens := readGuessGoldens(t)
	if len(goldens) != 36 {
		t.Fatalf("%d models, want 36", len(goldens))
	}
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			config := Guess(g.modules, nil)
			got, layers := map[lm.Site]string{}, map[lm.Site]int{}
			for layerType, matcher := range config {
				got[layerType] = string(matcher.(Template))
				found, err := Collect(g.modules, matcher)
				if err != nil {
					t.Fatal(err)
				}
				layers[layerType] = len(found)
			}
			if !maps.Equal(got, g.guess) {
				t.Errorf("guess %v, want %v", got, g.guess)
			}
			if !maps.Equal(layers, g.layers) {
				t.Errorf("layers %v, want %v", layers, g.layers)
			}
		})
	}
}

func TestGuesses(t *testing.T) {
	for _, test := range []struct {
		name    string
		modules []string
		want    string // of the decoder block; empty: no guess
	}{
		{"the reference's own example", []string{"x.e", "x.y.0", "x.y.0.attn", "x.y.1", "x.y.1.attn", "x.lm_head"}, "x.y.{num}"},
		{"more layers win over a shorter name", []string{"a.0", "a.1", "decoder.0", "decoder.1", "decoder.2"}, "decoder.{num}"},
		{"a shorter name wins among equals", []string{"decoder.0", "a.0"}, "a.{num}"},
		{"the first wins among equals of one length", []string{"b.0", "a.0"}, "b.{num}"},
		{"only the first number is the layer's", []string{"h.0.experts.0", "h.0.experts.1", "h.1.experts.0"}, "h.{num}.experts.0"},
		{"a number must be a whole path element's beginning", []string{"x.ln1"}, ""},
		{"digits of any script are numbers", []string{"x.٣"}, "x.{num}"},
		{"lengths count characters, not bytes", []string{"ää.0", "abc.0"}, "ää.{num}"},
		{"nothing numbered", []string{"", "model", "lm_head"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _ := Guess(test.modules, nil, lm.DecoderBlock)[lm.DecoderBlock].(Template)
			if string(got) != test.want {
				t.Errorf("guess %q, want %q", got, test.want)
			}
		})
	}
}

func TestGuessingCompletesAConfigurationAndLeavesItAsItIs(t *testing.T) {
	modules := []string{"", "h", "h.0", "h.0.attn", "h.0.mlp"}
	config := Config{lm.DecoderBlock: Template("my.{num}.matcher")}
	all := Guess(modules, config)
	if want := (Config{
		lm.DecoderBlock: Template("my.{num}.matcher"),
		lm.SelfAttn:     Template("h.{num}.attn"),
		lm.MLP:          Template("h.{num}.mlp"),
	}); !maps.Equal(all, want) {
		t.Errorf("all: %v, want %v", all, want)
	}
	if len(config) != 1 {
		t.Errorf("the argument became %v", config)
	}
	one := Guess(modules, nil, lm.MLP)
	if want := (Config{lm.MLP: Template("h.{num}.mlp")}); !maps.Equal(one, want) {
		t.Errorf("one type: %v, want %v", one, want)
	}
	if none := Guess(modules, nil, lm.AttnHeads); len(none) != 0 {
		t.Errorf("a site that is no module: %v, want nothing", none)
	}
}

func TestLayersAreCollectedUpToTheFirstGap(t *testing.T) {
	modules := []string{"", "h.0", "h.1", "h.3", "{num}.h"}
	for _, test := range []struct {
		name    string
		matcher Matcher
		want    []string
		err     string
	}{
		{"template", Template("h.{num}"), []string{"h.0", "h.1"}, ""},
		{"function", Func(func(layer int) string { return "h." + strconv.Itoa(3-layer) }), []string{"h.3"}, ""},
		{"function that ignores the layer", Func(func(int) string { return "h.0" }), []string{"h.0", "h.0", "h.0", "h.0", "h.0"}, ""},
		{"nothing matches", Template("g.{num}"), nil, ""},
		{"doubled braces are braces", Template("{{num}}.h"), []string{"{num}.h", "{num}.h", "{num}.h", "{num}.h", "{num}.h"}, ""},
		{"no {num}", Template("h.0"), nil, `layer template "h.0": there is no {num} in it`},
		{"another field", Template("h.{num}.{x}"), nil, `layer template "h.{num}.{x}": "{x}" is neither`},
		{"a lone brace", Template("h}.{num}"), nil, "neither {num} nor a doubled brace"},
		{"no matcher", nil, nil, "no layer matcher"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Collect(modules, test.matcher)
			if !slices.Equal(got, test.want) {
				t.Errorf("layers %q, want %q", got, test.want)
			}
			if got := fmt.Sprint(err); test.err == "" && err != nil || !strings.Contains(got, test.err) {
				t.Errorf("error %q, want one with %q", got, test.err)
			}
		})
	}
}

// Layer n of a matcher is the module that it gives for n; where that is another
// layer or another site of the model, what is asked for would not be what is read.
func TestAMatcherGivesTheLayersOfOneSiteInTheirOrder(t *testing.T) {
	modules := map[string]lm.Address{}
	for layer := range 3 {
		modules["h."+strconv.Itoa(layer)] = lm.Address{Layer: layer, Site: lm.DecoderBlock}
		modules["h."+strconv.Itoa(layer)+".mlp"] = lm.Address{Layer: layer, Site: lm.MLP}
	}
	for _, test := range []struct {
		name    string
		matcher Matcher
		want    lm.Site
		err     string
	}{
		{"its own site", Template("h.{num}.mlp"), lm.MLP, ""},
		{"another site", Template("h.{num}"), lm.DecoderBlock, ""},
		{"none", nil, "mlp", ""},
		{"shifted", Func(func(layer int) string { return "h." + strconv.Itoa(layer+1) }), "", `gives for layer 0 the module "h.1", which is layer 1`},
		{"permuted", Func(func(layer int) string { return "h." + strconv.Itoa((3-layer)%3) }), "", `gives for layer 1 the module "h.2"`},
		{"two sites", Func(func(layer int) string { return "h." + strconv.Itoa(layer) + []string{"", ".mlp", ""}[layer%3] }), "", `gives for layer 1 the module "h.1.mlp", which is layer 1, mlp`},
		{"nothing", Template("g.{num}"), "", "finds no module"},
	} {
		config := Config{}
		if test.matcher != nil {
			config[lm.MLP] = test.matcher
		}
		got, err := SiteOf(modules, lm.MLP, config)
		if text := fmt.Sprint(err); got != test.want || test.err == "" && err != nil || !strings.Contains(text, test.err) {
			t.Errorf("%s: %q (%v), want %q and an error with %q", test.name, got, err, test.want, test.err)
		}
	}
}
