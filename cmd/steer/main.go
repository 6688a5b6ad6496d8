// Command steer trains steering vectors on Hugging Face checkpoints and
// applies them: it extracts, aggregates, records, generates and scores, on the
// CPU, without Python.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
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

func main() {
	// The first interrupt asks the command to stop; a second one kills it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError is a mistake in the command's words, not in what it met.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, diagnostics io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(diagnostics)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(usageError)):
		fmt.Fprintf(diagnostics, "%s: %v\nRun '%s --help' for its flags.\n", command.CommandPath(), err, command.CommandPath())
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(diagnostics, "%s: stopped\n", command.CommandPath())
		return exitFailure
	}
	fmt.Fprintf(diagnostics, "%s: %v\n", command.CommandPath(), err)
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "steer",
		Short:         "Train steering vectors and steer language models with them, on the CPU",
		Version:       steer.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(trainCommand(), extractCommand(), aggregateCommand(), recordCommand(),
		generateCommand(), scoreCommand(), tokenizeCommand(), inspectCommand())
	return root
}

// noArguments refuses words that are not flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q", args[0])
	}
	return nil
}

// require returns a usage error for the first of the named flags that is not given.
func require(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if !c.Flags().Changed(name) {
			return usage("--%s is missing", name)
		}
	}
	return nil
}
