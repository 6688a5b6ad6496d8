// Package vecfile reads and writes steering vectors on disk.
//
// The native format is safetensors: tensors layer.<n>, float32 [width], or
// [rank, width] where a layer has several rows, with n the 0-based layer, and the
// provenance in the metadata.
package vecfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// File is what a vector file holds.
type File struct {
	Rank     int               // rows of each layer; 0 means 1
	Layers   map[int][]float32 // layer -> [rank, width], row after row; negative layers count from a model's last
	Metadata map[string]string // the keys below, and whatever else a file has
}

// The metadata keys of the native format.
const (
	FormatKey          = "steer.format" // the version of the format
	LayerTypeKey       = "layer_type"
	ModelKey           = "model"
	FamilyKey          = "model_type"
	ModelLayersKey     = "model_layers" // how many layers the model has
	WeightsHashKey     = "weights_hash"
	SteeringKey        = "steering" // of the model while the vector was trained
	PairsHashKey       = "pairs_hash"
	AggregatorKey      = "aggregator"
	ReadTokenKey       = "read_token"
	ChatTemplateKey    = "chat_template"
	OperationsKey      = "operations"       // what was done to the vector since it was trained
	ActivationNormsKey = "activation_norms" // JSON object: layer -> mean length of an activation
	OperatorKey        = "operator"         // how the vector is to act unless told
	CalibrationKey     = "calibration"      // JSON object: what strength 1 means
	VersionKey         = "steer.version"
)

// The versions of the format. A file has the lowest that can say what it holds, so
// that a reader that knows no other way to act refuses it.
const (
	plain  = 1 // one direction for each layer, to be added
	format = 2 // several rows for each layer, or an operator: the newest
)

// version returns the version of the format that holds a file.
func (f File) version() int {
	if f.Rank > 1 || f.Metadata[OperatorKey] != "" {
		return format
	}
	return plain
}

const prefix = "layer."

const (
	// maxLayer bounds layers: no model has as many blocks.
	maxLayer = 4096
	// maxHeader bounds what is read before the layers are counted, in bytes: some
	// 80 a layer, and the metadata.
	maxHeader = 4 << 20
)

// Write writes the file as [safetensors.Write] does. Equal vectors give equal
// bytes. Errors name what cannot be written.
func Write(path string, f File) error {
	if len(f.Layers) == 0 {
		return fmt.Errorf("write %s: the vector has no layers", path)
	}
	metadata := maps.Clone(f.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[FormatKey] = strconv.Itoa(f.version())
	rank := max(f.Rank, 1)
	if text, err := json.Marshal(metadata); err != nil || len(text) > maxHeader/2 { // the layers take less than the other half
		return fmt.Errorf("write %s: the metadata takes %d bytes; at most %d are allowed", path, len(text), maxHeader/2)
	}
	var tensors []safetensors.Tensor
	for _, layer := range slices.Sorted(maps.Keys(f.Layers)) {
		vector := f.Layers[layer]
		err := checkLayer(layer)
		if err == nil {
			err = check(vector)
		}
		if err == nil && len(vector)%rank != 0 {
			err = fmt.Errorf("its %d elements are not %d rows", len(vector), rank)
		}
		if err != nil {
			return fmt.Errorf("write %s: layer %d: %w", path, layer, err)
		}
		shape := []int{rank, len(vector) / rank}
		if rank == 1 {
			shape = shape[1:]
		}
		tensors = append(tensors, safetensors.New(prefix+strconv.Itoa(layer), shape, vector))
	}
	return safetensors.Write(path, tensors, metadata)
}

// Read reads a vector file. Errors name the file and the tensor or key that is
// wrong.
func Read(path string) (File, error) {
	file, err := safetensors.OpenLimited(path, maxHeader)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	f, err := parse(file)
	if err != nil {
		return File{}, fmt.Errorf("read vector %s: %w", path, err)
	}
	return f, nil
}

func parse(file *safetensors.File) (File, error) {
	metadata := file.Metadata()
	version, err := strconv.Atoi(metadata[FormatKey])
	switch {
	case metadata[FormatKey] == "":
		return File{}, fmt.Errorf("the metadata has no %s: this is not a steering vector", FormatKey)
	case err != nil || version < 1:
		return File{}, fmt.Errorf("%s is %q, not a version number", FormatKey, metadata[FormatKey])
	case version > format:
		return File{}, fmt.Errorf("the file has format %d; this version of steer reads up to %d", version, format)
	}
	f := File{Layers: map[int][]float32{}, Metadata: metadata}
	var shape []int
	for _, name := range file.Names() {
		number, ok := strings.CutPrefix(name, prefix)
		layer, err := strconv.Atoi(number)
		if !ok || err != nil || strconv.Itoa(layer) != number {
			return File{}, fmt.Errorf("tensor %q is not named %s<number>", name, prefix)
		}
		if err := checkLayer(layer); err != nil {
			return File{}, fmt.Errorf("tensor %q: %w", name, err)
		}
		t, _ := file.Tensor(name)
		if rows := len(t.Shape) == 2 && t.Shape[0] > 1 && version > plain; t.DType != safetensors.F32 || len(t.Shape) != 1 && !rows {
			return File{}, fmt.Errorf("tensor %q is %s %v, neither F32 with one dimension nor several rows in a file of format %d", name, t.DType, t.Shape, format)
		}
		vector, err := t.Float32s()
		if err == nil {
			err = check(vector)
		}
		if err != nil {
			return File{}, fmt.Errorf("tensor %q: %w", name, err)
		}
		if shape == nil {
			shape = t.Shape
		}
		if !slices.Equal(t.Shape, shape) {
			return File{}, fmt.Errorf("tensor %q is %v where others are %v", name, t.Shape, shape)
		}
		f.Layers[layer] = vector
	}
	if len(f.Layers) == 0 {
		return File{}, errors.New("the file has no layers")
	}
	if len(shape) == 2 {
		f.Rank = shape[0]
	}
	return f, nil
}

func checkLayer(layer int) error {
	if layer < -maxLayer || layer >= maxLayer {
		return fmt.Errorf("the layer is not from %d to %d", -maxLayer, maxLayer-1)
	}
	return nil
}

func check(vector []float32) error {
	if len(vector) == 0 {
		return errors.New("the vector is empty")
	}
	return finite.Check(vector)
}
