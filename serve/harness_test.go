package serve_test

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/steervec/steer/lm"
)

// inline is the demonstration's vector, multiplied, as requests bring it along.
func inline(multiplier float32) string {
	_, vector := demo()
	var data []byte
	for _, x := range vector.Layers[3] {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(multiplier*x))
	}
	return base64.StdEncoding.EncodeToString(data)
}

// What lm-evaluation-harness asks of its local-completions, and how it reads the
// answers, gives what the library scores, to the float; steered by the model's name too.
func TestTheEvaluationHarnessScoresWhatTheLibraryScores(t *testing.T) {
	s := start(t, nil)
	plain, vector := demo()
	edit, err := vector.Edit(-0.7)
	if err != nil {
		t.Fatal(err)
	}
	grumpy, err := plain.With(edit)
	if err != nil {
		t.Fatal(err)
	}
	prompts := []string{"Tom was very", "Once there was a little fox. One day, the fox was", story}
	continuations := []string{" happy", " sad and angry", " calm.", " Anna was very happy."}
	for name, model := range map[string]*lm.Model{"demo": plain, "demo@grumpy": grumpy} {
		var asked []lm.Continuation
		var lists [][]int
		var lengths []int
		for _, prompt := range prompts {
			context, err := model.Tokenize(prompt)
			if err != nil {
				t.Fatal(err)
			}
			likeliest, err := model.Generate(t.Context(), []lm.Input{{Tokens: context}}, lm.GenerateOptions{MaxTokens: 3})
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range append(continuations, likeliest[0].Text) {
				more, err := model.TokenizeContinuation(text)
				if err != nil {
					t.Fatal(err)
				}
				asked = append(asked, lm.Continuation{Prompt: lm.Input{Tokens: context}, Tokens: more})
				lists, lengths = append(lists, slices.Concat(context, more)), append(lengths, len(context))
			}
		}
		want, err := model.Score(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(map[string]any{"model": name, "prompt": lists, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": true})
		if err != nil {
			t.Fatal(err)
		}
		for _, round := range []string{"cold", "warm"} {
			got := s.post("/v1/completions", string(body))
			slices.SortFunc(got.Choices, func(a, b choice) int { return cmp.Compare(a.Index, b.Index) })
			for i, c := range got.Choices {
				l, from := c.Logprobs, lengths[i]
				scored := l.TokenLogprobs[from : len(l.TokenLogprobs)-1]
				if len(scored) != len(want[i]) {
					t.Fatalf("%d tokens are scored, want %d", len(scored), len(want[i]))
				}
				likeliest := true
				for k, logprob := range scored {
					if *logprob != want[i][k] {
						t.Errorf("%s, %s: prompt %d, token %d: %v, want %v", name, round, i, k, *logprob, want[i][k])
					}
					largest := math.Inf(-1)
					for _, other := range l.TopLogprobs[from+k] {
						largest = max(largest, other)
					}
					likeliest = likeliest && *logprob == largest
				}
				written, err := model.Generate(t.Context(), []lm.Input{asked[i].Prompt}, lm.GenerateOptions{MaxTokens: len(asked[i].Tokens)})
				if err != nil {
					t.Fatal(err)
				}
				if is := slices.Equal(written[0].IDs, asked[i].Tokens); is != likeliest {
					t.Errorf("%s: continuation %d is taken for the likeliest: %v, it is: %v", name, i, likeliest, is)
				}
			}
		}
	}
	// Generation: texts up to a stop string, by index.
	ids, err := plain.Tokenize(story)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := json.Marshal(ids)
	got := s.post("/v1/completions", fmt.Sprintf(`{"prompt":[%s,%s],"model":"demo","max_tokens":40,"temperature":0,"stop":["angry","</s>"],"seed":1234}`, list, list))
	if len(got.Choices) != 2 || got.Choices[0].Text != " Anna was very " || got.Choices[1].Text != got.Choices[0].Text || *got.Choices[0].Finish != "stop" {
		t.Errorf("%+v", got.Choices)
	}
}
