package checkpoint_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// weightFile returns the bytes of a safetensors file with these tensors, each of
// one number.
func weightFile(t testing.TB, metadata map[string]string, names ...string) *fstest.MapFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w")
	var tensors []safetensors.Tensor
	for i, name := range names {
		tensors = append(tensors, safetensors.New(name, []int{1}, []float32{float32(i)}))
	}
	if err := safetensors.Write(path, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: data}
}

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func index(shardOf map[string]string) *fstest.MapFile {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": shardOf})
	if err != nil {
		panic(err)
	}
	return &fstest.MapFile{Data: data}
}

func value(t testing.TB, c *checkpoint.Checkpoint, name string) float32 {
	t.Helper()
	x, ok := c.Tensor(name)
	if !ok {
		t.Fatalf("there is no tensor %q", name)
	}
	if x.Name != name {
		t.Errorf("tensor %q calls itself %q", name, x.Name)
	}
	values, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values[0]
}

func TestOneFile(t *testing.T) {
	c, err := checkpoint.OpenFS(fstest.MapFS{
		"config.json":       text(`{"model_type":"x"}`),
		"model.safetensors": weightFile(t, map[string]string{"format": "pt"}, "b", "a"),
	}, "mine", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.ID() != "mine" || c.Revision() != "" || c.Dir() != "" || string(c.Config()) != `{"model_type":"x"}` || c.Metadata()["format"] != "pt" {
		t.Error(c.ID(), c.Revision(), c.Dir(), string(c.Config()), c.Metadata())
	}
	if !slices.Equal(c.Names(), []string{"a", "b"}) {
		t.Error(c.Names())
	}
	if value(t, c, "a") != 1 {
		t.Error("another tensor")
	}
}

func TestShards(t *testing.T) {
	c, err := checkpoint.OpenFS(fstest.MapFS{
		"config.json":                      text(`{}`),
		"model-00001-of-00002.safetensors": weightFile(t, nil, "a", "b"),
		"model-00002-of-00002.safetensors": weightFile(t, map[string]string{"tied": "c"}, "not listed", "c"),
		"model.safetensors.index.json": index(map[string]string{
			"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors",
			"tied": "model-00002-of-00002.safetensors",
		}),
	}, "mine", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !slices.Equal(c.Names(), []string{"a", "b", "c", "not listed", "tied"}) {
		t.Error(c.Names())
	}
	if value(t, c, "b") != 1 || value(t, c, "tied") != 1 {
		t.Error("other tensors")
	}
}

func TestAliasesOfSharedTensors(t *testing.T) {
	c, err := checkpoint.OpenFS(fstest.MapFS{
		"config.json": text(`{}`),
		"model.safetensors": weightFile(t, map[string]string{
			"embed": "head", // stored once, as head
			"body":  "head", // body is stored itself
			"other": "nowhere",
		}, "body", "head"),
	}, "mine", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !slices.Equal(c.Names(), []string{"body", "embed", "head"}) {
		t.Error(c.Names())
	}
	if value(t, c, "embed") != 1 || value(t, c, "body") != 0 {
		t.Error("other tensors")
	}
}

func TestOpenRefuses(t *testing.T) {
	config := text(`{}`)
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		want  string // part of the error
	}{
		{"no config", fstest.MapFS{"model.safetensors": weightFile(t, nil)}, "config.json"},
		{"no weights", fstest.MapFS{"config.json": config}, "neither model.safetensors nor model.safetensors.index.json"},
		{"pickled weights", fstest.MapFS{"config.json": config, "pytorch_model.bin": text("")}, "safetensors is needed"},
		{"pickled shards", fstest.MapFS{"config.json": config, "pytorch_model.bin.index.json": text("")}, "safetensors is needed"},
		{"broken weights", fstest.MapFS{"config.json": config, "model.safetensors": text("short")}, "open checkpoint mine: open model.safetensors: the file has 5 bytes"},
		{"index that is no JSON", fstest.MapFS{"config.json": config, "model.safetensors.index.json": text("[")}, "model.safetensors.index.json: unexpected end"},
		{"index without a map", fstest.MapFS{"config.json": config, "model.safetensors.index.json": text("{}")}, "lists no tensors"},
		{"shard outside the folder", fstest.MapFS{"config.json": config, "model.safetensors.index.json": index(map[string]string{"a": "../x.safetensors"})}, `tensor "a": shard "../x.safetensors" is not the name of`},
		{"shard with a root", fstest.MapFS{"config.json": config, "model.safetensors.index.json": index(map[string]string{"a": "/x.safetensors"})}, `shard "/x.safetensors" is not the name of`},
		{"shard outside a Windows folder", fstest.MapFS{"config.json": config, "model.safetensors.index.json": index(map[string]string{"a": `..\x.safetensors`})}, "is not the name of"},
		{"shard that is another file", fstest.MapFS{"config.json": config, "model.safetensors.index.json": index(map[string]string{"a": "config.json"})}, "is not the name of a safetensors file"},
		{"shard that is missing", fstest.MapFS{"config.json": config, "model.safetensors.index.json": index(map[string]string{"a": "x.safetensors"})}, "lists shard x.safetensors, which is not there"},
		{"tensor that is missing", fstest.MapFS{"config.json": config, "x.safetensors": weightFile(t, nil, "b"), "model.safetensors.index.json": index(map[string]string{"a": "x.safetensors"})}, `tensor "a" is not in x.safetensors`},
		{"tensor in another shard", fstest.MapFS{
			"config.json": config, "x.safetensors": weightFile(t, nil, "b"), "y.safetensors": weightFile(t, nil, "a"),
			"model.safetensors.index.json": index(map[string]string{"a": "x.safetensors", "b": "y.safetensors"}),
		}, `tensor "a" is not in x.safetensors but in y.safetensors`},
		{"tensor in two shards", fstest.MapFS{
			"config.json": config, "x.safetensors": weightFile(t, nil, "a"), "y.safetensors": weightFile(t, nil, "a", "b"),
			"model.safetensors.index.json": index(map[string]string{"a": "y.safetensors", "b": "x.safetensors", "c": "y.safetensors"}),
		}, `tensor "a" is both in x.safetensors and in y.safetensors`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := checkpoint.OpenFS(c.files, "mine", checkpoint.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "open checkpoint mine: ") {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

func TestReferencesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ref, want string }{
		{file, "not a folder"},
		{filepath.Join(dir, "none"), "no such folder, and it is not a Hub id"},
		{"", "not a Hub id"},
		{"a/b/c", "not a Hub id"},
		{"../b", "not a Hub id"},
		{"a/..", "not a Hub id"},
		{"a--b/c", "not a Hub id"},
		{"org/name@", "not a Hub id"},
		{"org/name@../../x", "cannot be a branch, tag or commit"},
		{"org/name@/x", "cannot be a branch, tag or commit"},
		{`org/name@..\x`, "cannot be a branch, tag or commit"},
	} {
		_, err := checkpoint.Open(context.Background(), c.ref, checkpoint.Options{Offline: true, CacheDir: dir})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v; want one with %q", c.ref, err, c.want)
		}
	}
}

func TestLocalFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folder")
	if err := os.CopyFS(dir, fstest.MapFS{"config.json": text(`{}`), "model.safetensors": weightFile(t, nil, "a", "b")}); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(dir))
	for _, ref := range []string{dir, "folder", "./folder/"} { // "folder" could be a Hub id as well
		c, err := checkpoint.Open(t.Context(), ref, checkpoint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c.ID() != "folder" || c.Dir() != ref {
			t.Errorf("%s: id %q, folder %q", ref, c.ID(), c.Dir())
		}
		x, _ := c.Tensor("b")
		c.Release(x)
		if value(t, c, "b") != 1 {
			t.Error("another value after Release")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func ExampleOpen() {
	c, err := checkpoint.Open(context.Background(), "HuggingFaceTB/SmolLM2-135M@main", checkpoint.Options{
		Progress: func(e checkpoint.Event) { fmt.Fprintf(os.Stderr, "\r%s %d of %d %s", e.File, e.Done, e.Total, e.Note) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, name := range c.Names() {
		tensor, _ := c.Tensor(name)
		fmt.Println(name, tensor.DType, tensor.Shape)
	}
}

// All checkpoints of the larger test material open, and their tied embeddings
// are found.
func TestSharedCheckpoints(t *testing.T) {
	dirs, _ := filepath.Glob(filepath.Join(shared(), "models/*/config.json"))
	if len(dirs) == 0 {
		t.Skip("no checkpoints in ../shared or STEER_SHARED")
	}
	seen := map[string]string{}
	for _, config := range dirs {
		dir := filepath.Dir(config)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c, err := checkpoint.Open(t.Context(), dir, checkpoint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if len(c.Names()) == 0 {
				t.Error("no tensors")
			}
			if other, ok := seen[c.Fingerprint()]; ok {
				t.Errorf("has the fingerprint of %s", other)
			}
			seen[c.Fingerprint()] = filepath.Base(dir)
			for alias, name := range c.Metadata() {
				if want, stored := c.Tensor(name); stored {
					got, ok := c.Tensor(alias)
					if !ok || !slices.Equal(got.Shape, want.Shape) || &got.Data[0] != &want.Data[0] {
						t.Errorf("alias %s of %s does not lead to it", alias, name)
					}
				}
			}
			if filepath.Base(dir) == "story656k" && !maps.Equal(c.Metadata(), map[string]string{"format": "pt", "model.embed_tokens.weight": "lm_head.weight"}) {
				t.Error(c.Metadata())
			}
		})
	}
}

// shared returns the folder of larger test material beside the repository,
// which need not be there.
func shared() string {
	if dir := os.Getenv("STEER_SHARED"); dir != "" {
		return dir
	}
	for dir, _ := os.Getwd(); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "..", "shared")
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

func FuzzIndex(f *testing.F) {
	for _, seed := range []string{
		`{"metadata":{"total_size":1},"weight_map":{"a":"x.safetensors"}}`,
		`{"weight_map":{"a":"../x.safetensors"}}`,
		`{"weight_map":{"a":"/etc/x.safetensors","b":"c:x.safetensors"}}`,
		`{"weight_map":{"a":null}}`,
		`{"weight_map":[]}`,
	} {
		f.Add([]byte(seed))
	}
	shard := weightFile(f, nil, "a")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := checkpoint.OpenFS(fstest.MapFS{
			"config.json": text(`{}`), "x.safetensors": shard,
			"model.safetensors.index.json": &fstest.MapFile{Data: data},
		}, "mine", checkpoint.Options{})
		if err == nil {
			if !slices.Equal(c.Names(), []string{"a"}) {
				t.Errorf("opened with %q", c.Names())
			}
			c.Close()
		}
	})
}
