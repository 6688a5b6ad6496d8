package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// served starts steer serve with a free port and calls use while it runs.
func servedBy(t *testing.T, args []string, use func(url string, client *http.Client)) {
	t.Helper()
	if i := slices.Index(args, "--addr"); i >= 0 {
		args[i+1] = args[i+1][:strings.LastIndex(args[i+1], ":")] + ":0"
	} else {
		args = append(args, "--addr", "127.0.0.1:0")
	}
	reader, out := io.Pipe()
	ctx, end := context.WithCancel(t.Context())
	var diagnostics bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append(args, "--json"), strings.NewReader(""), out, &diagnostics)
		out.Close()
	}()
	var at listening
	if err := json.NewDecoder(reader).Decode(&at); err != nil {
		t.Fatalf("steer %q: %v, exit code %d: %s", args, err, <-ended, &diagnostics)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the test's own certificate
	use(at.Address, client)
	client.CloseIdleConnections()
	end()
	if code := <-ended; code != exitOK {
		t.Errorf("steer %q: exit code %d: %s", args, code, &diagnostics)
	}
}

// Every command line of docs/server.md and of the help serves.
func TestEveryServerThatIsPrintedStarts(t *testing.T) {
	pairs, err := os.ReadFile("../../testdata/mood.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := append(codeLines(t, "../../docs/server.md"), strings.Split(serveCommand().Example, "\n")...)
	t.Chdir(t.TempDir())
	write(t, "pairs.jsonl", string(pairs))
	write(t, "grumpy.json", `{"edits": [{"vector": "mood", "multiplier": -0.7}]}`)
	write(t, "keys.txt", "first\nsecond\n")
	writeCertificate(t)
	must(t, "train", "--model", "demo", "--pairs", "pairs.jsonl", "--layers", "3", "--out", "happy.safetensors")
	ran := 0
	for _, line := range lines {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "steer serve ")
		if !ok {
			continue
		}
		ran++
		servedBy(t, append([]string{"serve"}, words(command)...), func(url string, client *http.Client) {
			for path, want := range map[string]int{"/health": 200, "/v1/models": map[bool]int{true: 401, false: 200}[strings.Contains(command, "api-key")]} {
				answer, err := client.Get(strings.Replace(url, "[::]", "127.0.0.1", 1) + path)
				if err != nil {
					t.Errorf("%s: %v", line, err)
					return
				}
				answer.Body.Close()
				if answer.StatusCode != want || strings.HasPrefix(url, "https") != strings.Contains(command, "tls") {
					t.Errorf("%s: %s%s answers %d, want %d", line, url, path, answer.StatusCode, want)
				}
			}
		})
	}
	if ran < 4 {
		t.Errorf("%d command lines ran", ran)
	}
}

func writeCertificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})))
	write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

// What the server says a continuation costs is what steer score says, to the float,
// steered by the model's name too.
func TestTheServerScoresWhatScorePrints(t *testing.T) {
	dir := t.TempDir()
	vector, pairs := filepath.Join(dir, "mood.safetensors"), "../../testdata/mood.jsonl"
	must(t, "train", "--model", "demo", "--pairs", pairs, "--layers", "3", "--out", vector)
	score := []string{"score", "--model", "demo", "--prompt", "Tom was very", "--continuation", " happy today", "--continuation", " sad"}
	for name, want := range map[string]scores{
		"demo": answer[scores](t, score...), "demo@grumpy": answer[scores](t, append(score, "--vector", vector+":-0.7")...),
	} {
		args := []string{"serve", "--model", "demo", "--vector", "mood=" + vector, "--preset", `grumpy={"edits":[{"vector":"mood","multiplier":-0.7}]}`}
		servedBy(t, args, func(url string, client *http.Client) {
			var prompts [][]int
			for _, c := range want.Continuations {
				tokens := slices.Clone(want.PromptIDs)
				for _, token := range c.Tokens {
					tokens = append(tokens, token.ID)
				}
				prompts = append(prompts, tokens)
			}
			body, err := json.Marshal(map[string]any{"model": name, "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": true})
			if err != nil {
				t.Fatal(err)
			}
			got, err := client.Post(url+"/v1/completions", "application/json", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			var text struct {
				Choices []struct {
					Logprobs struct {
						Values []*float64 `json:"token_logprobs"`
					}
				}
			}
			if err := json.NewDecoder(got.Body).Decode(&text); err != nil || len(text.Choices) != len(prompts) {
				t.Fatal(err)
			}
			for i, c := range want.Continuations {
				values := text.Choices[i].Logprobs.Values
				for k, token := range c.Tokens {
					if got := *values[len(want.PromptIDs)+k]; got != token.Logprob {
						t.Errorf("%s: %q, token %d: %v, steer score says %v", name, c.Continuation, k, got, token.Logprob)
					}
				}
			}
		})
	}
}

func TestMistakesOfServe(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty"), "")
	serve := func(args ...string) []string {
		return append([]string{"serve", "--model", "demo", "--addr", "127.0.0.1:0"}, args...)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{serve("--vector", "mood"), exitUsage, "NAME=FILE"},
		{serve("--vector", "mood="+dir+"/nothing"), exitFailure, "nothing"},
		{serve("--preset", "x={"), exitUsage, "not JSON"},
		{serve("--preset", `x={"edits":[{"vector":"gone"}]}`), exitUsage, `no vector "gone"`},
		{serve("--default", "x"), exitUsage, `no preset "x"`},
		{serve("--tls-cert", "x"), exitUsage, "go together"},
		{serve("--api-key-file", filepath.Join(dir, "empty")), exitFailure, "no API key"},
		{serve("--cors-origin", "example"), exitUsage, "example"},
		{[]string{"serve", "--model", "demo", "--addr", "nowhere"}, exitFailure, "nowhere"},
	} {
		if code, _, diagnostics := steerWith(t.Context(), "", test.args...); code != test.code || !strings.Contains(diagnostics, test.want) {
			t.Errorf("%q: exit code %d: %s; want %d and %q", test.args, code, diagnostics, test.code, test.want)
		}
	}
}
