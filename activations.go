package steer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Save writes the activations as a safetensors file, beside path and renamed:
// tensors positive.<layer> and negative.<layer>, float32 [samples, width], and
// their provenance in the metadata.
func (a *Activations) Save(path string) error {
	var tensors []safetensors.Tensor
	for _, layer := range slices.Sorted(maps.Keys(a.Positive)) {
		tensors = append(tensors, matrix("positive."+strconv.Itoa(layer), a.Positive[layer]), matrix("negative."+strconv.Itoa(layer), a.Negative[layer]))
	}
	metadata, err := (&Vector{Site: a.Site, Provenance: a.Provenance}).metadata()
	if err != nil {
		return fmt.Errorf("write activations %s: %w", path, err)
	}
	return safetensors.Write(path, tensors, metadata)
}

// matrix makes a tensor [rows, width] of rows.
func matrix(name string, rows [][]float32) safetensors.Tensor {
	width := 0
	if len(rows) > 0 {
		width = len(rows[0])
	}
	return safetensors.New(name, []int{len(rows), width}, slices.Concat(rows...))
}

// LoadActivations reads a file that Save wrote. Errors name the file and the
// tensor that is wrong.
func LoadActivations(path string) (*Activations, error) {
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	a := &Activations{Positive: map[int][][]float32{}, Negative: map[int][][]float32{}}
	v := &Vector{}
	err = v.describe(file.Metadata())
	if a.Site, a.Provenance = v.Site, v.Provenance; err == nil {
		err = a.read(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read activations %s: %w", path, err)
	}
	return a, nil
}

func (a *Activations) read(file *safetensors.File) error {
	for _, name := range file.Names() {
		side, number, _ := strings.Cut(name, ".")
		layer, err := strconv.Atoi(number)
		to, ok := map[string]map[int][][]float32{"positive": a.Positive, "negative": a.Negative}[side]
		if err != nil || !ok || strconv.Itoa(layer) != number || layer < 0 {
			return fmt.Errorf("tensor %q is not named positive.<layer> or negative.<layer>", name)
		}
		t, _ := file.Tensor(name)
		if len(t.Shape) != 2 || t.Len() == 0 {
			return fmt.Errorf("tensor %q has shape %v, not [samples, width]", name, t.Shape)
		}
		values, err := t.Float32s()
		if err != nil {
			return err
		}
		to[layer] = slices.Collect(slices.Chunk(values, t.Shape[1]))
	}
	if len(a.Positive) == 0 {
		return errors.New("there are no activations in it")
	}
	for layer, rows := range a.Positive {
		if other := a.Negative[layer]; len(other) != len(rows) || len(other[0]) != len(rows[0]) {
			return fmt.Errorf("layer %d: positive and negative activations differ in shape", layer)
		}
	}
	if len(a.Negative) != len(a.Positive) {
		return errors.New("a layer has negative activations only")
	}
	return nil
}

// Save writes the recording as a safetensors file, beside path and renamed:
// tensors <layer type>.<layer>, float32 [tokens, width], and logits [tokens,
// vocabulary] where they were recorded.
func (r *Recording) Save(path string) error {
	var tensors []safetensors.Tensor
	for _, layer := range slices.Sorted(maps.Keys(r.Layers)) {
		tensors = append(tensors, matrix(string(r.Site)+"."+strconv.Itoa(layer), r.Layers[layer]))
	}
	if r.Logits != nil {
		tensors = append(tensors, matrix("logits", r.Logits))
	}
	return safetensors.Write(path, tensors, map[string]string{"layer_type": string(r.Site)})
}
