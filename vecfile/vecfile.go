// Package vecfile reads and writes steering vectors on disk: in its own format, and
// in those of other tools.
//
// The native format is safetensors: tensors layer.<n>, float32 [width] or [rank,
// width], with n the 0-based layer, and the provenance in the metadata. What
// another tool writes is read by what its file holds, never by its name, and the
// numbers in it become layers as the producer counts them, see [Producers]: where
// the file does not tell who wrote it, [ReadFrom] has to be told.
package vecfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/steervec/steer/internal/finite"
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
	DTypeKey           = "dtype"    // of the model's products while the vector was trained
	SteeringKey        = "steering" // of the model while the vector was trained
	PairsHashKey       = "pairs_hash"
	AggregatorKey      = "aggregator"
	ReadTokenKey       = "read_token"
	ChatTemplateKey    = "chat_template"
	SystemPositiveKey  = "system_positive" // the system messages of the conversations
	SystemNegativeKey  = "system_negative"
	OperationsKey      = "operations"       // what was done to the vector since it was trained
	ActivationNormsKey = "activation_norms" // JSON object: layer -> mean length of an activation
	OperatorKey        = "operator"         // how the vector is to act unless told
	ConditionKey       = "condition"        // JSON object: when it is to act unless told
	TokensKey          = "tokens"           // where it is to act unless told
	CalibrationKey     = "calibration"      // JSON object: what strength 1 means
	ImportedKey        = "imported"         // how a file of another tool was read
	VersionKey         = "steer.version"
)

// The versions of the format. A file has the lowest that can say what it holds, so
// that a reader that knows no other way to act refuses it.
const (
	plain  = 1 // one direction for each layer, to be added
	newest = 2 // several rows for each layer, an operator or a condition
)

// version returns the version of the format that holds a file.
func (f File) version() int {
	if f.Rank > 1 || f.Metadata[OperatorKey] != "" || f.Metadata[ConditionKey] != "" {
		return newest
	}
	return plain
}

const (
	// maxLayer bounds layers: no model has as many blocks.
	maxLayer = 4096
	// maxHeader bounds what is read before the layers are counted, in bytes: some
	// 80 a layer, and the metadata.
	maxHeader = 4 << 20
)

// Read reads a vector file of any format that tells its producer. Errors name the
// file and what in it is wrong.
func Read(path string) (File, error) {
	f, _, err := ReadFrom(path, Options{})
	return f, err
}

// ReadFrom reads a vector file of any format, told what the file does not tell
// itself, and says how it was read.
func ReadFrom(path string, opts Options) (File, Origin, error) {
	c, err := open(path)
	if err != nil {
		return File{}, Origin{}, err
	}
	f, origin, err := c.translate(opts)
	if err != nil {
		return File{}, Origin{}, fmt.Errorf("read vector %s: %w", path, err)
	}
	return f, origin, nil
}

// Write writes a native file. Equal vectors give equal bytes. Path never holds half
// a file: see [github.com/steervec/steer/internal/output]. Errors name what cannot
// be written.
func Write(path string, f File) error {
	_, err := WriteAs(path, f, Native, false)
	return err
}

// WriteAs writes a file in a format. What the format cannot hold is an error; where
// lossy is true it is left out, and told.
func WriteAs(path string, f File, as Format, lossy bool) (lost []string, err error) {
	to, err := known(as)
	if err == nil && to.write == nil {
		err = fmt.Errorf("files of format %s are read, not written", as)
	}
	if err == nil {
		err = f.check()
	}
	if err == nil {
		f, lost, err = f.fit(to, lossy)
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return lost, to.write(path, f)
}

// check refuses what no format holds.
func (f File) check() error {
	if len(f.Layers) == 0 {
		return errors.New("the vector has no layers")
	}
	rank, width := max(f.Rank, 1), -1
	for _, layer := range f.ascending() {
		values := f.Layers[layer]
		err := checkLayer(layer)
		if err == nil {
			err = check(values)
		}
		if err != nil {
			return fmt.Errorf("layer %d: %w", layer, err)
		}
		if len(values)%rank != 0 {
			return fmt.Errorf("layer %d: its %d elements are not %d rows", layer, len(values), rank)
		}
		if width < 0 {
			width = len(values)
		}
		if len(values) != width {
			return fmt.Errorf("layer %d has %d elements where others have %d", layer, len(values)/rank, width/rank)
		}
	}
	return nil
}

// ascending returns the layers in order.
func (f File) ascending() []int { return slices.Sorted(maps.Keys(f.Layers)) }

// shape is that of a layer's tensor: [width] or [rank, width].
func (f File) shape(layer int) []int {
	if f.Rank <= 1 {
		return []int{len(f.Layers[layer])}
	}
	return []int{f.Rank, len(f.Layers[layer]) / f.Rank}
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
