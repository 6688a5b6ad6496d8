package steer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
)

// What Falcon-H1's attention reads times two is what projections of twice the weights
// read: doubling is exact, so both give the same bits.
func TestWhatAttentionReadsIsMultiplied(t *testing.T) {
	projections := regexp.MustCompile(`(self_attn\.[qkv]_proj\.weight","shape":[^}]*"std":)0\.2`)
	logits := func(multiplier float64, twice bool) []float32 {
		above := t.TempDir()
		folder := filepath.Join(above, "falcon_h1")
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		copied := func(name string, change func([]byte) []byte) {
			data, err := os.ReadFile(filepath.Join("testdata/goldens", name))
			if err == nil {
				err = os.WriteFile(filepath.Join(above, name), change(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		same := func(data []byte) []byte { return data }
		copied("tokenizer.json", same)
		copied("tokenizer_config.json", same)
		copied("falcon_h1/config.json", func(data []byte) []byte {
			config := decode[map[string]any](t, data)
			config["attention_in_multiplier"] = multiplier
			out, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			return out
		})
		copied("falcon_h1/tensors.json", func(data []byte) []byte {
			if twice {
				return projections.ReplaceAll(data, []byte("${1}0.4"))
			}
			return data
		})
		files, err := seeded.Files(folder)
		if err != nil {
			t.Fatal(err)
		}
		model, err := lm.OpenFS(t.Context(), files, "falcon_h1", lm.Compute(lm.Float32))
		if err != nil {
			t.Fatal(err)
		}
		_, rows := record(t, model, []int{257, 220, 72, 82, 220, 259}, lm.DecoderBlock)
		return slices.Concat(rows...)
	}
	multiplied, doubled := logits(2, false), logits(1, true)
	if !slices.Equal(multiplied, doubled) {
		t.Errorf("logits differ by %g", largestDifference(multiplied, doubled))
	}
	if slices.Equal(multiplied, logits(1, false)) {
		t.Error("the multiplier changes nothing")
	}
}
