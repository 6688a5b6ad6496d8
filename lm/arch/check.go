package arch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/steervec/steer/internal/finite"
)

// maxWidth bounds every size of a row, so that no product of two of them overflows.
const maxWidth = 1 << 24

// measure is a size, and what it is the size of.
type measure struct {
	name  string
	value int
}

func checkSizes(sizes ...measure) error {
	for _, s := range sizes {
		if s.value < 1 || s.value > maxWidth {
			return fmt.Errorf("the %s is %d, not from 1 to %d", s.name, s.value, maxWidth)
		}
	}
	return nil
}

// check refuses sizes that no executor could run and parts that contradict each
// other, so that hostile configs fail here with a sentence.
func (d *Decoder) check() error {
	sizes := []measure{{"hidden size", d.Hidden}, {"vocabulary size", d.Vocabulary}}
	if d.Embedding.Positions != "" {
		sizes = append(sizes, measure{"number of learned positions", d.MaxPositions})
	}
	if d.Embedding.Width != 0 {
		sizes = append(sizes, measure{"width of the embedding", d.Embedding.Width})
	}
	if err := checkSizes(sizes...); err != nil {
		return err
	}
	if err := d.checkStreams(); err != nil {
		return err
	}
	if err := d.checkShared(); err != nil {
		return err
	}
	for _, b := range d.Passed() {
		if err := b.checkMixing(); err != nil {
			return err
		}
		if b.First != nil && (b.First.First != nil || b.First.Attention.KeysBack != 0 || b.Shortcut != nil) || b.First == nil && b.Shortcut != nil && !d.isFirst(b) {
			return errors.New("a block is not in its place in a layer of two")
		}
		if b.Shortcut != nil && b.Parallel {
			return errors.New("a parallel block has a shortcut")
		}
		for _, m := range []*MLP{&b.MLP, b.MLPBeside, b.Shortcut} {
			if m == nil {
				continue
			}
			if err := m.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// isFirst reports whether another block follows on one in its layer.
func (d *Decoder) isFirst(b *Block) bool {
	return slices.ContainsFunc(d.Blocks, func(of Block) bool { return of.First == b })
}

// checkShared checks that keys and values which a layer shares are there and are of its
// shape.
func (d *Decoder) checkShared() error {
	for layer := range d.Blocks {
		a := &d.Blocks[layer].Attention
		if a.KeysBack == 0 {
			continue
		}
		if a.KeysBack < 0 || a.KeysBack > layer {
			return fmt.Errorf("layer %d attends to the keys of the layer %d before", layer, a.KeysBack)
		}
		of := &d.Blocks[layer-a.KeysBack].Attention
		switch {
		case of.Heads == 0 || of.KeysBack != 0 || of.KVHeads != a.KVHeads || of.HeadSize != a.HeadSize:
			return fmt.Errorf("layer %d attends to the keys of layer %d, which has none of its own, or of another shape", layer, layer-a.KeysBack)
		case a.Query.Weight == "" || a.Fused.Weight != "" || a.Latent != nil || of.Latent != nil || a.Experts != nil || a.KeyNorm != nil || a.ValueNorm != nil:
			return fmt.Errorf("layer %d attends to the keys of another and has more than queries", layer)
		case d.Blocks[layer].First != nil || slices.ContainsFunc(d.Blocks[:layer], func(b Block) bool { return b.First != nil }):
			return fmt.Errorf("layer %d attends to the keys of another, where layers are two blocks", layer)
		}
	}
	return nil
}

// checkMixing checks attention and what stands in its place or beside it.
func (b *Block) checkMixing() error {
	for _, scale := range []float32{b.AttentionScale, b.MLPScale, b.AttentionKeeps, b.MLPKeeps} {
		if !finite.Is(scale) {
			return fmt.Errorf("what is added to the residual stream, or the stream, is multiplied by %v", scale)
		}
	}
	if b.Recurrence == nil {
		return b.Attention.check()
	}
	if err := b.Recurrence.check(); err != nil {
		return err
	}
	if b.Attention.Heads == 0 {
		if b.Attention.KVHeads != 0 || b.Attention.Rope != nil {
			return errors.New("attention that is absent has keys, or positions")
		}
		return nil
	}
	return b.Attention.check()
}

func (a *Attention) check() error {
	if a.KVHeads > 0 && a.Heads%a.KVHeads != 0 {
		return fmt.Errorf("%d attention heads cannot share %d key/value heads evenly", a.Heads, a.KVHeads)
	}
	if r := a.Rope; r != nil {
		if err := r.check(a.HeadSize); err != nil {
			return err
		}
	}
	err := checkSizes(
		measure{"number of attention heads", a.Heads}, measure{"number of key/value heads", a.KVHeads}, measure{"head size", a.HeadSize},
		measure{"width of the attention heads", a.Heads * a.HeadSize},
	)
	if err != nil {
		return err
	}
	if a.Fused.Weight != "" && (a.Groups < 1 || a.Heads%a.Groups != 0 || a.KVHeads%a.Groups != 0) {
		return fmt.Errorf("%d query and %d key heads do not form %d groups", a.Heads, a.KVHeads, a.Groups)
	}
	if t := a.Temperature; t != nil && !(t.Floor > 0 && finite.Is(t.Floor) && finite.Is(t.Scale)) {
		return fmt.Errorf("queries are scaled by %v for every %v positions", t.Scale, t.Floor)
	}
	if !finite.Is(a.InputScale) || a.InputScale != 0 && a.Gated {
		return fmt.Errorf("what attention reads is multiplied by %v, or its gates read it too", a.InputScale)
	}
	if a.Gated && (a.Fused.Weight != "" || a.Latent != nil || a.Experts != nil || a.Differential != nil) {
		return errors.New("queries have gates that are not three tensors with keys and values")
	}
	if a.Latent != nil {
		if err := a.checkLatent(); err != nil {
			return err
		}
	}
	if a.Experts != nil {
		if err := a.checkExperts(); err != nil {
			return err
		}
	}
	if a.Differential != nil {
		return a.checkDifferential()
	}
	return nil
}

func (a *Attention) checkLatent() error {
	l := a.Latent
	heads := func(size int) int { // of all heads together; too much to be multiplied is too much
		return min(max(size, 0), maxWidth+1) * a.Heads
	}
	sizes := []measure{
		{"rank of the latent", l.Rank}, {"size of a latent key", l.KeySize}, {"size of the part that turns", l.RopeSize}, {"size of a latent value", l.ValueSize},
		{"width of the latent queries", heads(l.KeySize + l.RopeSize)}, {"width of the latent keys and values", heads(l.KeySize + l.ValueSize)},
	}
	if l.QueryDown.Weight != "" {
		sizes = append(sizes, measure{"rank of the latent queries", l.QueryRank})
	}
	if err := checkSizes(sizes...); err != nil {
		return err
	}
	switch {
	case a.KVHeads != 1 || a.HeadSize != l.Rank+l.RopeSize:
		return fmt.Errorf("%d latents of %d elements are cached, not one of %d", a.KVHeads, a.HeadSize, l.Rank+l.RopeSize)
	case (l.Up.Weight == "") != (l.KeyUp != "") || (l.KeyUp == "") != (l.ValueUp == ""):
		return errors.New("keys and values of a latent are made twice, or not at all")
	case l.Norm == nil || l.QueryDown.Weight != "" && l.QueryNorm == nil:
		return errors.New("a latent lacks its norm")
	case a.Fused.Weight != "" || a.Query.Weight != "" || a.Key.Weight != "" || a.Value.Weight != "":
		return errors.New("latent attention has queries, keys or values of the usual kind too")
	case a.QueryNorm != nil || a.KeyNorm != nil || a.ValueNorm != nil || a.Clip != 0 || a.Temperature != nil:
		return errors.New("queries and keys of latent attention are normalised, clamped or scaled, as only usual ones can be")
	case a.Experts != nil || a.Differential != nil:
		return errors.New("attention is latent and of another kind too")
	case a.Rope != nil && a.Rope.Size > l.RopeSize:
		return fmt.Errorf("rotary positions turn %d elements of a part of %d", a.Rope.Size, l.RopeSize)
	}
	return nil
}

func (a *Attention) checkExperts() error {
	e := a.Experts
	if err := e.check(); err != nil {
		return err
	}
	switch {
	case a.Heads != a.KVHeads*e.PerToken:
		return fmt.Errorf("%d attention heads, where %d experts have %d each", a.Heads, e.PerToken, a.KVHeads)
	case a.Fused.Weight == "" || a.Query.Weight == "":
		return errors.New("attention by experts lacks their queries, or the keys and values that they share")
	case a.Query.Bias != "" || a.Output.Bias != "":
		return errors.New("experts of attention have biases of their own")
	case e.Idle != 0 || e.Shared != nil || e.SharedGate.Weight != "" || e.Correction != "" || e.WeighInput:
		return errors.New("experts of attention are shared, corrected or weighed by their input, as only those of an mlp can be")
	case a.Differential != nil:
		return errors.New("attention is by experts and differential")
	}
	return nil
}

func (a *Attention) checkDifferential() error {
	d := a.Differential
	switch {
	case a.Heads%2 != 0 || a.KVHeads > 1 && a.KVHeads%2 != 0:
		return fmt.Errorf("%d attention and %d key/value heads do not form two halves", a.Heads, a.KVHeads)
	case d.Norm == nil || d.Norm.Weight != "" || d.Norm.Bias != "":
		return errors.New("the norm of differential attention is missing, or has a weight")
	}
	return nil
}

func (m *MLP) check() error {
	if err := checkSizes(measure{"width of the mlp", m.Inner}); err != nil {
		return err
	}
	if m.Activation == Logistic {
		return fmt.Errorf("an mlp has the activation %q", m.Activation)
	}
	gated := m.Gate.Weight != "" || m.GateUp.Weight != ""
	switch {
	case m.Activation == LearnedIELU && m.XIELU == nil:
		return fmt.Errorf("the activation %q lacks its constants", m.Activation)
	case m.Activation != LearnedIELU && m.XIELU != nil:
		return fmt.Errorf("the activation %q has constants", m.Activation)
	case m.Alternating && m.GateUp.Weight == "":
		return errors.New("gate and up of an mlp alternate that are not in one tensor")
	case !gated && (m.GateLimit != 0 || m.UpOffset != 0 || m.GateScale != 0 || m.Sparsity != 0):
		return errors.New("an mlp without a gate has a limit, an offset, a scale or a sparsity of gates")
	case !(m.Sparsity >= 0 && m.Sparsity < 1):
		return fmt.Errorf("of the gates of an mlp a share of %v is closed", m.Sparsity)
	case !finite.Is(m.GateScale) || !finite.Is(m.Scale):
		return fmt.Errorf("the gate of an mlp is scaled by %v, its result by %v", m.GateScale, m.Scale)
	case !(m.GateLimit >= 0) || !finite.Is(m.GateLimit) || !finite.Is(m.UpOffset):
		return fmt.Errorf("the gate of an mlp is limited to %v, with an offset of %v", m.GateLimit, m.UpOffset)
	}
	e := m.Experts
	if e == nil {
		return nil
	}
	if err := e.check(); err != nil {
		return err
	}
	if e.Shared == nil {
		return nil
	}
	if e.Shared.Experts != nil {
		return errors.New("the shared expert is a mixture of experts")
	}
	return e.Shared.check()
}

func (e *Experts) check() error {
	if e.PerToken < 1 || e.PerToken > e.Choices() {
		return fmt.Errorf("%d experts per token of %d", e.PerToken, e.Count)
	}
	if err := checkSizes(measure{"number of experts", e.Count}); err != nil {
		return err
	}
	if e.Idle < 0 || e.Idle > maxWidth {
		return fmt.Errorf("%d experts give what they read", e.Idle)
	}
	if !(e.Scale >= 0) || !finite.Is(e.Scale) {
		return fmt.Errorf("experts are weighed by %v", e.Scale)
	}
	if e.Scoring == SparseMixer && (e.Correction != "" || e.Groups != 0 || e.Normalize || e.Scale != 0) {
		return errors.New("a sparse mixer has a correction, groups, or other weights than its own")
	}
	switch {
	case e.Groups == 0:
	case e.Groups < 0 || e.Count%e.Groups != 0 || e.Idle != 0:
		return fmt.Errorf("%d experts do not form %d groups", e.Count, e.Groups)
	case e.GroupsPerToken < 1 || e.GroupsPerToken > e.Groups:
		return fmt.Errorf("%d groups of experts per token of %d", e.GroupsPerToken, e.Groups)
	case e.PerToken > e.Count/e.Groups*e.GroupsPerToken:
		return fmt.Errorf("%d experts per token of %d groups of %d", e.PerToken, e.GroupsPerToken, e.Count/e.Groups)
	case e.GroupByTwo && e.Count/e.Groups < 2:
		return errors.New("groups of one expert are as good as their two best")
	}
	return nil
}
