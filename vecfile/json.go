package vecfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// The keys of JSON files. A .svec file of activation-steering has the first three.
const (
	directionsKey = "directions"
	varianceKey   = "explained_variances" // also the key of metadata under which they are kept
	modelTypeKey  = "model_type"
	oursKey       = "steer" // our metadata
	layersKey     = "layers"
)

func parseJSON(_ string, data []byte) (*content, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimPrefix(data, byteOrderMark), &keys); err != nil {
		return nil, err
	}
	c := &content{format: JSON, may: []string{"blocks", "hidden-states"}}
	if text, ok := keys[oursKey]; ok {
		var err error
		if c.metadata, err = embedded(text); err != nil {
			return nil, err
		}
		c.producer = steerProducer
		delete(keys, oursKey)
	}
	rows := keys
	switch {
	case keys[directionsKey] != nil:
		c.format = SVEC
		return c, c.addSVEC(keys)
	case keys[layersKey] != nil:
		if len(keys) > 1 {
			return nil, fmt.Errorf("it has the keys %q; known are %q and %q", slices.Sorted(maps.Keys(keys)), layersKey, oursKey)
		}
		rows = nil
		if err := json.Unmarshal(keys[layersKey], &rows); err != nil {
			return nil, fmt.Errorf("%s: %w", layersKey, err)
		}
	}
	return c, c.addJSON(rows)
}

// addJSON adds lists of numbers, or of lists of numbers, by their layers.
func (c *content) addJSON(rows map[string]json.RawMessage) error {
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		number, ok := numberIn(key)
		if !ok {
			return fmt.Errorf("key %.80q is not a layer", key)
		}
		var flat []float32
		var nested [][]float32
		err := json.Unmarshal(rows[key], &flat)
		if err == nil {
			err = c.add(number, []int{len(flat)}, flat)
		} else if json.Unmarshal(rows[key], &nested) == nil && len(nested) > 0 {
			for _, row := range nested {
				if len(row) != len(nested[0]) {
					return fmt.Errorf("layer %d: its rows have %d and %d elements", number, len(nested[0]), len(row))
				}
			}
			err = c.add(number, []int{len(nested), len(nested[0])}, slices.Concat(nested...))
		}
		if err != nil {
			return fmt.Errorf("layer %d: %w", number, err)
		}
	}
	return nil
}

func (c *content) addSVEC(keys map[string]json.RawMessage) error {
	var rows map[string]json.RawMessage
	if err := json.Unmarshal(keys[directionsKey], &rows); err != nil {
		return fmt.Errorf("%s: %w", directionsKey, err)
	}
	if err := c.addJSON(rows); err != nil {
		return err
	}
	for key := range keys {
		if key != directionsKey && key != varianceKey && key != modelTypeKey {
			return fmt.Errorf("key %.80q is not known: it may change what the directions mean", key)
		}
	}
	if c.ours() {
		return nil
	}
	c.producer, c.metadata = "ibm", map[string]string{}
	if text := keys[varianceKey]; text != nil {
		c.metadata[varianceKey] = string(text)
	}
	if text := keys[modelTypeKey]; text != nil {
		var family string
		if err := json.Unmarshal(text, &family); err != nil {
			return fmt.Errorf("%s: %w", modelTypeKey, err)
		}
		c.metadata[FamilyKey] = family
	}
	return nil
}

// encodeSVEC writes what activation-steering loads: it passes over our metadata.
func encodeSVEC(f File) ([]byte, error) {
	variances := json.RawMessage("{}")
	if text := f.Metadata[varianceKey]; json.Valid([]byte(text)) {
		variances = json.RawMessage(text)
	}
	return object(
		member{modelTypeKey, f.Metadata[FamilyKey]}, member{directionsKey, orderedLayers(f)},
		member{varianceKey, variances}, member{oursKey, f.Metadata},
	)
}

// encodeJSON writes layers and our metadata.
func encodeJSON(f File) ([]byte, error) {
	return object(member{oursKey, f.Metadata}, member{layersKey, orderedLayers(f)})
}

// member is a key of a JSON object and its value.
type member struct {
	key   string
	value any
}

// object writes an object whose members keep their order.
func object(members ...member) ([]byte, error) {
	out := []byte("{")
	for i, m := range members {
		if i > 0 {
			out = append(out, ",\n"...)
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ": "...), value...)
	}
	return append(out, "}\n"...), nil
}

// orderedLayers writes the layers in order, with the fewest digits that give the
// same float32 again.
type orderedLayers File

func (l orderedLayers) MarshalJSON() ([]byte, error) {
	f := File(l)
	var members []member
	for _, layer := range f.ascending() {
		values := any(f.Layers[layer])
		if shape := f.shape(layer); len(shape) == 2 {
			values = slices.Collect(slices.Chunk(f.Layers[layer], shape[1]))
		}
		members = append(members, member{fmt.Sprint(layer), values})
	}
	return object(members...)
}
