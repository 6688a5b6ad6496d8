package cli

import (
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
)

func extractCommand() *cobra.Command {
	var f selectionFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "extract --model REF --pairs FILE --out A.safetensors",
		Short: "Write the activations of contrastive pairs",
		Long: `Write the activations that a model shows at the read token of each prompt:
tensors positive.<layer> and negative.<layer>, [samples, width], in the pairs' order.`,
		Example: "  steer extract --model demo --pairs pairs.jsonl --layers 3 --out activations.safetensors",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := f.prepare(c)
			if err != nil {
				return err
			}
			defer p.release()
			progress := newBar(c.ErrOrStderr(), "extracting")
			defer progress.finish()
			p.opts.Progress = func(done, total int) { progress.set(int64(done), int64(total)) }
			start := time.Now()
			activations, err := steer.Extract(c.Context(), p.model, p.samples, p.opts)
			if err != nil {
				return p.placed(err)
			}
			activations.Provenance.Rendering = p.rendering
			if err := activations.Save(f.out.path); err != nil {
				return err
			}
			progress.finish()
			w := p.work("activations", slices.Sorted(maps.Keys(activations.Positive)), start)
			w.Usage = activations.Usage
			return w.print(c, asJSON)
		},
	}
	f.add(c)
	f.addOutput(c, &asJSON)
	return c
}
