package lm_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/steervec/steer/lm"
)

// A sequence that outgrows its positions is computed anew, however few tokens a
// step computes.
func TestOutgrownPositionsAreComputedAnewInAnyChunks(t *testing.T) {
	model, err := lm.Random(t.Context(), "dynamic", []byte(`{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2,
		"num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50, "max_position_embeddings": 8,
		"rope_scaling": {"rope_type": "dynamic", "factor": 2}}`))
	if err != nil {
		t.Fatal(err)
	}
	write := func(runTokens int) []int {
		out, err := model.Generate(t.Context(), []lm.Input{{Tokens: []int{3, 1, 4, 1, 5}}}, lm.GenerateOptions{MaxTokens: 12, Temperature: 2, RunTokens: runTokens})
		if err != nil {
			t.Fatal(err)
		}
		return out[0].IDs
	}
	want := write(0)
	for runTokens := range 10 {
		t.Run(fmt.Sprint(runTokens+1), func(t *testing.T) {
			if got := write(runTokens + 1); !slices.Equal(got, want) {
				t.Errorf("wrote %v, want %v", got, want)
			}
		})
	}
}
