// Command steer-llamacpp is steer with a second engine: with --engine llamacpp models
// are computed by llama.cpp's shared libraries, on GPUs and for every architecture that
// llama.cpp knows.
package main

import (
	"errors"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/steervec/steer/internal/cli"
	"github.com/steervec/steer/llamacpp"
	"github.com/steervec/steer/lm/engine"
)

func main() {
	options := llamacpp.Options{GPULayers: llamacpp.AllLayers}
	cli.Main(cli.Engine{
		Name: "llamacpp",
		Flags: func(flags *pflag.FlagSet) {
			flags.StringVar(&options.Libraries, "engine-libs", "", "the folder `DIR` of llama.cpp's shared libraries; else the one that the variable "+llamacpp.Folder+" names")
			flags.Var((*layers)(&options.GPULayers), "gpu-layers", "how many layers lie on the GPU: all, or a number from 0 on")
		},
		Open: func(note func(string)) engine.Opener {
			options.Note = note
			return llamacpp.Open(options)
		},
		Devices: func() ([]string, error) {
			found, err := llamacpp.Devices(options.Libraries)
			var names []string
			for _, d := range found {
				names = append(names, d.String())
			}
			return names, err
		},
	})
}

// layers is a flag for a number of layers, or all.
type layers int

func (l *layers) String() string {
	if l == nil || *l == llamacpp.AllLayers {
		return "all"
	}
	return strconv.Itoa(int(*l))
}

func (l *layers) Set(text string) error {
	if text == "all" {
		*l = llamacpp.AllLayers
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return errors.New("it is neither all nor a whole number from 0 on")
	}
	*l = layers(n)
	return nil
}

func (l *layers) Type() string { return "N" }
