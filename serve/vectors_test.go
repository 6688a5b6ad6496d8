package serve_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/serve"
)

// description is a vector as the server tells of it.
type description struct {
	ID, Object, Hash, Operator, Aggregator, Model string
	LayerType                                     string `json:"layer_type"`
	Layers                                        []int
	Norms                                         map[int]float64
	Uploaded                                      bool
	Cosines                                       map[string]map[int]float64
}

func (s *started) vector(t *testing.T, name string) (d description) {
	t.Helper()
	r := s.do("GET", "/v1/vectors/"+name, "")
	if err := json.Unmarshal(r.body, &d); err != nil || r.status != 200 {
		t.Fatalf("vector %s: %d %s", name, r.status, r.body)
	}
	return d
}

func moodPairs(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../testdata/mood.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return "[" + strings.Join(strings.Split(strings.TrimSpace(string(data)), "\n"), ",") + "]"
}

// A vector that a request trains is the one that the library trains, and steers at once.
func TestAVectorIsTrainedOnPairsOfARequest(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.AllowUpload = true })
	_, own := demo()
	mood := s.vector(t, "mood")
	if mood.Norms[3] != own.Norms()[3] || mood.Uploaded || mood.Operator != "add" || mood.LayerType != "decoder_block" || mood.Aggregator != "mean" || mood.Model != "demo" {
		t.Errorf("%+v", mood)
	}
	body := `{"name":"%s","layers":[3],"pairs":` + moodPairs(t) + `%s}`
	if r := s.do("POST", "/v1/vectors", fmt.Sprintf(body, "again", "")); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	again := s.vector(t, "again")
	if again.Hash != mood.Hash || !again.Uploaded || again.Cosines["mood"][3] < 0.999999 {
		t.Errorf("%+v, want the hash %s", again, mood.Hash)
	}
	data := events(t, s.do("POST", "/v1/vectors", fmt.Sprintf(body, "streamed", `,"stream":true,"aggregator":"pca"`)).body)
	var told struct {
		Progress *struct{ Done, Total int }
		Vector   *description
	}
	if err := json.Unmarshal([]byte(data[0]), &told); err != nil || told.Progress == nil || told.Progress.Done < 1 || told.Progress.Total < told.Progress.Done {
		t.Errorf("first %v, %s", err, data[0])
	}
	if err := json.Unmarshal([]byte(data[len(data)-2]), &told); err != nil || told.Vector == nil || told.Vector.ID != "streamed" || told.Vector.Aggregator != "pca" || data[len(data)-1] != "[DONE]" {
		t.Errorf("last %v, %s", err, data[len(data)-2])
	}
	write := func(name string) string {
		return s.post("/v1/completions", fmt.Sprintf(`{"prompt":%q,"max_tokens":20,"temperature":0,"steering":{"edits":[{"vector":%q,"multiplier":-0.7}]}}`, story, name)).Choices[0].Text
	}
	if write("again") != write("mood") {
		t.Error("equal vectors steer differently")
	}
}

func TestAVectorsFileGoesOutAndComesBack(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.AllowUpload = true })
	r := s.do("GET", "/v1/vectors/mood/file", "")
	path := filepath.Join(t.TempDir(), "mood.safetensors")
	if err := os.WriteFile(path, r.body, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := steer.LoadVector(path); err != nil || !strings.Contains(r.header.Get("Content-Disposition"), "mood.safetensors") {
		t.Fatal(err, r.header)
	}
	body := fmt.Sprintf(`{"name":"copy","data":%q}`, base64.StdEncoding.EncodeToString(r.body))
	if r := s.do("POST", "/v1/vectors", body); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if copied, own := s.vector(t, "copy"), s.vector(t, "mood"); copied.Hash != own.Hash {
		t.Errorf("%s, want %s", copied.Hash, own.Hash)
	}
	if r := s.do("POST", "/v1/vectors", body); r.status != 409 {
		t.Errorf("the same name again: %d", r.status)
	}
	if r := s.do("DELETE", "/v1/vectors/mood", ""); r.status != 403 {
		t.Errorf("the server's own vector is removed: %d", r.status)
	}
	if r := s.do("DELETE", "/v1/vectors/copy", ""); r.status != 200 || s.do("GET", "/v1/vectors/copy", "").status != 404 {
		t.Errorf("an uploaded one is not: %d", r.status)
	}
}

func TestVectorsThatAreNotTaken(t *testing.T) {
	s := start(t, func(o *serve.Options) { o.AllowUpload = true })
	for body, want := range map[string]string{
		`{"name":"../x","data":"AAAA"}`:                                        "name",
		`{"name":"","data":"AAAA"}`:                                            "name",
		`{"name":"x"}`:                                                         "",
		`{"name":"x","data":"AAAA","pairs":[]}`:                                "",
		`{"name":"x","data":"!"}`:                                              "data",
		`{"name":"x","data":"AAAA"}`:                                           "data",
		`{"name":"x","path":"/etc/passwd"}`:                                    "path",
		`{"name":"x","pairs":[]}`:                                              "pairs",
		`{"name":"x","pairs":[["a"]]}`:                                         "pairs",
		`{"name":"x","pairs":[["a","b"]],"read":"-9"}`:                         "pairs[0]",
		`{"name":"x","pairs":[["a","b"]],"layers":[0,9]}`:                      "layers",
		`{"name":"x","pairs":[["a","b"]],"aggregator":"best"}`:                 "aggregator",
		`{"name":"x","pairs":[["a","b"]],"read":"everything"}`:                 "read",
		`{"name":"x","pairs":[["a","a"]]}`:                                     "",
		`{"name":"x","pairs":[{"positive_ids":[1,99999],"negative_ids":[1]}]}`: "pairs[0]",
		`{"name":"x","pairs":[["a","b"]],"layer_type":"decoder"}`:              "",
	} {
		r := s.do("POST", "/v1/vectors", body)
		m := mistakeOf(t, r.body)
		param := ""
		if m.Error.Param != nil {
			param = *m.Error.Param
		}
		if r.status != 400 || param != want || strings.Contains(m.Error.Message, os.TempDir()) {
			t.Errorf("%s: %d, %q: %s", body, r.status, param, m.Error.Message)
		}
	}
	if r := start(t, nil).do("POST", "/v1/vectors", `{"name":"x","data":"AAAA"}`); r.status != 403 {
		t.Errorf("uploads are not allowed: %d", r.status)
	}
}

func TestWhatAServerIsStartedWithIsChecked(t *testing.T) {
	model, vector := demo()
	for want, opts := range map[string]serve.Options{
		`vector "a b"`:                       {Vectors: map[string]*steer.Vector{"a b": vector}},
		`preset "none"`:                      {Presets: map[string]json.RawMessage{"none": json.RawMessage("null")}},
		`preset x: steering.edits[0].vector`: {Presets: map[string]json.RawMessage{"x": json.RawMessage(`{"edits":[{"vector":"gone"}]}`)}},
		`no preset "x"`:                      {Default: "x"},
		"too small":                          {Cache: 100},
	} {
		if _, err := serve.New(model, opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
