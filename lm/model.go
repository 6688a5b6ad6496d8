// Package lm opens a decoder-only language model that can be watched and
// edited: it reads activations at any layer and site, changes them while a
// sequence is computed, generates and scores text.
//
// A [Model] is immutable. Steering is an argument of a call, or a view made by
// [Model.With]; the model itself never changes, so any number of goroutines may
// use it differently at the same time.
package lm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/tokenizer"
)

// Numbers chooses the number formats that a model computes in.
type Numbers = cpu.Numbers

const (
	// Auto keeps bfloat16 weights and rounds activations to bfloat16 at the entry
	// of each matrix product; every other checkpoint computes in float32.
	Auto = cpu.Auto
	// Float32 keeps everything but stored bfloat16 weights in float32.
	Float32 = cpu.Float32
	// BFloat16 rounds weights, and activations at the entry of each product.
	BFloat16 = cpu.BFloat16
)

// OpenOptions say how a model is opened; the zero value is what most want.
type OpenOptions struct {
	Numbers    Numbers
	Checkpoint checkpoint.Options
}

// checkpoint returns the options for the checkpoint, which follow the numbers.
func (o OpenOptions) checkpoint() checkpoint.Options {
	if o.Checkpoint.Expand == "" && o.Numbers == Float32 {
		o.Checkpoint.Expand = safetensors.F32
	}
	return o.Checkpoint
}

// Model is a loaded language model, or a steered view of one.
type Model struct {
	*loaded
	edits []Edit
}

// loaded is what a model and all its views share.
type loaded struct {
	id, revision, fingerprint string
	stored                    string // types of the stored weights
	executor                  *cpu.Model
	tokens                    *tokenizer.Tokenizer // nil: the checkpoint has none
	ends                      []int                // tokens that end a generation
}

// Open loads the model at ref: a local folder or GGUF file, or a Hub id
// "org/name" with an optional "@revision", and ":file.gguf" for a GGUF file of
// the repository, which is downloaded into the Hugging Face cache. Blocks of few
// bits, as GGUF has them, are expanded to bfloat16 unless Numbers is Float32.
// Errors name the file, the tensor or the config's field that is wrong.
func Open(ctx context.Context, ref string, opts OpenOptions) (*Model, error) {
	c, err := checkpoint.Open(ctx, ref, opts.checkpoint())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return load(ctx, c, opts)
}

// OpenFS loads a model from a file system, such as an embedded one; id names it
// in errors and in the provenance of vectors.
func OpenFS(ctx context.Context, fsys fs.FS, id string, opts OpenOptions) (*Model, error) {
	c, err := checkpoint.OpenFS(fsys, id, opts.checkpoint())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return load(ctx, c, opts)
}

func load(ctx context.Context, c *checkpoint.Checkpoint, opts OpenOptions) (*Model, error) {
	fail := func(err error) (*Model, error) { return nil, fmt.Errorf("open model %s: %w", c.ID(), err) }
	decoder, err := arch.Parse(c.Config())
	if err != nil {
		return fail(err)
	}
	m := &loaded{id: c.ID(), revision: c.Revision(), fingerprint: c.Fingerprint()}
	m.tokens, err = tokenizer.Load(c.FS())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if m.ends, err = endTokens(c); err != nil {
		return fail(err)
	}
	m.stored = c.Stored()
	if m.executor, err = cpu.Load(ctx, decoder, c, opts.Numbers); err != nil {
		return fail(err)
	}
	return &Model{loaded: m}, nil
}

// Random makes a model from a config.json alone, with weights that mean nothing,
// stored as bfloat16, and without a tokenizer: for measurements, which depend
// on shapes alone. id names it in errors.
func Random(ctx context.Context, id string, config []byte, numbers Numbers) (*Model, error) {
	fail := func(err error) (*Model, error) { return nil, fmt.Errorf("make model %s: %w", id, err) }
	decoder, err := arch.Parse(config)
	if err != nil {
		return fail(err)
	}
	executor, err := cpu.Random(ctx, decoder, numbers)
	if err != nil {
		return fail(err)
	}
	return &Model{loaded: &loaded{id: id, stored: "BF16", executor: executor}}, nil
}

// endTokens reads eos_token_id, one id or several, from generation_config.json
// or else from config.json.
func endTokens(c *checkpoint.Checkpoint) ([]int, error) {
	generation, err := fs.ReadFile(c.FS(), "generation_config.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{"generation_config.json", generation}, {"config.json", c.Config()}} {
		var fields struct {
			EOS json.RawMessage `json:"eos_token_id"`
		}
		if len(file.data) == 0 {
			continue
		}
		if err := json.Unmarshal(file.data, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
		var one int
		var several []int
		switch {
		case len(fields.EOS) == 0 || string(fields.EOS) == "null":
		case json.Unmarshal(fields.EOS, &one) == nil:
			return []int{one}, nil
		case json.Unmarshal(fields.EOS, &several) == nil:
			return several, nil
		default:
			return nil, fmt.Errorf("%s: eos_token_id is %s, not a token id or a list of them", file.name, fields.EOS)
		}
	}
	return nil, nil
}

// With returns a view of the model in which the edits act in every call, after
// those of the view itself. The model is unchanged.
func (m *Model) With(edits ...Edit) *Model {
	return &Model{loaded: m.loaded, edits: append(slices.Clone(m.edits), edits...)}
}

// ID returns the Hub id, or the name of the checkpoint's folder.
func (m *Model) ID() string { return m.id }

// Revision returns the commit of a model from the Hub, else "".
func (m *Model) Revision() string { return m.revision }

// Fingerprint returns a hash of the config and of the weights' headers.
func (m *Model) Fingerprint() string { return m.fingerprint }

// Decoder returns the description of the model. It must not be changed.
func (m *Model) Decoder() *arch.Decoder { return m.executor.Decoder }

// Layers returns the number of decoder blocks.
func (m *Model) Layers() int { return len(m.executor.Decoder.Blocks) }

// Parameters returns the number of stored weights.
func (m *Model) Parameters() int { return m.executor.Parameters }

// Stored returns the types of the stored weights, the most common first, and
// what they are expanded to: "BF16", or "Q4_K and Q6_K, expanded to BF16".
func (m *Model) Stored() string { return m.stored }

// Computes returns the number format of the products: f32, bf16 or mixed.
func (m *Model) Computes() string { return m.executor.Precision.String() }

// EndTokens returns the tokens that end a generation.
func (m *Model) EndTokens() []int { return m.ends }

// Tokenizer returns the checkpoint's tokenizer, or an error where it has none.
func (m *Model) Tokenizer() (*tokenizer.Tokenizer, error) {
	if m.tokens == nil {
		return nil, fmt.Errorf("model %s has no tokenizer.json; give token ids in place of text", m.id)
	}
	return m.tokens, nil
}

// Tokenize returns the ids of a prompt, with the special tokens that the
// tokenizer adds.
func (m *Model) Tokenize(text string) ([]int, error) {
	t, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	e, err := t.Encode(text, tokenizer.EncodeOptions{})
	if err != nil {
		return nil, fmt.Errorf("tokenize %q: %w", shorten(text), err)
	}
	return e.IDs, nil
}

// TokenizeContinuation returns the ids of a text that follows a prompt, without
// the special tokens or the space that a tokenizer puts before a text. They are
// the same after every prompt.
func (m *Model) TokenizeContinuation(text string) ([]int, error) {
	t, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	ids, err := t.EncodeContinuation(text)
	if err != nil {
		return nil, fmt.Errorf("tokenize %q: %w", shorten(text), err)
	}
	return ids, nil
}

// Layer resolves a layer number, negative ones from the last, and checks it.
func (m *Model) Layer(n int) (int, error) {
	layers := m.Layers()
	if n < -layers || n >= layers {
		return 0, fmt.Errorf("layer %d is out of range: model %s has layers 0 to %d (or -%d to -1)", n, m.id, layers-1, layers)
	}
	if n < 0 {
		n += layers
	}
	return n, nil
}

// CheckSite returns an error where a layer, 0-based, does not show the site.
func (m *Model) CheckSite(layer int, site Site) error {
	if !slices.Contains(arch.Sites(), site) {
		return fmt.Errorf("site %q is not known; the sites are %v", site, arch.Sites())
	}
	if !m.Decoder().HasSite(layer, site) {
		return fmt.Errorf("layer %d of model %s (%s) has no site %q", layer, m.id, m.Decoder().Family, site)
	}
	return nil
}

func shorten(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// Modules returns, for every layer, the paths of the Hugging Face modules whose
// output a site is: path -> site.
func (m *Model) Modules() map[string]Site {
	out := map[string]Site{}
	for site, path := range m.Decoder().Modules {
		for layer := range m.Layers() {
			out[strings.ReplaceAll(path, "{num}", strconv.Itoa(layer))] = site
		}
	}
	return out
}
