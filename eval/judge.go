package eval

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/steervec/steer/internal/output"
)

// Judge scores texts by asking a model behind an endpoint that speaks OpenAI's
// chat completions. What it has answered is kept on disk, so that an evaluation that
// is run again asks nothing twice.
type Judge struct {
	URL     string // up to, and not including, /chat/completions
	Model   string
	Key     string // "": none is sent
	Prompts []JudgePrompt
	Cache   string       // folder; "": nothing is kept
	Client  *http.Client // nil: one that waits for two minutes

	wait time.Duration // before the second try; 0: a second
}

// JudgePrompt is a question about a text, with {question}, {answer} and {concept} in
// the places of the three.
type JudgePrompt struct {
	Name string // of the metric
	Text string

	// Highest is the greatest rating. Up to 10 the judge may explain itself and ends
	// with a rating in double brackets. Above, it answers with a number alone, and the
	// score is the expected value over the number tokens that it might have given,
	// where the endpoint tells their probabilities, as in persona vectors' judge.
	Highest float64
}

//go:embed prompts
var prompts embed.FS

// ConceptPrompts are AxBench's three questions, from 0 to 2: whether a text shows
// the concept, whether it does what was asked, and whether it is fluent. Where all
// three are rated, the judge adds their harmonic mean, [Overall].
func ConceptPrompts() []JudgePrompt {
	return []JudgePrompt{builtIn("concept", 2), builtIn("instruct", 2), builtIn("fluency", 2)}
}

// TraitPrompts are the two questions of persona vectors, from 0 to 100: how much a
// text shows a trait, and how coherent it is. The first is asked in the data's own
// words where they have some; "": in ours.
func TraitPrompts(trait string) []JudgePrompt {
	first := builtIn("trait", 100)
	if trait != "" {
		first.Text = trait
	}
	return []JudgePrompt{first, builtIn("coherence", 100)}
}

func builtIn(name string, highest float64) JudgePrompt {
	text, err := prompts.ReadFile("prompts/" + name + ".txt")
	if err != nil {
		panic(err) // it is part of the program
	}
	return JudgePrompt{name, string(text), highest}
}

// LoadPrompts reads the prompts of a folder, one in each NAME.txt, for ratings up to
// the highest.
func LoadPrompts(dir string, highest float64) ([]JudgePrompt, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var out []JudgePrompt
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(text), "{answer}") {
			return nil, fmt.Errorf("%s: the place of the {answer} is missing", path)
		}
		out = append(out, JudgePrompt{strings.TrimSuffix(filepath.Base(path), ".txt"), string(text), highest})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no prompt: no file NAME.txt", dir)
	}
	return out, nil
}

// Overall is the metric of a judge that has rated AxBench's three questions: the
// harmonic mean 3/Σ(1/s), 0 where one of them is 0.
const Overall = "overall"

// Name is "judge".
func (j *Judge) Name() string { return "judge" }

// Score asks every prompt about a text. Where one of them has no usable answer the
// error says which, beside the scores of the others.
func (j *Judge) Score(ctx context.Context, w Written) (map[string]float64, error) {
	scores := map[string]float64{}
	var errs []error
	for _, p := range j.Prompts {
		text := strings.NewReplacer("{question}", w.Question, "{answer}", w.Text, "{concept}", w.Concept).Replace(p.Text)
		reply, err := j.ask(ctx, text, p.Highest > 10)
		var score float64
		if err == nil {
			score, err = p.rating(reply)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Name, err))
			continue
		}
		scores[p.Name] = score
	}
	if overall, ok := harmonic(scores, "concept", "instruct", "fluency"); ok {
		scores[Overall] = overall
	}
	return scores, errors.Join(errs...)
}

// harmonic is the harmonic mean of some scores, 0 where one is; false where one is
// missing.
func harmonic(scores map[string]float64, names ...string) (float64, bool) {
	sum := 0.0
	for _, name := range names {
		s, ok := scores[name]
		if !ok {
			return 0, false
		}
		sum += 1 / s // infinite for 0
	}
	return float64(len(names)) / sum, true
}

// reply is what is used of an answer.
type reply struct {
	Text string       `json:"text"`
	Top  []topLogprob `json:"top,omitempty"` // of the first token
}

type topLogprob struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
}

var bracketed = regexp.MustCompile(`\[\[\s*(-?\d+(?:\.\d+)?)\s*\]\]`)

// leastMass is the probability that number tokens must have together, below which
// the judge did not answer with a number (persona vectors, judge.py).
const leastMass = 0.25

// rating reads a score.
func (p JudgePrompt) rating(r reply) (float64, error) {
	inside := func(v float64) (float64, error) {
		if !(0 <= v && v <= p.Highest) {
			return 0, fmt.Errorf("the rating %v is not from 0 to %v", v, p.Highest)
		}
		return v, nil
	}
	if p.Highest <= 10 {
		all := bracketed.FindAllStringSubmatch(r.Text, -1)
		if len(all) == 0 {
			return 0, fmt.Errorf("there is no rating in %.80q", r.Text)
		}
		v, err := strconv.ParseFloat(all[len(all)-1][1], 64)
		if err != nil {
			return 0, err
		}
		return inside(v)
	}
	if len(r.Top) == 0 {
		v, err := strconv.ParseFloat(strings.TrimSpace(r.Text), 64)
		if err != nil {
			return 0, fmt.Errorf("%.80q is not a number", r.Text)
		}
		return inside(v)
	}
	sum, mass := 0.0, 0.0
	for _, t := range r.Top {
		if n, err := strconv.ParseUint(strings.TrimSpace(t.Token), 10, 32); err == nil && float64(n) <= p.Highest {
			sum += float64(n) * math.Exp(t.Logprob)
			mass += math.Exp(t.Logprob)
		}
	}
	if mass < leastMass {
		return 0, fmt.Errorf("the judge would answer with a number with a probability of %.2f only", mass)
	}
	return sum / mass, nil
}

// judgeRequest is what is sent.
type judgeRequest struct {
	Model       string         `json:"model"`
	Messages    []judgeMessage `json:"messages"`
	Temperature float64        `json:"temperature"`
	MaxTokens   int            `json:"max_tokens"`
	Logprobs    bool           `json:"logprobs,omitempty"`
	TopLogprobs int            `json:"top_logprobs,omitempty"`
}

type judgeMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ask returns the judge's reply, the kept one where there is one. For a number its
// first token is enough.
func (j *Judge) ask(ctx context.Context, text string, number bool) (r reply, err error) {
	request := judgeRequest{Model: j.Model, Messages: []judgeMessage{{"user", text}}, MaxTokens: 300}
	if number {
		request.MaxTokens, request.Logprobs, request.TopLogprobs = 3, true, 20
	}
	body, err := json.Marshal(request)
	if err != nil {
		return r, err
	}
	path := ""
	if j.Cache != "" {
		key := sha256.Sum256(append([]byte(j.URL+"\n"), body...))
		path = filepath.Join(j.Cache, hex.EncodeToString(key[:])+".json")
		if kept, err := os.ReadFile(path); err == nil && json.Unmarshal(kept, &r) == nil {
			return r, nil
		}
	}
	if r, err = j.send(ctx, body); err != nil || path == "" {
		return r, err
	}
	return r, keep(path, r)
}

// keep writes a reply where it is looked for.
func keep(path string, r reply) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	file, err := output.Create(path)
	if errors.Is(err, output.ErrBusy) { // the same question, asked by another goroutine
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := json.NewEncoder(file).Encode(r); err != nil {
		return err
	}
	return file.Commit()
}

const (
	judgeTries   = 4
	judgeMost    = 1 << 20 // bytes of a reply
	judgeTimeout = 2 * time.Minute
)

// send asks, and asks again where the endpoint is busy.
func (j *Judge) send(ctx context.Context, body []byte) (r reply, err error) {
	wait := j.wait
	if wait == 0 {
		wait = time.Second
	}
	for try := 1; ; try++ {
		var again bool
		if r, again, err = j.once(ctx, body); err == nil || !again || try == judgeTries {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(wait):
			wait *= 2
		}
	}
}

// once asks one time. again says that another try may do better.
func (j *Judge) once(ctx context.Context, body []byte) (r reply, again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(j.URL, "/")+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return r, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	if j.Key != "" {
		request.Header.Set("Authorization", "Bearer "+j.Key)
	}
	client := j.Client
	if client == nil {
		client = &http.Client{Timeout: judgeTimeout}
	}
	response, err := client.Do(request)
	if err != nil {
		return r, ctx.Err() == nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, judgeMost+1))
	switch {
	case err != nil:
		return r, true, err
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500:
		return r, true, fmt.Errorf("the judge answers with %s", response.Status)
	case response.StatusCode != http.StatusOK:
		return r, false, fmt.Errorf("the judge answers with %s: %.200q", response.Status, data)
	case len(data) > judgeMost:
		return r, false, fmt.Errorf("the judge answers with more than %d bytes", judgeMost)
	}
	var answer struct {
		Choices []struct {
			Message  judgeMessage `json:"message"`
			Logprobs *struct {
				Content []struct {
					TopLogprobs []topLogprob `json:"top_logprobs"`
				} `json:"content"`
			} `json:"logprobs"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return r, false, fmt.Errorf("the judge's answer: %w", err)
	}
	if len(answer.Choices) == 0 {
		return r, false, errors.New("the judge's answer has no choices")
	}
	choice := answer.Choices[0]
	r.Text = choice.Message.Content
	if l := choice.Logprobs; l != nil && len(l.Content) > 0 {
		r.Top = l.Content[0].TopLogprobs
	}
	return r, false, nil
}
