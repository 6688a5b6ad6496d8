package arch

import "slices"

// Site is a place in a decoder block where activations are read and changed.
// Together with a 0-based layer it is the address of an activation.
type Site string

const (
	// DecoderBlock is the residual stream as the block leaves it, or all of them side
	// by side.
	DecoderBlock Site = "decoder_block"
	// SelfAttn is the output of the attention module, [hidden].
	SelfAttn Site = "self_attn"
	// MLPOutput is the output of the MLP module, [hidden].
	MLPOutput Site = "mlp"
	// InputLayerNorm is the output of the module of that name.
	InputLayerNorm Site = "input_layernorm"
	// PostAttentionLayerNorm is the output of the module of that name: in most
	// families the norm before the MLP, in some the one after attention.
	PostAttentionLayerNorm Site = "post_attention_layernorm"
	// ResidualMid is the residual stream after attention is added.
	ResidualMid Site = "residual_mid"
	// AttnHeads is the input of attention's output projection, [heads*head size], or
	// of that of a recurrence in its place.
	AttnHeads Site = "attn_heads"
)

// Sites lists every site in the order in which a sequential block passes them.
func Sites() []Site {
	return []Site{InputLayerNorm, AttnHeads, SelfAttn, ResidualMid, PostAttentionLayerNorm, MLPOutput, DecoderBlock}
}

// HasSite reports whether the layer's block shows the site. The residual
// between attention and MLP does not exist in a parallel block.
func (d *Decoder) HasSite(layer int, site Site) bool {
	b := &d.Blocks[layer]
	return b.shows(site) || b.First != nil && (b.First.shows(site) || site == MLPOutput && b.First.Shortcut != nil)
}

func (b *Block) shows(site Site) bool {
	if slices.Contains(b.Hidden, site) {
		return false
	}
	switch site {
	case DecoderBlock, SelfAttn, AttnHeads, MLPOutput:
		return true
	case ResidualMid:
		return !b.Parallel
	}
	for _, n := range []*Norm{b.BeforeAttention, b.AfterAttention, b.AfterAttentionAdd, b.BeforeMLP, b.AfterMLP, b.AfterMLPAdd} {
		if n != nil && n.Site == site {
			return true
		}
	}
	return false
}

// Width returns the number of elements of an activation at the site.
func (d *Decoder) Width(layer int, site Site) int {
	if site == AttnHeads {
		if b := &d.Blocks[layer]; b.Attention.Heads > 0 {
			return b.Attention.OutputWidth()
		}
		return d.Blocks[layer].Recurrence.Width
	}
	if site == DecoderBlock {
		return d.StreamWidth()
	}
	return d.Hidden
}
