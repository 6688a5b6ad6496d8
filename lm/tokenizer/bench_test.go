package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ordinaryText is 256 KiB of children's stories.
func ordinaryText(tb testing.TB) string {
	data, err := os.ReadFile(shared(tb, "data", "tinystories_combined.txt"))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.ToValidUTF8(string(data[:min(len(data), 1<<18)]), "")
}

func BenchmarkEncode(b *testing.B) {
	root := shared(b, "tokenizers")
	whole := ordinaryText(b)
	lines := strings.Split(whole, "\n")
	for _, name := range []string{"gpt2", "neox", "llama3", "qwen2", "llama2", "mistral", "gemma2"} {
		tok, err := Load(os.DirFS(filepath.Join(root, name)))
		if err != nil {
			b.Fatal(err)
		}
		for _, form := range []struct {
			name  string
			texts []string
		}{{"lines", lines}, {"whole", []string{whole}}} {
			b.Run(name+"/"+form.name, func(b *testing.B) {
				b.ReportAllocs()
				tokens := 0
				for b.Loop() {
					for _, text := range form.texts {
						e, err := tok.Encode(text, EncodeOptions{NoSpecialTokens: true})
						if err != nil {
							b.Fatal(err)
						}
						tokens += len(e.IDs)
					}
				}
				b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
