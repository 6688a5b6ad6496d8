package cpu

import "github.com/steervec/steer/lm/cpu/kernel"

// logitRows is how many rows of logits are held at a time.
const logitRows = 32

// giveLogits computes the logits of the rows that are asked for and hands them
// over in order.
func (p *pass) giveLogits() {
	d, h := p.model.decoder, &p.model.head
	hidden, width := d.Hidden, h.weight.In
	wanted := p.LogitRows
	for len(wanted) > 0 {
		now := wanted[:min(len(wanted), logitRows)]
		wanted = wanted[len(now):]
		states := size(&p.gathered, len(now)*hidden)
		of := size(&p.normed, len(now)*d.StreamWidth())
		for i, node := range now {
			row, _ := p.row(node)
			copy(of[i*d.StreamWidth():(i+1)*d.StreamWidth()], p.leaving()[row*d.StreamWidth():])
		}
		if p.model.streams != nil {
			p.unite(of, len(now))
		}
		for i := range now {
			state := states[i*hidden : (i+1)*hidden]
			copy(state, of[i*d.StreamWidth():])
			if p.model.norm != nil {
				p.model.norm.apply(state, state)
			}
		}
		if h.project != nil {
			projected := size(&p.expert, len(now)*width)
			kernel.Product(projected, states, len(now), h.project.weight, h.project.bias)
			states = projected
		}
		logits := size(&p.logits, len(now)*d.Vocabulary)
		kernel.Product(logits, states, len(now), h.weight, h.bias)
		for i, node := range now {
			row := logits[i*d.Vocabulary : (i+1)*d.Vocabulary]
			if d.Head.Scale != 0 {
				kernel.Scale(row, d.Head.Scale)
			}
			if d.Head.SoftCap != 0 {
				kernel.SoftCap(row, d.Head.SoftCap)
			}
			p.Logits(node, row)
		}
	}
}
