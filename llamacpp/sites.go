package llamacpp

import (
	"fmt"
	"strings"

	"github.com/steervec/steer/lm/arch"
)

// nodes are the names that llama.cpp's graphs give to the sites of a layer, which
// follows on a hyphen: l_out-7. Of several names the first that the graph has counts.
var nodes = map[arch.Site][]string{
	arch.InputLayerNorm:         {"attn_norm"},
	arch.AttnHeads:              {"kqv_out"},
	arch.SelfAttn:               {"attn_out"},
	arch.ResidualMid:            {"ffn_inp"},
	arch.PostAttentionLayerNorm: {"ffn_norm"},
	arch.MLPOutput:              {"ffn_out", "ffn_moe_out"},
	arch.DecoderBlock:           {"l_out"},
}

// exceptions are the architectures whose graphs name a site otherwise, by
// general.architecture.
var exceptions = map[string]map[arch.Site][]string{
	// the modules add the residual themselves
	"bloom": {arch.SelfAttn: {"ffn_inp"}, arch.MLPOutput: {"l_out"}},
	"mpt":   {arch.MLPOutput: {"l_out"}},
	// with two norms the one before attention comes second
	"falcon": {arch.InputLayerNorm: {"attn_norm_2", "attn_norm"}, arch.PostAttentionLayerNorm: {"attn_norm"}},
	"gemma":  {arch.ResidualMid: {"sa_out"}},
	"gemma2": {arch.ResidualMid: {"sa_out"}, arch.PostAttentionLayerNorm: {"attn_post_norm"}},
	"gemma3": {arch.ResidualMid: {"sa_out"}, arch.PostAttentionLayerNorm: {"attn_post_norm"}},
	// the norm after attention has that name of the checkpoint's
	"exaone4":  {arch.PostAttentionLayerNorm: {"attn_post_norm"}},
	"olmo2":    {arch.PostAttentionLayerNorm: {"attn_post_norm"}},
	"seed_oss": {arch.PostAttentionLayerNorm: {"attn_post_norm"}},
	"gpt-oss":  {arch.PostAttentionLayerNorm: {"attn_post_norm"}, arch.MLPOutput: {"ffn_moe_out"}},
	"glm4moe":  {arch.PostAttentionLayerNorm: {"post_attn_norm"}},
	// the experts without the one that every token uses
	"granitemoe":    {arch.MLPOutput: {"ffn_moe_out", "ffn_out"}},
	"granitehybrid": {arch.MLPOutput: {"ffn_moe_out", "ffn_out"}, arch.SelfAttn: {"attn_out", "mamba_out"}},
	"lfm2": {
		arch.InputLayerNorm: {"model.layers.{}.operator_norm"}, arch.PostAttentionLayerNorm: {"model.layers.{}.ffn_out"},
		arch.SelfAttn: {"model.layers.{}.self_attn.out_proj", "model.layers.{}.conv.out_proj"}, arch.MLPOutput: nil,
	},
}

// namesOf returns the names under which a site of a layer may be in the graph.
func namesOf(architecture string, layer int, site arch.Site) []string {
	names, is := exceptions[architecture][site]
	if !is {
		names = nodes[site]
	}
	of := make([]string, len(names))
	for i, name := range names {
		of[i] = fmt.Sprintf("%s-%d", name, layer)
	}
	return of
}

// node returns the name of the node that a site of a layer is.
func (m *Model) node(layer int, site arch.Site) (string, error) {
	if name := m.sites[address{layer, site}]; name != "" {
		return name, nil
	}
	names := namesOf(m.architecture, layer, site)
	if len(names) == 0 {
		return "", fmt.Errorf("layer %d, %s: llama.cpp's graph of %s has no name for it", layer, site, m.architecture)
	}
	return "", fmt.Errorf("layer %d, %s: llama.cpp's graph of %s has no node %s of %d numbers a token",
		layer, site, m.architecture, strings.Join(names, " or "), m.decoder.Width(layer, site))
}

// findSites looks at the graph for the nodes that sites are. It has the elements of
// each, for so many tokens.
func (m *Model) findSites(graph map[string]int, tokens int) {
	m.sites = map[address]string{}
	for layer := range m.decoder.Blocks {
		for _, site := range arch.Sites() {
			if !m.decoder.HasSite(layer, site) {
				continue
			}
			for _, name := range namesOf(m.architecture, layer, site) {
				if graph[name] == tokens*m.decoder.Width(layer, site) {
					m.sites[address{layer, site}] = name
					break
				}
			}
		}
	}
}
