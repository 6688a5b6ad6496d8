package translate_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

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
			folder := os.DirFS(filepath.Join(dir, c.name))
			file := small(t, nil)
			if err := ggufwrite.Tokenizer(file, folder, c.pre); err != nil {
				t.Fatal(err)
			}
			translated, err := translate.New(parse(t, file), safetensors.BF16)
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
