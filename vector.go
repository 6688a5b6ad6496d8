package steer

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/vecfile"
)

// Vector is a steering vector: a direction per layer, or what another operator
// than an addition asks for, and where it came from.
type Vector struct {
	Site       lm.Site           // "": decoder_block
	Rank       int               // rows of each layer; 0 means 1
	Layers     map[int][]float32 // 0-based layer -> [rank, width]; negative layers count from the model's last
	Operator   string            // how the vector acts unless told, as ParseOperator reads it; "": add
	Condition  *When             // when the vector acts unless told; nil: always
	Provenance Provenance

	// Calibration says what strength 1 means. Nil: the vector has only multipliers.
	Calibration *Calibration

	// ActivationNorms is the mean length of the activations that the vector was
	// trained on, by layer: what its own length is to be compared with. Nil: unknown.
	ActivationNorms map[int]float64
}

// Provenance says what a vector was trained from. Empty fields are unknown.
type Provenance struct {
	Model       string // Hub id or folder name
	Family      string // the model's model_type
	ModelLayers int    // how many layers the model has
	WeightsHash string // lm.Model.Fingerprint
	DType       string // of the model's products, such as bf16 or q4_k:i16
	Steering    string // what the model was steered by, lm.Model.SteeringID
	PairsHash   string // of the samples, whatever their order
	Aggregator  string
	Read        string // what was read of the prompts, a Reading
	Rendering          // how the prompts were rendered
	Operations  string // what was done to the vector since it was trained
	Imported    string // how the file of another tool was read; "": it was not
	Version     string // of steer
}

// Calibration is a strength that was measured: at the multiplier, the 95th
// percentile of the per-token KL divergence of the steered from the unsteered model
// is the budget.
type Calibration struct {
	Multiplier float64 `json:"multiplier"`       // that strength 1 stands for
	Budget     float64 `json:"budget"`           // nats
	Operator   string  `json:"operator"`         // it holds for the vector acting so,
	Layers     []int   `json:"layers"`           // at these layers,
	Tokens     string  `json:"tokens,omitempty"` // on these tokens; "": all
	TextHash   string  `json:"text_hash"`        // of the neutral text
}

// layer returns the number under which the vector has a layer. A negative one
// counts from the last layer of the model that it was trained on.
func (v *Vector) layer(n int) (int, error) {
	if _, ok := v.Layers[n]; ok {
		return n, nil
	}
	other := n - v.Provenance.ModelLayers
	if n < 0 {
		other = n + v.Provenance.ModelLayers
	}
	if _, ok := v.Layers[other]; ok && v.Provenance.ModelLayers > 0 && (other < 0) != (n < 0) {
		return other, nil
	}
	if n < 0 && v.Provenance.ModelLayers == 0 {
		return 0, fmt.Errorf("the vector has no layer %d, and it does not say how many layers its model has", n)
	}
	return 0, fmt.Errorf("the vector has no layer %d; it has %v", n, v.ascending())
}

// ascending returns the numbers of the vector's layers.
func (v *Vector) ascending() []int { return slices.Sorted(maps.Keys(v.Layers)) }

// Norms returns the Euclidean length of each layer's direction, or of all its rows
// together.
func (v *Vector) Norms() map[int]float64 {
	norms := map[int]float64{}
	for layer, vector := range v.Layers {
		norms[layer] = linear.Norm(vector)
	}
	return norms
}

// fields pairs the metadata keys of a file with the texts of a vector.
func (v *Vector) fields() map[string]*string {
	p := &v.Provenance
	return map[string]*string{
		vecfile.LayerTypeKey: (*string)(&v.Site), vecfile.ModelKey: &p.Model, vecfile.FamilyKey: &p.Family, vecfile.WeightsHashKey: &p.WeightsHash, vecfile.DTypeKey: &p.DType,
		vecfile.SteeringKey: &p.Steering, vecfile.PairsHashKey: &p.PairsHash, vecfile.AggregatorKey: &p.Aggregator, vecfile.ReadTokenKey: &p.Read,
		vecfile.ChatTemplateKey:   &p.ChatTemplate,
		vecfile.SystemPositiveKey: &p.SystemPositive, vecfile.SystemNegativeKey: &p.SystemNegative, vecfile.OperationsKey: &p.Operations, vecfile.ImportedKey: &p.Imported, vecfile.OperatorKey: &v.Operator, vecfile.VersionKey: &p.Version,
	}
}

// Save writes the vector as a safetensors file, beside path and renamed.
func (v *Vector) Save(path string) error {
	f, err := v.File()
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return vecfile.Write(path, f)
}

func (v *Vector) metadata() (map[string]string, error) {
	metadata := map[string]string{}
	for key, field := range v.fields() {
		if *field != "" {
			metadata[key] = *field
		}
	}
	if n := v.Provenance.ModelLayers; n != 0 {
		metadata[vecfile.ModelLayersKey] = strconv.Itoa(n)
	}
	if v.Condition != nil {
		if _, err := v.Condition.Embed(v, nil); err != nil {
			return nil, fmt.Errorf("condition: %w", err)
		}
		condition, err := json.Marshal(v.Condition)
		if err != nil {
			return nil, fmt.Errorf("condition: %w", err)
		}
		metadata[vecfile.ConditionKey] = string(condition)
	}
	if v.Calibration != nil {
		calibration, err := json.Marshal(v.Calibration)
		if err != nil {
			return nil, fmt.Errorf("calibration: %w", err)
		}
		metadata[vecfile.CalibrationKey] = string(calibration)
	}
	if len(v.ActivationNorms) > 0 {
		norms, err := json.Marshal(v.ActivationNorms)
		if err != nil {
			return nil, fmt.Errorf("activation norms: %w", err)
		}
		metadata[vecfile.ActivationNormsKey] = string(norms)
	}
	return metadata, nil
}

// LoadVector reads a vector file of any format of [vecfile] that tells who wrote it.
func LoadVector(path string) (*Vector, error) {
	v, _, err := LoadVectorFrom(path, vecfile.Options{})
	return v, err
}

// LoadVectorFrom reads a vector file of any format, told what the file does not tell
// itself, and says how it was read.
func LoadVectorFrom(path string, opts vecfile.Options) (*Vector, vecfile.Origin, error) {
	f, origin, err := vecfile.ReadFrom(path, opts)
	if err != nil {
		return nil, origin, err
	}
	v := &Vector{Rank: f.Rank, Layers: f.Layers}
	if err := v.describe(f.Metadata); err != nil {
		return nil, origin, fmt.Errorf("read vector %s: %w", path, err)
	}
	return v, origin, nil
}

// File returns what a file of the vector holds, in whatever format.
func (v *Vector) File() (vecfile.File, error) {
	metadata, err := v.metadata()
	return vecfile.File{Rank: v.Rank, Layers: v.Layers, Metadata: metadata}, err
}

// describe takes over what a file's metadata say.
func (v *Vector) describe(metadata map[string]string) error {
	for key, field := range v.fields() {
		*field = metadata[key]
	}
	if _, err := v.operator(); err != nil {
		return err
	}
	if text := metadata[vecfile.ConditionKey]; text != "" {
		v.Condition = &When{}
		err := json.Unmarshal([]byte(text), v.Condition)
		if err == nil {
			err = v.Condition.Check()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", vecfile.ConditionKey, err)
		}
	}
	if text := metadata[vecfile.ModelLayersKey]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("%s is %q, not a number of layers", vecfile.ModelLayersKey, text)
		}
		v.Provenance.ModelLayers = n
	}
	if text := metadata[vecfile.CalibrationKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &v.Calibration); err != nil {
			return fmt.Errorf("%s: %w", vecfile.CalibrationKey, err)
		}
		if c := v.Calibration; c != nil && !(finite.Is(c.Multiplier) && c.Multiplier != 0 && finite.Is(c.Budget) && c.Budget > 0) {
			return fmt.Errorf("%s: a multiplier of %v for a budget of %v nats", vecfile.CalibrationKey, c.Multiplier, c.Budget)
		}
	}
	if text := metadata[vecfile.ActivationNormsKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &v.ActivationNorms); err != nil {
			return fmt.Errorf("%s: %w", vecfile.ActivationNormsKey, err)
		}
		for layer, norm := range v.ActivationNorms {
			if !finite.Is(norm) || norm < 0 {
				return fmt.Errorf("%s: layer %d has %v", vecfile.ActivationNormsKey, layer, norm)
			}
		}
	}
	return nil
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
