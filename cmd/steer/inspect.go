package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
)

func inspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "inspect FILE|REF",
		Short:   "Show what is in a vector file or a model",
		Example: "  steer inspect happy.safetensors\n  steer inspect ./llama --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("give one vector file or one model; %d are given", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
				return inspectVector(c, args[0], asJSON)
			}
			return inspectModel(c, args[0], asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print machine-readable output")
	return c
}

func inspectVector(c *cobra.Command, path string, asJSON bool) error {
	v, err := steer.LoadVector(path)
	if err != nil {
		return err
	}
	type layer struct {
		Layer int     `json:"layer"`
		Width int     `json:"width"`
		Norm  float64 `json:"norm"`
	}
	norms := v.Norms()
	var layers []layer
	for _, n := range slices.Sorted(maps.Keys(v.Layers)) {
		layers = append(layers, layer{n, len(v.Layers[n]), norms[n]})
	}
	p := v.Provenance
	if asJSON {
		return printJSON(c.OutOrStdout(), map[string]any{
			"layer_type": v.LayerType, "layers": layers, "model": p.Model, "weights_hash": p.WeightsHash, "pairs_hash": p.PairsHash,
			"aggregator": p.Aggregator, "read_token": p.ReadToken, "chat_template": p.ChatTemplate, "version": p.Version,
		})
	}
	out := c.OutOrStdout()
	fmt.Fprintf(out, "steering vector at %s\n", v.LayerType)
	for _, line := range [][2]string{{"model", p.Model}, {"weights", p.WeightsHash}, {"pairs", p.PairsHash}, {"aggregator", p.Aggregator},
		{"read token", p.ReadToken}, {"chat template", p.ChatTemplate}, {"made by steer", p.Version}} {
		if line[1] != "" {
			fmt.Fprintf(out, "  %-14s %s\n", line[0], line[1])
		}
	}
	for _, l := range layers {
		fmt.Fprintf(out, "  layer %-8d %d elements, norm %.4f\n", l.Layer, l.Width, l.Norm)
	}
	return nil
}

func inspectModel(c *cobra.Command, ref string, asJSON bool) error {
	m, err := (&modelFlags{ref: ref, dtype: "auto"}).open(c.Context(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	d := m.Decoder()
	type site struct {
		Site   lm.Site `json:"site"`
		Module string  `json:"module,omitempty"` // {num} stands for the layer
		Layers int     `json:"layers"`
	}
	var sites []site
	for _, s := range arch.Sites() {
		shown := site{Site: s, Module: d.Modules[s]}
		for layer := range m.Layers() {
			if d.HasSite(layer, s) {
				shown.Layers++
			}
		}
		if shown.Layers > 0 {
			sites = append(sites, shown)
		}
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), map[string]any{
			"model": m.ID(), "revision": m.Revision(), "family": d.Family, "layers": m.Layers(), "hidden": d.Hidden,
			"vocabulary": d.Vocabulary, "parameters": m.Parameters(), "dtype": m.Stored(), "computes": m.Computes(), "sites": sites,
			"weights_hash": m.Fingerprint(),
		})
	}
	out := c.OutOrStdout()
	fmt.Fprintf(out, "model %s\n  %-14s %s\n  %-14s %d\n  %-14s %d\n  %-14s %d\n  %-14s %d\n  %-14s %s, computes in %s\n", m.ID(),
		"family", d.Family, "layers", m.Layers(), "hidden size", d.Hidden, "vocabulary", d.Vocabulary, "parameters", m.Parameters(), "dtype", m.Stored(), m.Computes())
	for _, s := range sites {
		fmt.Fprintf(out, "  %-26s %s\n", s.Site, s.Module)
	}
	return nil
}
