package cli

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/report"
)

// projected is the result of steer project.
type projected struct {
	Text   string           `json:"text"`
	Layers []projectedLayer `json:"layers"`
	result
}

type projectedLayer struct {
	Layer  int              `json:"layer"`
	Tokens []projectedToken `json:"tokens"`
}

// projectedToken is a token and how far its activation reaches along the vector,
// in units of the activations.
type projectedToken struct {
	ID        int      `json:"id"`
	Token     string   `json:"token"`
	Unsteered float64  `json:"unsteered"`
	Steered   *float64 `json:"steered,omitempty"`
}

func projectCommand() *cobra.Command {
	var model modelFlags
	var steering steeringFlags
	var flags textFlags
	var text string
	var layers *steer.Layers
	var steered, asJSON bool
	c := &cobra.Command{
		Use:   "project --model REF --vector FILE --text TEXT",
		Short: "Color the tokens of a text by their projection on a vector",
		Long: `Color the tokens of a text by how far their activations reach along a vector.

The activations are those of the unsteered model: on the steered one one would
measure one's own edit. --steered shows both.

Colors show the distance from the text's mean, as most texts lie on one side of
zero; the first token, which many models use as a store, is left out of mean and
scale. JSON has the projections as they are, in units of the activations.`,
		Example: `  steer train --model demo --pairs pairs.jsonl --layers 3 --out happy.safetensors
  steer project --model demo --vector happy.safetensors --layers 3 --text "Tom was very happy. Mia was very sad."
  steer project --model demo --vector happy.safetensors:0.7 --layers 3 --steered --text "Tom was very happy."`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "text"); err != nil {
				return err
			}
			if len(steering.vectors) != 1 {
				return usage("give one --vector to project on")
			}
			if err := flags.readSystem(c); err != nil {
				return err
			}
			if err := flags.readText(c, "text", &text); err != nil {
				return err
			}
			vectors, err := steering.load(c)
			if err != nil {
				return err
			}
			m, err := model.open(c)
			if err != nil {
				return err
			}
			asked := request{text: text}
			if flags.chat {
				asked.messages = flags.messages(text)
			}
			prompt := promptFlags{requests: []request{asked}}
			if err := prompt.encode(c.Context(), m); err != nil {
				return err
			}
			told := newNotes(c)
			vector, tokens := vectors[0].vector, prompt.requests[0].tokens
			at, err := layers.Of(m)
			if err != nil {
				return err
			}
			if at == nil {
				all := slices.Sorted(maps.Keys(vector.Layers))
				if at = []int{all[len(all)/2]}; len(all) > 1 {
					told.add("the vector has the layers %s; this is layer %d, from their middle: --layers chooses others", layerList(all), at[0])
				}
			}
			unsteered, err := vector.Project(c.Context(), m, [][]int{tokens}, at)
			if err != nil {
				return err
			}
			how, after := []applied{}, map[int][][]float64{}
			view := m
			if steered {
				if view, how, err = apply(m, vectors, told); err != nil {
					return err
				}
				if after, err = vector.Project(c.Context(), view, [][]int{tokens}, at); err != nil {
					return err
				}
			}
			t, err := m.Tokenizer()
			if err != nil {
				return err
			}
			names := tokenTexts(t, tokens)
			shown := projected{Text: text, result: resultOf(m, how, told)}
			for _, layer := range slices.Sorted(maps.Keys(unsteered)) {
				of := projectedLayer{Layer: layer}
				for i, id := range tokens {
					token := projectedToken{ID: id, Token: names[i], Unsteered: unsteered[layer][0][i]}
					if steered {
						token.Steered = &after[layer][0][i]
					}
					of.Tokens = append(of.Tokens, token)
				}
				shown.Layers = append(shown.Layers, of)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), shown)
			}
			return shown.print(c.OutOrStdout())
		},
	}
	model.add(c)
	flagsUnder(c, "Text", func(set *pflag.FlagSet) {
		set.StringVar(&text, "text", "", "the `TEXT`; - reads it from standard input")
		flags.add(set)
		layersFlag(set, &layers, "layers", "at which of the vector's layers; the one in their middle when not given")
	})
	steering.add(c)
	flagsUnder(c, "Output", func(set *pflag.FlagSet) {
		set.BoolVar(&steered, "steered", false, "show the steered model's activations too")
		jsonFlag(set, &asJSON)
	})
	return c
}

// print shows each layer's tokens, colored where colors can be shown, else in a
// table with bars.
func (p projected) print(w io.Writer) error {
	var text strings.Builder
	for _, layer := range p.Layers {
		var names []string
		var values [][]float64 // [unsteered, steered][tokens]
		titles := []string{"unsteered"}
		values = append(values, nil)
		if layer.Tokens[0].Steered != nil {
			titles, values = append(titles, "steered"), append(values, nil)
		}
		for _, token := range layer.Tokens {
			names = append(names, visibleToken(token.Token))
			values[0] = append(values[0], token.Unsteered)
			if token.Steered != nil {
				values[1] = append(values[1], *token.Steered)
			}
		}
		center, limit := report.TokenScale(values[0])
		fmt.Fprintf(&text, "layer %d: mean %.3g, colors to %.3g on either side\n", layer.Layer, center, limit)
		for i, title := range titles {
			if len(titles) > 1 {
				fmt.Fprintf(&text, "%s:\n", title)
			}
			if colored(w) {
				text.WriteString("  " + report.ColorTokens(names, values[i], center, limit) + "\n")
				continue
			}
			for k, name := range names {
				fmt.Fprintf(&text, "%4d  %-16s %9.3f  %s\n", k, name, values[i][k], bar21((values[i][k]-center)/limit))
			}
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// bar21 draws a share from -1 to 1 as a bar to the left or right of its middle.
func bar21(share float64) string {
	const side = 10
	n := int(math.Round(side * min(max(share, -1), 1)))
	if n < 0 {
		return strings.Repeat(" ", side+n) + strings.Repeat("◂", -n) + "│"
	}
	return strings.Repeat(" ", side) + "│" + strings.Repeat("▸", n)
}
