package vecfile

import (
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/steervec/steer/vecfile/internal/torch"
)

// metadataRecord is the name of the record that holds our metadata beside the
// tensors. torch.load passes over it.
const metadataRecord = "steer.json"

// Names by which tools tell what a bare tensor is.
var (
	caaName     = regexp.MustCompile(`^vec_layer_(\d{1,4})_.*\.pt$`)
	personaName = regexp.MustCompile(`_(prompt_avg|response_avg|prompt_last)_diff\.pt$`)
)

const referenceClass = "steering_vectors.steering_vector.SteeringVector"

func parseTorch(name string, data []byte) (*content, error) {
	value, record, err := torch.Load(data, metadataRecord)
	if err != nil {
		return nil, err
	}
	c := &content{format: PyTorch, may: []string{"blocks", "hidden-states"}}
	if record != nil {
		c.producer = steerProducer
		if c.metadata, err = embedded(record); err != nil {
			return nil, err
		}
	}
	budget := maxElements
	switch v := value.(type) {
	case *torch.Tensor:
		return c, c.addTensor(filepath.Base(name), v, &budget)
	case *torch.Dict:
		return c, c.addDict(v, &budget)
	case *torch.Object:
		return c, c.addReference(v, &budget)
	}
	return nil, fmt.Errorf("it holds %s, not a tensor, a dictionary of tensors or a SteeringVector", torch.Describe(value))
}

// maxElements bounds the numbers of a vector. Tensors may share storages, so that
// a small file could be read as a vector of any size.
const maxElements = maxFile / 4

func floats(t *torch.Tensor, budget *int) ([]float32, error) {
	if *budget -= t.Len(); *budget < 0 {
		return nil, fmt.Errorf("the tensors have more than %d elements", maxElements)
	}
	return t.Float32s()
}

// addTensor adds a bare tensor, which CAA and persona_vectors explain by the
// file's name.
func (c *content) addTensor(name string, t *torch.Tensor, budget *int) error {
	values, err := floats(t, budget)
	if err != nil {
		return err
	}
	if err := c.addRows(t.Shape, values); err != nil {
		return err
	}
	if parts := caaName.FindStringSubmatch(name); parts != nil && c.lone {
		layer, ok := wholeNumber(parts[1])
		if !ok {
			return fmt.Errorf("%q in its name is no layer", parts[1])
		}
		c.producer, c.lone = "caa", false
		c.rows = map[int][]float32{layer: c.rows[0]}
		c.notes = append(c.notes, "the layer is that of the file's name")
	}
	if personaName.MatchString(name) && !c.lone {
		c.producer = "persona-vectors"
	}
	return nil
}

// addDict adds a dictionary from layers to tensors.
func (c *content) addDict(dict *torch.Dict, budget *int) error {
	for i, key := range dict.Keys {
		number, ok := 0, false
		switch k := key.(type) {
		case int64:
			number, ok = int(k), k == int64(int(k))
		case string:
			number, ok = numberIn(k)
		}
		if !ok {
			return fmt.Errorf("key %.80q of the dictionary is not a layer", fmt.Sprint(key))
		}
		t, ok := dict.Values[i].(*torch.Tensor)
		if !ok {
			return fmt.Errorf("layer %d is %s, not a tensor", number, torch.Describe(dict.Values[i]))
		}
		values, err := floats(t, budget)
		if err == nil {
			shape := t.Shape
			if !c.ours() && len(shape) == 2 && shape[0] == 1 {
				shape = shape[1:]
			}
			err = c.add(number, shape, values)
		}
		if err != nil {
			return fmt.Errorf("layer %d: %w", number, err)
		}
	}
	return nil
}

// addReference adds a SteeringVector of the library steering-vectors.
func (c *content) addReference(object *torch.Object, budget *int) error {
	if object.Class != referenceClass {
		return fmt.Errorf("it holds a %s", object.Class)
	}
	activations, _ := object.Attributes.Get("layer_activations")
	dict, ok := activations.(*torch.Dict)
	if !ok {
		return fmt.Errorf("its layer_activations are %s", torch.Describe(activations))
	}
	c.producer = "steering-vectors"
	kind, _ := object.Attributes.Get("layer_type")
	site, ok := kind.(string)
	if !ok {
		return fmt.Errorf("its layer_type is %s", torch.Describe(kind))
	}
	c.metadata = map[string]string{LayerTypeKey: site}
	return c.addDict(dict, budget)
}

// encodeTorch writes a dictionary from layers to tensors, as torch.load reads it
// with weights_only.
func encodeTorch(f File) ([]byte, error) {
	metadata, err := embed(f.Metadata)
	if err != nil {
		return nil, err
	}
	var layers []torch.Layer
	for _, layer := range f.ascending() {
		layers = append(layers, torch.Layer{Number: layer, Shape: f.shape(layer), Values: f.Layers[layer]})
	}
	return torch.Save(layers, metadataRecord, metadata)
}
