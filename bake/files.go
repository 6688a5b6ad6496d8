package bake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

const (
	configFile = "config.json"
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
	cardFile   = "README.md"
)

// otherWeights are the endings of files that hold weights in forms that are not
// baked: copied, they would be the unsteered model.
var otherWeights = []string{".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".onnx_data", ".gguf", ".ot", ".tflite"}

// writer writes a planned checkpoint into a folder.
type writer struct {
	ctx context.Context
	*planned
	dir      string
	progress func(file string, done, total int64)
	leftOut  []string
}

// files writes all of the checkpoint but its model card.
func (w *writer) files() error {
	w.leftOut = []string{}
	fsys := w.weights.checkpoint.FS()
	return fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = w.ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		if strings.HasPrefix(path.Base(name), ".") { // what a version control or a download keeps
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := fs.Stat(fsys, name) // where a link leads
		switch {
		case err != nil:
			return err
		case info.IsDir():
			return nil // made for what is copied into it
		case slices.Contains(w.weights.names, name):
			err = w.shard(name)
		case name == configFile:
			err = os.WriteFile(w.at(name), w.config, 0o666)
		case name == indexFile && !slices.Contains(w.weights.names, singleFile): // which wins
			err = w.index()
		case slices.ContainsFunc(otherWeights, func(ending string) bool { return strings.HasSuffix(name, ending) }):
			w.leftOut = append(w.leftOut, name)
		case name != cardFile:
			err = w.copy(name)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		return nil
	})
}

func (w *writer) at(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *writer) copy(name string) (err error) {
	from, err := w.weights.checkpoint.FS().Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(w.at(name)), 0o777); err != nil {
		return err
	}
	to, err := os.OpenFile(w.at(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	_, err = io.Copy(to, reader{w.ctx, from})
	return err
}

// reader ends when its context does.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(data []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(data)
}

// shard writes one file of weights: as it is where nothing in it changes, else its
// tensors in their order, then those that are added.
func (w *writer) shard(name string) error {
	file := w.weights.files[name]
	var infos []safetensors.TensorInfo
	total, touched := int64(0), false
	for _, tensor := range file.Names() {
		t, _ := file.Tensor(tensor)
		infos = append(infos, safetensors.TensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape})
		total += int64(len(t.Data))
		touched = touched || w.changes[tensor] != nil
	}
	for _, a := range w.added {
		if a.file == name {
			infos = append(infos, safetensors.TensorInfo{Name: a.name, DType: a.dtype, Shape: []int{len(a.values)}})
			touched = true
		}
	}
	if !touched {
		return w.copy(name)
	}
	out, err := safetensors.Create(w.at(name), infos, file.Metadata())
	if err != nil {
		return err
	}
	defer out.Abort()
	done := int64(0)
	for _, tensor := range file.Names() {
		t, _ := file.Tensor(tensor)
		if err := w.tensor(out, t); err != nil {
			return err
		}
		file.Release(t)
		if done += int64(len(t.Data)); w.progress != nil {
			w.progress(name, done, total)
		}
	}
	for _, a := range w.added {
		if a.file == name {
			if err := out.WriteAt(a.name, safetensors.AppendFloats(nil, a.dtype, a.values), 0); err != nil {
				return err
			}
		}
	}
	return out.Commit()
}

// tensor writes a tensor, changed or as it is.
func (w *writer) tensor(out *safetensors.Writer, t safetensors.Tensor) error {
	at := int64(0)
	put := func(data []byte) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		err := out.WriteAt(t.Name, data, at)
		at += int64(len(data))
		return err
	}
	change := w.changes[t.Name]
	if change == nil {
		for data := range slices.Chunk(t.Data, chunk) {
			if err := put(data); err != nil {
				return err
			}
		}
		return nil
	}
	var data []byte
	return change.apply(t, func(values []float32) error {
		data = safetensors.AppendFloats(data[:0], t.DType, values)
		return put(data)
	})
}

// index writes the list of where each tensor lies, with those that are added.
func (w *writer) index() error {
	data, err := fs.ReadFile(w.weights.checkpoint.FS(), indexFile)
	if err != nil || len(w.added) == 0 {
		return errors.Join(err, os.WriteFile(w.at(indexFile), data, 0o666))
	}
	var index struct {
		Metadata  map[string]any    `json:"metadata,omitempty"`
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return err
	}
	more := 0
	for _, a := range w.added {
		index.WeightMap[a.name] = a.file
		more += len(a.values) * a.dtype.Size()
	}
	if size, ok := index.Metadata["total_size"].(float64); ok {
		index.Metadata["total_size"] = int64(size) + int64(more)
	}
	if data, err = json.MarshalIndent(index, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(w.at(indexFile), append(data, '\n'), 0o666)
}
