package cli

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer"
	"github.com/steervec/steer/serve"
)

// keysVariable is the environment variable that may hold API keys.
const keysVariable = "STEER_API_KEYS"

// serveFlags say what is served, to whom and how.
type serveFlags struct {
	options           serve.Options
	vectors, presets  []string
	addr              string
	keyFile, template string
	certificate, key  string
	quiet, asJSON     bool
	linger, drain     float64 // seconds
}

// listening is the result of the command: where the model is served.
type listening struct {
	Model   string `json:"model"`
	Address string `json:"address"`
}

func serveCommand() *cobra.Command {
	var model modelFlags
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve --model REF",
		Short: "Serve a model whose every request can be steered differently",
		Long: `Serve a model over HTTP in OpenAI's form, with steering in every request: in its
body, by the header X-Steering, or by the model's name, as demo@grumpy. A page to
play with is at /. docs/server.md has the contract.

Requests name vectors and presets that the command line gives; they cannot name
files. The server answers this machine alone unless --addr says otherwise; give it
API keys then, in the environment variable ` + keysVariable + ` or in a file, one a line.`,
		Example: `  steer serve --model demo
  steer serve --model demo --vector mood=happy.safetensors --preset grumpy=@grumpy.json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			if err := f.read(c); err != nil {
				return err
			}
			settings, err := f.tls()
			if err != nil {
				return err
			}
			m, err := model.open(c)
			if err != nil {
				return err
			}
			server, err := serve.New(m, f.options)
			if err != nil {
				return usageError{err}
			}
			defer server.Close()
			listener, err := net.Listen("tcp", f.addr)
			if err != nil {
				return err
			}
			at := listening{Model: m.ID(), Address: "http://" + listener.Addr().String()}
			if settings != nil {
				at.Address = "https://" + listener.Addr().String()
			}
			if f.asJSON {
				err = printResult(c.OutOrStdout(), at, true)
			} else {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s is served at %s\n", at.Model, at.Address)
			}
			if err != nil {
				return errors.Join(err, listener.Close())
			}
			return server.Serve(c.Context(), listener, settings)
		},
	}
	model.add(c)
	flagsUnder(c, "Steering", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&f.vectors, "vector", nil, "requests may name this vector: `NAME=FILE`; repeatable")
		flags.StringArrayVar(&f.presets, "preset", nil, "requests may name this steering: `NAME=JSON`, or NAME=@FILE with the JSON in a file; repeatable")
		flags.StringVar(&f.options.Default, "default", "", "requests that say nothing are steered by the preset `NAME`")
		flags.BoolVar(&f.options.AllowUpload, "allow-upload", false, "requests may train and upload vectors")
		flags.StringVar(&f.template, "chat-template", "", "render conversations with the template in `FILE` in place of the model's")
	})
	flagsUnder(c, "Access", func(flags *pflag.FlagSet) {
		flags.StringVar(&f.addr, "addr", "127.0.0.1:8080", "listen at `HOST:PORT`; port 0 is any free one")
		flags.StringArrayVar(&f.options.Hosts, "host", nil, "answer to this `NAME` too, beside localhost and addresses; repeatable")
		flags.StringArrayVar(&f.options.Origins, "cors-origin", nil, "let pages of this `ORIGIN`, such as https://example.org, use the server; repeatable")
		flags.StringVar(&f.keyFile, "api-key-file", "", "ask for one of the API keys in `FILE`, one a line")
		flags.StringVar(&f.certificate, "tls-cert", "", "speak TLS with the certificate in `FILE`")
		flags.StringVar(&f.key, "tls-key", "", "and the private key in `FILE`")
	})
	flagsUnder(c, "Limits", func(flags *pflag.FlagSet) {
		f.options.Cache, f.options.Running, f.options.Waiting = 1<<16, 64, 1024
		number(flags, &f.options.Cache, "cache-tokens", 1024, 1<<30, "hold keys and values of N tokens, of texts that are written and for later")
		number(flags, &f.options.Running, "running", 1, 4096, "write at most N texts at the same time")
		number(flags, &f.options.Waiting, "waiting", 1, math.MaxInt32, "let at most N texts wait")
		number(flags, &f.linger, "linger", 0, 3600, "told to end, say so at /ready for N seconds before no more requests are taken, so that a balancer notices")
		f.drain = 30
		number(flags, &f.drain, "drain", 1, 86400, "and then let requests finish for at most N seconds")
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) {
		flags.BoolVar(&f.asJSON, "json", false, "print the address as JSON, and log in JSON")
		flags.BoolVar(&f.quiet, "quiet", false, "log no requests")
		flags.BoolVar(&f.options.LogPrompts, "log-prompts", false, "log the bodies of requests too")
	})
	return c
}

// read reads what the flags name.
func (f *serveFlags) read(c *cobra.Command) error {
	f.options.Vectors, f.options.Presets = map[string]*steer.Vector{}, map[string]json.RawMessage{}
	for _, text := range f.vectors {
		name, path, ok := strings.Cut(text, "=")
		if _, twice := f.options.Vectors[name]; !ok || twice {
			return usage("--vector %s: it is not NAME=FILE with a NAME of its own", text)
		}
		var err error
		if f.options.Vectors[name], err = steer.LoadVector(path); err != nil {
			return err
		}
	}
	for _, text := range f.presets {
		name, value, ok := strings.Cut(text, "=")
		if _, twice := f.options.Presets[name]; !ok || twice {
			return usage("--preset %s: it is not NAME=JSON or NAME=@FILE with a NAME of its own", text)
		}
		if path, file := strings.CutPrefix(value, "@"); file {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			value = string(data)
		}
		if !json.Valid([]byte(value)) {
			return usage("--preset %s: it is not JSON", name)
		}
		f.options.Presets[name] = json.RawMessage(value)
	}
	if f.template != "" {
		data, err := os.ReadFile(f.template)
		if err != nil {
			return err
		}
		f.options.ChatTemplate = string(data)
	}
	seconds := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	f.options.Linger, f.options.Drain = seconds(f.linger), seconds(f.drain)
	keys := os.Getenv(keysVariable)
	if f.keyFile != "" {
		data, err := os.ReadFile(f.keyFile)
		if err != nil {
			return err
		}
		if keys += "\n" + string(data); len(strings.Fields(string(data))) == 0 {
			return fmt.Errorf("%s holds no API key", f.keyFile)
		}
	}
	f.options.Keys = strings.Fields(keys)
	switch {
	case f.quiet:
	case f.asJSON:
		f.options.Log = slog.New(slog.NewJSONHandler(c.ErrOrStderr(), nil))
	default:
		f.options.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
	}
	if host, _, err := net.SplitHostPort(f.addr); err == nil && len(f.options.Keys) == 0 && !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, host) {
		newNotes(c).add("the server listens at %s without API keys: whoever reaches it may use it", f.addr)
	}
	return nil
}

// tls returns the settings of TLS; nil where it is not asked for.
func (f *serveFlags) tls() (*tls.Config, error) {
	if f.certificate == "" && f.key == "" {
		return nil, nil
	}
	if f.certificate == "" || f.key == "" {
		return nil, usageError{errors.New("--tls-cert and --tls-key go together")}
	}
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
