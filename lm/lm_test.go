package lm_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/steervec/steer/internal/seeded"
	"github.com/steervec/steer/lm"
)

// gpt2 is a checkpoint on disk.
var gpt2 string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lm")
	if err != nil {
		panic(err)
	}
	gpt2 = filepath.Join(dir, "gpt2")
	if err := seeded.Write("../testdata/goldens/gpt2", gpt2); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var addition = lm.OperatorFunc("addition", func(delta, _, vector []float32) { copy(delta, vector) })

func open(t *testing.T) *lm.Model {
	t.Helper()
	model, err := lm.Open(t.Context(), gpt2)
	if err != nil {
		t.Fatal(err)
	}
	return model
}

// Callers that steer one model differently at the same time do not meet.
func TestOneModelServesManyCallersAtOnce(t *testing.T) {
	model := open(t)
	width := model.Decoder().Hidden
	prompt := []int{51, 206, 220, 254}
	generate := func(strength float32) []int {
		vector := make([]float32, width)
		for i := range vector {
			vector[i] = strength * float32(i%3-1)
		}
		steered, err := model.With(lm.Edit{Layers: map[int][]float32{1: vector}, Operator: addition})
		if err != nil {
			t.Error(err)
			return nil
		}
		out, err := steered.Generate(t.Context(), []lm.Input{{Tokens: prompt}}, lm.GenerateOptions{MaxTokens: 8, IgnoreEnd: true})
		if err != nil {
			t.Error(err)
			return nil
		}
		return out[0].IDs
	}
	var alone [8][]int
	for i := range alone {
		alone[i] = generate(float32(i))
	}
	var wait sync.WaitGroup
	for i := range alone {
		wait.Go(func() {
			if got := generate(float32(i)); !slices.Equal(got, alone[i]) {
				t.Errorf("caller %d got %v, alone %v", i, got, alone[i])
			}
		})
	}
	wait.Wait()
	if slices.Equal(alone[0], alone[7]) {
		t.Error("steering changed nothing")
	}
}

func TestSamplingIsRepeatableAndLimited(t *testing.T) {
	model := open(t)
	write := func(opts lm.GenerateOptions) []int {
		opts.MaxTokens, opts.IgnoreEnd = 12, true
		out, err := model.Generate(t.Context(), []lm.Input{{Tokens: []int{51, 206}}}, opts)
		if err != nil {
			t.Fatal(err)
		}
		return out[0].IDs
	}
	greedy := write(lm.GenerateOptions{})
	free := lm.GenerateOptions{Temperature: 3, Seed: 1}
	if !slices.Equal(write(free), write(free)) {
		t.Error("equal seeds wrote different texts")
	}
	if other := (lm.GenerateOptions{Temperature: 3, Seed: 2}); slices.Equal(write(free), write(other)) {
		t.Error("different seeds wrote the same text")
	}
	for name, opts := range map[string]lm.GenerateOptions{
		"top-k of 1": {Temperature: 3, TopK: 1}, "a tiny top-p": {Temperature: 3, TopP: 1e-9}, "a min-p of 1": {Temperature: 3, MinP: 1},
	} {
		if got := write(opts); !slices.Equal(got, greedy) {
			t.Errorf("%s wrote %v, greedy writes %v", name, got, greedy)
		}
	}
	seen := map[int]bool{}
	for _, token := range write(lm.GenerateOptions{RepetitionPenalty: 1e6}) {
		if seen[token] {
			t.Errorf("token %d came twice in spite of the penalty", token)
		}
		seen[token] = true
	}
	if _, err := model.Generate(t.Context(), []lm.Input{{Tokens: []int{1}}}, lm.GenerateOptions{TopP: 2}); err == nil {
		t.Error("a top-p of 2 was accepted")
	}
}

func TestAStopStringEndsTheTextBeforeIt(t *testing.T) {
	model := open(t)
	prompt := []lm.Input{{Tokens: []int{51, 128, 75, 177}}}
	opts := lm.GenerateOptions{MaxTokens: 20, IgnoreEnd: true}
	whole, err := model.Generate(t.Context(), prompt, opts)
	if err != nil {
		t.Fatal(err)
	}
	text := whole[0].Text
	stop := text[len(text)/2 : len(text)/2+3]
	var streamed strings.Builder
	opts.Stop = []string{stop}
	opts.Stream = func(_ int, piece string) { streamed.WriteString(piece) }
	out, err := model.Generate(t.Context(), prompt, opts)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := strings.Cut(text, stop)
	if out[0].Text != want || streamed.String() != want || out[0].Finish != lm.FinishStop {
		t.Errorf("wrote %q and streamed %q (%s), want %q", out[0].Text, streamed.String(), out[0].Finish, want)
	}
}

// A continuation's score is the sum of its tokens', and a shared prompt changes
// nothing.
func TestScoresAreLogProbabilities(t *testing.T) {
	model := open(t)
	prompt := []int{51, 206, 220}
	var all []lm.Continuation
	for token := range model.Decoder().Vocabulary {
		all = append(all, lm.Continuation{Prompt: lm.Input{Tokens: prompt}, Tokens: []int{token}})
	}
	scores, err := model.Score(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	best, total := 0, 0.0
	for token, s := range scores {
		total += math.Exp(s[0])
		if s[0] > scores[best][0] {
			best = token
		}
	}
	if total < 0.999 || total > 1.001 {
		t.Errorf("probabilities of all tokens sum to %v", total)
	}
	out, err := model.Generate(t.Context(), []lm.Input{{Tokens: prompt}}, lm.GenerateOptions{MaxTokens: 1, IgnoreEnd: true})
	if err != nil || out[0].IDs[0] != best {
		t.Errorf("greedy wrote %v, the likeliest token is %d (%v)", out, best, err)
	}
}

func TestACancelledCallStops(t *testing.T) {
	model := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	tokens := 0
	out, err := model.Generate(ctx, []lm.Input{{Tokens: []int{1, 2}}}, lm.GenerateOptions{MaxTokens: 100, IgnoreEnd: true, Token: func(int, int, string) {
		if tokens++; tokens == 5 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || len(out) != 1 || len(out[0].IDs) != 5 {
		t.Errorf("after %d tokens: %v, %v", tokens, out, err)
	}
}

// A damaged checkpoint gives one error that names what is wrong.
func TestDamagedCheckpointsAreNamed(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(gpt2, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	weights, config := read("model.safetensors"), read("config.json")
	for _, test := range []struct{ name, file, content, want string }{
		{"truncated weights", "model.safetensors", weights[:len(weights)-4], "model.safetensors"},
		{"empty weights", "model.safetensors", "", "model.safetensors"},
		{"header of a vast length", "model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}", "model.safetensors"},
		{"missing tensor", "model.safetensors", strings.Replace(weights, "transformer.ln_f.bias", "transformer.ln_g.bias", 1), `"transformer.ln_f.bias" is missing`},
		{"other hidden size", "config.json", strings.Replace(config, `"n_embd": 48`, `"n_embd": 96`, 1), "the config asks for"},
		{"more layers than tensors", "config.json", strings.Replace(config, `"n_layer": 3`, `"n_layer": 4`, 1), "transformer.h.3"},
		{"more positions than learned", "config.json", strings.Replace(config, `"n_positions": 96`, `"n_positions": 192`, 1), "transformer.wpe.weight"},
		{"broken config", "config.json", "{", "config.json"},
		{"broken tokenizer", "tokenizer.json", "{", "tokenizer.json"},
		{"broken generation config", "generation_config.json", `{"eos_token_id":"x"}`, "generation_config.json"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
				content := read(name)
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.content), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := lm.Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
}
