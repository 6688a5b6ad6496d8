// Package translate reads a GGUF file as the Hugging Face checkpoint that it was
// made from: metadata becomes config.json and tokenizer.json, and each tensor
// gets its old name, its old order of rows and plain numbers. What reads
// checkpoints need not know that there are two formats.
//
// Converters to GGUF rename, reorder, fuse, stack and shift tensors; the tables
// in architectures.go say for each architecture what was done, and tensors.go
// undoes it.
package translate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Checkpoint is a GGUF file in the terms of a Hugging Face checkpoint. Any
// number of goroutines may use it. The file must stay open meanwhile.
type Checkpoint struct {
	file    *gguf.File
	expand  safetensors.DType
	files   map[string][]byte
	tensors map[string]source

	mutex sync.Mutex
	made  map[string]safetensors.Tensor // whose data is ours
}

// New translates an open file. Blocks of few bits are expanded to numbers of
// type expand, BF16 or F32. The error names the metadata's key or the tensor
// that is wrong.
func New(file *gguf.File, expand safetensors.DType) (*Checkpoint, error) {
	if expand != safetensors.BF16 && expand != safetensors.F32 {
		return nil, fmt.Errorf("blocks can be expanded to BF16 or F32, not to %s", expand)
	}
	t := &translation{file: file, config: map[string]any{}, sources: map[string]source{}, halves: map[string][2]gguf.Tensor{}}
	if err := t.run(); err != nil {
		return nil, err
	}
	return t.checkpoint(expand)
}

// checkpoint is what was found.
func (t *translation) checkpoint(expand safetensors.DType) (*Checkpoint, error) {
	c := &Checkpoint{file: t.file, expand: expand, tensors: t.sources, made: map[string]safetensors.Tensor{}}
	config, err := json.Marshal(t.config)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	c.files = map[string][]byte{"config.json": config}
	return c, t.tokenizer(c.files)
}

// Outline is a file of any architecture as far as its metadata tells: config.json has
// the architecture as model_type, hidden_size, num_hidden_layers, vocab_size and
// max_position_embeddings, and there are no tensors. The error names the metadata's
// key that is wrong.
func Outline(file *gguf.File) (*Checkpoint, error) {
	t := &translation{file: file, config: map[string]any{}}
	t.name, _ = file.Value("general.architecture").(string)
	if t.name == "" {
		return nil, errors.New("general.architecture is missing")
	}
	t.config["model_type"] = t.name
	for key, field := range map[string]string{"embedding_length": "hidden_size", "block_count": "num_hidden_layers", "context_length": "max_position_embeddings"} {
		t.config[field] = t.size(key)
	}
	t.vocabulary()
	if t.err != nil {
		return nil, t.err
	}
	return t.checkpoint(safetensors.BF16)
}

// Files returns what stands for the files of the checkpoint's folder:
// config.json and, where the metadata holds a vocabulary, tokenizer.json and
// tokenizer_config.json. They must not be changed.
func (c *Checkpoint) Files() map[string][]byte { return maps.Clone(c.files) }

// Names returns the tensors' names, sorted.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.tensors)) }

// Tensor returns the tensor of a name, and whether there is one. Tensors that
// differ from what is stored are made at the first call and kept until
// [Checkpoint.Release].
func (c *Checkpoint) Tensor(name string) (safetensors.Tensor, bool) {
	s, ok := c.tensors[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if t, ok := c.made[name]; ok {
		return t, true
	}
	t := safetensors.Tensor{Name: name, DType: s.dtype(c.expand), Shape: s.shape}
	if t.Data = s.stored(); t.Data == nil {
		t.Data = s.make(t.DType)
		c.file.Release(s.tensor.Data)
		c.made[name] = t
	}
	return t, true
}

// Blocks returns a matrix that is stored in blocks as its rows lie in the file, and
// whether the tensor of that name is one.
func (c *Checkpoint) Blocks(name string) (gguf.Rows, bool) {
	s, ok := c.tensors[name]
	if !ok {
		return gguf.Rows{}, false
	}
	rows, ok := s.blocks()
	rows.Release = c.file.Release
	return rows, ok
}

// StoredAs returns the type and the shape of a tensor as it is stored, without
// making anything of it. The shape is that of [Checkpoint.Tensor]; a part of a
// stored tensor counts as a tensor.
func (c *Checkpoint) StoredAs(name string) (gguf.Type, []int) {
	s := c.tensors[name]
	return s.tensor.Type, s.shape
}

// Release says that a part of a tensor's memory is not needed any more. What was
// made goes when nobody uses it; asking for the tensor makes it again.
func (c *Checkpoint) Release(t safetensors.Tensor) {
	if s, ok := c.tensors[t.Name]; ok && s.stored() != nil {
		c.file.Release(t.Data)
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.made, t.Name)
}

// Stored says what types the matrices are stored in, the most common first: "Q4_K
// and Q6_K".
func (c *Checkpoint) Stored() string {
	elements := map[gguf.Type]int{}
	for _, name := range c.file.Names() {
		if t, _ := c.file.Tensor(name); len(t.Shape) > 1 {
			elements[t.Type] += t.Len()
		}
	}
	types := slices.SortedFunc(maps.Keys(elements), func(a, b gguf.Type) int {
		return cmp.Or(cmp.Compare(elements[b], elements[a]), cmp.Compare(a, b))
	})
	var names []string
	for _, t := range types {
		names = append(names, t.String())
	}
	return strings.Join(names, " and ")
}

// translation is the work of New.
type translation struct {
	file    *gguf.File
	name    string // general.architecture
	arch    architecture
	config  map[string]any
	sources map[string]source
	halves  map[string][2]gguf.Tensor // of a tensor that two make, the one that is there so far
	shape   headShape
	err     error
}

func (t *translation) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf(format, args...)
	}
}

func (t *translation) run() error {
	name, _ := t.file.Value("general.architecture").(string)
	arch, ok := architectures[name]
	if !ok {
		return fmt.Errorf("general.architecture is %q, which is not supported; known are %s", name, strings.Join(Architectures(), ", "))
	}
	if parts := t.file.Value("split.count"); parts != nil && parts != uint64(1) {
		return fmt.Errorf("the file is one of %v that a model was split into; join them with llama-gguf-split --merge", parts)
	}
	t.name, t.arch = name, arch
	t.settings()
	if t.err == nil {
		t.rope()
	}
	if t.err == nil {
		t.parts()
	}
	return t.err
}

// Architectures returns the values of general.architecture that can be
// translated, sorted.
func Architectures() []string { return slices.Sorted(maps.Keys(architectures)) }

// ModelTypes returns the model_type of each that an architecture can become.
func ModelTypes(name string) []string {
	a := architectures[name]
	if a.modelType == "" {
		return nil
	}
	return append([]string{a.modelType}, a.otherTypes...)
}
