// Command kernels writes the assembly of package kernel and the Go
// declarations that go with it. Run it through
//
//	go generate ./lm/cpu/kernel
package main

import (
	"bytes"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: kernels FOLDER")
	}
	files, err := generate()
	if err != nil {
		log.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(os.Args[1], name), text, 0o666); err != nil {
			log.Fatal(err)
		}
	}
}

// generate returns the generated files by name.
func generate() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, set := range []amd64{{Context: build.NewContext(), name: "avx512", bytes: 64}, {Context: build.NewContext(), name: "avx2", bytes: 32}} {
		set.globals = map[string]operand.Mem{}
		set.tiles()
		set.vectors()
		set.peaks()
		set.pack()
		set.blocks()
		file, err := set.Result()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.name, err)
		}
		if err := pass.Compile.Execute(file); err != nil {
			return nil, fmt.Errorf("%s: %w", set.name, err)
		}
		config := printer.Config{Name: "go generate", Pkg: "kernel"}
		assembly, err := printer.NewGoAsm(config).Print(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.name, err)
		}
		stubs, err := printer.NewStubs(config).Print(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.name, err)
		}
		files[set.name+"_amd64.s"] = assembly
		files[set.name+"_amd64.go"] = stubs
	}
	maps.Copy(files, new(neon).generate())
	for name, text := range files {
		files[name] = bytes.TrimLeft(text, "\n")
	}
	return files, nil
}
