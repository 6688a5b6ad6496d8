package vecfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

const prefix = "layer."

func parseSafetensors(name string, data []byte) (*content, error) {
	file, err := safetensors.Parse(name, data)
	if err != nil {
		return nil, err
	}
	return ofTensors(file)
}

// ofTensors reads a safetensors file, ours or steering-lite's.
func ofTensors(file *safetensors.File) (*content, error) {
	c, err := parseNative(file)
	if file.Metadata()[configKey] != "" && file.Metadata()[FormatKey] == "" {
		c, err = parseLite(file)
	}
	return c, err
}

func parseNative(file *safetensors.File) (*content, error) {
	c := &content{format: Native, producer: steerProducer, metadata: file.Metadata()}
	if c.metadata[FormatKey] == "" {
		return nil, fmt.Errorf("the metadata has no %s: this is not a steering vector", FormatKey)
	}
	if err := checkVersion(c.metadata); err != nil {
		return nil, err
	}
	for _, name := range file.Names() {
		number, ok := strings.CutPrefix(name, prefix)
		layer, whole := wholeNumber(number)
		if !ok || !whole {
			return nil, fmt.Errorf("tensor %q is not named %s<number>", name, prefix)
		}
		t, _ := file.Tensor(name)
		rows := len(t.Shape) == 2 && t.Shape[0] > 1 && c.metadata[FormatKey] != strconv.Itoa(plain)
		if t.DType != safetensors.F32 || len(t.Shape) != 1 && !rows {
			return nil, fmt.Errorf("tensor %q is %s %v, neither F32 with one dimension nor several rows in a file of format %d", name, t.DType, t.Shape, newest)
		}
		values, err := t.Float32s()
		if err == nil {
			err = c.add(layer, t.Shape, values)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return c, nil
}

func writeNative(path string, f File) error {
	var tensors []safetensors.Tensor
	for _, layer := range f.ascending() {
		tensors = append(tensors, safetensors.New(prefix+strconv.Itoa(layer), f.shape(layer), f.Layers[layer]))
	}
	return safetensors.Write(path, tensors, f.Metadata)
}
