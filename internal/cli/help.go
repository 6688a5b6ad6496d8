package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the width in characters to which help is wrapped.
const helpWidth = 100

// headingKey is the annotation of a flag that says under which heading of the
// command's help it stands.
const headingKey = "heading"

// flagsUnder defines flags that stand together under a heading of the
// command's help, in the order of their definition.
func flagsUnder(c *cobra.Command, heading string, define func(*pflag.FlagSet)) {
	flags := newFlagSet(heading)
	define(flags)
	flags.VisitAll(func(f *pflag.Flag) { f.Annotations = map[string][]string{headingKey: {heading}} })
	c.Flags().SortFlags = false
	c.Flags().AddFlagSet(flags)
}

func newFlagSet(name string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = false
	return flags
}

// helpCommand shows the help of another command.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show the help of a command",
		RunE: func(c *cobra.Command, args []string) error {
			topic, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage("there is no command %q", strings.Join(args, " "))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

// printUsage writes what follows a command's description in its help.
func printUsage(c *cobra.Command) error {
	var text strings.Builder
	fmt.Fprintf(&text, "Usage:\n  %s\n", c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(&text, "\nExample:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprint(&text, "\nCommands:\n")
		for _, child := range c.Commands() {
			if child.IsAvailableCommand() {
				fmt.Fprintf(&text, "  %-12s %s\n", child.Name(), child.Short)
			}
		}
	}
	for _, flags := range byHeading(c.LocalFlags()) {
		fmt.Fprintf(&text, "\n%s:\n%s", flags.Name(), flags.FlagUsagesWrapped(helpWidth))
	}
	_, err := io.WriteString(c.OutOrStderr(), text.String())
	return err
}

// byHeading parts flags into sets that have their headings as names; those
// without one come last.
func byHeading(all *pflag.FlagSet) []*pflag.FlagSet {
	var sets []*pflag.FlagSet
	others := newFlagSet("Other flags")
	all.VisitAll(func(f *pflag.Flag) {
		to := others
		if heading := f.Annotations[headingKey]; heading != nil {
			at := slices.IndexFunc(sets, func(s *pflag.FlagSet) bool { return s.Name() == heading[0] })
			if at < 0 {
				at = len(sets)
				sets = append(sets, newFlagSet(heading[0]))
			}
			to = sets[at]
		}
		to.AddFlag(f)
	})
	return append(sets, others)
}
