package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loadVariable is the environment variable that says how many requests the load
// test sends; 10000 take some minutes.
const loadVariable = "STEER_LOAD_REQUESTS"

// Many requests, with cancellations, slow readers, oversize and malformed bodies:
// no wrong answer, nothing left over, and the metrics agree with the clients.
func TestServerUnderLoad(t *testing.T) {
	requests := 400
	if testing.Short() {
		requests = 100
	}
	if text := os.Getenv(loadVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		requests = n
	}
	s := start(t, nil)
	known := steeredDifferently(t, 16)
	big := strings.Repeat("x", 9<<20)
	s.post("/v1/completions", known[0].body)
	s.Client().CloseIdleConnections()
	before := settled()
	finishedBefore, writtenBefore := s.metric(t, "steer_request_success_total"), s.metric(t, "steer_generation_tokens_total")

	var sent, whole, tokens, refused, left atomic.Int64
	work := make(chan int)
	var wait sync.WaitGroup
	for worker := range 32 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for i := range work {
				r := known[i%len(known)]
				sent.Add(1)
				switch i % 10 {
				case 0: // goes away at any moment
					ctx, leave := context.WithTimeout(t.Context(), time.Duration(random.IntN(30))*time.Millisecond)
					s.quiet(ctx, strings.Replace(r.body, "{", `{"n":3,"stream":true,`, 1))
					leave()
					left.Add(1)
				case 1: // reads slowly
					request, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v1/completions", strings.NewReader(strings.Replace(r.body, "{", `{"stream":true,`, 1)))
					answer, err := s.Client().Do(request)
					if err != nil {
						t.Error(err)
						continue
					}
					var got strings.Builder
					for part := make([]byte, 512); err == nil; {
						var n int
						n, err = answer.Body.Read(part)
						got.Write(part[:n])
						time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
					}
					answer.Body.Close()
					if text := written(t, []byte(got.String())); err != io.EOF || text != r.want {
						t.Errorf("a slow reader got %q, %v; alone %q", text, err, r.want)
					}
					whole.Add(1)
					tokens.Add(int64(r.tokens))
				case 2: // is no request
					bodies := []string{"", "{", `{"prompt":3}`, `{"prompt":"a","n":-1}`, `{"prompt":"a","steering":{"edits":[{"vector":"x"}]}}`, `{"prompt":[[-1]]}`, `{"messages":[]}`}
					if answer := s.do("POST", "/v1/completions", bodies[i/10%len(bodies)]); answer.status != 400 {
						t.Errorf("%s: %d", bodies[i/10%len(bodies)], answer.status)
					}
					refused.Add(1)
				case 3:
					if i%100 == 3 {
						if answer := s.do("POST", "/v1/completions", big); answer.status != 413 {
							t.Errorf("an oversize body: %d", answer.status)
						}
						refused.Add(1)
						continue
					}
					fallthrough
				default:
					answer := s.do("POST", "/v1/completions", r.body)
					var got text
					if err := json.Unmarshal(answer.body, &got); err != nil || len(got.Choices) != 1 || got.Choices[0].Text != r.want {
						t.Errorf("%s wrote %s, alone %q", r.body, answer.body, r.want)
						continue
					}
					whole.Add(1)
					tokens.Add(int64(got.Usage.Completion))
				}
			}
		})
	}
	for i := range requests {
		work <- i
	}
	close(work)
	wait.Wait()
	if err := s.server.CheckIdle(); err != nil {
		t.Error(err)
	}
	t.Logf("%d requests: %d were answered, %d refused, %d clients left", sent.Load(), whole.Load(), refused.Load(), left.Load())
	if sent.Load() != int64(requests) || whole.Load()+refused.Load()+left.Load() != int64(requests) {
		t.Errorf("%d requests have %d answers, %d refusals and %d that left", requests, whole.Load(), refused.Load(), left.Load())
	}
	// Texts of those who left may have ended before they did.
	var length, aborted float64
	for line := range strings.Lines(string(s.do("GET", "/metrics", "").body)) {
		value := func() (v float64) {
			fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v)
			return v
		}
		switch {
		case strings.HasPrefix(line, `steer_request_success_total{finished_reason="abort"`):
			aborted = value()
		case strings.HasPrefix(line, "steer_request_success_total{"):
			length += value()
		}
	}
	ended := length - finishedBefore
	if ended < float64(whole.Load()) || ended+aborted > float64(whole.Load()+3*left.Load()) {
		t.Errorf("%v texts ended and %v were aborted; clients had %d whole and left %d times three", ended, aborted, whole.Load(), left.Load())
	}
	if n := s.metric(t, "steer_generation_tokens_total") - writtenBefore; n < float64(tokens.Load()) || n > float64(tokens.Load()+left.Load()*72) {
		t.Errorf("%v tokens were written, clients had %d", n, tokens.Load())
	}
	if n := s.metric(t, "steer_cache_contradictions_total"); n != 0 {
		t.Errorf("the cache contradicted itself %v times", n)
	}
	for _, name := range []string{"steer_num_requests_running", "steer_num_requests_waiting"} {
		if n := s.metric(t, name); n != 0 {
			t.Errorf("%s is %v in the end", name, n)
		}
	}
	s.Client().CloseIdleConnections()
	if after := settled(); after > before+2 {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after:\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
	}
}

// settled returns the number of goroutines once it does not fall any more.
func settled() int {
	n := runtime.NumGoroutine()
	for range 50 {
		time.Sleep(10 * time.Millisecond)
		n = min(n, runtime.NumGoroutine())
	}
	return n
}

// Where nobody leaves, the metrics are what the clients count, to the token.
func TestMetricsAreWhatClientsCount(t *testing.T) {
	s := start(t, nil)
	var prompts, completions, cached, texts int
	for _, r := range steeredDifferently(t, 5) {
		for range 2 {
			got := s.post("/v1/completions", r.body)
			prompts, completions, cached, texts = prompts+got.Usage.Prompt, completions+got.Usage.Completion, cached+got.Usage.Details.Cached, texts+1
		}
	}
	for name, want := range map[string]int{
		"steer_prompt_tokens_total": prompts, "steer_generation_tokens_total": completions, "steer_prefix_cache_hits_total": cached, "steer_prefix_cache_queries_total": prompts,
		"steer_request_success_total": texts, "steer_time_to_first_token_seconds_count": texts, "steer_e2e_request_latency_seconds_count": texts, "steer_request_queue_time_seconds_count": texts,
	} {
		if got := s.metric(t, name); got != float64(want) {
			t.Errorf("%s is %v, want %d", name, got, want)
		}
	}
}
