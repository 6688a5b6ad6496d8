package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm/cpu"
	"github.com/steervec/steer/lm/engine"
)

// toy is an engine that computes as the CPU's does, and says that it was opened.
type toy struct {
	threads int
	opened  int
}

func (e *toy) engine(devices func() ([]string, error)) Engine {
	return Engine{
		Name:  "toy",
		Flags: func(flags *pflag.FlagSet) { number(flags, &e.threads, "toy-threads", 0, 8, "how many") },
		Open: func(note func(string)) engine.Opener {
			return func(ctx context.Context, source engine.Source, dtype engine.DType) (engine.Engine, error) {
				e.opened++
				note("the toy is open")
				return cpu.Open(ctx, source, dtype)
			}
		},
		Devices: devices,
	}
}

func runWith(t *testing.T, e Engine, args ...string) (code int, out, diagnostics string) {
	t.Helper()
	var o, d bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &o, &d, e)
	return code, o.String(), d.String()
}

func TestAProgramCanBringAnEngine(t *testing.T) {
	e := &toy{}
	two := func() ([]string, error) { return []string{"one", "two"}, nil }
	score := []string{"score", "--model", gpt2, "--prompt", "ab", "--continuation", "c"}
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		opened int
		says   string // on either output
	}{
		{"it is chosen", append(score, "--engine", "toy", "--toy-threads", "3"), exitOK, 1, "note: the toy is open"},
		{"it is not", score, exitOK, 0, ""},
		{"the other one is", append(score, "--engine", "cpu"), exitOK, 0, ""},
		{"a name that is none", append(score, "--engine", "gpu"), exitUsage, 0, "it is one of cpu, toy"},
		{"weights that the CPU rounds", append(score, "--engine", "toy", "--quantize", "q8_0"), exitUsage, 0, "--quantize is for the engine cpu"},
		{"the list", []string{"engines"}, exitOK, 0, "two"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e.opened = 0
			code, out, diagnostics := runWith(t, e.engine(two), test.args...)
			if code != test.code || e.opened != test.opened || !strings.Contains(out+diagnostics, test.says) {
				t.Errorf("exit code %d, opened %d times: %s%s", code, e.opened, out, diagnostics)
			}
		})
	}
	if e.threads != 3 {
		t.Errorf("its own flag is %d", e.threads)
	}
	code, out, _ := runWith(t, e.engine(func() ([]string, error) { return nil, errors.New("no libraries") }), "engines", "--json")
	if code != exitOK || !strings.Contains(out, `"missing": "no libraries"`) {
		t.Errorf("an engine that is not there: %d, %s", code, out)
	}
	if code, out, _ := steerWith(t.Context(), "", "score", "--help"); code != exitOK || strings.Contains(out, "--engine") {
		t.Errorf("a program with the CPU's engine alone has --engine: %d, %s", code, out)
	}
}
