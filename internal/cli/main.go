// Package cli is the command line: one file a command, flags and printing only.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/steervec/steer"
)

// The exit codes that scripts may rely on.
const (
	exitOK      = 0
	exitFailure = 1 // also when interrupted
	exitUsage   = 2
)

// Main runs the command line that the process was started with, and ends it. The
// engines are those that the program has beside the CPU's.
func Main(brought ...Engine) {
	// The first interrupt asks the command to stop; a second one kills it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, brought...)
	stop()
	os.Exit(code)
}

// usageError is a mistake in the command's words, not in what it met.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run executes one command line and returns its exit code. What goes wrong is
// told in one line of diagnostics.
func run(ctx context.Context, args []string, in io.Reader, out, diagnostics io.Writer, brought ...Engine) int {
	root := newRoot(brought...)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(diagnostics)
	begun := false // what is wrong before a command begins is its words
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }

	command, err := root.ExecuteContextC(withEngines(ctx, enginesOf(root)))
	name := command.CommandPath()
	switch {
	case err == nil:
		return exitOK
	case !begun || errors.As(err, new(usageError)):
		fmt.Fprintf(diagnostics, "%s: %s (see %s --help)\n", name, oneLine(err), name)
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(diagnostics, "%s: stopped%s\n", name, whatIsKept(err))
		return exitFailure
	}
	// The library's errors may begin with the same word as the command's name.
	fmt.Fprintf(diagnostics, "%s: %s\n", name, strings.TrimPrefix(oneLine(err), command.Name()+": "))
	return exitFailure
}

// oneLine writes an error, which may quote a file, so that a terminal only shows it.
func oneLine(err error) string { return printable(strings.ReplaceAll(err.Error(), "\n", "; ")) }

func newRoot(brought ...Engine) *cobra.Command {
	engines := &engines{all: brought}
	root := &cobra.Command{
		Use:   "steer",
		Short: "Train steering vectors and steer language models with them, on the CPU",
		Long: `Train steering vectors and steer language models with them, on the CPU.

A model (REF) is a checkpoint's folder, a GGUF file, or a Hub id org/name[@revision],
with :file.gguf behind it for a GGUF file, which is downloaded once into the
Hugging Face cache; demo is the little one inside this program. The exit code is 0
when all went well, 1 after a failure or an interrupt, 2 when the command line is wrong.`,
		Example: `  steer demo
  steer train --model demo --pairs pairs.jsonl --layers 3 --out happy.safetensors
  steer generate --model demo --prompt "Anna had a red kite. One day, Anna met Leo at the bridge." --vector happy.safetensors:0.7`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(root *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := root.SuggestionsFor(args[0]); len(near) > 0 {
				return usage("unknown command %q, did you mean %s?", args[0], strings.Join(near, " or "))
			}
			return usage("unknown command %q", args[0])
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetUsageFunc(printUsage)
	root.SetFlagErrorFunc(wrongFlag)
	root.SetHelpCommand(helpCommand())
	root.SetVersionTemplate("steer {{.Version}}\n")
	root.AddCommand(demoCommand(), trainCommand(), trainConditionCommand(), extractCommand(), aggregateCommand(), shardsCommand(), mergeCommand(), recordCommand(),
		generateCommand(), scoreCommand(), serveCommand(), evalCommand(), sweepCommand(), calibrateCommand(), pairsCommand(), projectCommand(), reportCommand(),
		bakeCommand(), quantizeCommand(), tokenizeCommand(), inspectCommand(), doctorCommand(), convertCommand(), combineCommand(), benchCommand(), engines.command(), versionCommand())
	engines.add(root)
	root.SetContext(withEngines(context.Background(), engines))
	for _, c := range root.Commands() {
		onlyOnce(c)
	}
	return root
}

func version() string {
	return fmt.Sprintf("%s (%s, %s/%s)", steer.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "steer %s\n", version())
			return err
		},
	}
}

// noArguments refuses words that are not flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q", args[0])
	}
	return nil
}

// someArguments asks for one word or more, which stand for what is named.
func someArguments(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("name %s", what)
		}
		return nil
	}
}

// require returns a usage error for the first of the named flags that is
// missing or empty.
func require(c *cobra.Command, names ...string) error {
	for _, name := range names {
		switch flag := c.Flags().Lookup(name); {
		case !flag.Changed:
			return usage("--%s is missing", name)
		case flag.Value.String() == "":
			return usage("--%s is empty", name)
		}
	}
	return nil
}
