package safetensors

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Write writes the tensors in the order given. The file is written beside path
// and renamed, so that path never holds half a file; equal arguments give equal
// bytes.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	header, err := header(tensors, metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once the file is renamed
	w := bufio.NewWriterSize(file, 1<<20)
	w.Write(header)
	for _, t := range tensors {
		w.Write(t.Data)
	}
	err = w.Flush() // also returns what a Write above met
	if err == nil {
		err = file.Chmod(0o644)
	}
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// header returns the length and the JSON that begin a file, padded so that the
// data is aligned to 8 bytes.
func header(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	out := []byte{0, 0, 0, 0, 0, 0, 0, 0, '{'}
	if len(metadata) > 0 {
		text, err := json.Marshal(metadata) // sorts the keys
		if err != nil {
			return nil, err
		}
		out = append(append(out, `"__metadata__":`...), text...)
	}
	seen := map[string]bool{"__metadata__": true}
	at := 0
	for _, t := range tensors {
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q comes twice", t.Name)
		}
		seen[t.Name] = true
		if t.Len()*t.DType.Size() != len(t.Data) {
			return nil, fmt.Errorf("tensor %q: shape %v of %s needs %d bytes; %d are given", t.Name, t.Shape, t.DType, t.Len()*t.DType.Size(), len(t.Data))
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		entry, err := json.Marshal(map[string]any{"dtype": t.DType, "shape": shape, "data_offsets": []int{at, at + len(t.Data)}})
		if err != nil {
			return nil, err
		}
		if out[len(out)-1] != '{' {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), entry...)
		at += len(t.Data)
	}
	out = append(out, '}')
	for len(out)%8 != 0 {
		out = append(out, ' ')
	}
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return out, nil
}
