// Package checkpoint opens Hugging Face checkpoints: a local folder, an
// embedded file system, or a repository of the Hub, which is downloaded into
// the cache that the Python library uses too.
//
// A checkpoint's weights are mapped, not read: opening one costs its headers.
package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Options say how a repository of the Hub is downloaded. What is empty is taken
// from the environment, as the Python library takes it: HF_ENDPOINT;
// HF_HUB_CACHE, or else HF_HOME; HF_HUB_OFFLINE; HF_TOKEN, or else the file
// that logging in leaves in HF_HOME.
type Options struct {
	Revision string       // branch, tag or commit; "": the one after the reference's "@", or else main
	Progress func(Event)  // called as files arrive, from one goroutine at a time; nil: none
	Offline  bool         // use only what is cached
	Token    string       // sent to the endpoint and to no other host
	Endpoint string       // "https://huggingface.co" unless told
	CacheDir string       // the folder that holds models--org--name
	Client   *http.Client // nil: the usual one
}

// Event reports the download of one file. Note, when not empty, says something
// that the user should know, such as that a cached revision stands in for one
// that could not be looked up; File is then empty.
type Event struct {
	File        string
	Done, Total int64 // bytes
	Note        string
}

// Checkpoint is an open checkpoint. Any number of goroutines may read it; Close
// must come after them.
type Checkpoint struct {
	id, revision, dir string
	fsys              fs.FS
	config            []byte
	weights
}

// Open opens ref: the path of a local folder, or a Hub id "org/name" or "name",
// the latter two with "@revision" where one is wanted. A path that exists wins.
// Errors name the file and the tensor, or say what was tried.
func Open(ctx context.Context, ref string, opts Options) (*Checkpoint, error) {
	if info, err := os.Stat(ref); err == nil {
		if !info.IsDir() {
			return nil, fmt.Errorf("open checkpoint %s: not a folder; name the folder that holds config.json", ref)
		}
		absolute, err := filepath.Abs(ref)
		if err != nil {
			return nil, fmt.Errorf("open checkpoint %s: %w", ref, err)
		}
		return open(os.DirFS(ref), ref, filepath.Base(absolute), "")
	}
	id, revision, named := strings.Cut(ref, "@")
	if named && opts.Revision != "" && opts.Revision != revision {
		return nil, fmt.Errorf("open checkpoint %s: revision %q is asked for besides", ref, opts.Revision)
	}
	if named {
		opts.Revision = revision
	}
	if !validID(id) || named && revision == "" {
		return nil, fmt.Errorf("open checkpoint %s: there is no such folder, and it is not a Hub id (org/name or org/name@revision) either", ref)
	}
	dir, commit, err := download(ctx, id, opts)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint %s: there is no such folder; from the Hub: %w", ref, err)
	}
	return open(os.DirFS(dir), dir, id, commit)
}

// OpenFS opens a checkpoint in a file system, such as an embedded one; id names
// it in errors and provenance.
func OpenFS(fsys fs.FS, id string) (*Checkpoint, error) { return open(fsys, "", id, "") }

// ID returns the Hub id, or the name of the local folder.
func (c *Checkpoint) ID() string { return c.id }

// Revision returns the commit of a checkpoint from the Hub, "" for others.
func (c *Checkpoint) Revision() string { return c.revision }

// Dir returns the folder on disk, "" for a checkpoint of [OpenFS].
func (c *Checkpoint) Dir() string { return c.dir }

// FS returns the folder's files.
func (c *Checkpoint) FS() fs.FS { return c.fsys }

// Config returns the bytes of config.json.
func (c *Checkpoint) Config() []byte { return c.config }

// Fingerprint returns "sha256:" and a hash over config.json and the headers of
// the weight files in the order of their names. It changes whenever a tensor's
// name, type, shape or place does, or the configuration, and costs no look at
// the weights: two trainings of one architecture share it.
func (c *Checkpoint) Fingerprint() string { return c.fingerprint }

// Metadata returns the free-form entries of the weight files. Where files
// disagree on a key, the first in the order of names counts.
func (c *Checkpoint) Metadata() map[string]string { return maps.Clone(c.metadata) }

// Names returns the names of all tensors, aliases included, sorted.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.tensors)) }

// Tensor returns the tensor of a name, and whether there is one.
//
// Tensors that share memory, such as tied embeddings, are stored once. The
// Python library records each name that it left out as a key of the file's
// metadata, with the name under which the tensor is stored as its value. Such
// an alias is found here like any other name, unless a tensor of that name is
// stored as well.
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
// Reading it again brings it back from disk.
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

// open reads config.json and the headers of the weight files.
func open(fsys fs.FS, dir, id, revision string) (*Checkpoint, error) {
	c := &Checkpoint{id: id, revision: revision, dir: dir, fsys: fsys}
	var err error
	if c.config, err = readJSON(fsys, configFile); err == nil {
		err = c.weights.open(fsys, c.config)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open checkpoint %s: %w", cmp.Or(dir, id), err)
	}
	return c, nil
}

// maxJSON bounds the files that are read whole, in bytes. The largest in use
// are tokenizers of some 35 MB.
const maxJSON = 128 << 20

// readJSON reads a file of bounded size.
func readJSON(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxJSON {
		return nil, fmt.Errorf("read %s: longer than %d bytes", name, maxJSON)
	}
	return data, nil
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}
