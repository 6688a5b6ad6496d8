package arch

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
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
		{"a negative epsilon", with(`"rms_norm_eps":-1e-5`), "rms_norm_eps is -1e-5, not a number from 1e-12 to 1e+12"},
		{"an epsilon of zero", with(`"rms_norm_eps":0`), "rms_norm_eps is 0, not a number from"},
		{"an epsilon that is no float", with(`"rms_norm_eps":1e999`), "rms_norm_eps is 1e999, not a number"},
		{"a vast epsilon", with(`"rms_norm_eps":1e300`), "rms_norm_eps is 1e300, not a number from"},
		{"a base of zero", with(`"rope_theta":0`), "rope_theta is 0, not a number from"},
		{"a negative base", with(`"rope_theta":-10000`), "rope_theta is -10000, not a number from"},
		{"a tiny base", with(`"rope_theta":1e-320`), "rope_theta is 1e-320, not a number from"},
		{"a base of one", with(`"rope_theta":1`), "(rope_theta) is 1, not a number above 1"},
		{"a base inside the scaling", with(`"rope_parameters":{"rope_type":"default","rope_theta":0}`), "rope_parameters: rope_theta is 0, not"},
		{"linear by zero", with(`"rope_scaling":{"type":"linear","factor":0}`), "rope_scaling: factor is 0, not a number from"},
		{"linear, negative", with(`"rope_scaling":{"type":"linear","factor":-2}`), "rope_scaling: factor is -2, not"},
		{"dynamic past nothing", with(`"rope_scaling":{"type":"dynamic","factor":2},"max_position_embeddings":0`), "max_position_embeddings is 0, not a whole number from 1"},
		{"dynamic by zero", with(`"rope_scaling":{"type":"dynamic","factor":0}`), "rope_scaling: factor is 0, not"},
		{"llama3 past nothing", with(`"rope_scaling":{"rope_type":"llama3","factor":8,"original_max_position_embeddings":0}`), "rope_scaling: original_max_position_embeddings is 0, not"},
		{"llama3 without a band", with(`"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}`), "rope_scaling: low_freq_factor is 4, not below high_freq_factor, 4"},
		{"yarn past nothing", with(`"rope_scaling":{"rope_type":"yarn","factor":4,"original_max_position_embeddings":0}`), "rope_scaling: original_max_position_embeddings is 0, not"},
		{"yarn of no positions", with(`"max_position_embeddings":0,"rope_scaling":{"rope_type":"yarn","factor":4}`), "max_position_embeddings is 0, not"},
		{"yarn, a negative scale", with(`"rope_scaling":{"rope_type":"yarn","factor":4,"attention_factor":-1}`), "rope_scaling: attention_factor is -1, not"},
		{"yarn, a bound of zero", with(`"rope_scaling":{"rope_type":"yarn","factor":4,"beta_slow":0}`), "rope_scaling: beta_slow is 0, not"},
		{"longrope, a factor of zero", with(`"rope_scaling":{"type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,1,1,1,1,1,1,0]}`), "rope_scaling: a factor of a frequency is 0, not"},
		{"longrope, too few", with(`"rope_scaling":{"type":"longrope","short_factor":[1],"long_factor":[1]}`), "rope_scaling: there are 1 short and 1 long factors for 8 pairs"},
		{"longrope past one", with(`"max_position_embeddings":8,"original_max_position_embeddings":1,"rope_scaling":{"type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,1,1,1,1,1,1,1]}`), "original_max_position_embeddings is 1"},
		{"no learned positions", `{"model_type":"gpt2","n_embd":64,"vocab_size":512,"n_layer":1,"n_head":4,"n_positions":0}`, "the number of learned positions is 0"},
		{"a negative soft cap", `{"model_type":"gemma2","hidden_size":64,"vocab_size":512,"num_hidden_layers":1,"num_attention_heads":4,"head_dim":16,"intermediate_size":128,"attn_logit_softcapping":-50}`, "attn_logit_softcapping is -50, not"},
		{"scores over the root of zero", `{"model_type":"gemma2","hidden_size":64,"vocab_size":512,"num_hidden_layers":1,"num_attention_heads":4,"head_dim":16,"intermediate_size":128,"query_pre_attn_scalar":0}`, "query_pre_attn_scalar is 0, not"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse([]byte(test.config)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
}

// What is left out, or says that there is none, is no mistake.
func TestZeroMeansNoneWhereNothingDoes(t *testing.T) {
	d, err := Parse([]byte(`{"model_type":"gemma2","hidden_size":64,"vocab_size":512,"num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"intermediate_size":128,
		"attn_logit_softcapping":0,"final_logit_softcapping":null,"rope_scaling":{"rope_type":"yarn","factor":4,"mscale":0,"mscale_all_dim":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	if d.Head.SoftCap != 0 || d.Blocks[0].Attention.SoftCap != 0 {
		t.Errorf("soft caps %v and %v", d.Head.SoftCap, d.Blocks[0].Attention.SoftCap)
	}
	checkFinite(t, d)
}

func TestUnscaledRopeTurnsByThePublishedFrequencies(t *testing.T) {
	d, err := Parse([]byte(llamaConfig))
	if err != nil {
		t.Fatal(err)
	}
	rope := d.Blocks[0].Attention.Rope
	cos, sin := make([]float32, 8), make([]float32, 8)
	rope.Angles(1, rope.Variant(1), cos, sin)
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
		checkFinite(t, d)
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

// checkFinite fails where a number of the description can make a NaN of finite
// weights.
func checkFinite(t *testing.T, d *Decoder) {
	t.Helper()
	norm := func(n *Norm) {
		if n != nil && !(n.Epsilon > 0 && n.Epsilon <= mostFloat) {
			t.Fatalf("norm %s has epsilon %v", n.Weight, n.Epsilon)
		}
	}
	norm(d.Norm)
	for i := range d.Blocks {
		b := &d.Blocks[i]
		for _, n := range []*Norm{b.BeforeAttention, b.AfterAttention, b.BeforeMLP, b.AfterMLP, b.Attention.QueryNorm, b.Attention.KeyNorm} {
			norm(n)
		}
		if s := float64(b.Attention.Scale); math.IsNaN(s) || math.IsInf(s, 0) {
			t.Fatalf("scores are scaled by %v", s)
		}
		r := b.Attention.Rope
		if r == nil || i > 0 || r.Size > 1<<12 {
			continue
		}
		cos, sin := make([]float32, r.Size/2), make([]float32, r.Size/2)
		for _, length := range []int{1, 2049, 1 << 20} {
			for _, position := range []int{0, 1, length - 1} {
				r.Angles(position, r.Variant(length), cos, sin)
				for pair := range cos {
					if x := float64(cos[pair]) + float64(sin[pair]); math.IsNaN(x) || math.IsInf(x, 0) {
						t.Fatalf("pair %d turns by cos %v, sin %v at position %d of %d", pair, cos[pair], sin[pair], position, length)
					}
				}
			}
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

// Configs of transformers 5 have the rotation of each kind of layers in an object.
func TestRotationsOfKindsOfLayersAreReadFromEitherForm(t *testing.T) {
	for _, name := range []string{"gemma3_text", "gemma3n_text"} {
		data, err := os.ReadFile("../../testdata/goldens/" + name + "/config.json")
		if err != nil {
			t.Fatal(err)
		}
		want, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		var config map[string]any
		if err := json.Unmarshal(data, &config); err != nil {
			t.Fatal(err)
		}
		full := map[string]any{"rope_type": "default", "rope_theta": config["rope_theta"]}
		if scaling, ok := config["rope_scaling"].(map[string]any); ok {
			full = scaling
			full["rope_theta"] = config["rope_theta"]
		}
		config["rope_parameters"] = map[string]any{
			"full_attention":    full,
			"sliding_attention": map[string]any{"rope_type": "default", "rope_theta": config["rope_local_base_freq"]},
		}
		delete(config, "rope_theta")
		delete(config, "rope_scaling")
		delete(config, "rope_local_base_freq")
		if data, err = json.Marshal(config); err != nil {
			t.Fatal(err)
		}
		got, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is another model with rope_parameters", name)
		}
	}
}
