// Package bake writes checkpoints with a steering vector in their weights, so that
// a model is steered wherever it runs, without this library.
//
// An addition becomes a bias: of the part that writes to the residual stream last
// before the vector's site. An ablation takes the direction out of everything that
// writes to the residual stream, so that no token's stream ever gains any of it. What
// writes there the description of the family says: [arch.Decoder.Writers].
//
// What is not changed has the bytes that it had.
package bake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/steervec/steer"
	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/tokenizer"
)

// Mode is how a vector gets into the weights.
type Mode string

const (
	// Bias adds the multiplied vector at its layers and site, on every token.
	Bias Mode = "bias"
	// Ablate removes the vector's direction, or the span of its rows, from all that writes to the residual
	// stream. The vector must have one layer, whose direction is taken for all.
	Ablate Mode = "ablate"
)

// Options say how a checkpoint is baked.
type Options struct {
	Mode       Mode
	Multiplier float64 // of an addition; 0: 1
	Layers     []int   // of the vector's; negative ones count from the model's last; nil: all

	// Embeddings takes the direction out of the embedding too. Steering at run time
	// has no place before the first block, so that the two then differ.
	Embeddings bool

	// Prompts are what the baked checkpoint is held against run-time steering on; nil:
	// some sentences.
	Prompts []lm.Input

	DType      lm.DType                             // in which both are computed
	Checkpoint checkpoint.Options                   // how a repository of the Hub is downloaded
	Progress   func(file string, done, total int64) // bytes written; nil: none
}

// Result says what was baked.
type Result struct {
	Model       string   `json:"model"`
	Mode        Mode     `json:"mode"`
	Layers      []int    `json:"layers"`
	Out         string   `json:"out"`
	Changed     []string `json:"changed_tensors"`
	Added       []string `json:"added_tensors"`          // biases that the checkpoint did not have
	Field       string   `json:"config_field,omitempty"` // of config.json, that turns them on
	LeftOut     []string `json:"left_out"`               // files that hold the weights once more, unsteered
	Notes       []string `json:"notes"`                  // what may surprise
	Fingerprint string   `json:"weights_hash"`           // of what was written

	Verification
}

// Write bakes a vector into the checkpoint at ref and writes the whole of it to the
// folder out, where nothing or an empty folder may be: config, tokenizer and all other
// files as they are, the weights in the same files and number formats, and in the
// model card what was done. It appears when it is complete and was compared, on the
// prompts, with steering at run time. Errors name the tensor, or say why the model
// cannot carry the vector.
func Write(ctx context.Context, ref string, vector *steer.Vector, out string, opts Options) (*Result, error) {
	result, err := write(ctx, ref, vector, out, opts)
	if err != nil {
		return nil, fmt.Errorf("bake: %w", err)
	}
	return result, nil
}

func write(ctx context.Context, ref string, vector *steer.Vector, out string, opts Options) (*Result, error) {
	c, err := open(ctx, ref, opts.Checkpoint)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if c.GGUF() != nil {
		return nil, fmt.Errorf("%s is a GGUF file; only Hugging Face checkpoints are baked", ref)
	}
	stored, err := openWeights(c)
	if err != nil {
		return nil, err
	}
	defer stored.Close()
	p, err := plan(c, stored, vector, opts)
	if err != nil {
		return nil, err
	}
	if len(opts.Prompts) == 0 {
		if _, err := tokenizer.Load(c.FS()); err != nil {
			return nil, fmt.Errorf("there are no prompts to compare on, and no tokenizer for others: %w", err)
		}
	}
	folder, err := output.CreateFolder(out)
	if err != nil {
		return nil, err
	}
	defer folder.Abort()
	w := writer{ctx: ctx, planned: p, dir: folder.Dir(), progress: opts.Progress}
	if err := w.files(); err != nil {
		return nil, err
	}
	result := &Result{
		Model: c.ID(), Mode: opts.Mode, Layers: p.layers, Out: filepath.Clean(out), Changed: p.changed(), Added: p.addedNames(),
		Field: p.field, LeftOut: w.leftOut, Notes: p.notes,
	}
	if err := result.verify(ctx, ref, folder.Dir(), p.edits, opts); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if err := w.card(result, vector, opts); err != nil {
		return nil, err
	}
	return result, folder.Commit()
}

func open(ctx context.Context, ref string, opts checkpoint.Options) (*checkpoint.Checkpoint, error) {
	if ref == demo.Name {
		return checkpoint.OpenFS(demo.Files(), demo.Name, opts)
	}
	return checkpoint.Open(ctx, ref, opts)
}

// planned is what will be done to a checkpoint, and the edits that do the same at
// run time.
type planned struct {
	weights *weights
	decoder *arch.Decoder
	config  []byte            // to be written
	field   string            // of the config that was changed; "": none
	changes map[string]change // by the name under which the tensor is stored
	added   []added
	layers  []int
	edits   []lm.Edit
	notes   []string
}

// change makes of a tensor another one of the same shape.
type change interface {
	// apply calls put with all elements of the new tensor, part after part.
	apply(t safetensors.Tensor, put func(values []float32) error) error
}

// added is a tensor [len(values)] that the checkpoint lacks.
type added struct {
	file, name string
	dtype      safetensors.DType
	values     []float32
}

func plan(c *checkpoint.Checkpoint, stored *weights, vector *steer.Vector, opts Options) (*planned, error) {
	decoder, err := arch.Parse(c.Config())
	if err != nil {
		return nil, err
	}
	if decoder.Streams != nil {
		return nil, fmt.Errorf("a %s has several residual streams, which its blocks mix; no weight adds to them or can be freed of a direction: steer at run time", decoder.Family)
	}
	if family := vector.Provenance.Family; family != "" && family != decoder.Family {
		return nil, fmt.Errorf("the vector was trained on a %s; %s is a %s", family, c.ID(), decoder.Family)
	}
	p := &planned{weights: stored, decoder: decoder, config: c.Config(), changes: map[string]change{}, notes: []string{}}
	if vector.Condition != nil {
		return nil, errors.New("the vector acts on a condition, which weights cannot; take it off, or steer at run time")
	}
	if hash := vector.Provenance.WeightsHash; hash != "" && hash != c.Fingerprint() {
		p.notes = append(p.notes, fmt.Sprintf("the vector was trained on other weights, those of %s, than %s has", vector.Provenance.Model, c.ID()))
	}
	if len(opts.Layers) > 0 {
		if vector, err = vector.Cut(opts.Layers...); err != nil {
			return nil, err
		}
	}
	stored.decoder = decoder
	switch opts.Mode {
	case Bias:
		if opts.Embeddings {
			return nil, errors.New("embeddings are for an ablation; this is an addition")
		}
		return p, p.addition(vector, opts.Multiplier)
	case Ablate:
		if opts.Multiplier != 0 && opts.Multiplier != 1 {
			return nil, fmt.Errorf("the multiplier is %v, but the vector's length has no influence on an ablation: leave it at 1", opts.Multiplier)
		}
		return p, p.ablation(vector, opts.Embeddings)
	}
	return nil, fmt.Errorf("the mode is %q; it is bias or ablate", opts.Mode)
}

func (p *planned) changed() []string { return slices.Sorted(maps.Keys(p.changes)) }

func (p *planned) addedNames() []string {
	names := []string{}
	for _, a := range p.added {
		names = append(names, a.name)
	}
	slices.Sort(names)
	return names
}
