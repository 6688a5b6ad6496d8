package checkpoint

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

const (
	configFile = "config.json"
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
)

// pickles are the weights that are recognised and not read.
var pickles = []string{"pytorch_model.bin", "pytorch_model.bin.index.json"}

var errPickled = errors.New("the weights are there only as pytorch_model.bin, a format that can run code when it is read; safetensors is needed: save the model once more with the transformers library, or look for a conversion on the Hub")

// weights are the tensors of a checkpoint, in one file or in several shards.
type weights struct {
	shards   []string            // the names of the files, sorted
	files    []*safetensors.File // in the same order
	tensors  map[string]place
	metadata map[string]string
}

// place says where a tensor is stored, and under which name.
type place struct {
	file *safetensors.File
	name string
}

func (w *weights) Names() []string { return slices.Sorted(maps.Keys(w.tensors)) }

func (w *weights) Metadata() map[string]string { return maps.Clone(w.metadata) }

func (w *weights) Tensor(name string) (safetensors.Tensor, bool) {
	at, ok := w.tensors[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	t, ok := at.file.Tensor(at.name)
	t.Name = name
	return t, ok
}

func (w *weights) Release(t safetensors.Tensor) {
	if at, ok := w.tensors[t.Name]; ok {
		at.file.Release(t)
	}
}

func (w *weights) Stored() string {
	elements := map[safetensors.DType]int{}
	for _, at := range w.tensors {
		if t, _ := at.file.Tensor(at.name); len(t.Shape) > 1 {
			elements[t.DType] += t.Len()
		}
	}
	types := slices.SortedFunc(maps.Keys(elements), func(a, b safetensors.DType) int {
		return cmp.Or(cmp.Compare(elements[b], elements[a]), cmp.Compare(a, b))
	})
	var names []string
	for _, t := range types {
		names = append(names, string(t))
	}
	return strings.Join(names, " and ")
}

func (w *weights) infos() []TensorInfo {
	var out []TensorInfo
	for _, name := range w.Names() {
		if at := w.tensors[name]; at.name == name { // no alias
			t, _ := at.file.Tensor(name)
			out = append(out, TensorInfo{name, string(t.DType), t.Shape, int64(len(t.Data))})
		}
	}
	return out
}

func (w *weights) Close() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// open reads the headers of the weight files. What it opened before an error
// is in w.files.
func (w *weights) open(fsys fs.FS) error {
	shards, index := []string{singleFile}, map[string]string(nil)
	if !exists(fsys, singleFile) {
		data, err := readJSON(fsys, indexFile)
		if errors.Is(err, fs.ErrNotExist) {
			for _, name := range pickles {
				if exists(fsys, name) {
					return errPickled
				}
			}
			return fmt.Errorf("there is neither %s nor %s", singleFile, indexFile)
		}
		if err != nil {
			return err
		}
		if shards, index, err = parseIndex(data); err != nil {
			return err
		}
	}

	w.tensors, w.metadata = map[string]place{}, map[string]string{}
	shardOf := map[string]string{}
	for _, shard := range shards {
		f, err := safetensors.OpenFS(fsys, shard)
		if errors.Is(err, fs.ErrNotExist) && index != nil {
			return fmt.Errorf("%s lists shard %s, which is not there", indexFile, shard)
		}
		if err != nil {
			return err
		}
		w.files = append(w.files, f)
		for _, name := range f.Names() {
			if other, twice := shardOf[name]; twice {
				return fmt.Errorf("tensor %q is both in %s and in %s", name, other, shard)
			}
			shardOf[name] = shard
			w.tensors[name] = place{f, name}
		}
	}
	w.shards = shards

	for i, f := range w.files {
		for key, value := range f.Metadata() {
			if _, ok := w.metadata[key]; !ok {
				w.metadata[key] = value
			}
			_, stored := w.tensors[key]
			if _, ok := f.Tensor(value); ok && !stored {
				w.tensors[key] = place{f, value}
				shardOf[key] = shards[i]
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(index)) {
		switch at, ok := shardOf[name]; {
		case !ok:
			return fmt.Errorf("%s: tensor %q is not in %s", indexFile, name, index[name])
		case at != index[name]:
			return fmt.Errorf("%s: tensor %q is not in %s but in %s", indexFile, name, index[name], at)
		}
	}
	return nil
}

// parseIndex returns the shards that an index lists, sorted, and the shard of
// each tensor. Shards are files of the index's own folder, nothing else.
func parseIndex(data []byte) (shards []string, weightMap map[string]string, err error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	if len(index.WeightMap) == 0 {
		return nil, nil, fmt.Errorf("%s: weight_map lists no tensors", indexFile)
	}
	listed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(index.WeightMap)) {
		shard := index.WeightMap[name]
		if strings.ContainsAny(shard, "/\\:\x00") || !strings.HasSuffix(shard, ".safetensors") || !filepath.IsLocal(shard) {
			return nil, nil, fmt.Errorf("%s: tensor %q: shard %q is not the name of a safetensors file in the folder", indexFile, name, shard)
		}
		listed[shard] = true
	}
	return slices.Sorted(maps.Keys(listed)), index.WeightMap, nil
}
