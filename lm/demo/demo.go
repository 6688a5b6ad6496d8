// Package demo carries a language model of two million parameters that writes
// little English stories, so that everything can be tried without a download:
// lm.Open(ctx, "demo") opens it. How it was made is in docs/demo-model.md.
package demo

import (
	"embed"
	"io/fs"
)

// Name is what the model is called where models are named.
const Name = "demo"

//go:embed model
var embedded embed.FS

// Files returns the model as a Hugging Face style folder.
func Files() fs.FS {
	files, err := fs.Sub(embedded, "model")
	if err != nil {
		panic(err) // the name is a constant
	}
	return files
}
