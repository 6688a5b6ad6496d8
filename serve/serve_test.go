package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
	"github.com/steervec/steer/serve"
)

// demo is the demonstration model, and a vector from sad to happy at its layer 3.
var demo = sync.OnceValues(func() (*lm.Model, *steer.Vector) {
	model, err := lm.Open(context.Background(), "demo")
	if err != nil {
		panic(err)
	}
	file, err := pairs.Open("../testdata/mood.jsonl")
	if err != nil {
		panic(err)
	}
	vector, err := steer.Train(context.Background(), model, file.Samples, steer.TrainOptions{Layers: []int{3}})
	if err != nil {
		panic(err)
	}
	return model, vector
})

const story = "Anna had a red kite. One day, Anna met Leo at the bridge."

// started is a server that a test talks to.
type started struct {
	*httptest.Server
	t      *testing.T
	server *serve.Server
}

// start serves the demonstration model, with the vector mood and the preset grumpy.
func start(t *testing.T, change func(*serve.Options)) *started {
	t.Helper()
	model, vector := demo()
	opts := serve.Options{
		Vectors: map[string]*steer.Vector{"mood": vector},
		Presets: map[string]json.RawMessage{"grumpy": json.RawMessage(`{"edits":[{"vector":"mood","multiplier":-0.7}]}`)},
	}
	if change != nil {
		change(&opts)
	}
	server, err := serve.New(model, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &started{httptest.NewServer(server), t, server}
	t.Cleanup(func() {
		s.Server.Close()
		server.Close()
	})
	return s
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request; headers come in pairs.
func (s *started) do(method, path, body string, headers ...string) reply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.Client().Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, data}
}

// text is an answer of either kind, or a chunk of one.
type text struct {
	ID      string
	Object  string
	Created int64
	Model   string
	Choices []choice
	Usage   *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
		Details    struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
}

// choice is one text of an answer.
type choice struct {
	Index    int
	Text     string
	Message  struct{ Role, Content string }
	Delta    map[string]string
	Logprobs *logprobs
	Finish   *string `json:"finish_reason"`
	Steer    *struct {
		Seed  uint64
		Edits []struct {
			Vector, Hash, Operator, Tokens string
			Multiplier                     float64
			Layers                         []int
			Prompt                         int `json:"prompt_tokens"`
			Response                       int `json:"response_tokens"`
		}
		Projections []struct {
			Vector, Of       string
			Layer            int
			Prompt, Response []float32
		}
		Tokens struct{ Prompt, Response []string }
	}
}

type logprobs struct {
	Tokens        []string
	TokenLogprobs []*float64           `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	Offsets       []int                `json:"text_offset"`
	Content       []struct {
		Token   string
		Logprob float64
		Bytes   []int
		Top     []struct {
			Token   string
			Logprob float64
		} `json:"top_logprobs"`
	}
}

// post sends a body that is to be answered, as one JSON value.
func (s *started) post(path, body string, headers ...string) text {
	s.t.Helper()
	r := s.do("POST", path, body, headers...)
	var out text
	if err := json.Unmarshal(r.body, &out); err != nil || r.status != http.StatusOK {
		s.t.Fatalf("%s: status %d: %s", body, r.status, r.body)
	}
	return out
}

// events returns the data of the events of a stream, and its lines.
func events(t *testing.T, body []byte) (data []string) {
	t.Helper()
	scanner := bufio.NewScanner(bytes.NewReader(body))
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		if line, ok := strings.CutPrefix(scanner.Text(), "data: "); ok {
			data = append(data, line)
		} else if scanner.Text() != "" && !strings.HasPrefix(scanner.Text(), ":") {
			t.Errorf("a stream has the line %q", scanner.Text())
		}
	}
	return data
}

// mistake is the error of an answer.
type mistake struct {
	Error struct {
		Message string
		Type    string
		Param   *string
		Code    *string
	}
}

func mistakeOf(t *testing.T, body []byte) mistake {
	t.Helper()
	var m mistake
	if err := json.Unmarshal(body, &m); err != nil || m.Error.Message == "" || m.Error.Type == "" {
		t.Fatalf("the answer is no error: %s", body)
	}
	return m
}
