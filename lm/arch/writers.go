package arch

import (
	"iter"
	"reflect"
	"slices"
)

// Writer is a part of a decoder whose output goes into the residual stream.
type Writer struct {
	Layer int  // -1: the embedding
	Site  Site // that shows what the part gives, before Norm; "": none shows it alone

	// Linear is the part, [hidden, in], or with experts as [Experts] has it. Tables of
	// embeddings [in, hidden] are transposed. Without a weight the part is a constant,
	// its bias [hidden].
	Linear
	Experts int // whose names or tensors Linear stands for; 0: none

	// Norm stands between the part and the stream; nil: none.
	Norm *Norm
}

// Writers returns every part that writes to the residual stream: the embedding's,
// and of each block the output projections of attention and of a recurrence, and the
// down projections of the MLP, of its experts, and of what stands beside it.
func (d *Decoder) Writers() []Writer {
	e := d.Embedding
	embedding := Writer{Layer: -1, Linear: Linear{Weight: e.Tokens, Transposed: true}, Norm: e.Norm}
	if e.Project.Weight != "" {
		embedding.Linear = e.Project
	}
	writers := []Writer{embedding}
	if e.Positions != "" {
		embedding.Linear = Linear{Weight: e.Positions, Transposed: true}
		writers = append(writers, embedding)
	}
	for layer := range d.Blocks {
		writers = append(writers, d.Blocks[layer].writers(layer)...)
	}
	return writers
}

func (b *Block) writers(layer int) []Writer {
	shown := func(site Site, withResidual bool) Site {
		if withResidual || slices.Contains(b.Hidden, site) {
			return ""
		}
		return site
	}
	var out []Writer
	if b.First != nil {
		out = b.First.writers(layer)
	}
	attention := Writer{Layer: layer, Site: shown(SelfAttn, b.AttentionAddsResidual), Linear: b.Attention.Output, Norm: b.AfterAttention}
	if b.Attention.Heads > 0 {
		out = append(out, attention.mixture(b.Attention.Experts)...)
	}
	if r := b.Recurrence; r != nil {
		if attention.Linear = r.Output; b.Attention.Heads > 0 {
			attention.Site = ""
		}
		out = append(out, attention)
	}
	if b.Shortcut != nil {
		out = append(out, Writer{Layer: layer, Site: MLPOutput}.ofMLP(b.Shortcut)...)
	}
	mlp := Writer{Layer: layer, Site: shown(MLPOutput, b.MLPAddsResidual), Norm: b.AfterMLP}
	out = append(out, mlp.ofMLP(&b.MLP)...)
	if b.MLPBeside != nil {
		mlp.Site = ""
		out = append(out, mlp.ofMLP(b.MLPBeside)...)
	}
	return out
}

// ofMLP returns the parts of an MLP that write, at the place of the writer.
func (w Writer) ofMLP(m *MLP) []Writer {
	w.Linear = m.Down
	out := w.mixture(m.Experts)
	if m.Experts != nil && m.Experts.Shared != nil {
		out = append(out, w.ofMLP(m.Experts.Shared)...)
	}
	return out
}

// mixture returns the writer, or what it is as that of experts.
func (w Writer) mixture(e *Experts) []Writer {
	if e == nil {
		return []Writer{w}
	}
	w.Experts = e.Count
	out := []Writer{w}
	if e.Bias != "" {
		w.Experts, w.Linear = 0, Linear{Bias: e.Bias}
		out = append(out, w)
	}
	return out
}

// Linears goes through every linear part of the description, in the same order for
// descriptions of one shape.
func (d *Decoder) Linears() iter.Seq[*Linear] {
	return func(yield func(*Linear) bool) { eachLinear(reflect.ValueOf(d).Elem(), yield) }
}

func eachLinear(v reflect.Value, yield func(*Linear) bool) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil() || eachLinear(v.Elem(), yield)
	case reflect.Slice:
		for i := range v.Len() {
			if !eachLinear(v.Index(i), yield) {
				return false
			}
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Linear]() {
			return yield(v.Addr().Interface().(*Linear))
		}
		for i := range v.NumField() {
			if !eachLinear(v.Field(i), yield) {
				return false
			}
		}
	}
	return true
}
