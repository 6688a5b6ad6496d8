package steer

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/vecfile"
)

// Vector is a steering vector: a direction per layer, and where it came from.
type Vector struct {
	LayerType  lm.Site           // "": decoder_block
	Layers     map[int][]float32 // 0-based layer -> [width]; negative layers count from the model's last
	Provenance Provenance
}

// Provenance says what a vector was trained from. Empty fields are unknown.
type Provenance struct {
	Model        string // Hub id or folder name
	WeightsHash  string // lm.Model.Fingerprint
	PairsHash    string
	Aggregator   string
	ReadToken    string // the position that was read, or "custom"
	ChatTemplate string // the template that the prompts were rendered with
	Version      string // of steer
}

// EditOptions say how a vector acts. The zero value adds it, once, to every
// token at all of its layers.
type EditOptions struct {
	Multiplier *float64  // of the vector; nil: 1
	Operator   Operator  // nil: Add
	Tokens     lm.Tokens // nil: every token
	Layers     []int     // of the vector's layers, those that act; nil: all
}

// Edit makes of the vector an edit that a model accepts. What would silently do
// nothing or make no sense is an error: no layers, a layer that the vector
// lacks, a zero vector or a multiplier of 0 with an ablation, numbers that are
// not finite.
func (v *Vector) Edit(opts EditOptions) (lm.Edit, error) {
	multiplier := 1.0
	if opts.Multiplier != nil {
		multiplier = *opts.Multiplier
	}
	if math.IsNaN(multiplier) || math.IsInf(multiplier, 0) {
		return lm.Edit{}, fmt.Errorf("the multiplier is %v", multiplier)
	}
	if opts.Operator == nil {
		opts.Operator = Add()
	}
	ablates := opts.Operator != Add()
	if ablates && multiplier == 0 {
		return lm.Edit{}, errors.New("the multiplier is 0 with an ablation, which needs the vector's direction; leave the multiplier out")
	}
	layers := opts.Layers
	if layers == nil {
		for layer := range v.Layers {
			layers = append(layers, layer)
		}
	}
	if len(layers) == 0 {
		return lm.Edit{}, errors.New("the vector has no layers")
	}
	edit := lm.Edit{Site: v.LayerType, Layers: map[int][]float32{}, Operator: opts.Operator, Tokens: opts.Tokens}
	if edit.Site == "" {
		edit.Site = lm.DecoderBlock
	}
	for _, layer := range layers {
		vector, ok := v.Layers[layer]
		if !ok {
			return lm.Edit{}, fmt.Errorf("the vector has no layer %d", layer)
		}
		scaled, length := make([]float32, len(vector)), 0.0
		for i, x := range vector {
			scaled[i] = float32(multiplier) * x
			length += float64(x) * float64(x)
		}
		if math.IsNaN(length) || math.IsInf(length, 0) {
			return lm.Edit{}, fmt.Errorf("the vector of layer %d is not finite", layer)
		}
		if ablates && length == 0 {
			return lm.Edit{}, fmt.Errorf("the vector of layer %d is zero: it has no direction to ablate", layer)
		}
		edit.Layers[layer] = scaled
	}
	return edit, nil
}

// Norms returns the Euclidean length of each layer's direction.
func (v *Vector) Norms() map[int]float64 {
	norms := map[int]float64{}
	for layer, vector := range v.Layers {
		sum := 0.0
		for _, x := range vector {
			sum += float64(x) * float64(x)
		}
		norms[layer] = math.Sqrt(sum)
	}
	return norms
}

// fields pairs the metadata keys of a file with the parts of a vector.
func (v *Vector) fields() map[string]*string {
	p := &v.Provenance
	return map[string]*string{
		vecfile.LayerTypeKey: (*string)(&v.LayerType), vecfile.ModelKey: &p.Model, vecfile.WeightsHashKey: &p.WeightsHash,
		vecfile.PairsHashKey: &p.PairsHash, vecfile.AggregatorKey: &p.Aggregator, vecfile.ReadTokenKey: &p.ReadToken,
		vecfile.ChatTemplateKey: &p.ChatTemplate, vecfile.VersionKey: &p.Version,
	}
}

// Save writes the vector as a safetensors file, beside path and renamed.
func (v *Vector) Save(path string) error {
	return vecfile.Write(path, vecfile.File{Layers: v.Layers, Metadata: v.metadata()})
}

func (v *Vector) metadata() map[string]string {
	metadata := map[string]string{}
	for key, field := range v.fields() {
		if *field != "" {
			metadata[key] = *field
		}
	}
	return metadata
}

// LoadVector reads a vector file.
func LoadVector(path string) (*Vector, error) {
	f, err := vecfile.Read(path)
	if err != nil {
		return nil, err
	}
	v := &Vector{Layers: f.Layers}
	for key, field := range v.fields() {
		*field = f.Metadata[key]
	}
	return v, nil
}

// Version returns the version of steer that was built into the program.
func Version() string {
	const path = "github.com/steervec/steer"
	info, ok := debug.ReadBuildInfo()
	if ok && info.Main.Path != path {
		for _, dependency := range info.Deps {
			if dependency.Path == path {
				return dependency.Version
			}
		}
	}
	if ok && info.Main.Path == path && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
