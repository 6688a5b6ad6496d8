package vecfile

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// configKey is the metadata key under which steering-lite keeps how a vector was
// made and acts.
const configKey = "cfg"

// liteConfig is what of steering-lite's configuration changes what a vector does.
type liteConfig struct {
	Method    string   `json:"method"`
	Target    *string  `json:"target"`           // "residual" or nil: the output of the block
	Submodule *string  `json:"target_submodule"` // nil: the block itself
	Coeff     *float64 `json:"coeff"`            // what the vector is multiplied by as it is added
}

// The methods that are read. The first add coeff times v to the output of the block;
// the last ablates v, whose length is 1, and then adds coeff times v, where that is
// not 0. Others act by operators or weights of their own.
const (
	liteMean     = "mean_diff"
	litePCA      = "pca"
	liteAblation = "directional_ablation"
)

// parseLite reads a file of steering-lite: tensors layer<n>.v, older ones as they
// are, newer ones named layer<n>.shared.v.
func parseLite(file *safetensors.File) (*content, error) {
	var config liteConfig
	if err := json.Unmarshal([]byte(file.Metadata()[configKey]), &config); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", configKey, err)
	}
	switch {
	case config.Method != liteMean && config.Method != litePCA && config.Method != liteAblation:
		return nil, fmt.Errorf("method %q of steering-lite is not read: it neither adds a vector nor ablates it", config.Method)
	case config.Target != nil && *config.Target != "residual":
		return nil, fmt.Errorf("target %q of steering-lite is not read", *config.Target)
	case config.Submodule != nil:
		return nil, fmt.Errorf("the submodule %q of steering-lite is not read", *config.Submodule)
	}
	coeff := float32(1)
	if config.Coeff != nil {
		coeff = float32(*config.Coeff)
	}
	c := &content{format: SteeringLite, producer: "steering-lite", metadata: map[string]string{AggregatorKey: config.Method}}
	switch {
	case !finite.Is(coeff) || coeff == 0 && config.Method != liteAblation:
		return nil, fmt.Errorf("its coeff is %v", coeff)
	case coeff == 0:
		c.metadata[OperatorKey], coeff = "ablate", 1
	case config.Method == liteAblation:
		c.metadata[OperatorKey] = "ablate-then-add"
	}
	if coeff != 1 {
		c.notes = []string{fmt.Sprintf("multiplied by its coeff, %v", coeff)}
	}
	for _, name := range file.Names() {
		layer, of, _ := strings.Cut(name, ".")
		text, ok := strings.CutPrefix(layer, "layer")
		number, whole := wholeNumber(text)
		if !ok || !whole || strings.TrimPrefix(of, "shared.") != "v" {
			return nil, fmt.Errorf("tensor %q is not named layer<number>.v", name)
		}
		t, _ := file.Tensor(name)
		values, err := t.Float32s()
		if err == nil {
			for i := range values {
				values[i] *= coeff
			}
			err = c.add(number, t.Shape, values)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return c, nil
}
