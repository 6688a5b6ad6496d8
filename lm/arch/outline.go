package arch

import (
	"errors"
	"fmt"
)

// Outline describes a model of which no more is known than its config.json says of
// any: model_type, hidden_size, num_hidden_layers, vocab_size and, where positions
// have a limit, max_position_embeddings. Its blocks show what blocks of any family
// show, and norms before attention and MLP; what is multiplied in them is not said, so
// that it serves only who computes by other means. Modules go by the paths of no
// checkpoint: "layers.{num}" and below.
func Outline(config []byte) (*Decoder, error) {
	c, err := newConfig(config)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	d := &Decoder{
		Hidden: c.Int("hidden_size"), Vocabulary: c.Int("vocab_size"), MaxPositions: c.IntOr("max_position_embeddings", 0),
		Modules: map[Site]string{
			DecoderBlock: "layers.{num}", SelfAttn: "layers.{num}.self_attn", MLPOutput: "layers.{num}.mlp",
			InputLayerNorm: "layers.{num}.input_layernorm", PostAttentionLayerNorm: "layers.{num}.post_attention_layernorm",
		},
	}
	layers := c.layers("num_hidden_layers")
	if c.err == nil {
		d.Family, _ = c.fields["model_type"].(string)
		c.err = checkSizes(measure{"hidden size", d.Hidden}, measure{"vocabulary size", d.Vocabulary})
	}
	if c.err == nil && d.Family == "" {
		c.err = errors.New("model_type is missing")
	}
	if c.err != nil {
		return nil, fmt.Errorf("config.json: %w", c.err)
	}
	for range layers {
		d.Blocks = append(d.Blocks, Block{
			BeforeAttention: &Norm{Site: InputLayerNorm}, BeforeMLP: &Norm{Site: PostAttentionLayerNorm},
			Hidden: []Site{AttnHeads}, // whose width is not known
		})
	}
	return d, nil
}
