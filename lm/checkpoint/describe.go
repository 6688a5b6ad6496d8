package checkpoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// TensorInfo says what a header says of a tensor.
type TensorInfo struct {
	Name  string
	Type  string // in which its elements are stored, such as "BF16" or "Q4_K"
	Shape []int
	Bytes int64 // that are stored
}

// Len returns the number of elements, the product of Shape.
func (t TensorInfo) Len() int {
	n := 1
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// Tensors returns what the headers say of the tensors that are stored, sorted by
// their names, which are those of [Checkpoint.Names] without aliases. No tensor
// is read, and no blocks are expanded.
func (c *Checkpoint) Tensors() []TensorInfo { return c.store.infos() }

// Parameters returns the number of elements that are stored, as the headers say:
// also of tensors that a model makes no use of.
func (c *Checkpoint) Parameters() int {
	n := 0
	for _, t := range c.Tensors() {
		n += t.Len()
	}
	return n
}

// GGUF returns the GGUF file that the checkpoint is read from, for its metadata
// and its tensors as they are stored; nil where it is read from safetensors files.
func (c *Checkpoint) GGUF() *gguf.File {
	if s, ok := c.store.(ggufStore); ok {
		return s.file
	}
	return nil
}

// WeightFile is one of the files that hold the weights.
type WeightFile struct {
	Name string
	Size int64 // bytes
	// SHA256 is the hash that the Hub gives for the file and that its download
	// was held to, in hexadecimal; "" for a file that is not in the cache.
	SHA256 string
}

// WeightFiles returns the files of the weights in the order of their names.
func (c *Checkpoint) WeightFiles() []WeightFile { return slices.Clone(c.weightFiles) }

// list records the files that hold the weights.
func (c *Checkpoint) list(fsys fs.FS, names []string) error {
	for _, name := range names {
		info, err := fs.Stat(fsys, name)
		if err != nil {
			return err
		}
		c.weightFiles = append(c.weightFiles, WeightFile{name, info.Size(), c.hubSHA256(name)})
	}
	return nil
}

// hubSHA256 reads the hash off the blob in the cache that a file's link leads to:
// files in large file storage lie under their hash there.
func (c *Checkpoint) hubSHA256(name string) string {
	if c.dir == "" {
		return ""
	}
	blob, err := os.Readlink(filepath.Join(c.dir, name))
	folder, etag := filepath.Split(blob)
	if err != nil || filepath.Base(folder) != "blobs" || !isSHA256(etag) {
		return ""
	}
	return etag
}

// isSHA256 reports whether s is a hash in hexadecimal.
func isSHA256(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }
