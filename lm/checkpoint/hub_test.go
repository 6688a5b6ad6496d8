package checkpoint_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/steervec/steer/lm/checkpoint"
)

const (
	token  = "hf_secret"
	first  = "1111111111111111111111111111111111111111"
	second = "2222222222222222222222222222222222222222"
)

// fakeHub answers as the Hub does: it looks revisions up, keeps weights on a
// storage host to which it redirects, and small files itself.
type fakeHub struct {
	*httptest.Server
	storage *httptest.Server
	files   fstest.MapFS
	commit  string // that main names

	mu       sync.Mutex
	requests []string // "METHOD path", in the order they came; "storage" before those of the storage host
	ranges   []string
	leaked   bool   // the storage host was shown a token
	token    string // that requests must bear; "": none
	// spoil, when set, answers a request instead and says so.
	spoil func(w http.ResponseWriter, r *http.Request) bool
}

func newFakeHub(t *testing.T) *fakeHub {
	h := &fakeHub{commit: first, files: fstest.MapFS{
		"config.json":       text(`{"model_type":"x"}`),
		"tokenizer.json":    text(`{}`),
		"README.md":         text(`not needed`),
		"model.safetensors": weightFile(t, nil, "a", "b"),
	}}
	h.Server = httptest.NewServer(h.record("", h.serve))
	h.storage = httptest.NewServer(h.record("storage ", h.serveStorage))
	t.Cleanup(h.Close)
	t.Cleanup(h.storage.Close)
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HF_ENDPOINT", h.URL)
	return h
}

func (h *fakeHub) record(host string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, host+r.Method+" "+r.URL.EscapedPath())
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "safetensors") && (host != "" || r.Header.Get("Range") != "") {
			h.ranges = append(h.ranges, r.Header.Get("Range"))
		}
		if host != "" && r.Header.Get("Authorization") != "" {
			h.leaked = true
		}
		spoil := h.spoil
		h.mu.Unlock()
		if spoil == nil || !spoil(w, r) {
			next(w, r)
		}
	}
}

func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		w.Header().Set("X-Error-Code", "GatedRepo")
		http.Error(w, "gated", http.StatusUnauthorized)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/models/org/name/revision/")
	if ok {
		if rest != "main" && rest != "refs/pr/1" && rest != h.commit {
			w.Header().Set("X-Error-Code", "RevisionNotFound")
			http.Error(w, "none", http.StatusNotFound)
			return
		}
		type sibling struct {
			Name string `json:"rfilename"`
		}
		var siblings []sibling
		for _, name := range slices.Sorted(maps.Keys(h.files)) {
			siblings = append(siblings, sibling{name})
		}
		json.NewEncoder(w).Encode(map[string]any{"id": "org/name", "sha": h.commit, "siblings": siblings})
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/org/name/resolve/"+h.commit+"/")
	file := h.files[name]
	if !ok || file == nil {
		w.Header().Set("X-Error-Code", "RepoNotFound")
		http.Error(w, "none", http.StatusNotFound)
		return
	}
	sum := sha256.Sum256(file.Data)
	hash := hex.EncodeToString(sum[:])
	w.Header().Set("X-Repo-Commit", h.commit)
	if strings.HasSuffix(name, ".safetensors") {
		w.Header().Set("X-Linked-Etag", `"`+hash+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(file.Data)))
		w.Header().Set("Location", h.storage.URL+"/"+name+"?Signature=signed")
		w.WriteHeader(http.StatusFound)
		return
	}
	w.Header().Set("Etag", `W/"`+hash[:40]+`"`)
	serveBytes(w, r, file.Data)
}

func (h *fakeHub) serveStorage(w http.ResponseWriter, r *http.Request) {
	serveBytes(w, r, h.files[strings.TrimPrefix(r.URL.Path, "/")].Data)
}

// serveBytes answers with the part of data that is asked for.
func serveBytes(w http.ResponseWriter, r *http.Request, data []byte) {
	var from int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	if r.Method != http.MethodHead {
		w.Write(data[from:])
	}
}

// open opens the repository and closes it again; it returns the commit.
func (h *fakeHub) open(t *testing.T, ref string, opts checkpoint.Options) (string, error) {
	t.Helper()
	c, err := checkpoint.Open(t.Context(), ref, opts)
	if err != nil {
		if strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "signed") {
			t.Errorf("the error tells a secret: %v", err)
		}
		return "", err
	}
	defer c.Close()
	if value(t, c, "b") != 1 {
		t.Error("another tensor")
	}
	if c.ID() != "org/name" {
		t.Errorf("id %q", c.ID())
	}
	return c.Revision(), nil
}

// asked returns the requests since it was last called.
func (h *fakeHub) asked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.requests = nil }()
	return h.requests
}

func repository() string {
	return filepath.Join(os.Getenv("HF_HOME"), "hub", "models--org--name")
}

func mustOpen(t *testing.T, h *fakeHub, ref string, want string) {
	t.Helper()
	if got, err := h.open(t, ref, checkpoint.Options{}); err != nil || got != want {
		t.Fatalf("opened commit %q, error %v; want %q", got, err, want)
	}
}

func mustFail(t *testing.T, h *fakeHub, ref string, opts checkpoint.Options, want ...string) {
	t.Helper()
	_, err := h.open(t, ref, opts)
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v; want one with %q", err, w)
		}
	}
}

func TestHubFillsTheStandardCache(t *testing.T) {
	h := newFakeHub(t)
	var events []checkpoint.Event
	got, err := h.open(t, "org/name", checkpoint.Options{Progress: func(e checkpoint.Event) { events = append(events, e) }})
	if err != nil || got != first {
		t.Fatal(got, err)
	}
	var files []string
	fs.WalkDir(os.DirFS(repository()), ".", func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	blob := func(name string, length int) string {
		sum := sha256.Sum256(h.files[name].Data)
		return hex.EncodeToString(sum[:])[:length]
	}
	want := []string{
		".no_exist/" + first + "/chat_template.jinja",
		".no_exist/" + first + "/generation_config.json",
		".no_exist/" + first + "/special_tokens_map.json",
		".no_exist/" + first + "/tokenizer_config.json",
		"blobs/" + blob("config.json", 40),
		"blobs/" + blob("model.safetensors", 64),
		"blobs/" + blob("tokenizer.json", 40),
		"refs/main",
		"snapshots/" + first + "/config.json",
		"snapshots/" + first + "/model.safetensors",
		"snapshots/" + first + "/tokenizer.json",
	}
	slices.Sort(want)
	slices.Sort(files)
	if !slices.Equal(files, want) {
		t.Errorf("the cache holds\n%s\nand should hold\n%s", strings.Join(files, "\n"), strings.Join(want, "\n"))
	}
	if ref, _ := os.ReadFile(filepath.Join(repository(), "refs/main")); string(ref) != first {
		t.Errorf("refs/main is %q", ref)
	}
	if target, err := os.Readlink(filepath.Join(repository(), "snapshots", first, "config.json")); err != nil || target != "../../blobs/"+blob("config.json", 40) {
		t.Errorf("config.json links to %q, %v", target, err)
	}
	last := events[len(events)-1]
	if size := int64(len(h.files["model.safetensors"].Data)); last != (checkpoint.Event{File: "model.safetensors", Done: size, Total: size}) {
		t.Errorf("the last event is %+v", last)
	}
}

func TestHubAsksOnlyForWhatIsMissing(t *testing.T) {
	h := newFakeHub(t)
	mustOpen(t, h, "org/name", first)
	h.asked()
	lookUp := "GET /api/models/org/name/revision/"

	mustOpen(t, h, "org/name@main", first)
	if got := h.asked(); !slices.Equal(got, []string{lookUp + "main"}) {
		t.Errorf("a branch that has not moved: %q", got)
	}
	mustOpen(t, h, "org/name@"+first, first)
	if got := h.asked(); len(got) != 0 {
		t.Errorf("a commit: %q", got)
	}
	mustOpen(t, h, "org/name@refs/pr/1", first)
	if got := h.asked(); !slices.Equal(got, []string{lookUp + "refs%2Fpr%2F1"}) {
		t.Errorf("a pull request at the same commit: %q", got)
	}
	h.commit = second
	h.files["config.json"] = text(`{"model_type":"y"}`)
	mustOpen(t, h, "org/name", second)
	if got := h.asked(); slices.ContainsFunc(got, func(r string) bool { return strings.HasPrefix(r, "storage") }) {
		t.Errorf("weights that have not changed were downloaded again: %q", got)
	}
	if _, err := os.Stat(filepath.Join(repository(), "snapshots", first)); err != nil {
		t.Error("the earlier commit is gone:", err)
	}
}

func TestFilesComeWithoutWeights(t *testing.T) {
	h := newFakeHub(t)
	files := func(ref string, opts checkpoint.Options) string {
		t.Helper()
		fsys, err := checkpoint.Files(t.Context(), ref, opts)
		if err != nil {
			t.Fatal(err)
		}
		config, err := fs.ReadFile(fsys, "config.json")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fs.Stat(fsys, "tokenizer.json"); err != nil {
			t.Error(err)
		}
		return string(config)
	}
	weights := func(r string) bool { return strings.Contains(r, "safetensors") || strings.HasPrefix(r, "storage") }
	before := files("org/name", checkpoint.Options{})
	if got := h.asked(); len(got) == 0 || slices.ContainsFunc(got, weights) {
		t.Errorf("asked for %q", got)
	}
	files("org/name", checkpoint.Options{Offline: true})
	mustFail(t, h, "org/name", checkpoint.Options{Offline: true}, "not complete in the cache")
	mustOpen(t, h, "org/name", first)

	// A commit that is cached whole stands until another one is.
	h.commit = second
	h.files["config.json"] = text(`{"model_type":"y"}`)
	if files("org/name", checkpoint.Options{}) == before {
		t.Error("the branch's new commit was not looked at")
	}
	if got, err := h.open(t, "org/name", checkpoint.Options{Offline: true}); err != nil || got != first {
		t.Errorf("offline: commit %q, %v; want %q", got, err, first)
	}
}

func TestHubBringsAllShards(t *testing.T) {
	h := newFakeHub(t)
	delete(h.files, "model.safetensors")
	h.files["x.safetensors"] = weightFile(t, nil, "a", "b")
	h.files["y.safetensors"] = weightFile(t, nil, "c")
	h.files["model.safetensors.index.json"] = index(map[string]string{"a": "x.safetensors", "b": "x.safetensors", "c": "y.safetensors"})
	mustOpen(t, h, "org/name", first)
	t.Setenv("HF_HUB_OFFLINE", "1")
	mustOpen(t, h, "org/name", first)

	if err := os.Remove(filepath.Join(repository(), "snapshots", first, "y.safetensors")); err != nil {
		t.Fatal(err)
	}
	mustFail(t, h, "org/name", checkpoint.Options{}, "not complete in the cache", "y.safetensors")
}

func TestHubRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	header := func(name, key, value string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/"+name) {
				w.Header().Set("Etag", `"e"`)
				w.Header().Set("Content-Length", "1")
				w.Header().Set(key, value)
				return r.Method == http.MethodHead
			}
			return false
		}
	}
	for _, c := range []struct {
		name   string
		change func(h *fakeHub)
		want   string // part of the error
	}{
		{"a repository without config.json", func(h *fakeHub) { delete(h.files, "config.json") }, "the repository has no config.json"},
		{"a repository without weights", func(h *fakeHub) { delete(h.files, "model.safetensors") }, "has neither model.safetensors nor"},
		{"pickled weights", func(h *fakeHub) { delete(h.files, "model.safetensors"); h.files["pytorch_model.bin"] = text("") }, "safetensors is needed"},
		{"a shard outside the folder", func(h *fakeHub) {
			delete(h.files, "model.safetensors")
			h.files["../../../outside.safetensors"] = text("x")
			h.files["model.safetensors.index.json"] = index(map[string]string{"a": "../../../outside.safetensors"})
		}, "is not the name of a safetensors file in the folder"},
		{"a shard that is not there", func(h *fakeHub) {
			delete(h.files, "model.safetensors")
			h.files["model.safetensors.index.json"] = index(map[string]string{"a": "x.safetensors"})
		}, "lists shard x.safetensors, which the repository does not have"},
		{"a commit that is none", func(h *fakeHub) { h.commit = "../../outside" }, "names no commit"},
		{"an etag that is a path", func(h *fakeHub) { h.spoil = header("config.json", "Etag", `"../../outside"`) }, "cannot name a file of the cache"},
		{"an etag that is a download in progress", func(h *fakeHub) { h.spoil = header("config.json", "Etag", `"e.incomplete"`) }, "cannot name a file of the cache"},
		{"a size that is none", func(h *fakeHub) { h.spoil = header("config.json", "X-Linked-Size", "-1") }, "config.json: the server says no size"},
		{"a small file that is not", func(h *fakeHub) { h.spoil = header("config.json", "X-Linked-Size", "99999999999") }, "config.json: of 99999999999 bytes"},
		{"another commit's file", func(h *fakeHub) { h.spoil = header("config.json", "X-Repo-Commit", second) }, "was asked for"},
		{"an answer that is no JSON", func(h *fakeHub) {
			h.spoil = func(w http.ResponseWriter, r *http.Request) bool { w.Write([]byte("<html>")); return true }
		}, "invalid character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t)
			c.change(h)
			mustFail(t, h, "org/name", checkpoint.Options{}, c.want)
			if _, err := os.Stat(outside); err == nil {
				t.Error("a file was written outside the cache")
			}
			if _, err := os.Stat(filepath.Join(repository(), "refs/main")); err == nil {
				t.Error("main is recorded, though the commit is not complete")
			}
		})
	}
}

func TestHubExplainsRefusals(t *testing.T) {
	h := newFakeHub(t)
	mustFail(t, h, "org/name@other", checkpoint.Options{}, `has no revision "other"`)
	mustFail(t, h, "org/none", checkpoint.Options{}, "there is no repository "+h.URL+"/org/none", "there is no such folder")
	h.token = token
	mustFail(t, h, "org/name", checkpoint.Options{}, "gated or private", "HF_TOKEN")
	mustFail(t, h, "org/name", checkpoint.Options{Token: "hf_secret_other"}, "the token in use", "may not read it")
	mustFail(t, h, "org/name", checkpoint.Options{Token: "hf_secret\n other"}, "characters that no token has")
	mustFail(t, h, "org/name", checkpoint.Options{Endpoint: "ftp://x"}, "HF_ENDPOINT")
}

func TestTokenGoesToTheHubAlone(t *testing.T) {
	for _, c := range []struct {
		name string
		give func(t *testing.T) checkpoint.Options
	}{
		{"as an option", func(*testing.T) checkpoint.Options { return checkpoint.Options{Token: token} }},
		{"in the environment", func(t *testing.T) checkpoint.Options { t.Setenv("HF_TOKEN", token+"\n"); return checkpoint.Options{} }},
		{"in the file of logging in", func(t *testing.T) checkpoint.Options {
			if err := os.WriteFile(filepath.Join(os.Getenv("HF_HOME"), "token"), []byte(token+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return checkpoint.Options{}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t)
			h.token = token
			if _, err := h.open(t, "org/name", c.give(t)); err != nil {
				t.Fatal(err)
			}
			if h.leaked {
				t.Error("the storage host was shown the token")
			}
			if !slices.Contains(h.asked(), "storage GET /model.safetensors") {
				t.Error("the storage host was not asked")
			}
		})
	}
}

func TestCutDownloadsGoOn(t *testing.T) {
	h := newFakeHub(t)
	data := h.files["model.safetensors"].Data
	cut := 0
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/model.safetensors" || cut == 3 {
			return false
		}
		var from int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		cut++
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(data[from : from+10])
		return true // the server cuts a connection that got less than was promised
	}
	mustOpen(t, h, "org/name", first)
	if want := []string{"", "bytes=10-", "bytes=20-", "bytes=30-"}; !slices.Equal(compact(h.ranges), want) {
		t.Errorf("ranges %q; want %q", h.ranges, want)
	}
}

// compact drops the repetition of a range behind a redirect.
func compact(ranges []string) []string { return slices.Compact(slices.Clone(ranges)) }

// leave puts a partial download of the weights where an earlier one would have.
func leave(t *testing.T, h *fakeHub, part []byte) (path string) {
	t.Helper()
	sum := sha256.Sum256(h.files["model.safetensors"].Data)
	path = filepath.Join(repository(), "blobs", hex.EncodeToString(sum[:])+".incomplete")
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, part, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDownloadsGoOnWhereAnEarlierOneEnded(t *testing.T) {
	for _, c := range []struct {
		name string
		left func(data []byte) []byte
		want []string // ranges asked for
	}{
		{"some of it", func(data []byte) []byte { return data[:7] }, []string{"bytes=7-"}},
		{"all of it", func(data []byte) []byte { return data }, nil},
		{"nothing of it", func([]byte) []byte { return nil }, []string{""}},
		{"too much", func(data []byte) []byte { return append(slices.Clone(data), 0) }, []string{""}},
		{"something else", func([]byte) []byte { return []byte("something else") }, []string{"bytes=14-", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t)
			leave(t, h, c.left(h.files["model.safetensors"].Data))
			mustOpen(t, h, "org/name", first)
			if !slices.Equal(compact(h.ranges), c.want) {
				t.Errorf("ranges %q; want %q", h.ranges, c.want)
			}
		})
	}
}

func TestServersThatIgnoreRanges(t *testing.T) {
	h := newFakeHub(t)
	leave(t, h, h.files["model.safetensors"].Data[:7])
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("Range")
		return false
	}
	mustOpen(t, h, "org/name", first)
}

func TestServersThatRefuseRanges(t *testing.T) {
	h := newFakeHub(t)
	leave(t, h, h.files["model.safetensors"].Data[:7])
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/model.safetensors" && r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return true
		}
		return false
	}
	mustOpen(t, h, "org/name", first)
}

func TestWrongBytesAreNotKept(t *testing.T) {
	h := newFakeHub(t)
	data := h.files["model.safetensors"].Data
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/model.safetensors" {
			return false
		}
		wrong := slices.Clone(data)
		wrong[len(wrong)-1] ^= 1
		w.Write(wrong)
		return true
	}
	mustFail(t, h, "org/name", checkpoint.Options{}, "model.safetensors: the download has sha256")
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/model.safetensors" {
			return false
		}
		w.Write(append(slices.Clone(data), 1))
		return true
	}
	mustFail(t, h, "org/name", checkpoint.Options{}, "sends more than its")
	h.spoil = nil
	mustOpen(t, h, "org/name", first)
}

func TestSilentServersAreLeft(t *testing.T) {
	checkpoint.Impatient(t, 300*time.Millisecond)
	h := newFakeHub(t)
	data := h.files["model.safetensors"].Data
	silent := false
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/model.safetensors" || silent {
			return false
		}
		silent = true
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	mustOpen(t, h, "org/name", first)
	if got := compact(h.ranges); !slices.Equal(got, []string{"", "bytes=10-"}) {
		t.Errorf("ranges %q", got)
	}
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	mustOpen(t, h, "org/name", first) // from the cache
	mustFail(t, h, "org/other", checkpoint.Options{}, "look up revision main: nothing arrived for 300ms")
}

func TestBusyServersAreAskedAgain(t *testing.T) {
	h := newFakeHub(t)
	times := map[string]int{}
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		times[r.URL.Path]++
		switch times[r.URL.Path] {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		case 3:
			panic(http.ErrAbortHandler) // cuts the connection
		default:
			return false
		}
		return true
	}
	mustOpen(t, h, "org/name", first)

	h = newFakeHub(t)
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	mustFail(t, h, "org/name", checkpoint.Options{}, "look up revision main", "answered with status 503")
	if got := len(h.asked()); got < 3 || got > 10 {
		t.Errorf("asked %d times", got)
	}
}

func TestExpiredStorageAddressesAreRenewed(t *testing.T) {
	h := newFakeHub(t)
	expired := false
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/model.safetensors" || expired {
			return false
		}
		expired = true
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	mustOpen(t, h, "org/name", first)
}

func TestOffline(t *testing.T) {
	h := newFakeHub(t)
	mustFail(t, h, "org/name", checkpoint.Options{Offline: true}, "downloads are switched off", "refs/main")
	mustFail(t, h, "org/name@"+first, checkpoint.Options{Offline: true}, "config.json")
	mustOpen(t, h, "org/name", first)
	h.asked()
	h.commit = second
	t.Setenv("HF_HUB_OFFLINE", "yes")
	mustOpen(t, h, "org/name", first)
	mustOpen(t, h, "org/name@"+first, first)
	if got := h.asked(); len(got) != 0 {
		t.Errorf("asked for %q", got)
	}
}

func TestCacheStandsInForTheHub(t *testing.T) {
	h := newFakeHub(t)
	mustOpen(t, h, "org/name", first)
	note := func() string {
		t.Helper()
		var notes []string
		got, err := h.open(t, "org/name", checkpoint.Options{Progress: func(e checkpoint.Event) { notes = append(notes, e.Note) }})
		if err != nil || got != first || len(notes) != 1 {
			t.Fatalf("commit %q, error %v, notes %q", got, err, notes)
		}
		return notes[0]
	}
	h.token = token // from now on
	if got := note(); !strings.Contains(got, "using commit "+first+" from the cache") || !strings.Contains(got, "gated") {
		t.Errorf("note %q", got)
	}
	h.Close()
	if got := note(); !strings.Contains(got, "using commit "+first+" from the cache") || !strings.Contains(got, "refused") {
		t.Errorf("note %q", got)
	}
}

// A revision that is gone, and a commit that is known and cannot be fetched, are
// errors: what is cached is something else than what was asked for.
func TestCacheDoesNotStandInForAnotherCommit(t *testing.T) {
	h := newFakeHub(t)
	mustOpen(t, h, "org/name", first)
	h.commit = second
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/resolve/") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	mustFail(t, h, "org/name", checkpoint.Options{}, "config.json", "status 503")
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }
	mustFail(t, h, "org/name", checkpoint.Options{}, "there is no repository")
}

func TestCancelledDownloadsCanGoOn(t *testing.T) {
	h := newFakeHub(t)
	data := h.files["model.safetensors"].Data
	ctx, cancel := context.WithCancel(t.Context())
	h.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/model.safetensors" {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the rest never comes
		return true
	}
	_, err := checkpoint.Open(ctx, "org/name", checkpoint.Options{Progress: func(e checkpoint.Event) {
		if e.File == "model.safetensors" && e.Done == 10 {
			cancel()
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Fatal(err)
	}
	h.spoil = nil
	h.ranges = nil
	mustOpen(t, h, "org/name", first)
	if got := compact(h.ranges); !slices.Equal(got, []string{"bytes=10-"}) {
		t.Errorf("ranges %q", got)
	}
}

func TestManyCallersDownloadOnce(t *testing.T) {
	h := newFakeHub(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if got, err := h.open(t, "org/name", checkpoint.Options{}); err != nil || got != first {
				t.Error(got, err)
			}
		})
	}
	wait.Wait()
	n := 0
	for _, r := range h.asked() {
		if r == "storage GET /model.safetensors" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the weights were downloaded %d times", n)
	}
}

func TestCacheThatCannotBeWrittenServes(t *testing.T) {
	h := newFakeHub(t)
	mustOpen(t, h, "org/name", first)
	if os.Getuid() == 0 {
		t.Skip("nothing is unwritable for this user")
	}
	filepath.WalkDir(filepath.Join(os.Getenv("HF_HOME"), "hub"), func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() {
			os.Chmod(path, 0o555)
			t.Cleanup(func() { os.Chmod(path, 0o777) })
		}
		return err
	})
	mustOpen(t, h, "org/name", first)
}

func TestSystemsWithoutSymbolicLinks(t *testing.T) {
	cache := t.TempDir()
	if err := checkpoint.LinkWithoutSymbolicLinks(cache, "etag", "config.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(cache, "models--org--name", "snapshots", first, "config.json"))
	if err != nil || string(got) != "{}" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCachePlaces(t *testing.T) {
	h := newFakeHub(t)
	places := t.TempDir()
	for _, c := range []struct {
		name, variable, value, want string
		opts                        checkpoint.Options
	}{
		{"an option", "HF_HUB_CACHE", filepath.Join(places, "b"), filepath.Join(places, "a"), checkpoint.Options{CacheDir: filepath.Join(places, "a")}},
		{"HF_HUB_CACHE", "HF_HUB_CACHE", filepath.Join(places, "b"), filepath.Join(places, "b"), checkpoint.Options{}},
		{"the older name of it", "HUGGINGFACE_HUB_CACHE", filepath.Join(places, "c"), filepath.Join(places, "c"), checkpoint.Options{}},
		{"HF_HOME", "HF_HOME", filepath.Join(places, "d"), filepath.Join(places, "d", "hub"), checkpoint.Options{}},
		{"below the home folder", "HF_HUB_CACHE", "~/e", filepath.Join(places, "e"), checkpoint.Options{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("HOME", places)
			t.Setenv("USERPROFILE", places)
			t.Setenv(c.variable, c.value)
			if _, err := h.open(t, "org/name", c.opts); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(c.want, "models--org--name", "refs", "main")); err != nil {
				t.Error(err)
			}
		})
	}
}
