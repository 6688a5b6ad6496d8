// Package checkpoint opens Hugging Face checkpoints: a local folder, an
// embedded file system, or a repository of the Hub, which is downloaded into
// the standard cache.
package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Options say how a repository of the Hub is downloaded. The zero value takes
// everything from the environment: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT,
// HF_HUB_OFFLINE.
type Options struct {
	Revision string      // branch, tag or commit; "": what the reference names, else main
	Progress func(Event) // called as files arrive, from one goroutine at a time; nil: none
	Offline  bool        // use only what is cached
	Token    string
	Endpoint string
	CacheDir string // the folder that holds models--org--name
	Client   *http.Client
}

// Event reports the download of one file. Note, when not empty, says something
// that the user should know, such as that a cached revision stands in for one
// that could not be looked up.
type Event struct {
	File        string
	Done, Total int64 // bytes
	Note        string
}

// Checkpoint is an open checkpoint, safe for concurrent readers.
type Checkpoint struct {
	id, revision, dir string
	fsys              fs.FS
	config            []byte
	files             []*safetensors.File
	tensors           map[string]located
	fingerprint       string
}

type located struct {
	file *safetensors.File
	name string
}

// maxJSON bounds the JSON files that are read whole, in bytes.
const maxJSON = 64 << 20

// Open opens ref: the path of a local folder, or a Hub id "org/name" or "name",
// either with "@revision". A path that exists wins. Errors name the file and
// the tensor.
func Open(ctx context.Context, ref string, opts Options) (*Checkpoint, error) {
	if info, err := os.Stat(ref); err == nil {
		if !info.IsDir() {
			return nil, fmt.Errorf("open checkpoint %s: not a folder; name the folder that holds config.json", ref)
		}
		return open(os.DirFS(ref), ref, filepath.Base(absolute(ref)), "")
	}
	id, revision, _ := strings.Cut(ref, "@")
	if revision != "" {
		opts.Revision = revision
	}
	if !validID(id) {
		return nil, fmt.Errorf("open checkpoint %s: no such folder, and not a Hub id of the form org/name", ref)
	}
	dir, commit, err := download(ctx, id, opts)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint %s: no such folder; from the Hub: %w", ref, err)
	}
	return open(os.DirFS(dir), dir, id, commit)
}

// OpenFS opens a checkpoint in a file system, such as an embedded one; id names
// it in errors and provenance.
func OpenFS(fsys fs.FS, id string) (*Checkpoint, error) { return open(fsys, "", id, "") }

func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// ID returns the Hub id, or the name of the local folder.
func (c *Checkpoint) ID() string { return c.id }

// Revision returns the commit of a checkpoint from the Hub, "" for others.
func (c *Checkpoint) Revision() string { return c.revision }

// FS returns the folder's files.
func (c *Checkpoint) FS() fs.FS { return c.fsys }

// Config returns the bytes of config.json.
func (c *Checkpoint) Config() []byte { return c.config }

// Fingerprint returns "sha256:…" over config.json and the headers of the weight
// files: cheap, and different whenever a tensor's name, type, shape or place is.
func (c *Checkpoint) Fingerprint() string { return c.fingerprint }

// Names returns the names of all tensors, aliases included, sorted.
func (c *Checkpoint) Names() []string {
	names := make([]string, 0, len(c.tensors))
	for name := range c.tensors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Tensor returns the tensor of a name. A weight that is stored once for two
// names is found under both where the file's metadata maps one to the other,
// as the Python library records shared tensors.
func (c *Checkpoint) Tensor(name string) (safetensors.Tensor, bool) {
	at, ok := c.tensors[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	t, ok := at.file.Tensor(at.name)
	t.Name = name
	return t, ok
}

// Release tells the system that a tensor's memory is not needed any more.
func (c *Checkpoint) Release(t safetensors.Tensor) {
	if at, ok := c.tensors[t.Name]; ok {
		at.file.Release(t)
	}
}

// Close unmaps the weight files. Tensors must not be used afterwards.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// open reads config.json and the weight files of a folder; dir is its path, ""
// for a file system that is not on disk.
func open(fsys fs.FS, dir, id, revision string) (*Checkpoint, error) {
	c := &Checkpoint{id: id, revision: revision, dir: dir, fsys: fsys, tensors: map[string]located{}}
	var err error
	if c.config, err = readJSON(fsys, "config.json"); err != nil {
		return nil, fmt.Errorf("open checkpoint %s: %w", id, err)
	}
	if err := c.openWeights(); err != nil {
		c.Close()
		return nil, fmt.Errorf("open checkpoint %s: %w", id, err)
	}
	return c, nil
}

// readJSON reads a file of bounded size.
func readJSON(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxJSON {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxJSON)
	}
	return data, nil
}

const (
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
)

func (c *Checkpoint) openWeights() error {
	shards, index := []string{singleFile}, map[string]string(nil)
	if !exists(c.fsys, singleFile) {
		var err error
		if shards, index, err = readIndex(c.fsys); err != nil {
			return err
		}
	}
	hash := sha256.New()
	hash.Write(c.config)
	for _, shard := range shards {
		f, err := c.openShard(shard)
		if err != nil {
			return err
		}
		c.files = append(c.files, f)
		hash.Write(f.Header())
		for _, name := range f.Names() {
			if _, twice := c.tensors[name]; twice {
				return fmt.Errorf("tensor %q is in %s and in another shard", name, shard)
			}
			if index != nil && index[name] != shard {
				continue
			}
			c.tensors[name] = located{f, name}
		}
	}
	for name, shard := range index {
		if _, ok := c.tensors[name]; !ok {
			return fmt.Errorf("%s: tensor %q is not in %s", indexFile, name, shard)
		}
	}
	for _, f := range c.files {
		for alias, name := range f.Metadata() {
			_, taken := c.tensors[alias]
			if _, ok := f.Tensor(name); ok && !taken {
				c.tensors[alias] = located{f, name}
			}
		}
	}
	c.fingerprint = "sha256:" + hex.EncodeToString(hash.Sum(nil))
	return nil
}

func (c *Checkpoint) openShard(name string) (*safetensors.File, error) {
	if c.dir == "" {
		return safetensors.OpenFS(c.fsys, name)
	}
	return safetensors.Open(filepath.Join(c.dir, filepath.FromSlash(name)))
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// readIndex returns the shards that the index lists, sorted, and the shard of
// each tensor.
func readIndex(fsys fs.FS) ([]string, map[string]string, error) {
	data, err := readJSON(fsys, indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		if exists(fsys, "pytorch_model.bin") || exists(fsys, "pytorch_model.bin.index.json") {
			return nil, nil, errors.New("the weights are in pytorch_model.bin, which can hold code; only safetensors are read: convert them with the transformers library")
		}
		return nil, nil, fmt.Errorf("neither %s nor %s is there", singleFile, indexFile)
	}
	if err != nil {
		return nil, nil, err
	}
	return parseIndex(data)
}

func parseIndex(data []byte) ([]string, map[string]string, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	if len(index.WeightMap) == 0 {
		return nil, nil, fmt.Errorf("%s: weight_map lists no tensors", indexFile)
	}
	var shards []string
	for name, shard := range index.WeightMap {
		if shard != path.Base(shard) || !fs.ValidPath(shard) || shard == "." {
			return nil, nil, fmt.Errorf("%s: tensor %q: shard %q is not the name of a file in the folder", indexFile, name, shard)
		}
		shards = append(shards, shard)
	}
	slices.Sort(shards)
	return slices.Compact(shards), index.WeightMap, nil
}

// validID reports whether id has the form of a Hub repository: one or two
// names of letters, digits, '-', '_' and '.'.
func validID(id string) bool {
	parts := strings.Split(id, "/")
	if len(parts) > 2 {
		return false
	}
	for _, p := range parts {
		if p == "" || len(p) > 96 || p[0] == '.' || strings.Contains(p, "..") || strings.Contains(p, "--") {
			return false
		}
		for _, r := range p {
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r)) {
				return false
			}
		}
	}
	return true
}
