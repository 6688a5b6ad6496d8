package steer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// trainState is what a training run has gathered so far.
type trainState struct {
	extraction   *extraction
	aggregator   Aggregator
	accumulators map[int]Accumulator // by layer
	done         []bool              // [samples]
}

func newTrainState(e *extraction, aggregator Aggregator) *trainState {
	s := &trainState{e, aggregator, map[int]Accumulator{}, make([]bool, len(e.samples))}
	for _, layer := range e.layers {
		s.accumulators[layer] = aggregator.New(e.model.Decoder().Width(layer, e.site))
	}
	return s
}

// vector asks the accumulators for their directions.
func (s *trainState) vector() (*Vector, error) {
	e := s.extraction
	v := &Vector{LayerType: e.site, Layers: map[int][]float32{}}
	v.Provenance = e.provenance()
	v.Provenance.Aggregator = s.aggregator.Name()
	for layer, a := range s.accumulators {
		direction, err := a.Direction()
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", layer, err)
		}
		v.Layers[layer] = direction
	}
	return v, nil
}

// readDescription says which position was read, for a vector's provenance.
func (e *extraction) readDescription() string {
	switch {
	case e.opts.ReadTokenOf != nil:
		return "custom"
	case e.opts.ReadToken != nil:
		return strconv.Itoa(*e.opts.ReadToken)
	}
	return "-1"
}

// identity is a hash of everything that a state must agree with to be continued:
// model, tokens, read positions, site, layers, aggregator.
func (s *trainState) identity() string {
	hash := sha256.New()
	e := s.extraction
	fmt.Fprintln(hash, e.model.Fingerprint(), e.model.Description(), e.model.SteeringID(), e.site, e.layers, s.aggregator.Name())
	for _, in := range e.inputs {
		fmt.Fprintln(hash, in.Tokens, in.Read)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

const (
	stateIdentity = "steer.train_state" // metadata key
	stateDone     = "done"              // tensor: one byte a sample, 1 where it is in the statistics
	stateLayer    = "layer."            // and the layer: the accumulator's own bytes
)

// save writes the state as a safetensors file of bytes.
func (s *trainState) save(path string) error {
	done := make([]byte, len(s.extraction.samples))
	for sample, is := range s.done {
		if is {
			done[sample] = 1
		}
	}
	tensors := []safetensors.Tensor{bytesTensor(stateDone, done)}
	for _, layer := range s.extraction.layers {
		data, err := s.accumulators[layer].MarshalBinary()
		if err != nil {
			return fmt.Errorf("keep the state of layer %d: %w", layer, err)
		}
		tensors = append(tensors, bytesTensor(stateLayer+strconv.Itoa(layer), data))
	}
	return safetensors.Write(path, tensors, map[string]string{stateIdentity: s.identity()})
}

func bytesTensor(name string, data []byte) safetensors.Tensor {
	return safetensors.Tensor{Name: name, DType: safetensors.U8, Shape: []int{len(data)}, Data: data}
}

// load continues from the file at path; a file that is not there is a beginning.
func (s *trainState) load(path string) error {
	f, err := safetensors.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Metadata()[stateIdentity] != s.identity() {
		return fmt.Errorf("%s is the state of another run: the model, the pairs or the options differ; remove it to begin anew", path)
	}
	done, ok := f.Tensor(stateDone)
	if !ok || len(done.Data) != len(s.extraction.samples) {
		return fmt.Errorf("%s: tensor %q is missing or of the wrong length", path, stateDone)
	}
	for sample, flag := range done.Data {
		if flag != 0 {
			s.done[sample] = true
		}
	}
	for layer, a := range s.accumulators {
		t, ok := f.Tensor(stateLayer + strconv.Itoa(layer))
		if !ok {
			return fmt.Errorf("%s: the state of layer %d is missing", path, layer)
		}
		if err := a.UnmarshalBinary(t.Data); err != nil {
			return fmt.Errorf("%s: layer %d: %w", path, layer, err)
		}
	}
	return nil
}
