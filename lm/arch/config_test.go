package arch

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const llamaConfig = `{"model_type":"llama","hidden_size":64,"vocab_size":512,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":128}`

func TestMistakesInAConfigAreNamed(t *testing.T) {
	with := func(field string) string { return strings.Replace(llamaConfig, "{", "{"+field+",", 1) }
	for _, test := range []struct{ name, config, want string }{
		{"not JSON", "{", "config.json: unexpected EOF"},
		{"no model_type", "{}", "config.json: model_type is missing"},
		{"unknown model_type", `{"model_type":"mamba"}`, `model_type "mamba" is not supported; known are `},
		{"missing size", strings.Replace(llamaConfig, `"hidden_size":64,`, "", 1), "config.json of a llama: hidden_size is missing"},
		{"size of the wrong kind", strings.Replace(llamaConfig, `"hidden_size":64`, `"hidden_size":"64"`, 1), "hidden_size is 64, not a number"},
		{"a billion layers", strings.Replace(llamaConfig, `"num_hidden_layers":4`, `"num_hidden_layers":1000000000`, 1), "num_hidden_layers is 1000000000, not from 1 to 4096"},
		{"a vast vocabulary", strings.Replace(llamaConfig, `"vocab_size":512`, `"vocab_size":2147483647`, 1), "the vocabulary size is 2147483647"},
		{"heads that do not divide", strings.Replace(llamaConfig, `"num_attention_heads":4`, `"num_attention_heads":3`, 1), "64 is not a multiple of 3"},
		{"no heads", strings.Replace(llamaConfig, `"num_attention_heads":4`, `"num_attention_heads":0`, 1), "hidden size by attention heads"},
		{"unknown activation", with(`"hidden_act":"mish"`), `hidden_act "mish" is not supported`},
		{"unknown rope", with(`"rope_scaling":{"rope_type":"spiral"}`), `rope_scaling of type "spiral" is not supported`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse([]byte(test.config)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
}

func TestUnscaledRopeTurnsByThePublishedFrequencies(t *testing.T) {
	d, err := Parse([]byte(llamaConfig))
	if err != nil {
		t.Fatal(err)
	}
	rope := d.Blocks[0].Attention.Rope
	cos, sin := make([]float32, 8), make([]float32, 8)
	rope.Angles(1, rope.Regime(1), cos, sin)
	if cos[0] != 0.5403023 || sin[0] != 0.84147096 || sin[4] != 0.009999833 {
		t.Errorf("position 1 turns by cos %v, sin %v", cos, sin)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(llamaConfig))
	paths, err := filepath.Glob("../../testdata/goldens/*/config.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "config.json") {
				t.Fatalf("error %q does not name the file", err)
			}
			return
		}
		for layer := range d.Blocks {
			for _, site := range Sites() {
				if d.HasSite(layer, site) && d.Width(layer, site) < 1 {
					t.Fatalf("site %s of layer %d has width %d", site, layer, d.Width(layer, site))
				}
			}
		}
		d.Regime(1 << 20)
	})
}

// The bias of ALiBi is added once, as published checkpoints were trained; twice
// where a config asks for the reference's eager attention.
func TestFalconAddsItsBiasOnce(t *testing.T) {
	const config = `{"model_type": "falcon", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 50,
		"alibi": true, "multi_query": false, "parallel_attn": false%s}`
	slopes := func(more string) []float32 {
		d, err := Parse(fmt.Appendf(nil, config, more))
		if err != nil {
			t.Fatal(err)
		}
		return d.Blocks[0].Attention.Alibi.Slopes
	}
	once, twice := slopes(""), slopes(`, "attn_implementation": "eager"`)
	for i, want := range []float32{0.25, 0.0625, 0.015625, 0.00390625} {
		if once[i] != want || twice[i] != 2*want {
			t.Errorf("head %d has slope %v, and %v with eager attention; want %v and twice that", i, once[i], twice[i], want)
		}
	}
}

// Wrapped configs leave out what their text model usually has.
func TestWrappedConfigsAreCompleted(t *testing.T) {
	d, err := Parse([]byte(`{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
		"num_hidden_layers": 34, "sliding_window": 1024, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	a := d.Blocks[5].Attention
	if d.Hidden != 2560 || len(d.Blocks) != 34 || d.Vocabulary != 262208 || a.Heads != 8 || a.KVHeads != 4 || a.HeadSize != 256 || a.Window != 0 || d.Blocks[0].Attention.Window != 1024 {
		t.Errorf("read as %+v with attention %+v", d, a)
	}
	half := a.Rope.Size / 2
	cos, sin := make([]float32, half), make([]float32, half)
	a.Rope.Angles(8, 0, cos, sin)
	if want := float32(math.Sin(1)); sin[0] != want {
		t.Errorf("position 8 turns by sine %v, want %v: an eighth of its distance", sin[0], want)
	}
}
