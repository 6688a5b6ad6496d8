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
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/forest"
	"github.com/steervec/steer/lm/tokenizer"
)

// DType chooses the number format in which a model computes.
type DType = engine.DType

const (
	// Auto keeps bfloat16 weights and rounds activations to bfloat16 at the entry
	// of each matrix product; every other checkpoint computes in float32. Blocks of
	// few bits stay as they are; activations become 16-bit integers that share a
	// scale for each 32 inputs.
	Auto = engine.Auto
	// Float32 keeps everything but stored bfloat16 weights and blocks in float32.
	Float32 = engine.Float32
	// BFloat16 rounds weights, and activations at the entry of each product; blocks
	// are as with Auto.
	BFloat16 = engine.BFloat16
)

// OpenOption says how a model is opened.
type OpenOption func(*openOptions)

type openOptions struct {
	dtype      DType
	checkpoint checkpoint.Options
	engine     engine.Opener
	outline    bool
}

// Compute chooses the number format; Auto unless told.
func Compute(d DType) OpenOption { return func(o *openOptions) { o.dtype = d } }

// Checkpoint says how a repository of the Hub is downloaded.
func Checkpoint(options checkpoint.Options) OpenOption {
	return func(o *openOptions) { o.checkpoint = options }
}

// OnEngine chooses what computes the model; the CPU unless told.
func OnEngine(open engine.Opener) OpenOption { return func(o *openOptions) { o.engine = open } }

// OnFiles chooses an engine that opens GGUF files itself: see [engine.Filed]. A file
// may then be of an architecture that is not known here, and the engine is given an
// outline: see [arch.Outline].
func OnFiles(open engine.Opener) OpenOption {
	return func(o *openOptions) { o.engine, o.outline = open, true }
}

// Quantize rounds the weights to blocks of few bits when the CPU loads the model, as
// [cpu.Quantized] does.
func Quantize(kind gguf.Type) OpenOption { return OnEngine(cpu.Quantized(kind)) }

func options(given []OpenOption) openOptions {
	o := openOptions{engine: cpu.Open}
	for _, option := range given {
		option(&o)
	}
	if o.checkpoint.Expand == "" && o.dtype == Float32 {
		o.checkpoint.Expand = "F32"
	}
	o.checkpoint.Outline = o.outline
	return o
}

// Model is a loaded language model, or a view of one that steers or caches.
type Model struct {
	*loaded
	steering *Steering // nil: none
	cache    *store    // nil: each call has its own
}

// loaded is what a model and all its views share.
type loaded struct {
	id, revision, fingerprint string
	stored                    string // types of the stored weights
	engine                    engine.Engine
	tokens                    *tokenizer.Tokenizer // nil: the checkpoint has none
	ends                      []int                // tokens that end a generation
}

// Open loads the model at ref: a local folder or GGUF file; a Hub id "org/name"
// with an optional "@revision", and ":file.gguf" for a GGUF file of the
// repository, which is downloaded into the Hugging Face cache; or "demo", a little
// model that writes stories and is part of the program. Blocks of few bits, as
// GGUF has them, stay as they are.
// Errors name the file, the tensor or the config's field that is wrong.
func Open(ctx context.Context, ref string, given ...OpenOption) (*Model, error) {
	if ref == demo.Name {
		return OpenFS(ctx, demo.Files(), demo.Name, given...)
	}
	o := options(given)
	c, err := checkpoint.Open(ctx, ref, o.checkpoint)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return load(ctx, c, o)
}

// OpenFS loads a model from a file system, such as an embedded one; id names it
// in errors and in the provenance of vectors.
func OpenFS(ctx context.Context, fsys fs.FS, id string, given ...OpenOption) (*Model, error) {
	o := options(given)
	c, err := checkpoint.OpenFS(fsys, id, o.checkpoint)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return load(ctx, c, o)
}

func load(ctx context.Context, c *checkpoint.Checkpoint, o openOptions) (*Model, error) {
	fail := func(err error) (*Model, error) { return nil, fmt.Errorf("open model %s: %w", c.ID(), err) }
	m := &loaded{id: c.ID(), revision: c.Revision(), fingerprint: c.Fingerprint(), stored: c.Stored()}
	var err error
	m.tokens, err = tokenizer.Load(c.FS())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if m.ends, err = c.EndTokens(); err != nil {
		return fail(err)
	}
	if m.engine, err = o.engine(ctx, c, o.dtype); err != nil {
		return fail(err)
	}
	return &Model{loaded: m}, nil
}

// Random makes a model from a config.json alone, with weights that mean nothing,
// stored as bfloat16, and without a tokenizer: for measurements, which depend
// on shapes alone. id names it in errors.
func Random(ctx context.Context, id string, config []byte, given ...OpenOption) (*Model, error) {
	o := options(given)
	e, err := o.engine(ctx, engine.Noise(config), o.dtype)
	if err != nil {
		return nil, fmt.Errorf("make model %s: %w", id, err)
	}
	return &Model{loaded: &loaded{id: id, stored: "BF16", engine: e}}, nil
}

// With returns a view of the model in which the edits act in every call, after
// those of the view itself. The model is unchanged. The edits are checked as
// [Model.Steering] does.
func (m *Model) With(edits ...Edit) (*Model, error) {
	added, err := m.Steering(edits...)
	if err != nil {
		return nil, err
	}
	view := *m
	if view.steering, err = m.steering.then(added); err != nil {
		return nil, err
	}
	return &view, nil
}

// Cached returns a view of the model whose calls keep what they compute for later
// ones, and so do views made of it: prompts that begin alike, steered alike, are
// computed once. At most so many tokens stay that no call is using; the least
// recently used go first. Results have the same bits as without. Calls on it take
// turns.
func (m *Model) Cached(tokens int) *Model {
	view := *m
	view.cache = m.newStore(max(tokens, 0))
	return &view
}

// CacheUse returns how many tokens a cached view holds and how many slots they
// lie in.
func (m *Model) CacheUse() (tokens, slots int) {
	if m.cache == nil {
		return 0, 0
	}
	m.cache.Lock()
	defer m.cache.Unlock()
	return m.cache.tree.Tokens(), m.cache.tree.Used()
}

// CheckCache returns an error where the memory of a cached view contradicts
// itself. It visits everything: for tests and idle moments.
func (m *Model) CheckCache() error {
	if m.cache == nil {
		return nil
	}
	m.cache.Lock()
	defer m.cache.Unlock()
	return m.cache.tree.Check()
}

// SteeringID names what the view does to which tokens; "" where it does nothing.
func (m *Model) SteeringID() string { return m.steering.ID() }

// ID returns the Hub id, or the name of the checkpoint's folder.
func (m *Model) ID() string { return m.id }

// Revision returns the commit of a model from the Hub, else "".
func (m *Model) Revision() string { return m.revision }

// Fingerprint returns a hash of the config, the weights' headers and samples of every
// tensor: another fine-tune is another model.
func (m *Model) Fingerprint() string { return m.fingerprint }

// Decoder returns the description of the model. It must not be changed.
func (m *Model) Decoder() *arch.Decoder { return m.engine.Decoder() }

// Description says how the model is computed.
func (m *Model) Description() engine.Description { return m.engine.Description() }

// Layers returns the number of decoder blocks.
func (m *Model) Layers() int { return len(m.Decoder().Blocks) }

// Stored returns the types of the stored weights, the most common first: "BF16",
// or "Q4_K and Q6_K".
func (m *Model) Stored() string { return m.stored }

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

// Chat renders a conversation with the model's chat template and returns its
// tokens; the template writes the special tokens itself.
func (m *Model) Chat(ctx context.Context, messages []Message, opts ChatOptions) ([]int, error) {
	t, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	_, e, err := t.EncodeChat(ctx, messages, opts)
	return e.IDs, err
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

// Width returns the number of elements of an activation.
func (m *Model) Width(layer int, site Site) int { return m.Decoder().Width(layer, site) }

// LayersOf returns the layers that show a site, ascending.
func (m *Model) LayersOf(site Site) []int {
	var layers []int
	for layer := range m.Layers() {
		if m.CheckSite(layer, site) == nil {
			layers = append(layers, layer)
		}
	}
	return layers
}

// Modules returns the paths of the Hugging Face modules whose output a site is.
func (m *Model) Modules() map[string]Address {
	out := map[string]Address{}
	for _, site := range arch.Sites() {
		for layer := range m.Layers() {
			if path := m.Decoder().Module(layer, site); path != "" {
				out[path] = Address{layer, site}
			}
		}
	}
	return out
}

func shorten(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// digest is a mark of what it is given.
func digest(parts ...any) (mark forest.Mark) {
	sum := sha256.Sum256([]byte(fmt.Sprintln(parts...)))
	copy(mark[:], sum[:])
	return mark
}
