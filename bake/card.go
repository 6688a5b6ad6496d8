package bake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/steervec/steer"
)

// card writes the model card: that of the checkpoint, where it has one, and behind
// it what was done.
func (w *writer) card(r *Result, vector *steer.Vector, opts Options) error {
	before, err := fs.ReadFile(w.weights.checkpoint.FS(), cardFile)
	if errors.Is(err, fs.ErrNotExist) {
		before, err = []byte("# "+r.Model+", steered\n"), nil
	}
	if err != nil {
		return err
	}
	var text strings.Builder
	text.Write(before)
	if len(before) > 0 && before[len(before)-1] != '\n' {
		text.WriteByte('\n')
	}
	fmt.Fprintf(&text, "\n## A steering vector is in these weights\n\nMade of %s (weights %s) by steer %s.\n\n", r.Model, w.weights.checkpoint.Fingerprint(), steer.Version())
	switch r.Mode {
	case Bias:
		multiplier := opts.Multiplier
		if multiplier == 0 {
			multiplier = 1
		}
		fmt.Fprintf(&text, "- The vector, times %v, is added to every token at %s of layers %v, by biases.\n", multiplier, w.edits[0].Site, r.Layers)
	case Ablate:
		fmt.Fprintf(&text, "- The direction of the vector's layer %d is taken out of everything that writes to the residual stream, in all layers", r.Layers[0])
		if opts.Embeddings {
			text.WriteString(" and in the embedding")
		}
		text.WriteString(".\n")
	}
	p := vector.Provenance
	for _, fact := range []struct{ name, value string }{
		{"trained on", p.Model}, {"by", p.Aggregator}, {"read", p.Read}, {"pairs", p.PairsHash}, {"changed since by", p.Operations},
	} {
		if fact.value != "" {
			fmt.Fprintf(&text, "- The vector: %s %s.\n", fact.name, fact.value)
		}
	}
	fmt.Fprintf(&text, "- %d tensors are changed and %d added; all others have the bytes that they had.\n", len(r.Changed), len(r.Added))
	if r.Field != "" {
		fmt.Fprintf(&text, "- `%s` is true in config.json.\n", r.Field)
	}
	if len(r.LeftOut) > 0 {
		fmt.Fprintf(&text, "- Left out, since they hold the weights without the vector: %s.\n", strings.Join(r.LeftOut, ", "))
	}
	fmt.Fprintf(&text, "- Compared with steering at run time on %d prompts (%d tokens, computed in %s): logits, of up to %.3g, differ by at most %.2g; the vector moves them by up to %.3g.\n",
		r.Prompts, r.Tokens, r.DType, r.Logit, r.Difference, r.Effect)
	return os.WriteFile(w.at(cardFile), []byte(text.String()), 0o666)
}
