package translate_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/checkpoint/translate"
	"github.com/steervec/steer/lm/internal/ggufwrite"
	"github.com/steervec/steer/lm/tokenizer"
)

// shared is the folder of test data beside the project.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("STEER_SHARED")
	if dir == "" {
		dir = "../../../../shared"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the folder of test data beside the project is not there")
	}
	return dir
}

// small is the least model that an architecture can be, with this metadata.
func small(t *testing.T, change func(*ggufwrite.File)) *ggufwrite.File {
	t.Helper()
	file := &ggufwrite.File{}
	file.Set("general.architecture", "llama")
	for key, value := range map[string]uint32{"block_count": 1, "embedding_length": 2, "attention.head_count": 1, "feed_forward_length": 2} {
		file.Set("llama."+key, value)
	}
	file.Tensors = []ggufwrite.Tensor{{Name: "token_embd.weight", Type: gguf.F32, Shape: []int{3, 2}, Data: make([]byte, 24)}}
	if change != nil {
		change(file)
	}
	return file
}

func parse(t *testing.T, file *ggufwrite.File) *gguf.File {
	t.Helper()
	f, err := gguf.Parse("test.gguf", file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What a file must not say, and what the error names.
func TestFilesThatCannotBeTranslated(t *testing.T) {
	tensor := func(name string, kind gguf.Type, shape ...int) ggufwrite.Tensor {
		n := 1
		for _, s := range shape {
			n *= s
		}
		elements, bytes := kind.Block()
		return ggufwrite.Tensor{Name: name, Type: kind, Shape: shape, Data: make([]byte, n/max(elements, 1)*bytes)}
	}
	add := func(tensors ...ggufwrite.Tensor) func(*ggufwrite.File) {
		return func(f *ggufwrite.File) { f.Tensors = append(f.Tensors, tensors...) }
	}
	set := func(key string, value any) func(*ggufwrite.File) {
		return func(f *ggufwrite.File) {
			f.Pairs = slices.DeleteFunc(f.Pairs, func(p ggufwrite.Pair) bool { return p.Key == key })
			f.Set(key, value)
		}
	}
	words := func(model string, pairs ...any) func(*ggufwrite.File) {
		return func(f *ggufwrite.File) {
			f.Set("tokenizer.ggml.model", model)
			for i := 0; i < len(pairs); i += 2 {
				f.Set("tokenizer.ggml."+pairs[i].(string), pairs[i+1])
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*ggufwrite.File)
		want   string
	}{
		{"no architecture", set("general.architecture", uint32(1)), `general.architecture is "", which is not supported; known are apertus, arcee, bloom,`},
		{"an unknown architecture", set("general.architecture", "controlvector"), `"controlvector", which is not supported`},
		{"a part of a model", set("split.count", uint32(3)), "one of 3 that a model was split into"},
		{"no layers", set("llama.block_count", uint32(0)), "llama.block_count is 0, not a whole number"},
		{"very many layers", set("llama.block_count", uint32(1<<20)), "llama.block_count is 1048576, more than 4096"},
		{"a size that is a text", set("llama.embedding_length", "64"), "llama.embedding_length is 64, not a whole number"},
		{"more heads than elements", set("llama.attention.head_count", uint32(3)), "3 heads are more than 2 elements"},
		{"layers that differ", set("llama.feed_forward_length", []int32{1, 2}), "llama.feed_forward_length differs from layer to layer"},
		{"values of another size than keys", func(f *ggufwrite.File) {
			f.Set("llama.attention.key_length", uint32(2))
			f.Set("llama.attention.value_length", uint32(4))
		}, "keys of 2 elements and values of 4"},
		{"heads that turn in part", set("llama.rope.dimension_count", uint32(1)), "heads of 2 elements turn whole"},
		{"an unknown rope scaling", set("llama.rope.scaling.type", "spiral"), `rope.scaling.type is "spiral"`},
		{"no embedding", func(f *ggufwrite.File) { f.Tensors = nil }, `"token_embd.weight" is missing`},
		{"a tensor of no known name", add(tensor("blk.0.attn_sinks.weight", gguf.F32, 2)), `"blk.0.attn_sinks.weight" is not one that the architecture llama is known to have`},
		{"a block that is not counted", add(tensor("blk.1.attn_q.weight", gguf.F32, 2, 2)), "a block that the metadata does not count"},
		{"a block by an odd number", add(tensor("blk.00.attn_q.weight", gguf.F32, 2, 2)), "a block that the metadata does not count"},
		{"rows that no head has", add(tensor("blk.0.attn_q.weight", gguf.F32, 3, 2)), `"blk.0.attn_q.weight" has shape [3 2]; the metadata asks for 2 rows`},
		{"an unknown type", add(tensor("output.weight", gguf.Type(99), 3, 2)), `"output.weight" holds type 99 of ggml`},
		{"an empty tensor", add(tensor("output_norm.weight", gguf.F32, 0)), "is empty"},
		{"factors that are a matrix", add(tensor("rope_freqs.weight", gguf.F32, 2, 2)), "not a short list"},
		{"a flat stack", add(tensor("blk.0.ffn_up_exps.weight", gguf.F32, 2)), "a stack has two dimensions or more"},
		{"an unknown tokenizer", words("bert", "tokens", []string{"a"}), `tokenizer.ggml.model is "bert"`},
		{"an unknown cut into words", words("gpt2", "pre", "tomorrow", "tokens", []string{"a"}), `tokenizer.ggml.pre is "tomorrow", which is not supported; known are bloom,`},
		{"no tokens", words("gpt2"), "0 tokens"},
		{"types of other tokens", words("llama", "tokens", []string{"a"}, "token_type", []int32{1, 1}), "1 tokens, 2 types"},
		{"a number that JSON cannot hold", set("llama.rope.freq_base", float32(math.NaN())), "unsupported value: NaN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := translate.New(parse(t, small(t, c.change)), safetensors.BF16)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

// Of an architecture that nobody here has heard of, the outline says how large it is.
func TestAFileOfAnyArchitectureHasAnOutline(t *testing.T) {
	of := func(name string, change func(*ggufwrite.File)) (*translate.Checkpoint, error) {
		file := &ggufwrite.File{}
		file.Set("general.architecture", name)
		for key, value := range map[string]uint32{"block_count": 7, "embedding_length": 2, "context_length": 512} {
			file.Set(name+"."+key, value)
		}
		file.Set("tokenizer.ggml.model", "llama")
		file.Set("tokenizer.ggml.tokens", []string{"a", "b", "c"})
		file.Set("tokenizer.ggml.eos_token_id", uint32(2))
		file.Tensors = []ggufwrite.Tensor{{Name: "token_embd.weight", Type: gguf.F32, Shape: []int{3, 2}, Data: make([]byte, 24)}}
		if change != nil {
			change(file)
		}
		return translate.Outline(parse(t, file))
	}
	c, err := of("unheard", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"eos_token_id":[2],"hidden_size":2,"max_position_embeddings":512,"model_type":"unheard","num_hidden_layers":7,"vocab_size":3}`; string(c.Files()["config.json"]) != want {
		t.Errorf("the outline is %s, want %s", c.Files()["config.json"], want)
	}
	if c.Files()["tokenizer.json"] == nil || len(c.Names()) > 0 {
		t.Errorf("there are the files %v and the tensors %q", slices.Collect(maps.Keys(c.Files())), c.Names())
	}
	d, err := arch.Outline(c.Files()["config.json"])
	if err != nil || len(d.Blocks) != 7 || d.Hidden != 2 || d.Vocabulary != 3 || d.MaxPositions != 512 || d.Family != "unheard" {
		t.Errorf("the decoder is %+v, %v", d, err)
	}
	for name, change := range map[string]func(*ggufwrite.File){
		"unheard.block_count is 0": func(f *ggufwrite.File) {
			f.Pairs = slices.DeleteFunc(f.Pairs, func(p ggufwrite.Pair) bool { return p.Key == "unheard.block_count" })
			f.Set("unheard.block_count", uint32(0))
		},
		`"token_embd.weight" is missing`: func(f *ggufwrite.File) { f.Tensors = nil },
	} {
		if _, err := of("unheard", change); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v; want one with %q", err, name)
		}
	}
	if _, err := of("", nil); err == nil {
		t.Error("a file without an architecture has an outline")
	}
}

// What is the same in both formats is a view of the file; all else is made at
// the first call, kept, and given back.
func TestTensorsAreMadeWhenAskedFor(t *testing.T) {
	file := parse(t, small(t, func(f *ggufwrite.File) {
		f.Tensors = append(f.Tensors, ggufwrite.Tensor{Name: "blk.0.attn_q.weight", Type: gguf.F32, Shape: []int{2, 2}, Data: ggufwrite.Encode(gguf.F32, []float32{1, 2, 3, 4})})
	}))
	c, err := translate.New(file, safetensors.BF16)
	if err != nil {
		t.Fatal(err)
	}
	const query = "model.layers.0.self_attn.q_proj.weight"
	if !slices.Equal(c.Names(), []string{"model.embed_tokens.weight", query}) {
		t.Error(c.Names())
	}
	tensor, ok := c.Tensor("model.embed_tokens.weight")
	stored, _ := file.Tensor("token_embd.weight")
	if !ok || &tensor.Data[0] != &stored.Data[0] {
		t.Error("the embedding was copied")
	}
	first, _ := c.Tensor(query)
	again, _ := c.Tensor(query)
	c.Release(first)
	c.Release(tensor)
	fresh, _ := c.Tensor(query)
	if &first.Data[0] != &again.Data[0] || &fresh.Data[0] == &first.Data[0] || !slices.Equal(fresh.Data, first.Data) {
		t.Error("a made tensor is kept until it is released")
	}
	if _, ok := c.Tensor("token_embd.weight"); ok {
		t.Error("the stored name is known outside")
	}
	if _, err := translate.New(file, safetensors.I8); err == nil {
		t.Error("blocks were to become I8")
	}
}

// Whatever a file says, translating it ends with an error or with tensors whose
// bytes are all there.
func FuzzNew(f *testing.F) {
	for _, arch := range translate.Architectures() {
		file := &ggufwrite.File{}
		file.Set("general.architecture", arch)
		for key, value := range map[string]uint32{"block_count": 1, "embedding_length": 4, "attention.head_count": 2, "attention.head_count_kv": 1, "feed_forward_length": 4} {
			file.Set(arch+"."+key, value)
		}
		file.Set("tokenizer.ggml.model", map[bool]string{true: "llama", false: "gpt2"}[strings.HasPrefix(arch, "g")])
		file.Set("tokenizer.ggml.tokens", []string{"<s>", "a", "b", "ab"})
		file.Set("tokenizer.ggml.token_type", []int32{3, 1, 1, 1})
		file.Set("tokenizer.ggml.merges", []string{"a b"})
		shapes := map[string][]int{
			"token_embd.weight": {4, 4}, "blk.0.attn_q.weight": {4, 4}, "blk.0.attn_k.weight": {2, 4}, "blk.0.attn_qkv.weight": {8, 4},
			"blk.0.attn_norm.weight": {4}, "blk.0.ffn_up_exps.weight": {2, 4, 4},
		}
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(shapes))) { // the embedding first
			shape := shapes[name]
			with := *file
			with.Tensors = append(slices.Clone(file.Tensors), ggufwrite.Tensor{Name: name, Type: gguf.F32, Shape: shape, Data: make([]byte, 4*product(shape))})
			if parsed, err := gguf.Parse("seed", with.Bytes()); err != nil {
				f.Fatal(err)
			} else if _, err := translate.New(parsed, safetensors.F32); err == nil || name == "token_embd.weight" {
				file = &with
			}
		}
		f.Add(file.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Parse("fuzz", data)
		if err != nil {
			return
		}
		c, err := translate.New(file, safetensors.F32)
		if err != nil {
			return
		}
		if !json.Valid(c.Files()["config.json"]) {
			t.Fatal("config.json is no JSON")
		}
		if data, ok := c.Files()["tokenizer.json"]; ok {
			tokenizer.Parse(data, c.Files()["tokenizer_config.json"])
		}
		c.Stored()
		for _, name := range c.Names() {
			tensor, ok := c.Tensor(name)
			if !ok || len(tensor.Data) != tensor.Len()*tensor.DType.Size() {
				t.Fatalf("tensor %q: %d bytes for %v of %s", name, len(tensor.Data), tensor.Shape, tensor.DType)
			}
			c.Release(tensor)
		}
	})
}

func product(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// A tokenizer that went through the metadata of a GGUF file gives the ids of
// the original, for every string that the original was tried on.
func TestTokenizersSurviveTheMetadata(t *testing.T) {
	dir := filepath.Join(shared(t), "tokenizers")
	data, err := os.ReadFile(filepath.Join(dir, "strings.json"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, pre string
		differ    int // of the strings
	}{
		{"gpt2", "gpt-2", 0}, {"llama3", "llama-bpe", 0}, {"qwen2", "qwen2", 0}, {"neox", "olmo", 0}, {"llama2", "", 0}, {"gemma2", "", 0},
		{"mistral", "", 27}, // texts that begin with a space: its own tokenizer.json puts no other before it
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "gpt2" && c.name != "llama2" {
				t.Skip("a large vocabulary")
			}
			folder := os.DirFS(filepath.Join(dir, c.name))
			plan, err := translate.NewPlan(vocabularyOnly{folder}, gguf.F32)
			if err != nil {
				t.Fatal(err)
			}
			var written bytes.Buffer
			if err := plan.Write(t.Context(), &written); err != nil {
				t.Fatal(err)
			}
			file, err := gguf.Parse(c.name, written.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if pre, _ := file.Value("tokenizer.ggml.pre").(string); pre != c.pre {
				t.Errorf("words are cut as %q, want %q", pre, c.pre)
			}
			translated, err := translate.New(file, safetensors.BF16)
			if err != nil {
				t.Fatal(err)
			}
			files := fstest.MapFS{}
			for name, data := range translated.Files() {
				files[name] = &fstest.MapFile{Data: data}
			}
			got, err := tokenizer.Load(files)
			if err != nil {
				t.Fatal(err)
			}
			want, err := tokenizer.Load(folder)
			if err != nil {
				t.Fatal(err)
			}
			differ := 0
			for _, text := range texts {
				a, err := got.Encode(text, tokenizer.EncodeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				b, err := want.Encode(text, tokenizer.EncodeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(a.IDs, b.IDs) {
					if differ++; differ <= c.differ+3 {
						t.Logf("%q became %v, want %v", text, a.IDs, b.IDs)
					}
				}
			}
			if differ != c.differ {
				t.Errorf("%d of %d strings differ, expected %d", differ, len(texts), c.differ)
			}
		})
	}
}

// vocabularyOnly is a checkpoint of a folder's tokenizer and of an embedding that has a
// row for any.
type vocabularyOnly struct{ folder fs.FS }

const rows = 260_000

func (vocabularyOnly) Config() []byte {
	return []byte(`{"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 2, "num_attention_heads": 1, "intermediate_size": 1, "tie_word_embeddings": true}`)
}
func (v vocabularyOnly) FS() fs.FS                { return v.folder }
func (vocabularyOnly) Names() []string            { return []string{"model.embed_tokens.weight"} }
func (vocabularyOnly) Release(safetensors.Tensor) {}
func (vocabularyOnly) EndTokens() ([]int, error)  { return nil, nil }
func (vocabularyOnly) Tensor(name string) (safetensors.Tensor, bool) {
	return safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: []int{rows, 2}, Data: make([]byte, 4*rows)}, name == "model.embed_tokens.weight"
}

// Whatever a config and a tokenizer say, a plan is made or refused.
func FuzzPlan(f *testing.F) {
	for _, modelType := range []string{"llama", "gpt2", "gpt_oss", "deepseek_v3", "lfm2", "granitemoehybrid", "falcon", "gemma3_text", "mpt"} {
		f.Add([]byte(`{"model_type": "`+modelType+`", "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 6, "tie_word_embeddings": true,
			"layer_types": ["full_attention", "conv"], "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 16},
			"kv_lora_rank": 4, "qk_rope_head_dim": 2, "qk_nope_head_dim": 2, "v_head_dim": 2, "mamba_n_groups": 1}`),
			[]byte(`{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
			"added_tokens": [{"id": 3, "content": "<s>", "special": true}], "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]}}`))
	}
	f.Fuzz(func(t *testing.T, config, words []byte) {
		if len(config) > 2000 || len(words) > 2000 {
			return
		}
		plan, err := translate.NewPlan(anything{config, words}, gguf.Q8_0)
		if err != nil {
			return
		}
		if config, err := plan.Config(); err == nil && !json.Valid(config) {
			t.Fatal("config.json is no JSON")
		}
		var out bytes.Buffer
		if err := plan.Write(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if _, err := gguf.Parse("fuzz", out.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}

// anything is a checkpoint of a config and a tokenizer with tensors of every family.
type anything struct{ config, words []byte }

var anyTensors = map[string][]int{
	"model.embed_tokens.weight": {4, 8}, "lm_head.weight": {4, 8}, "model.norm.weight": {8}, "transformer.wte.weight": {4, 8}, "transformer.word_embeddings.weight": {4, 8},
	"model.layers.0.self_attn.q_proj.weight": {8, 8}, "model.layers.0.self_attn.q_proj.bias": {8}, "model.layers.1.self_attn.k_proj.weight": {4, 8}, "model.layers.0.self_attn.kv_b_proj.weight": {16, 4},
	"model.layers.0.mlp.experts.gate_up_proj": {2, 8, 12}, "model.layers.0.mlp.experts.gate_up_proj_bias": {2, 12}, "model.layers.1.mlp.experts.down_proj": {2, 6, 8},
	"model.layers.0.mamba.norm.weight": {8}, "model.layers.0.mamba.A_log": {8}, "model.layers.0.mamba.conv1d.weight": {8, 1, 4}, "model.layers.0.shared_mlp.input_linear.weight": {12, 8},
	"transformer.h.0.attn.c_attn.weight": {8, 24}, "transformer.h.0.self_attention.query_key_value.weight": {12, 8},
}

func (a anything) Config() []byte { return a.config }
func (a anything) FS() fs.FS      { return fstest.MapFS{"tokenizer.json": {Data: a.words}} }

// Names lists none, or every plan would be refused for what it leaves over.
func (anything) Names() []string            { return nil }
func (anything) Release(safetensors.Tensor) {}
func (anything) EndTokens() ([]int, error)  { return []int{3}, nil }
func (anything) Tensor(name string) (safetensors.Tensor, bool) {
	shape, ok := anyTensors[name]
	return safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: shape, Data: make([]byte, 4*product(shape))}, ok
}
