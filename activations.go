package steer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

const (
	shardsKey     = "steer.shards" // metadata of a shard's activations: shards
	membersTensor = "samples"      // [samples], I32: which of all samples a shard's are

	instructionsKey = "steer.instructions" // metadata: the instruction set that computed the activations
)

// Save writes the activations as a safetensors file, beside path and renamed:
// tensors positive.<layer> and negative.<layer>, float32 [samples, width], and
// their provenance in the metadata. Those of a shard have their samples' numbers
// in the tensor samples.
func (a *Activations) Save(path string) error {
	var tensors []safetensors.Tensor
	for _, layer := range slices.Sorted(maps.Keys(a.Positive)) {
		tensors = append(tensors, matrix("positive."+strconv.Itoa(layer), a.Positive[layer]), matrix("negative."+strconv.Itoa(layer), a.Negative[layer]))
	}
	metadata, err := (&Vector{Site: a.Site, Provenance: a.Provenance}).metadata()
	if err != nil {
		return fmt.Errorf("write activations %s: %w", path, err)
	}
	if a.Instructions != "" {
		metadata[instructionsKey] = a.Instructions
	}
	if a.shards.Of > 0 {
		text, err := json.Marshal(a.shards)
		if err != nil {
			return fmt.Errorf("write activations %s: %w", path, err)
		}
		metadata[shardsKey] = string(text)
		members := make([]byte, 0, 4*len(a.members))
		for _, i := range a.members {
			members = binary.LittleEndian.AppendUint32(members, uint32(i))
		}
		tensors = append(tensors, safetensors.Tensor{Name: membersTensor, DType: safetensors.I32, Shape: []int{len(a.members)}, Data: members})
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
	a.Instructions = file.Metadata()[instructionsKey]
	if a.Site, a.Provenance = v.Site, v.Provenance; err == nil {
		err = a.read(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read activations %s: %w", path, err)
	}
	return a, nil
}

func (a *Activations) read(file *safetensors.File) error {
	if text := file.Metadata()[shardsKey]; text != "" {
		if err := a.readMembers(file, text); err != nil {
			return err
		}
	}
	for _, name := range file.Names() {
		if name == membersTensor && a.shards.Of > 0 {
			continue
		}
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
		if a.shards.Of > 0 && len(rows) != len(a.members) {
			return fmt.Errorf("layer %d has %d samples where %d are named", layer, len(rows), len(a.members))
		}
	}
	if len(a.Negative) != len(a.Positive) {
		return errors.New("a layer has negative activations only")
	}
	return nil
}

// readMembers reads which samples a shard's activations are of.
func (a *Activations) readMembers(file *safetensors.File, text string) error {
	if err := json.Unmarshal([]byte(text), &a.shards); err != nil {
		return fmt.Errorf("%s: %w", shardsKey, err)
	}
	if err := a.shards.Check(); err != nil {
		return fmt.Errorf("%s: %w", shardsKey, err)
	}
	t, ok := file.Tensor(membersTensor)
	if !ok || t.DType != safetensors.I32 || len(t.Shape) != 1 {
		return fmt.Errorf("there is no tensor %q of I32 with one dimension", membersTensor)
	}
	for data := range slices.Chunk(t.Data, 4) {
		a.members = append(a.members, int(int32(binary.LittleEndian.Uint32(data))))
	}
	for i, n := range a.members {
		if n < 0 || i > 0 && n <= a.members[i-1] {
			return fmt.Errorf("tensor %q: the samples are not ascending from 0", membersTensor)
		}
	}
	return nil
}

// MergeActivations puts together the activations of all shards of a set of samples,
// which are those that [Extract] returns of the whole. A shard that is missing, that
// comes twice, or that is of other samples, layers, weights or readings is an error.
func MergeActivations(parts ...*Activations) (*Activations, error) {
	if len(parts) == 0 {
		return nil, errors.New("merge activations: there are none")
	}
	first := parts[0]
	out := &Activations{Site: first.Site, Positive: map[int][][]float32{}, Negative: map[int][][]float32{}, Provenance: first.Provenance, Instructions: first.Instructions}
	samples := 0
	for i, part := range parts {
		err := first.differs(part)
		if i > 0 && err == nil {
			out.shards, err = out.shards.Join(part.shards)
		} else if err == nil {
			out.shards = part.shards
		}
		if err == nil && part.shards.Of == 0 {
			err = errors.New("one is not of a shard: nothing says where its samples belong")
		}
		if err != nil {
			return nil, fmt.Errorf("merge activations: %w", err)
		}
		samples += len(part.members)
		out.Usage = out.Usage.Add(part.Usage)
	}
	if err := out.shards.Complete(); err != nil {
		return nil, fmt.Errorf("merge activations: %w", err)
	}
	for layer := range first.Positive {
		out.Positive[layer], out.Negative[layer] = make([][]float32, samples), make([][]float32, samples)
	}
	for _, part := range parts {
		for k, i := range part.members {
			if i >= samples {
				return nil, fmt.Errorf("merge activations: %s has sample %d of %d", part.shards, i, samples)
			}
			for layer := range first.Positive {
				if out.Positive[layer][i] != nil {
					return nil, fmt.Errorf("merge activations: %s has sample %d, which another has as well", part.shards, i)
				}
				out.Positive[layer][i], out.Negative[layer][i] = part.Positive[layer][k], part.Negative[layer][k]
			}
		}
	}
	out.Provenance.PairsHash = out.shards.Whole
	out.shards = Shards{}
	return out, nil
}

// Of returns of the activations those of the layers that are asked for, if they are what
// [Extract] would return of these samples on this model: where they were computed already,
// as by the shards of an extraction, nothing is computed again. What differs is an error.
func (a *Activations) Of(ctx context.Context, model *lm.Model, samples []Sample, opts ExtractOptions) (*Activations, error) {
	if a.shards.Of > 0 {
		return nil, fmt.Errorf("they are of %s", a.shards)
	}
	e, err := prepare(ctx, model, samples, opts)
	if err != nil {
		return nil, err
	}
	out := &Activations{
		Site: e.site, Positive: map[int][][]float32{}, Negative: map[int][][]float32{},
		Provenance: e.provenance(hashSamples(e.ids())), Instructions: model.Description().Instructions,
	}
	for _, layer := range e.layers {
		if a.Positive[layer] == nil {
			return nil, fmt.Errorf("they have no layer %d", layer)
		}
		if rows := len(a.Positive[layer]); rows != len(samples) {
			return nil, fmt.Errorf("they have %d samples, where %d are given", rows, len(samples))
		}
		if width := len(a.Positive[layer][0]); width != model.Width(layer, e.site) {
			return nil, fmt.Errorf("layer %d has %d elements, where the model has %d", layer, width, model.Width(layer, e.site))
		}
		out.Positive[layer], out.Negative[layer] = a.Positive[layer], a.Negative[layer]
	}
	if own, other := a.Provenance.PairsHash, out.Provenance.PairsHash; own != other {
		return nil, fmt.Errorf("they are of other pairs: %.20s… and %.20s…", own, other)
	}
	if err := out.differs(&Activations{Site: a.Site, Positive: out.Positive, Provenance: a.Provenance, Instructions: a.Instructions}); err != nil {
		return nil, err
	}
	return out, nil
}

// differs names what activations that are to be put together do not agree in.
func (a *Activations) differs(other *Activations) error {
	p, q := a.Provenance, other.Provenance
	p.PairsHash, q.PairsHash = "", "" // of a shard's own samples
	switch layers, others := slices.Sorted(maps.Keys(a.Positive)), slices.Sorted(maps.Keys(other.Positive)); {
	case a.Instructions != other.Instructions:
		return fmt.Errorf("the instruction sets differ: %q and %q", a.Instructions, other.Instructions)
	case a.Site != other.Site:
		return fmt.Errorf("the layer types differ: %s and %s", a.Site, other.Site)
	case !slices.Equal(layers, others):
		return fmt.Errorf("the layers differ: %v and %v", layers, others)
	case p != q:
		return fmt.Errorf("they come from other models, templates, readings or versions: %+v and %+v", p, q)
	}
	for layer, rows := range a.Positive {
		if width, others := len(rows[0]), len(other.Positive[layer][0]); width != others {
			return fmt.Errorf("the activations of layer %d have %d and %d elements", layer, width, others)
		}
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
