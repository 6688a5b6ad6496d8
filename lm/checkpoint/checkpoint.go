// Package checkpoint opens Hugging Face checkpoints: a local folder, an
// embedded file system, or a repository of the Hub, which is downloaded into
// the cache that the Python library uses too. A GGUF file is opened as the
// checkpoint that it was made from.
//
// A checkpoint's weights are mapped, not read: opening one costs its headers,
// and what they say of the tensors costs no more.
package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

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

	// Expand is the type, BF16 or F32, that [Checkpoint.Tensor] expands the blocks of
	// few bits in GGUF files to; "": BF16.
	Expand safetensors.DType

	// Outline opens GGUF files too whose tensors cannot be read as those of a Hugging
	// Face checkpoint, for who reads the file itself: config.json is then an outline,
	// with the architecture as model_type, the sizes of the model and its vocabulary,
	// and there are no tensors.
	Outline bool
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
	file              string // the GGUF file, or ""
	fsys              fs.FS
	config            []byte
	fingerprint       func() string
	weightFiles       []WeightFile
	store
}

// store holds the tensors of a checkpoint in one format or another.
type store interface {
	Names() []string
	Tensor(name string) (safetensors.Tensor, bool)
	Release(safetensors.Tensor)
	Metadata() map[string]string
	Stored() string
	Close() error

	infos() []TensorInfo
	fingerprint(config []byte) string
}

// Open opens ref: the path of a local folder or of a GGUF file, or a Hub id
// "org/name" or "name", with "@revision" where one is wanted, and with
// ":file.gguf" behind that where the repository holds GGUF files. A path that
// exists wins. Errors name the file and the tensor, or say what was tried.
func Open(ctx context.Context, ref string, opts Options) (*Checkpoint, error) {
	at, err := find(ctx, ref, opts, true)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint %s: %w", ref, err)
	}
	return at.open(opts)
}

// Files returns a checkpoint's configuration and tokenizer, as [Checkpoint.FS]
// does, without its weights: of a repository of the Hub these are not
// downloaded, but for a GGUF file, which is one with them.
func Files(ctx context.Context, ref string, opts Options) (fs.FS, error) {
	at, err := find(ctx, ref, opts, false)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint %s: %w", ref, err)
	}
	if files := os.DirFS(at.dir); at.file == "" && exists(files, configFile) {
		return files, nil
	}
	c, err := at.open(opts)
	if err != nil {
		return nil, err
	}
	return c.FS(), c.Close()
}

// found is where a checkpoint lies on disk.
type found struct {
	dir, file    string // file: the GGUF file, or ""
	id, revision string
}

func (f found) open(opts Options) (*Checkpoint, error) {
	return open(os.DirFS(f.dir), f.dir, f.file, opts, f.id, f.revision)
}

// find says where a checkpoint lies, after downloading it where it must, with or
// without its weights.
func find(ctx context.Context, ref string, opts Options, weights bool) (found, error) {
	if info, err := os.Stat(ref); err == nil {
		absolute, err := filepath.Abs(ref)
		if err != nil {
			return found{}, err
		}
		if info.IsDir() {
			return found{dir: ref, id: filepath.Base(absolute)}, nil
		}
		if !isGGUF(ref) {
			return found{}, errors.New("not a folder and not a GGUF file; name the folder that holds config.json")
		}
		dir, name := filepath.Split(absolute)
		return found{dir: dir, file: name, id: name}, nil
	}
	repository, file, _ := strings.Cut(ref, ":")
	if file != "" && !validGGUFName(file) {
		return found{}, fmt.Errorf("%q is not the name of a GGUF file", file)
	}
	id, revision, named := strings.Cut(repository, "@")
	if named && opts.Revision != "" && opts.Revision != revision {
		return found{}, fmt.Errorf("revision %q is asked for besides", opts.Revision)
	}
	if named {
		opts.Revision = revision
	}
	if !validID(id) || named && revision == "" {
		return found{}, errors.New("there is no such folder, and it is not a Hub id (org/name or org/name@revision) either")
	}
	dir, commit, err := download(ctx, id, file, weights, opts)
	if err != nil {
		return found{}, fmt.Errorf("there is no such folder; from the Hub: %w", err)
	}
	if file != "" {
		id += ":" + file
	}
	return found{dir, file, id, commit}, nil
}

// OpenFS opens a checkpoint in a file system, such as an embedded one; id names
// it in errors and provenance. Of the options only Expand and Outline count.
func OpenFS(fsys fs.FS, id string, opts Options) (*Checkpoint, error) {
	return open(fsys, "", "", opts, id, "")
}

// ID returns the Hub id, or the name of the local folder or file.
func (c *Checkpoint) ID() string { return c.id }

// Revision returns the commit of a checkpoint from the Hub, "" for others.
func (c *Checkpoint) Revision() string { return c.revision }

// Dir returns the folder on disk, "" for a checkpoint of [OpenFS].
func (c *Checkpoint) Dir() string { return c.dir }

// File returns the path of the GGUF file on disk from which the checkpoint is read,
// and whether there is one.
func (c *Checkpoint) File() (path string, ok bool) {
	return filepath.Join(c.dir, c.file), c.dir != "" && c.file != ""
}

// FS returns the folder's files; of a GGUF file, what its metadata says in
// their place.
func (c *Checkpoint) FS() fs.FS { return c.fsys }

// Config returns the bytes of config.json.
func (c *Checkpoint) Config() []byte { return c.config }

// Fingerprint returns "sha256:" and a hash over config.json and, in the order of
// the weight files' names, their headers and samples of every tensor. It is the
// same for the same files wherever they lie, and changes whenever the
// configuration or a tensor's name, type, shape or place does, or most numbers
// of any one tensor, if only by a rounding. A change of a few numbers can go
// unseen. The samples are read at the first call, which comes before Close.
func (c *Checkpoint) Fingerprint() string { return c.fingerprint() }

// Stored says in which types the matrices are stored, the most common first:
// "BF16", or "Q4_K and Q6_K".
func (c *Checkpoint) Stored() string { return c.store.Stored() }

// Metadata returns the free-form entries of the weight files. Where files
// disagree on a key, the first in the order of names counts. Of a GGUF file
// they are the texts that its metadata has under "general.".
func (c *Checkpoint) Metadata() map[string]string { return c.store.Metadata() }

// Names returns the names of all tensors, aliases included, sorted.
func (c *Checkpoint) Names() []string { return c.store.Names() }

// Tensor returns the tensor of a name, and whether there is one.
//
// Tensors that share memory, such as tied embeddings, are stored once. The
// Python library records each name that it left out as a key of the file's
// metadata, with the name under which the tensor is stored as its value. Such
// an alias is found here like any other name, unless a tensor of that name is
// stored as well.
func (c *Checkpoint) Tensor(name string) (safetensors.Tensor, bool) { return c.store.Tensor(name) }

// Release tells the system that a tensor's memory is not needed any more.
// Reading it again brings it back from disk.
func (c *Checkpoint) Release(t safetensors.Tensor) { c.store.Release(t) }

// Close unmaps the weight files. Tensors must not be used afterwards.
func (c *Checkpoint) Close() error { return c.store.Close() }

// open reads the GGUF file of that name or, without one, config.json and the
// headers of the weight files, or else the one GGUF file of the folder.
func open(fsys fs.FS, dir, file string, opts Options, id, revision string) (*Checkpoint, error) {
	c := &Checkpoint{id: id, revision: revision, dir: dir, fsys: fsys}
	err := c.open(file, opts)
	if err != nil {
		if c.store != nil {
			c.Close()
		}
		return nil, fmt.Errorf("open checkpoint %s: %w", cmp.Or(dir, id), err)
	}
	return c, nil
}

func (c *Checkpoint) open(file string, opts Options) (err error) {
	if file == "" && !exists(c.fsys, configFile) {
		if file, err = onlyGGUF(c.fsys); err != nil {
			return err
		}
	}
	if file != "" {
		return c.openGGUF(file, opts)
	}
	if c.config, err = readJSON(c.fsys, configFile); err != nil {
		return err
	}
	w := &weights{}
	if err := w.open(c.fsys); err != nil {
		w.Close()
		return err
	}
	c.use(w)
	return c.list(c.fsys, w.shards)
}

func (c *Checkpoint) use(s store) {
	c.store = s
	c.fingerprint = sync.OnceValue(func() string { return s.fingerprint(c.config) })
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
