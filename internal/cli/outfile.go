package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/internal/output"
)

// outFlags name the file that a command writes.
type outFlags struct {
	path  string
	force bool
	name  string // of the flag that gave the path; "": out
	word  string // what the path is called where it is no flag's
}

func (f *outFlags) flag() string { return cmp.Or(f.word, "--"+cmp.Or(f.name, "out")) }

func (f *outFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.path, "out", "", "safetensors `FILE` to write; it appears when it is complete")
	flags.BoolVar(&f.force, "force", false, "replace --out also where it is not a file that steer wrote")
}

// addNamed adds the flag of another name for a file that is none of safetensors.
func (f *outFlags) addNamed(flags *pflag.FlagSet, name, help string) {
	f.name = name
	flags.StringVar(&f.path, name, "", help)
	flags.BoolVar(&f.force, "force", false, "replace --"+name+" also where it is not a file that steer wrote")
}

// reserve finds out before hours of work, not after, that a file cannot be
// written, and keeps every other run from writing it until release is called.
// What is there already is replaced only where steer wrote it; the inputs of the
// command, files or folders of a model, never are.
func (f *outFlags) reserve(c *cobra.Command, inputs ...string) (release func(), err error) {
	if f.path == "-" {
		return nil, usage("%s - is refused: the file is not written to standard output; name a file", f.flag())
	}
	there, err := os.Stat(f.path)
	if err == nil && !there.Mode().IsRegular() {
		return nil, usage("%s %s is not a file", f.flag(), f.path)
	}
	if err == nil {
		if err := f.checkInputs(there, inputs); err != nil {
			return nil, err
		}
		if there.Size() > 0 && !f.force && !kindOfFile(f.path).written() {
			return nil, fmt.Errorf("%s %s is there and is not a file that steer wrote; --force replaces it", f.flag(), f.path)
		}
	}
	probe, err := output.Create(f.path)
	if err == nil {
		err = probe.Abort()
	}
	if err != nil {
		return nil, f.refused(err)
	}
	// The file's own lock is taken while it is written. This one is held from now
	// on, for the file and for the state of the run, which lies beside it.
	target := f.path
	if followed, err := filepath.EvalSymlinks(f.path); err == nil {
		target = followed
	}
	claim, err := output.Create(target + ".run")
	if err != nil {
		return nil, f.refused(err)
	}
	return func() { _ = claim.Abort() }, nil
}

func (f *outFlags) refused(err error) error {
	if errors.Is(err, output.ErrBusy) {
		return fmt.Errorf("%s %s: another run is writing it", f.flag(), f.path)
	}
	return fmt.Errorf("%s %s cannot be written: %w", f.flag(), f.path, withoutPath(err))
}

// withoutPath is the reason of a failure with a file that is named already.
func withoutPath(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// checkInputs refuses to replace what the command reads.
func (f *outFlags) checkInputs(there os.FileInfo, inputs []string) error {
	for _, input := range inputs {
		info, err := os.Stat(input)
		if err != nil {
			continue // a reference to the Hub, standard input, or an error of its own later
		}
		if os.SameFile(there, info) {
			return usage("%s %s is what the command reads, and would be replaced", f.flag(), f.path)
		}
		if !info.IsDir() {
			continue
		}
		entries, err := os.ReadDir(input)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if info, err := os.Stat(filepath.Join(input, e.Name())); err == nil && os.SameFile(there, info) && !kindOfFile(f.path).written() {
				return usage("%s %s is a file of the model %s, and would be replaced", f.flag(), f.path, input)
			}
		}
	}
	return nil
}
