package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steervec/steer/serve"
)

func TestOnlyAllowedHostsAreAnswered(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.Hosts = []string{"steer.example.org"} })
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:80": 200, "127.0.0.1:9": 200, "[::1]:8080": 200, "::1": 200, "192.168.1.7": 200, "steer.example.org:443": 200, "steer.example.org.": 200,
		"evil.example.org": 403, "steer.example.org.evil.com": 403, "localhost.evil.com": 403, "127.0.0.1.evil.com": 403, "1.2.3.4.5": 403,
	} {
		if r := s.do("GET", "/v1/models", "", "Host", host); r.status != want {
			t.Errorf("Host %q: %d, want %d", host, r.status, want)
		}
	}
}

func TestOnlyPagesOfAllowedOriginsUseTheServer(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.Origins = []string{"https://friend.example.org"} })
	const body = `{"prompt":"a","max_tokens":1}`
	for _, test := range []struct {
		headers []string
		status  int
		allowed string
	}{
		{nil, 200, ""},
		{[]string{"Origin", s.URL}, 200, ""},
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200, ""},
		{[]string{"Origin", "https://friend.example.org", "Sec-Fetch-Site", "cross-site"}, 200, "https://friend.example.org"},
		{[]string{"Origin", "https://evil.example.org"}, 403, ""},
		{[]string{"Origin", "https://evil.example.org", "Sec-Fetch-Site", "cross-site"}, 403, ""},
		{[]string{"Origin", "null"}, 403, ""},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
	} {
		r := s.do("POST", "/v1/completions", body, test.headers...)
		if got := r.header.Get("Access-Control-Allow-Origin"); r.status != test.status || got != test.allowed {
			t.Errorf("%q: %d and %q, want %d and %q", test.headers, r.status, got, test.status, test.allowed)
		}
	}
	ask := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization, x-stainless-os, x-steering, x-other"}
	r := s.do("OPTIONS", "/v1/chat/completions", "", append(ask, "Origin", "https://friend.example.org")...)
	if got := r.header.Get("Access-Control-Allow-Headers"); r.status != 204 || got != "authorization, x-stainless-os, x-steering" {
		t.Errorf("a friend's preflight: %d %q", r.status, got)
	}
	if r := s.do("OPTIONS", "/v1/chat/completions", "", append(ask, "Origin", "https://evil.example.org")...); r.header.Get("Access-Control-Allow-Origin") != "" || r.status == 204 {
		t.Errorf("another's preflight: %d %v", r.status, r.header)
	}
	model, _ := demo()
	if _, err := serve.New(model, serve.Options{Origins: []string{"no origin/"}}); err == nil {
		t.Error("an origin that is none is taken")
	}
}

func TestKeysAreAskedForEverywhereButWhereNothingIsToldOrDone(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.Keys = []string{"first", "second"} })
	for path, open := range map[string]bool{
		"GET /health": true, "GET /ready": true, "GET /": true, "GET /v1/models": false, "GET /metrics": false, "GET /v1/vectors": false, "GET /tokenizer_info": false, "GET /v1/models/demo": false,
		"POST /v1/completions": false, "POST /v1/chat/completions": false, "POST /tokenize": false, "POST /detokenize": false, "POST /v1/vectors": false, "DELETE /v1/vectors/mood": false,
	} {
		method, path, _ := strings.Cut(path, " ")
		for _, key := range []string{"", "Bearer other", "Bearer ", "first", "Basic first", "Bearer first "} {
			r := s.do(method, path, "{}", "Authorization", key)
			if (r.status != 401) != open && key != "Bearer first " {
				t.Errorf("%s %s with %q: %d", method, path, key, r.status)
			}
		}
		for _, key := range []string{"Bearer first", "Bearer second"} {
			if r := s.do(method, path, "{}", "Authorization", key); r.status == 401 {
				t.Errorf("%s %s with %q: %d", method, path, key, r.status)
			}
		}
	}
	if m := mistakeOf(t, s.do("GET", "/v1/models", "").body); m.Error.Code == nil || *m.Error.Code != "invalid_api_key" {
		t.Errorf("%+v", m)
	}
	// What one key has had computed is no faster for another.
	cached := func(key, salt string) int {
		return s.post("/v1/completions", fmt.Sprintf(`{"prompt":%q,"max_tokens":1%s}`, story, salt), "Authorization", "Bearer "+key).Usage.Details.Cached
	}
	for i, c := range []struct {
		key, salt string
		found     bool
	}{{"first", "", false}, {"first", "", true}, {"second", "", false}, {"first", `,"cache_salt":"x"`, false}, {"first", `,"cache_salt":"x"`, true}, {"second", "", true}} {
		if got := cached(c.key, c.salt); got > 0 != c.found {
			t.Errorf("request %d, key %s, salt %s: %d tokens are cached", i, c.key, c.salt, got)
		}
	}
}

// Secrets and prompts are not logged, unless prompts are asked for.
func TestLogsHoldNeitherKeysNorPrompts(t *testing.T) {
	for _, prompts := range []bool{false, true} {
		var log lockedText
		s := start(t, func(o *serve.Options) {
			o.Keys, o.LogPrompts, o.Log = []string{"sesame-open"}, prompts, slog.New(slog.NewJSONHandler(&log, nil))
		})
		s.post("/v1/completions", `{"prompt":"the golden ladder","max_tokens":2}`, "Authorization", "Bearer sesame-open", "X-Request-Id", "my-request")
		s.do("POST", "/v1/completions", `{"prompt":"the golden ladder","max_tokens":-2}`, "Authorization", "Bearer sesame-open", "X-Request-Id", "bad id!")
		text := log.String()
		if strings.Contains(text, "sesame") || strings.Contains(text, "golden ladder") != prompts || !strings.Contains(text, `"id":"my-request"`) || strings.Contains(text, "bad id") || !strings.Contains(text, `"completion_tokens":2`) {
			t.Errorf("prompts asked for: %v, the log is\n%s", prompts, text)
		}
	}
}

type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestBodiesAndNumbersAreBounded(t *testing.T) {
	s := start(t, nil)
	if r := s.do("POST", "/v1/completions", `{"prompt":"`+strings.Repeat("a", 9<<20)+`"}`); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of 9 MiB: %d", r.status)
	}
	if r := s.do("POST", "/v1/completions", strings.Repeat("[", 100000)); r.status != 400 {
		t.Errorf("a deep body: %d", r.status)
	}
	for _, fields := range []string{`"n":128,"prompt":["a","b","c","d","e"]`, `"prompt":"a","stop":["` + strings.Repeat("x", 300) + `"]`, `"prompt":"a","stop":["a"` + strings.Repeat(`,"a"`, 20) + `]`,
		`"prompt":"a","steering":{"edits":[{"inline":{"layers":{"3":"` + strings.Repeat("AAAA", 2<<20) + `"}}}]}`, `"prompt":"a","n":-9223372036854775808`, `"prompt":"a","n":1e30`, `"prompt":"a","seed":1e300`} {
		if r := s.do("POST", "/v1/completions", `{"max_tokens":1,`+fields+`}`); r.status != 400 && r.status != 413 {
			t.Errorf("%.80s: %d", fields, r.status)
		}
	}
}

// who waits is bounded: more get 503 at once, and are told when to come again.
func TestAFullQueueAnswersAtOnce(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.Running, o.Waiting = 1, 1 })
	ctx, leave := context.WithCancel(t.Context())
	long := func() { s.quiet(ctx, longText) }
	var wait sync.WaitGroup
	wait.Go(long)
	s.until(t, "steer_num_requests_running", 1)
	wait.Go(long)
	s.until(t, "steer_num_requests_waiting", 1)
	r := s.do("POST", "/v1/completions", `{"prompt":"a","max_tokens":1}`)
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || mistakeOf(t, r.body).Error.Type != "server_error" {
		t.Errorf("the third: %d %v %s", r.status, r.header, r.body)
	}
	if r := s.do("POST", "/v1/completions", `{"prompt":"a","n":2}`); r.status != 503 && r.status != 400 {
		t.Errorf("more than may ever wait: %d", r.status)
	}
	leave()
	wait.Wait()
	s.until(t, "steer_num_requests_waiting", 0)
	if r := s.do("POST", "/v1/completions", `{"prompt":"a","n":2}`); r.status != 400 {
		t.Errorf("more than may ever wait: %d", r.status)
	}
	if r := s.do("POST", "/v1/completions", `{"prompt":"a","max_tokens":1}`); r.status != 200 {
		t.Errorf("afterwards: %d", r.status)
	}
}

// longText is a request for as much as there can be.
const longText = `{"prompt":"a","max_tokens":500,"ignore_eos":true,"n":1,"stream":true,"steering":{"edits":[{"vector":"mood","multiplier":0.1}]}}`

// quiet sends a request and reads what comes, which may be cut off.
func (s *started) quiet(ctx context.Context, body string) {
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/v1/completions", strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if answer, err := s.Client().Do(r); err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

// until waits for a metric to have a value.
func (s *started) until(t *testing.T, name string, want float64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); s.metric(t, name) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not become %v", name, want)
		}
	}
}

// Whoever goes takes nothing along: waiting, while the prompt is read, or writing.
func TestClientsThatGoAreForgotten(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.Running, o.RunTokens = 2, 1 }) // prompts take a step for each token
	prompt := fmt.Sprintf(`{"prompt":%q,"max_tokens":100,"n":4,"ignore_eos":true,"seed":1,"stream":%%v}`, strings.Repeat(story+" ", 12))
	for i, stream := range []bool{true, false, true, false} {
		ctx, leave := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { s.quiet(ctx, fmt.Sprintf(prompt, stream)) }) // two write, two wait
		s.until(t, "steer_num_requests_running", 2)
		s.until(t, "steer_num_requests_waiting", 2)
		if i >= 2 { // while they write, not while the prompt is read
			for before := s.metric(t, "steer_generation_tokens_total"); s.metric(t, "steer_generation_tokens_total") == before; {
				time.Sleep(time.Millisecond)
			}
		}
		leave()
		wait.Wait()
		if err := s.server.CheckIdle(); err != nil {
			t.Fatal(err)
		}
	}
	var aborted float64
	for line := range strings.Lines(string(s.do("GET", "/metrics", "").body)) {
		if strings.HasPrefix(line, `steer_request_success_total{finished_reason="abort"`) {
			fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &aborted)
		}
	}
	if aborted != 16 {
		t.Errorf("%v texts are aborted, want 16", aborted)
	}
}

// smallBuffers makes connections that hold little of what is not read.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return c, err
}

// A client that does not read is cut off, and keeps nobody waiting meanwhile.
func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.Write = 300 * time.Millisecond })
	slow := httptest.NewUnstartedServer(s.server)
	slow.Listener = smallBuffers{slow.Listener}
	slow.Start()
	defer slow.Close()
	c, err := net.Dial("tcp", slow.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.(*net.TCPConn).SetReadBuffer(4096)
	body := `{"prompt":"a","max_tokens":400,"n":8,"logprobs":20,"stream":true,"ignore_eos":true}`
	fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	s.until(t, "steer_num_requests_running", 8)
	begin := time.Now()
	s.post("/v1/completions", `{"prompt":"b","max_tokens":5}`)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("another request took %v beside a client that does not read", took)
	}
	// The texts are written to their end, or end with the connection; both leave nothing.
	if err := s.server.CheckIdle(); err != nil {
		t.Error(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(c)
	if strings.Contains(string(got), "[DONE]") {
		t.Errorf("the whole answer of %d bytes fit, %v: nothing was held back", len(got), err)
	}
}

// Told to end, a server lets those who write finish and takes no more.
func TestAServerDrains(t *testing.T) {
	for name, test := range map[string]struct {
		drain time.Duration
		whole bool
	}{"in time": {time.Minute, true}, "too late": {time.Nanosecond, false}} {
		t.Run(name, func(t *testing.T) {
			model, _ := demo()
			server, err := serve.New(model, serve.Options{Drain: test.drain})
			if err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(ctx, listener, nil) }()
			url := "http://" + listener.Addr().String()
			answer, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"a","max_tokens":50,"n":4,"ignore_eos":true,"stream":true}`))
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			reader := bufio.NewReader(answer.Body)
			if _, err := reader.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			end()
			rest, _ := io.ReadAll(reader)
			if whole := strings.HasSuffix(string(rest), "data: [DONE]\n\n"); whole != test.whole {
				t.Errorf("the stream ended with %q", rest[max(0, len(rest)-200):])
			}
			if !test.whole && !strings.Contains(string(rest), `data: {"error":{"message":"the server is ending"`) {
				t.Errorf("the stream was cut off without a word: %q", rest[max(0, len(rest)-200):])
			}
			if err := <-ended; (err == nil) != test.whole {
				t.Errorf("serving ended with %v", err)
			}
			if _, err := http.Get(url + "/health"); err == nil {
				t.Error("it still answers")
			}
		})
	}
}

// Told to end, a server that lingers says so and still answers for that long.
func TestAServerThatLingersIsNotReadyAndAnswers(t *testing.T) {
	model, _ := demo()
	server, err := serve.New(model, serve.Options{Linger: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener, nil) }()
	url := "http://" + listener.Addr().String()
	ready := func() int {
		answer, err := http.Get(url + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if status := ready(); status != http.StatusOK {
		t.Errorf("it is not ready: %d", status)
	}
	told := time.Now()
	end()
	for ready() == http.StatusOK {
		if time.Since(told) > time.Second {
			t.Fatal("told to end, it is ready")
		}
	}
	answer, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"a","max_tokens":1}`))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !answer.Close {
		t.Errorf("a request meanwhile has status %d, and the connection stays: %v", answer.StatusCode, !answer.Close)
	}
	if err := <-ended; err != nil || time.Since(told) < 2*time.Second {
		t.Errorf("it ended after %v: %v", time.Since(told), err)
	}
}

// Headers are bounded where the server listens itself.
func TestHeadersAreBounded(t *testing.T) {
	model, _ := demo()
	server, err := serve.New(model, serve.Options{})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener, nil) }()
	r, err := http.NewRequest("GET", "http://"+listener.Addr().String()+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", 200<<10))
	if answer, err := http.DefaultClient.Do(r); err == nil {
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of 200 KiB: %d", answer.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
