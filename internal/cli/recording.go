package cli

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/vecfile"
)

// The form of a recording, beside the keys that it has in common with a vector.
const (
	logitsTensor = "logits"
	promptsKey   = "prompts" // JSON: a list of recordedPrompt
	vectorsKey   = "vectors" // JSON: a list of applied
	dtypeKey     = "dtype"
)

// record computes the inputs together and writes each row of the file as it
// comes, so that memory does not grow with their number.
func (r *recorded) record(c *cobra.Command, m *lm.Model, inputs []lm.Input, logits bool) error {
	rows := r.Prompts[len(r.Prompts)-1].To
	var tensors []safetensors.TensorInfo
	forward := lm.ForwardOptions{}
	for _, layer := range r.Layers {
		if err := m.CheckSite(layer, r.LayerType); err != nil {
			return err
		}
		tensors = append(tensors, safetensors.TensorInfo{Name: r.tensor(layer), DType: safetensors.F32, Shape: []int{rows, m.Width(layer, r.LayerType)}})
		forward.Taps = append(forward.Taps, lm.Address{Layer: layer, Site: r.LayerType})
	}
	if len(tensors) == 0 {
		return m.CheckSite(0, r.LayerType)
	}
	if logits {
		tensors = append(tensors, safetensors.TensorInfo{Name: logitsTensor, DType: safetensors.F32, Shape: []int{rows, m.Decoder().Vocabulary}})
	}
	metadata, err := r.metadata(m)
	if err != nil {
		return err
	}
	file, err := safetensors.Create(r.Out, tensors, metadata)
	if err != nil {
		return err
	}
	defer file.Abort()
	var failed error
	var bytes []byte
	write := func(tensor string, input, position int, values []float32) {
		bytes = safetensors.AppendFloats(bytes[:0], safetensors.F32, values)
		row := r.Prompts[input].From + position
		if err := file.WriteAt(tensor, bytes, int64(row)*int64(len(bytes))); err != nil && failed == nil {
			failed = err
		}
	}
	forward.Activation = func(input, position int, at lm.Address, activation []float32) {
		write(r.tensor(at.Layer), input, position, activation)
	}
	if logits {
		forward.Logits = func(input, position int, values []float32) { write(logitsTensor, input, position, values) }
	}
	forward.Completed = func(int) error { return failed }
	progress := newBar(c.ErrOrStderr(), "recording")
	defer progress.finish()
	forward.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
	if _, err := m.Forward(c.Context(), inputs, forward); err != nil {
		return err
	}
	return file.Commit()
}

// tensor names the tensor of a layer.
func (r *recorded) tensor(layer int) string { return string(r.LayerType) + "." + strconv.Itoa(layer) }

// metadata says what the file is of.
func (r *recorded) metadata(m *lm.Model) (map[string]string, error) {
	prompts, err := json.Marshal(r.Prompts)
	if err != nil {
		return nil, fmt.Errorf("write the prompts: %w", err)
	}
	vectors, err := json.Marshal(r.Vectors)
	if err != nil {
		return nil, fmt.Errorf("write the vectors: %w", err)
	}
	return map[string]string{
		vecfile.LayerTypeKey: string(r.LayerType), vecfile.ModelKey: r.Model, vecfile.FamilyKey: m.Decoder().Family, vecfile.WeightsHashKey: r.WeightsHash,
		vecfile.VersionKey: steer.Version(), dtypeKey: r.DType, vectorsKey: string(vectors), promptsKey: string(prompts),
	}, nil
}
