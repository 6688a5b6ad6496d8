package checkpoint_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/internal/ggufwrite"
)

func fingerprint(t testing.TB, files fs.FS) string {
	t.Helper()
	c, err := checkpoint.OpenFS(files, "mine", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Fingerprint()
}

// shardsOf writes tensors of several sizes into two shards. Change, where it is
// not nil, gets the bytes of each tensor.
func shardsOf(t testing.TB, change func(name string, data []byte)) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{"config.json": text(`{}`)}
	shardOf := map[string]string{}
	for shard, sizes := range map[string][]int{"a.safetensors": {1, 7, 2048}, "b.safetensors": {2049, 5000, 300000}} {
		var tensors []safetensors.Tensor
		for _, n := range sizes {
			data := make([]byte, 2*n) // bfloat16
			for i := range data {
				data[i] = byte(i * 7)
			}
			name := fmt.Sprint("tensor", n)
			if change != nil {
				change(name, data)
			}
			shardOf[name] = shard
			tensors = append(tensors, safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: []int{n}, Data: data})
		}
		path := filepath.Join(t.TempDir(), "w")
		if err := safetensors.Write(path, tensors, nil); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[shard] = &fstest.MapFile{Data: data}
	}
	files["model.safetensors.index.json"] = index(shardOf)
	return files
}

func TestFingerprintFollowsConfigAndHeaders(t *testing.T) {
	files := fstest.MapFS{"config.json": text(`{}`), "model.safetensors": weightFile(t, nil, "a")}
	first := fingerprint(t, files)
	if !strings.HasPrefix(first, "sha256:") || len(first) != len("sha256:")+64 {
		t.Errorf("fingerprint %q", first)
	}
	files["config.json"] = text(`{} `)
	if fingerprint(t, files) == first {
		t.Error("the config is not part of it")
	}
	files["config.json"], files["model.safetensors"] = text(`{}`), weightFile(t, nil, "b")
	if fingerprint(t, files) == first {
		t.Error("a tensor's name is not part of it")
	}
}

// A training that changes any one tensor is seen, also where it changes half of
// the numbers by one rounding, or the last row alone.
func TestFingerprintFollowsTheWeights(t *testing.T) {
	first := fingerprint(t, shardsOf(t, nil))
	seen := map[string]string{first: "the original"}
	for _, n := range []int{1, 7, 2048, 2049, 5000, 300000} {
		for kind, change := range map[string]func(data []byte){
			"every number":    func(data []byte) { flip(data, 2) },
			"every second":    func(data []byte) { flip(data, 4) },
			"the first":       func(data []byte) { data[0] ^= 1 },
			"the last number": func(data []byte) { data[len(data)-2] ^= 1 },
		} {
			name := fmt.Sprint("tensor", n)
			got := fingerprint(t, shardsOf(t, func(this string, data []byte) {
				if this == name {
					change(data)
				}
			}))
			if got == first {
				t.Errorf("%s of %s changed, and the fingerprint did not", kind, name)
			}
			if other, ok := seen[got]; ok && n > 2 {
				t.Errorf("%s of %s has the fingerprint of %s", kind, name, other)
			}
			seen[got] = kind + " of " + name
		}
	}
}

// flip changes the lowest bit of every step-th byte.
func flip(data []byte, step int) {
	for i := 0; i < len(data); i += step {
		data[i] ^= 1
	}
}

func TestFingerprintOfAGGUFFileFollowsItsBlocks(t *testing.T) {
	data := smallGGUF()
	first := fingerprint(t, fstest.MapFS{"x.gguf": {Data: data}})
	if again := fingerprint(t, fstest.MapFS{"y.gguf": {Data: data}}); again != first {
		t.Error("the file's name is part of it")
	}
	changed := bytes.Clone(data)
	changed[len(changed)-30] ^= 1 // behind the last block stand 26 bytes of padding
	if fingerprint(t, fstest.MapFS{"x.gguf": {Data: changed}}) == first {
		t.Error("the blocks are no part of it")
	}
}

// One model has one fingerprint, in the Hub's cache, in a folder and embedded;
// the cache alone knows the Hub's hashes.
func TestFingerprintsAgreeWhereverTheFilesLie(t *testing.T) {
	h := newFakeHub(t)
	c, err := checkpoint.Open(t.Context(), "org/name", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dir := filepath.Join(t.TempDir(), "copied")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	entries, err := fs.ReadDir(c.FS(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := fs.ReadFile(c.FS(), e.Name())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, e.Name()), data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	local, err := checkpoint.Open(t.Context(), dir, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	embedded := fingerprint(t, os.DirFS(dir))
	if local.Fingerprint() != c.Fingerprint() || embedded != c.Fingerprint() {
		t.Errorf("%s in the cache, %s in a folder, %s embedded", c.Fingerprint(), local.Fingerprint(), embedded)
	}
	weights := h.files["model.safetensors"].Data
	want := checkpoint.WeightFile{Name: "model.safetensors", Size: int64(len(weights)), SHA256: fmt.Sprintf("%x", sha256.Sum256(weights))}
	if got := c.WeightFiles(); !slices.Equal(got, []checkpoint.WeightFile{want}) {
		t.Errorf("in the cache lie %v, want %v", got, want)
	}
	want.SHA256 = ""
	if got := local.WeightFiles(); !slices.Equal(got, []checkpoint.WeightFile{want}) {
		t.Errorf("in the folder lie %v, want %v", got, want)
	}
}

// What headers say costs headers: neither of these files' tensors would fit
// into memory, and their bytes are not on disk.
func TestHeadersAreReadAlone(t *testing.T) {
	const elements = 1 << 36
	dir := t.TempDir()
	write := func(name string, data []byte, behind int64) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		if behind > 0 {
			if err := os.Truncate(path, int64(len(data))+behind); err != nil {
				t.Skip("no sparse files here: ", err)
			}
		}
	}
	header := fmt.Sprintf(`{"__metadata__":{"tied":"big"},"big":{"dtype":"BF16","shape":[65536,1048576],"data_offsets":[0,%d]}}`, 2*elements)
	write("safetensors/config.json", []byte(`{"a":1}`), 0)
	write("safetensors/model.safetensors", append([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}, header...), 2*elements)

	f := &ggufwrite.File{}
	f.Set("general.architecture", "llama")
	for key, value := range map[string]uint32{"block_count": 1, "embedding_length": 1 << 20, "attention.head_count": 16384, "feed_forward_length": 2} {
		f.Set("llama."+key, value)
	}
	// The writer gives the tensor one block of the many that it will claim.
	f.Tensors = []ggufwrite.Tensor{{Name: "token_embd.weight", Type: gguf.Q8_0, Shape: []int{1, 32}, Data: make([]byte, 34)}}
	data := f.Bytes()
	at := bytes.Index(data, []byte("token_embd.weight")) + len("token_embd.weight") + 4
	copy(data[at:], []byte{0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}) // 2^20 columns, 2^16 rows
	write("blocks/x.gguf", data, elements/32*34)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, want := range map[string]checkpoint.TensorInfo{
		"safetensors": {Name: "big", Type: "BF16", Shape: []int{1 << 16, 1 << 20}, Bytes: 2 * elements},
		"blocks":      {Name: "model.embed_tokens.weight", Type: "Q8_0", Shape: []int{1 << 16, 1 << 20}, Bytes: elements / 32 * 34},
	} {
		c, err := checkpoint.Open(t.Context(), filepath.Join(dir, name), checkpoint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := c.Tensors()
		if len(got) != 1 || got[0].Name != want.Name || got[0].Type != want.Type || got[0].Bytes != want.Bytes || !slices.Equal(got[0].Shape, want.Shape) {
			t.Errorf("%s: tensors %v, want %v", name, got, want)
		}
		if c.Parameters() != elements || !strings.HasPrefix(c.Stored(), want.Type) || len(c.Config()) == 0 {
			t.Errorf("%s: %d parameters stored as %s, config %s", name, c.Parameters(), c.Stored(), c.Config())
		}
		file := c.GGUF()
		if (file != nil) != (name == "blocks") {
			t.Errorf("%s: GGUF file %v", name, file)
		}
		if file != nil && (file.Value("llama.block_count") != uint64(1) || !slices.Contains(file.Keys(), "general.architecture")) {
			t.Errorf("%s: keys %v", name, file.Keys())
		}
	}
	runtime.ReadMemStats(&after)
	if made := after.TotalAlloc - before.TotalAlloc; made > 4<<20 {
		t.Errorf("%d bytes were allocated", made)
	}
}

func TestFingerprintIsMadeOnce(t *testing.T) {
	c, err := checkpoint.OpenFS(shardsOf(t, nil), "mine", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var mutex sync.Mutex
	got := map[string]bool{}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			f := c.Fingerprint()
			mutex.Lock()
			defer mutex.Unlock()
			got[f] = true
		})
	}
	wait.Wait()
	if len(got) != 1 {
		t.Errorf("%v", slices.Collect(maps.Keys(got)))
	}
}
