package seeded

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing/fstest"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Files returns the checkpoint of a golden's folder as a file system: its
// config.json, the weights of its tensors.json, and the tokenizer of the folder
// above, which all goldens share.
func Files(folder string) (fstest.MapFS, error) {
	fail := func(err error) (fstest.MapFS, error) { return nil, fmt.Errorf("golden %s: %w", folder, err) }
	files := fstest.MapFS{}
	for name, path := range map[string]string{
		"config.json":           filepath.Join(folder, "config.json"),
		"tokenizer.json":        filepath.Join(folder, "..", "tokenizer.json"),
		"tokenizer_config.json": filepath.Join(folder, "..", "tokenizer_config.json"),
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			return fail(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	weights, err := weights(filepath.Join(folder, "tensors.json"))
	if err != nil {
		return fail(err)
	}
	files["model.safetensors"] = &fstest.MapFile{Data: weights}
	return files, nil
}

// Write writes the checkpoint of a golden's folder into another folder.
func Write(folder, to string) error {
	files, err := Files(folder)
	if err != nil {
		return err
	}
	return os.CopyFS(to, files)
}

// weights makes the safetensors file that a tensors.json describes.
func weights(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var made struct {
		Seed    uint64
		Tensors []Tensor
	}
	if err := json.Unmarshal(data, &made); err != nil {
		return nil, err
	}
	header, data := map[string]any{}, []byte(nil)
	for _, t := range made.Tensors {
		from := len(data)
		data = append(data, tensor(t, made.Seed).Data...)
		header[t.Name] = map[string]any{"dtype": t.DType, "shape": t.Shape, "data_offsets": []int{from, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, data), nil
}

// tensor makes one tensor in the type that it is stored in.
func tensor(t Tensor, seed uint64) safetensors.Tensor {
	dtype := safetensors.DType(t.DType)
	return safetensors.Tensor{Name: t.Name, DType: dtype, Shape: t.Shape, Data: safetensors.AppendFloats(nil, dtype, t.Values(seed))}
}
