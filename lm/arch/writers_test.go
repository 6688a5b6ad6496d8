package arch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFamiliesThatTurnBiasesOnAreKnown(t *testing.T) {
	for family := range switches {
		if families[family] == nil {
			t.Errorf("%s turns biases on and is no family", family)
		}
	}
}

func TestAConfigIsBiasedByTheFieldThatServes(t *testing.T) {
	downBias := func(d *Decoder) bool { return d.Blocks[1].MLP.Down.Bias != "" }
	outputBias := func(d *Decoder) bool { return d.Blocks[1].Attention.Output.Bias != "" }
	const sizes = `"vocab_size": 8, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 2, "num_attention_heads": 1`
	for _, test := range []struct {
		name, config string
		serves       func(*Decoder) bool
		field, err   string
	}{
		{"of the MLP", `{"model_type": "llama", ` + sizes + `}`, downBias, "mlp_bias", ""},
		{"of attention", `{"model_type": "llama", ` + sizes + `}`, outputBias, "attention_bias", ""},
		{"that is on already", `{"model_type": "llama", "mlp_bias": true, ` + sizes + `}`, downBias, "", ""},
		{"of a text model within another", `{"model_type": "llava", "text_config": {"model_type": "llama", ` + sizes + `}}`, downBias, "mlp_bias", ""},
		{"that the family does not have", `{"model_type": "mistral", ` + sizes + `}`, downBias, "", "no field of the config of a mistral"},
	} {
		t.Run(test.name, func(t *testing.T) {
			biased, field, err := Biased([]byte(test.config), test.serves)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("the error is %v", err)
				}
				return
			}
			if err != nil || field != test.field {
				t.Fatalf("field %q, error %v", field, err)
			}
			if d, err := Parse(biased); err != nil || !test.serves(d) {
				t.Errorf("%s does not serve: %v", biased, err)
			}
			if wrapped := strings.Contains(test.config, "text_config"); wrapped && strings.Contains(string(biased), "max_position_embeddings") {
				t.Errorf("what is usual was written: %s", biased)
			}
		})
	}
}

func TestEveryBlockHasPartsThatWrite(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/goldens/*/config.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no goldens are there: %v", err)
	}
	for _, path := range paths {
		config, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Parse(config)
		if err != nil {
			t.Fatal(err)
		}
		sites := map[int]map[Site]bool{}
		for _, w := range d.Writers() {
			if w.Weight == "" && w.Bias == "" {
				t.Errorf("%s: a part of layer %d has no tensors", path, w.Layer)
			}
			if sites[w.Layer] == nil {
				sites[w.Layer] = map[Site]bool{}
			}
			sites[w.Layer][w.Site] = true
		}
		for layer, b := range d.Blocks {
			if !sites[layer][SelfAttn] && !b.AttentionAddsResidual || !sites[layer][MLPOutput] && !b.MLPAddsResidual {
				t.Errorf("%s: layer %d writes at %v", path, layer, sites[layer])
			}
		}
		if sites[-1] == nil {
			t.Errorf("%s: no embedding writes", path)
		}
	}
}
