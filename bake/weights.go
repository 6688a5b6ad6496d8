package bake

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// weights are the files of a checkpoint's tensors, and where each tensor lies.
type weights struct {
	checkpoint *checkpoint.Checkpoint
	decoder    *arch.Decoder
	names      []string // of the files, sorted
	files      map[string]*safetensors.File
	fileOf     map[string]string // by the name of the tensor
}

func openWeights(c *checkpoint.Checkpoint) (*weights, error) {
	w := &weights{checkpoint: c, files: map[string]*safetensors.File{}, fileOf: map[string]string{}}
	for _, info := range c.WeightFiles() {
		f, err := safetensors.OpenFS(c.FS(), info.Name)
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
		w.names = append(w.names, info.Name)
		w.files[info.Name] = f
		for _, name := range f.Names() {
			w.fileOf[name] = info.Name
		}
	}
	return w, nil
}

func (w *weights) Close() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// find returns the tensor that a name of the description stands for, under the name
// by which it is stored. Of a tensor that another one shares it is that one.
func (w *weights) find(name string) (safetensors.Tensor, bool) {
	for _, candidate := range w.decoder.Names(name) {
		for _, stored := range []string{candidate, w.checkpoint.Metadata()[candidate]} {
			if file, ok := w.fileOf[stored]; ok {
				return w.files[file].Tensor(stored)
			}
		}
	}
	return safetensors.Tensor{}, false
}

// floats is find for a tensor that must be there, of a type that can be changed.
func (w *weights) floats(name string) (safetensors.Tensor, error) {
	t, ok := w.find(name)
	if !ok {
		return t, fmt.Errorf("tensor %q is missing from the checkpoint, or is stored in another form, as quantised weights are", name)
	}
	return t, storable(t)
}

func storable(t safetensors.Tensor) error {
	switch t.DType {
	case safetensors.F32, safetensors.F16, safetensors.BF16:
		return nil
	}
	return fmt.Errorf("tensor %q is stored as %s; F32, F16 and BF16 can be baked", t.Name, t.DType)
}

// beside returns the name that a bias has in the checkpoint: as its weight's, with
// the prefix or without it.
func (w *weights) beside(part arch.Linear) (weight safetensors.Tensor, bias string, err error) {
	names := w.decoder.Names(part.Bias)
	for i, name := range w.decoder.Names(part.Weight) {
		if file, ok := w.fileOf[name]; ok {
			weight, _ = w.files[file].Tensor(name)
			return weight, names[min(i, len(names)-1)], storable(weight)
		}
	}
	return weight, "", fmt.Errorf("tensor %q is missing from the checkpoint", part.Weight)
}

// each returns a name for each expert that it stands for.
func each(name string, experts int) []string {
	if !strings.Contains(name, "{expert}") {
		return []string{name}
	}
	var names []string
	for i := range experts {
		names = append(names, strings.ReplaceAll(name, "{expert}", strconv.Itoa(i)))
	}
	return names
}

// rows calls do with some rows [n, width] after the other of a tensor of elements.
func rows(t safetensors.Tensor, width int, do func(values []float32) error) error {
	step := width * t.DType.Size()
	step *= max(1, chunk/step)
	for at := 0; at < len(t.Data); at += step {
		part := t
		part.Data = t.Data[at:min(at+step, len(t.Data))]
		part.Shape = []int{len(part.Data) / t.DType.Size()}
		values, err := part.Float32s()
		if err != nil {
			return err
		}
		if err := do(values); err != nil {
			return err
		}
	}
	return nil
}

// chunk is about how many bytes of a tensor are in memory at once.
const chunk = 1 << 20
