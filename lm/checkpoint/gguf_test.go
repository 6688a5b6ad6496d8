package checkpoint_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/internal/ggufwrite"
)

// smallGGUF is a model of one layer, whose head is in blocks.
func smallGGUF() []byte {
	f := &ggufwrite.File{}
	f.Set("general.architecture", "llama")
	f.Set("general.license", "apache-2.0")
	for key, value := range map[string]uint32{"block_count": 1, "embedding_length": 32, "attention.head_count": 1, "feed_forward_length": 2} {
		f.Set("llama."+key, value)
	}
	f.Set("tokenizer.ggml.model", "gpt2")
	f.Set("tokenizer.ggml.tokens", []string{"a", "b", "ab"})
	f.Set("tokenizer.ggml.merges", []string{"a b"})
	values := make([]float32, 96)
	values[0], values[1] = 127, 1.001
	f.Tensors = []ggufwrite.Tensor{
		{Name: "token_embd.weight", Type: gguf.BF16, Shape: []int{3, 32}, Data: ggufwrite.Encode(gguf.BF16, values)},
		{Name: "output.weight", Type: gguf.Q8_0, Shape: []int{3, 32}, Data: ggufwrite.Encode(gguf.Q8_0, values)},
	}
	return f.Bytes()
}

// A GGUF file looks like the folder that it was made from.
func TestGGUFFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "small.GGUF")
	if err := os.WriteFile(path, smallGGUF(), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{path, dir} {
		for expand, bytes := range map[safetensors.DType]int{"": 2, safetensors.BF16: 2, safetensors.F32: 4} {
			c, err := checkpoint.Open(t.Context(), ref, checkpoint.Options{Expand: expand})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if name := filepath.Base(ref); c.ID() != name || c.Revision() != "" || filepath.Clean(c.Dir()) != dir {
				t.Error(c.ID(), c.Revision(), c.Dir())
			}
			var config struct {
				ModelType string `json:"model_type"`
			}
			if err := json.Unmarshal(c.Config(), &config); err != nil || config.ModelType != "llama" {
				t.Error(config, err)
			}
			if data, err := fs.ReadFile(c.FS(), "tokenizer.json"); err != nil || !json.Valid(data) {
				t.Error(err)
			}
			if _, err := fs.ReadFile(c.FS(), "generation_config.json"); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if c.Metadata()["general.license"] != "apache-2.0" || !strings.HasPrefix(c.Fingerprint(), "sha256:") {
				t.Error(c.Metadata(), c.Fingerprint())
			}
			head, ok := c.Tensor("lm_head.weight")
			if !ok || len(head.Data) != 96*bytes {
				t.Errorf("expanded to %q the head has %d bytes", expand, len(head.Data))
			}
			if value(t, c, "lm_head.weight") != 127 {
				t.Error("another head")
			}
			c.Release(head)
		}
	}
}

func TestFoldersOfGGUFFiles(t *testing.T) {
	file := &fstest.MapFile{Data: smallGGUF()}
	config := fstest.MapFS{"config.json": text(`{}`), "model.safetensors": weightFile(t, nil, "a"), "x.gguf": text("never read")}
	if c, err := checkpoint.OpenFS(config, "mine", checkpoint.Options{}); err != nil || c.Stored() != "" {
		t.Error("a folder with config.json is read as ever:", err)
	}
	if c, err := checkpoint.OpenFS(fstest.MapFS{"x.gguf": file}, "mine", checkpoint.Options{}); err != nil || c.Stored() != "Q8_0 and BF16" && c.Stored() != "BF16 and Q8_0" {
		t.Error(err)
	}
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		want  string
	}{
		{"several", fstest.MapFS{"a.gguf": file, "b.gguf": file}, "several GGUF files: a.gguf, b.gguf; name one"},
		{"none", fstest.MapFS{"README": text("")}, "config.json"},
		{"damaged", fstest.MapFS{"a.gguf": text("GGUF")}, "open a.gguf: does not begin as a GGUF file does"},
		{"not a model", fstest.MapFS{"a.gguf": {Data: (&ggufwrite.File{}).Bytes()}}, `a.gguf: general.architecture is ""`},
	} {
		if _, err := checkpoint.OpenFS(c.files, "mine", checkpoint.Options{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "open checkpoint mine: ") {
			t.Errorf("%s: error %v; want one with %q", c.name, err, c.want)
		}
	}
}

// Of a repository's GGUF files the named one alone is downloaded, once.
func TestHubBringsTheNamedGGUFFile(t *testing.T) {
	h := newFakeHub(t)
	h.files = fstest.MapFS{"README.md": text(""), "model-Q8_0.gguf": {Data: smallGGUF()}, "model-Q4_0.gguf": text("not wanted")}
	const ref = "org/name:model-Q8_0.gguf"
	for range 2 {
		c, err := checkpoint.Open(t.Context(), ref, checkpoint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c.ID() != ref || c.Revision() != first {
			t.Error(c.ID(), c.Revision())
		}
		c.Close()
	}
	downloads := 0
	for _, request := range h.asked() {
		if strings.HasPrefix(request, "GET") && strings.Contains(request, "gguf") {
			downloads++
		}
	}
	if downloads != 1 {
		t.Errorf("asked for %v", h.asked())
	}
	if c, err := checkpoint.Open(t.Context(), ref, checkpoint.Options{Offline: true}); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	mustFail(t, h, "org/name:other.gguf", checkpoint.Options{}, "the repository has no other.gguf")
	mustFail(t, h, "org/name", checkpoint.Options{}, "the repository has no config.json; name one of its GGUF files, as in org/name:model-Q4_0.gguf")
	mustFail(t, h, "org/name:../secret.gguf", checkpoint.Options{}, "is not the name of a GGUF file")
	mustFail(t, h, "org/name:model.safetensors", checkpoint.Options{}, "is not the name of a GGUF file")
}
