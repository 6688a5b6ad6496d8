package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// endpoint is a judge that answers what a test says.
func endpoint(t *testing.T, answer func(request judgeRequest, key string) (status int, body string)) (*Judge, *atomic.Int64) {
	t.Helper()
	asked := &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var request judgeRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/v1/chat/completions" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		status, body := answer(request, r.Header.Get("Authorization"))
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return &Judge{URL: server.URL + "/v1", Model: "fake", Key: "secret", Prompts: ConceptPrompts(), wait: time.Millisecond}, asked
}

func says(text string) string {
	return fmt.Sprintf(`{"choices": [{"message": {"role": "assistant", "content": %q}}]}`, text)
}

func TestTheThreeQuestionsAboutAConcept(t *testing.T) {
	ratings := map[string]string{"has to do with a concept": "2", "answers a request": "1", "fluent": "2"}
	j, asked := endpoint(t, func(r judgeRequest, key string) (int, string) {
		if key != "Bearer secret" || r.Model != "fake" || r.Temperature != 0 || r.Logprobs {
			t.Errorf("%+v with key %q", r, key)
		}
		text := r.Messages[0].Content
		for part, rating := range ratings {
			if strings.Contains(text, part) {
				if !strings.Contains(text, "It was warm.") || strings.Contains(text, "{") {
					t.Errorf("the judge is asked %q", text)
				}
				return http.StatusOK, says("It is so, not [[0]]. Rating: [[" + rating + "]]")
			}
		}
		t.Errorf("the judge is asked %q", text)
		return http.StatusBadRequest, ""
	})
	j.Cache = t.TempDir()
	for range 2 { // the second time from the disk
		got, err := j.Score(t.Context(), Written{"How was it?", "weather", "It was warm."})
		want := map[string]float64{"concept": 2, "instruct": 1, "fluency": 2, Overall: 3 / (0.5 + 1 + 0.5)}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v (%v), want %v", got, err, want)
		}
	}
	if asked.Load() != 3 {
		t.Errorf("the judge is asked %d times, want 3", asked.Load())
	}
	ratings["fluent"] = "0"
	if got, err := j.Score(t.Context(), Written{"How was it?", "weather", "It was warm. Warm."}); err != nil || got[Overall] != 0 {
		t.Errorf("%v (%v), want 0 overall where one is 0", got, err)
	}
}

// A number is the expected value over what the judge might have said.
func TestANumberIsAnExpectedValue(t *testing.T) {
	top := func(pairs ...any) string {
		var list []string
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, fmt.Sprintf(`{"token": %q, "logprob": %v}`, pairs[i], math.Log(pairs[i+1].(float64))))
		}
		return `{"choices": [{"message": {"content": "80"}, "logprobs": {"content": [{"top_logprobs": [` + strings.Join(list, ",") + `]}]}}]}`
	}
	for _, test := range []struct {
		name, body string
		want       float64
		wrong      string
	}{
		{"of two numbers", top("80", 0.6, "60", 0.2, "I", 0.2), (80*0.6 + 60*0.2) / 0.8, ""},
		{"with spaces", top(" 100", 0.5, "0", 0.5), 50, ""},
		{"numbers outside do not count", top("80", 0.5, "800", 0.4), 80, ""},
		{"hardly a number", top("80", 0.2, "I", 0.7), 0, "a probability of 0.20 only"},
		{"no probabilities", says(" 85\n"), 85, ""},
		{"no probabilities and no number", says("very much"), 0, "is not a number"},
		{"a number outside", says("101"), 0, "not from 0 to 100"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j, _ := endpoint(t, func(r judgeRequest, _ string) (int, string) {
				if !r.Logprobs || r.TopLogprobs != 20 {
					t.Errorf("%+v does not ask for probabilities", r)
				}
				return http.StatusOK, test.body
			})
			j.Prompts = TraitPrompts("Is this kind? {question} {answer}")[:1]
			got, err := j.Score(t.Context(), Written{Question: "q", Text: "a"})
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) || len(got) != 0 {
					t.Errorf("%v, error %v, want %q", got, err, test.wrong)
				}
				return
			}
			if err != nil || math.Abs(got["trait"]-test.want) > 1e-9 {
				t.Errorf("%v (%v), want %v", got, err, test.want)
			}
		})
	}
}

func TestAJudgeThatFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		asked  int64
		want   string
	}{
		{"busy all the time", http.StatusTooManyRequests, "", judgeTries, "429"},
		{"broken", http.StatusBadGateway, "", judgeTries, "502"},
		{"refuses", http.StatusUnauthorized, `{"error": "no such key"}`, 1, "no such key"},
		{"no JSON", http.StatusOK, "<html>", 1, "the judge's answer"},
		{"no choices", http.StatusOK, "{}", 1, "no choices"},
		{"no rating", http.StatusOK, says("It is fine."), 1, "no rating"},
		{"a rating that is none", http.StatusOK, says("[[3]]"), 1, "not from 0 to 2"},
		{"too much", http.StatusOK, strings.Repeat(" ", judgeMost+1), 1, "more than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j, asked := endpoint(t, func(judgeRequest, string) (int, string) { return test.status, test.body })
			j.Prompts = ConceptPrompts()[:1]
			got, err := j.Score(t.Context(), Written{Text: "a"})
			if err == nil || !strings.Contains(err.Error(), test.want) || len(got) > 0 {
				t.Errorf("%v, error %v, want %q", got, err, test.want)
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("the error tells the key: %v", err)
			}
			if asked.Load() != test.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), test.asked)
			}
		})
	}
	t.Run("busy at first", func(t *testing.T) {
		times := 0
		j, _ := endpoint(t, func(judgeRequest, string) (int, string) {
			if times++; times < 3 {
				return http.StatusServiceUnavailable, ""
			}
			return http.StatusOK, says("[[1]]")
		})
		j.Prompts = ConceptPrompts()[:1]
		if got, err := j.Score(t.Context(), Written{Text: "a"}); err != nil || got["concept"] != 1 {
			t.Errorf("%v (%v)", got, err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j, _ := endpoint(t, func(judgeRequest, string) (int, string) { cancel(); return http.StatusServiceUnavailable, "" })
		j.wait = time.Hour
		if _, err := j.Score(ctx, Written{Text: "a"}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

func TestScorersOfTexts(t *testing.T) {
	for _, test := range []struct {
		name, text     string
		words, pattern float64
		distinct       float64
	}{
		{"a sentence", "Anna smiled. She was HAPPY!", 2.0 / 5, 1, 1},
		{"repetition", "so so so so so", 0, 0, 0.25},
		{"nothing", "", 0, 0, 1},
		{"other letters", "Ärger, ärger", 0, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			words, err := WordList([]string{"happy", "Smiled"}).Score(t.Context(), Written{Text: test.text})
			if err != nil || words[Words] != test.words {
				t.Errorf("words %v (%v), want %v", words, err, test.words)
			}
			pattern, err := Matching(regexp.MustCompile("(?i)happy")).Score(t.Context(), Written{Text: test.text})
			if err != nil || pattern[Pattern] != test.pattern {
				t.Errorf("pattern %v (%v), want %v", pattern, err, test.pattern)
			}
			if got := distinct(test.text); got != test.distinct {
				t.Errorf("distinct %v, want %v", got, test.distinct)
			}
		})
	}
}
