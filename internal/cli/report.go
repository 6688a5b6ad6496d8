package cli

import (
	"cmp"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/report"
)

// shownReport is what the command tells as JSON.
type shownReport struct {
	Verdict []string     `json:"verdict"`
	Result  *eval.Result `json:"result"` // null until the sweep has ended
	Page    string       `json:"page"`
	Figures []string     `json:"figures,omitempty"`
}

func reportCommand() *cobra.Command {
	var page, figures string
	var asJSON bool
	c := &cobra.Command{
		Use:   "report DIR",
		Short: "Show what a sweep found",
		Long: `Show what a sweep found, from its folder DIR: the essentials here, and all of it
as one HTML page that needs no network. Nothing is computed anew; of a sweep that still
runs, what is there is shown.`,
		Example: `  steer report mood-sweep
  steer report mood-sweep --figures figures`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("give the folder of one sweep")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			data, err := report.Read(args[0])
			if err != nil {
				return err
			}
			shown := shownReport{Verdict: data.Verdict(), Result: data.Manifest.Result, Page: cmp.Or(page, filepath.Join(args[0], report.PageFile))}
			if err := data.Save(shown.Page); err != nil {
				return err
			}
			if figures != "" {
				if shown.Figures, err = data.Figures(c.Context(), figures); err != nil {
					return err
				}
			}
			out := c.OutOrStdout()
			if asJSON {
				return printJSON(out, shown)
			}
			if err := data.Text(out, colored(out)); err != nil {
				return err
			}
			fmt.Fprintf(out, "\nwrote %s\n", shown.Page)
			for _, path := range shown.Figures {
				fmt.Fprintf(out, "wrote %s\n", path)
			}
			return nil
		},
	}
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		flags.StringVar(&page, "out", "", "write the page to this `FILE`; DIR/report.html when not given")
		jsonFlag(flags, &asJSON)
		flags.StringVar(&figures, "figures", "", "write each figure as SVG and PNG into the folder `DIR`, for papers")
	})
	return c
}
