package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/demo"
)

func TestInspectKnowsEveryFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	train := []string{"train", "--model", "demo", "--pairs", moodPairs, "--layers", "2,3", "--run-tokens", "5", "--out", at("v")}
	ctx := &interrupted{Context: t.Context(), after: 1 << 60}
	steerWith(ctx, "", train...)
	steerWith(&interrupted{Context: t.Context(), after: (1<<60 - ctx.after) * 3 / 4}, "", train...)
	must(t, "extract", "--model", "demo", "--pairs", moodPairs, "--layers", "2", "--out", at("a"))
	must(t, "record", "--model", "demo", "--prompt", "Tom", "--layers", "1", "--out", at("r"))
	if err := safetensors.Write(at("w"), []safetensors.Tensor{safetensors.New("w", []int{1}, []float32{1})}, nil); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		kind string
		want []string
	}{
		{at("v"), "vector", []string{"steering vector", "layer 2", "activations:"}},
		{at("v.state"), "statistics", []string{"statistics", "aggregator", "mean", "pairs in it", "samples"}},
		{at("a"), "activations", []string{"activations", "pairs in it", "positive.2", "F32 [4 160]"}},
		{at("r"), "recording", []string{"recording", "prompts in it", "decoder_block.1"}},
		{at("w"), "tensors", []string{"F32 [1]"}},
		{moodPairs, "pairs", []string{"pairs in it", "4", "Tom was very happy."}},
		{"demo", "model", []string{"llama", "1865760", "positions", "512", "self_attn"}},
	} {
		out := must(t, "inspect", test.name)
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s is shown without %q:\n%s", test.name, want, out)
			}
		}
		var shown struct{ Kind string }
		if err := json.Unmarshal([]byte(must(t, "inspect", test.name, "--json")), &shown); err != nil || shown.Kind != test.kind {
			t.Errorf("%s is told to be %q, %v; want %q", test.name, shown.Kind, err, test.kind)
		}
	}
}

// A model is shown although its weights could not be computed with: only its
// headers are read.
func TestInspectReadsHeadersOnly(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, demo.Files()); err != nil {
		t.Fatal(err)
	}
	file, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	var kept []safetensors.Tensor
	for _, name := range file.Names() {
		if tensor, _ := file.Tensor(name); !strings.Contains(name, "mlp") {
			kept = append(kept, safetensors.Tensor{Name: name, DType: tensor.DType, Shape: tensor.Shape, Data: bytes.Clone(tensor.Data)})
		}
	}
	file.Close()
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), kept, nil); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := steerWith(t.Context(), "", "generate", "--model", dir, "--prompt", "a"); code == exitOK {
		t.Fatal("a model without its MLPs writes")
	}
	if out := must(t, "inspect", dir); !strings.Contains(out, "llama") {
		t.Errorf("it is shown as\n%s", out)
	}
}

// What a hostile file says does not reach the terminal as commands.
func TestInspectShowsNoEscapes(t *testing.T) {
	vector := trained(t, "3")
	v := loadVector(t, vector)
	v.Provenance.Model = "evil\x1b[2J\nmodel"
	if err := v.Save(vector); err != nil {
		t.Fatal(err)
	}
	if out := must(t, "inspect", vector); strings.Contains(out, "\x1b") || !strings.Contains(out, "evil\ufffd[2J\ufffdmodel") {
		t.Errorf("shown as %q", out)
	}
}

// A GGUF file of a model's metadata and hardly any weights is enough.
func TestInspectShowsTheMetadataOfGGUF(t *testing.T) {
	const number, float, text, array = 4, 6, 8, 9 // types of GGUF
	var data []byte
	u32 := func(n uint32) { data = binary.LittleEndian.AppendUint32(data, n) }
	u64 := func(n int) { data = binary.LittleEndian.AppendUint64(data, uint64(n)) }
	str := func(s string) {
		u64(len(s))
		data = append(data, s...)
	}
	keys := []struct {
		name  string
		value any
	}{
		{"general.architecture", "llama"}, {"general.name", "a little\x1b one"}, {"llama.block_count", 2}, {"llama.context_length", 64},
		{"llama.embedding_length", 8}, {"llama.feed_forward_length", 16}, {"llama.attention.head_count", 2}, {"llama.vocab_size", 20},
		{"llama.attention.layer_norm_rms_epsilon", float32(1e-5)}, {"tokenizer.ggml.tokens", make([]string, 20)},
	}
	data = append(data, "GGUF"...)
	u32(3)
	u64(1) // tensors
	u64(len(keys))
	for _, key := range keys {
		str(key.name)
		switch value := key.value.(type) {
		case int:
			u32(number)
			u32(uint32(value))
		case float32:
			u32(float)
			u32(math.Float32bits(value))
		case string:
			u32(text)
			str(value)
		case []string:
			u32(array)
			u32(text)
			u64(len(value))
			for _, s := range value {
				str(s)
			}
		}
	}
	str("token_embd.weight")
	u32(2)
	u64(8)
	u64(20)
	u32(0) // F32
	u64(0) // its data's offset
	data = append(data, make([]byte, 32-len(data)%32+4*8*20)...)
	path := write(t, filepath.Join(t.TempDir(), "m.gguf"), string(data))
	out := must(t, "inspect", path)
	for _, want := range []string{"family", "metadata:", "general.architecture", "llama.block_count", "a list of 20"} {
		if !strings.Contains(out, want) {
			t.Errorf("it is shown without %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("an escape reaches the terminal: %q", out)
	}
	shown := answer[shownModel](t, "inspect", path)
	if shown.GGUF["llama.embedding_length"] != 8.0 || shown.Layers != 2 || shown.Hidden != 8 {
		t.Errorf("told as %+v", shown)
	}
}

func TestATokenizerAloneIsEnough(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} { // the second is for the token that begins a text
		data, err := fs.ReadFile(demo.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(data))
		want := must(t, "tokenize", "--model", "demo", "--text", "Tom was happy.")
		if got := must(t, "tokenize", "--model", dir, "--text", "Tom was happy."); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
