// Package balancer tries replicas of the server behind a real balancer, which has the
// configuration beside this file.
package balancer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const key = "key-of-all-replicas"

// haproxy returns the balancer's program. Without one the tests are skipped, unless
// STEER_REQUIRE_BALANCER says that they must run.
func haproxy(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("STEER_REQUIRE_BALANCER") != "" {
		t.Fatal("there is no haproxy")
	}
	t.Skip("there is no haproxy (Debian: haproxy)")
	return ""
}

// built is the folder of the program steer and of what all replicas are started with.
var built = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "steer-balancer-")
	if err != nil {
		return "", err
	}
	run := func(name string, args ...string) {
		if err == nil {
			var out []byte
			if out, err = exec.Command(name, args...).CombinedOutput(); err != nil {
				err = fmt.Errorf("%s %q: %w: %s", name, args, err, out)
			}
		}
	}
	steer := filepath.Join(folder, "steer")
	run("go", "build", "-o", steer, "../../cmd/steer")
	run(steer, "train", "--model", "demo", "--pairs", "../../testdata/mood.jsonl", "--layers", "3", "--out", filepath.Join(folder, "mood.safetensors"))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "keys"), []byte(key+"\n"), 0o600)
	}
	return folder, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if folder, err := built(); err == nil {
		os.RemoveAll(folder)
	}
	os.Exit(code)
}

// replica is a server of its own process.
type replica struct {
	address string
	process *exec.Cmd
	ended   chan struct{} // closed once it has
	err     error         // how
}

// start starts a replica; all have the same model, vectors, presets and keys.
func start(t *testing.T, address string) *replica {
	t.Helper()
	folder, err := built()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(filepath.Join(folder, "steer"), "serve", "--model", "demo", "--addr", address, "--json", "--quiet",
		"--api-key-file", filepath.Join(folder, "keys"), "--vector", "mood="+filepath.Join(folder, "mood.safetensors"),
		"--preset", `grumpy={"edits":[{"vector":"mood","multiplier":-0.7}]}`, "--linger", "2")
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	r := &replica{process: process, ended: make(chan struct{})}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	go func() {
		defer close(r.ended)
		r.err = process.Wait()
	}()
	t.Cleanup(func() { r.signal(t, syscall.SIGKILL); <-r.ended })
	var told struct{ Address string }
	if err = errors.Join(err, json.Unmarshal(line, &told)); err != nil {
		t.Fatalf("start a replica: %v: %s", err, line)
	}
	r.address = strings.TrimPrefix(told.Address, "http://")
	return r
}

func (r *replica) signal(t *testing.T, signal os.Signal) {
	if err := r.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// metric returns a counter of a replica.
func (r *replica) metric(t *testing.T, name string) float64 {
	t.Helper()
	answer := get(t, "http://"+r.address+"/metrics")
	found := regexp.MustCompile(`(?m)^steer_` + name + `\{[^}]*\} (\S+)$`).FindSubmatch(answer)
	if found == nil {
		t.Fatalf("no metric %s: %.300s", name, answer)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v: %d: %s", url, err, answer.StatusCode, data)
	}
	return data
}

// balance starts the balancer before two replicas, with the lines that change replaced,
// and waits until it answers.
func balance(t *testing.T, a, b *replica, change *strings.Replacer) (url string) {
	t.Helper()
	program := haproxy(t)
	text, err := os.ReadFile("haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(config, []byte(change.Replace(string(text))), 0o666); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	process := exec.Command(program, "-db", "-f", config)
	process.Env = append(os.Environ(), "STEER_LISTEN="+address, "STEER_REPLICA_A="+a.address, "STEER_REPLICA_B="+b.address)
	var said bytes.Buffer
	process.Stderr = &said
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		if t.Failed() {
			t.Logf("the balancer said: %s", &said)
		}
	})
	url = "http://" + address
	wait(t, "the balancer", func() bool { return answers(url + "/ready") })
	return url
}

func answers(url string) bool {
	answer, err := http.Get(url)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func wait(t *testing.T, what string, until func() bool) {
	t.Helper()
	for begun := time.Now(); !until(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("%s: nothing after 30 s", what)
		}
	}
}

// message is one of a conversation.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// request is a body; every field that decides about the text is in it.
type request struct {
	Model     string    `json:"model"`
	Messages  []message `json:"messages"`
	Seed      int       `json:"seed"`
	MaxTokens int       `json:"max_tokens"`
	IgnoreEnd bool      `json:"ignore_eos"`
	Stream    bool      `json:"stream"`
	Salt      string    `json:"cache_salt,omitempty"`
}

// ask is the request number n of a load: it differs from the others, and is steered or
// streamed by its number.
func ask(n int) request {
	r := request{Model: "demo", Seed: n, MaxTokens: 40, IgnoreEnd: true, Stream: n%2 == 1, Messages: []message{
		{"system", "Tell a story."}, {"user", fmt.Sprintf("Anna had %d red kites. One day, Anna met Leo at the bridge.", n)},
	}}
	if n%3 == 0 {
		r.Model = "demo@grumpy"
	}
	return r
}

// errCut is of a stream whose connection ended before the stream did.
var errCut = errors.New("the stream was cut off")

// send sends a request and returns the text of a stream, or the choices of an answer
// in one piece as they are, and which replica gave them. Begun is called when a stream
// has; nil: nobody is.
func send(ctx context.Context, url string, r request, begun func(replica string)) (text string, by string, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return "", "", err
	}
	post, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	post.Header.Set("Authorization", "Bearer "+key)
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		return "", "", err
	}
	defer answer.Body.Close()
	by = answer.Header.Get("X-Steer-Replica")
	if answer.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(answer.Body)
		return "", by, fmt.Errorf("status %d: %s", answer.StatusCode, data)
	}
	if !r.Stream {
		data, err := io.ReadAll(answer.Body)
		if err != nil {
			return "", by, err
		}
		var whole struct{ Choices json.RawMessage }
		err = json.Unmarshal(data, &whole)
		return string(whole.Choices), by, err
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	var out strings.Builder
	for lines.Scan() {
		data, event := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !event {
			continue
		}
		if string(data) == "[DONE]" {
			return out.String(), by, nil
		}
		part, err := piece(data)
		if err != nil {
			return "", by, err
		}
		if out.WriteString(part); begun != nil && part != "" {
			begun(by)
			begun = nil
		}
	}
	return "", by, errors.Join(errCut, lines.Err())
}

// piece returns the text of a stream's event.
func piece(data []byte) (text string, err error) {
	var chunk struct {
		Error   *struct{ Message string }
		Choices []struct{ Delta message }
	}
	if err := json.Unmarshal(data, &chunk); err != nil {
		return "", err
	}
	if chunk.Error != nil {
		return "", errors.New(chunk.Error.Message)
	}
	for _, c := range chunk.Choices {
		text += c.Delta.Content
	}
	return text, nil
}

// load sends requests from so many clients at once until the context ends, each
// request of the load in its turn, and hands on what became of each.
func load(ctx context.Context, url string, clients, kinds int, done func(n int, text string, err error)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)-1) % kinds
				text, _, err := send(context.WithoutCancel(ctx), url, ask(n), nil)
				done(n, text, err)
			}
		})
	}
	group.Wait()
}

// TestReplicasMayDieAndDrainUnderLoad kills one of two replicas under load, starts it
// again, and ends the other as an upgrade would.
func TestReplicasMayDieAndDrainUnderLoad(t *testing.T) {
	haproxy(t)
	const kinds = 24
	alone := start(t, "127.0.0.1:0")
	want := make([]string, kinds)
	for n := range want {
		var err error
		if want[n], _, err = send(t.Context(), "http://"+alone.address, ask(n), nil); err != nil || want[n] == "" {
			t.Fatalf("one server, request %d: %q, %v", n, want[n], err)
		}
	}
	a, b := start(t, "127.0.0.1:0"), start(t, "127.0.0.1:0")
	url := balance(t, a, b, strings.NewReplacer())
	wait(t, "both replicas", func() bool { return strings.Contains(replicasSeen(t, url), "a b") })

	var whole, cut atomic.Int64
	var mayCut atomic.Bool
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		load(ctx, url, 8, kinds, func(n int, text string, err error) {
			switch {
			case errors.Is(err, errCut) && mayCut.Load() && ask(n).Stream:
				cut.Add(1)
			case err != nil:
				t.Errorf("request %d: %v", n, err)
			case text != want[n]:
				t.Errorf("request %d differs from the answer of one server: %q, %q", n, text, want[n])
			default:
				whole.Add(1)
			}
		})
	})
	defer running.Wait()
	defer end()

	// A stream that is cut is an error that the client sees.
	mayCut.Store(true)
	if err := whileStreaming(t, url, "a", func() { a.signal(t, syscall.SIGKILL); <-a.ended }); !errors.Is(err, errCut) {
		t.Errorf("the stream of a replica that was killed ended with %v", err)
	}
	more(t, &whole, 3*kinds)
	mayCut.Store(false)
	t.Logf("%d answers were whole and %d streams cut while a replica was killed", whole.Load(), cut.Load())

	a = start(t, a.address)
	wait(t, "the replica that was started again", func() bool { return strings.Contains(replicasSeen(t, url), "a b") })

	// A replica that is told to end finishes its streams, and takes no new ones.
	if err := whileStreaming(t, url, "b", func() { b.signal(t, syscall.SIGTERM) }); err != nil {
		t.Errorf("the stream of a replica that was told to end: %v", err)
	}
	<-b.ended
	if b.err != nil {
		t.Errorf("the replica ended with %v", b.err)
	}
	more(t, &whole, kinds)
}

// more waits until so many more answers were whole.
func more(t *testing.T, whole *atomic.Int64, n int64) {
	t.Helper()
	from := whole.Load()
	wait(t, "more answers", func() bool { return whole.Load() >= from+n })
}

// replicasSeen names the replicas that answer, in order.
func replicasSeen(t *testing.T, url string) string {
	seen := map[string]bool{}
	for n := range 16 {
		r := ask(n)
		r.MaxTokens, r.Stream = 1, false
		if _, by, err := send(t.Context(), url, r, nil); err == nil {
			seen[by] = true
		}
	}
	switch {
	case seen["a"] && seen["b"]:
		return "a b"
	case seen["a"]:
		return "a"
	case seen["b"]:
		return "b"
	}
	return ""
}

// whileStreaming does something while a replica writes a long text, and returns how
// the stream ended.
func whileStreaming(t *testing.T, url, replica string, do func()) error {
	t.Helper()
	for n := 1; n < 200; n += 2 {
		r := ask(n)
		r.MaxTokens = 400
		ctx, cancel := context.WithCancel(t.Context())
		right := false
		_, _, err := send(ctx, url, r, func(by string) {
			if right = by == replica; right {
				do()
			} else {
				cancel()
			}
		})
		cancel()
		if right {
			return err
		}
	}
	t.Fatalf("replica %s writes nothing", replica)
	return nil
}

// TestConversationsMeetTheirCache has the same conversations with keys and without: with
// them, all turns of one meet the replica that has computed the ones before.
func TestConversationsMeetTheirCache(t *testing.T) {
	haproxy(t)
	a, b := start(t, "127.0.0.1:0"), start(t, "127.0.0.1:0")
	alone := start(t, "127.0.0.1:0")
	share := func(name, url string, replicas ...*replica) float64 {
		counted := func(metric string) (sum float64) {
			for _, r := range replicas {
				sum += r.metric(t, metric)
			}
			return sum
		}
		hits, queries := counted("prefix_cache_hits_total"), counted("prefix_cache_queries_total")
		var clients sync.WaitGroup
		for c := range 24 {
			clients.Go(func() { converse(t, url, name, c, 5) })
			if c%6 == 5 {
				clients.Wait()
			}
		}
		clients.Wait()
		return (counted("prefix_cache_hits_total") - hits) / (counted("prefix_cache_queries_total") - queries)
	}
	one := share("one", "http://"+alone.address, alone)
	keyed := share("keys", balance(t, a, b, strings.NewReplacer()), a, b)
	before := [2]float64{a.metric(t, "prompt_tokens_total"), b.metric(t, "prompt_tokens_total")}
	turns := share("turns", balance(t, a, b, strings.NewReplacer("balance hash var(txn.key)", "balance roundrobin", "hash-", "# hash-")), a, b)
	t.Logf("of the prompts' tokens were in the cache: %.1f %% of one server, %.1f %% by keys, %.1f %% in turns; by keys %v tokens of prompts each", 100*one, 100*keyed, 100*turns, before)
	if keyed < turns+0.05 {
		t.Errorf("keys find %.3f of the tokens, turns %.3f, one server %.3f", keyed, turns, one)
	}
	if before[0] == 0 || before[1] == 0 {
		t.Errorf("one of the replicas got nothing: %v", before)
	}
}

// converse has a conversation of some turns.
func converse(t *testing.T, url, salt string, number, turns int) {
	names := []string{"Anna", "Tom", "Mia", "Ben", "Ida", "Otto", "Leo", "Karl"}
	things := []string{"a red kite", "an old boat", "a green hat"}
	r := request{Model: "demo", MaxTokens: 24, Salt: salt, Stream: true, Messages: []message{{"system", "Tell a story that goes on."}}}
	next := fmt.Sprintf("%s had %s.", names[number%len(names)], things[number/len(names)%len(things)])
	for turn := range turns {
		r.Seed = 100*number + turn
		r.Messages = append(r.Messages, message{"user", next})
		text, _, err := send(t.Context(), url, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		r.Messages = append(r.Messages, message{"assistant", text})
		next = "And what happened then?"
	}
}

// What begins alike meets, and what a client calls by one key, but for the bound on a
// replica's share, which depends on how many requests are there at the moment.
func TestAKeyHasItsReplica(t *testing.T) {
	haproxy(t)
	a, b := start(t, "127.0.0.1:0"), start(t, "127.0.0.1:0")
	url := balance(t, a, b, strings.NewReplacer("hash-balance-factor 150", ""))
	long := strings.Repeat("Anna had a red kite. ", 13) // more than 256 bytes
	for _, test := range []struct {
		name, path, key, body string // %d: the request's number
		together              bool
	}{
		{"turns of a conversation", "chat/completions", "", `{"messages":[{"role":"system","content":"A"},{"role":"user","content":"B"},{"role":"assistant","content":"%d"},{"role":"user","content":"C"}],"max_tokens":1}`, true},
		{"conversations with one system message", "chat/completions", "", `{"messages":[{"role":"system","content":"A"},{"role":"user","content":"Once %d"}],"max_tokens":1}`, false},
		{"completions that begin alike", "completions", "", `{"prompt":"` + long + `%d","max_tokens":1}`, true},
		{"completions", "completions", "", `{"prompt":"%d","max_tokens":1}`, false},
		{"completions of one key", "completions", "a", `{"prompt":"%d","max_tokens":1}`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := map[string]int{}
			for n := range 16 {
				r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/"+test.path, strings.NewReader(fmt.Sprintf(test.body, n)))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+key)
				if test.key != "" {
					r.Header.Set("X-Steer-Key", test.key)
				}
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					t.Fatalf("status %d", answer.StatusCode)
				}
				seen[answer.Header.Get("X-Steer-Replica")]++
			}
			if (len(seen) == 1) != test.together {
				t.Errorf("they went to %v", seen)
			}
		})
	}
}

// TestWhatReplicasKeepIsNotChangedThroughTheBalancer holds the balancer to what it must
// refuse, and to passing on what it may not judge.
func TestWhatReplicasKeepIsNotChangedThroughTheBalancer(t *testing.T) {
	haproxy(t)
	a, b := start(t, "127.0.0.1:0"), start(t, "127.0.0.1:0")
	url := balance(t, a, b, strings.NewReplacer())
	for _, test := range []struct {
		name, method, path, key, body string
		status                        int
	}{
		{"vectors are listed", "GET", "/v1/vectors", key, "", http.StatusOK},
		{"vectors are not added", "POST", "/v1/vectors", key, `{"name":"x","pairs":[["a","b"]]}`, http.StatusForbidden},
		{"vectors are not removed", "DELETE", "/v1/vectors/mood", key, "", http.StatusForbidden},
		{"keys are the replicas' to check", "POST", "/v1/completions", "another", `{"prompt":"a"}`, http.StatusUnauthorized},
		{"mistakes are the replicas' to name", "POST", "/v1/completions", key, `{"prompt":`, http.StatusBadRequest},
		{"long requests are served", "POST", "/v1/completions", key, `{"user":"` + strings.Repeat("x", 1<<20) + `","prompt":"a","max_tokens":1}`, http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, url+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+test.key)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != test.status {
				data, _ := io.ReadAll(answer.Body)
				t.Errorf("status %d: %.300s", answer.StatusCode, data)
			}
		})
	}
}
