package lm

import (
	"context"
	"fmt"

	"github.com/steervec/steer/internal/finite"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/engine"
)

// notFinite finds out where the numbers of a sequence first stopped being finite,
// given a position at which they have, and says so. It computes the sequence once
// more, reading everything.
func (m *Model) notFinite(ctx context.Context, s *sequence, position int) error {
	store := m.newStore(0)
	defer store.session.Close()
	branch := store.tree.Branch()
	variant := m.Decoder().RopeVariant(len(s.tokens))
	branch.Extend(s.marked(variant).Upto(position+1), 0)
	p := newPacked()
	p.add(s, 0, 0, position+1, variant, branch.Path())
	p.goOn(branch)
	rows := make([]int, position+1)
	for i := range rows {
		rows[i] = i
	}
	var where string // empty until something is found
	for layer := range m.Layers() {
		for _, site := range arch.Sites() { // in the order in which a block passes them
			if m.CheckSite(layer, site) != nil || m.engine.Check(layer, site, nil) != nil {
				continue
			}
			p.run.Taps = append(p.run.Taps, engine.Tap{Layer: layer, Site: site, Rows: rows, Read: func(row int, activation []float32) {
				if where == "" && !finite.All(activation) {
					where = fmt.Sprintf("layer %d, site %s, position %d (%v)", layer, site, row, finite.Check(activation))
				}
			}})
		}
	}
	if err := p.compute(ctx, store); err != nil {
		return fmt.Errorf("a result at position %d is not finite", position)
	}
	if where == "" {
		return fmt.Errorf("the logits at position %d are not finite, and all activations are", position)
	}
	return fmt.Errorf("an activation is not finite, first at %s", where)
}
