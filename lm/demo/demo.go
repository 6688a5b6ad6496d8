// Package demo carries a language model of two million parameters that writes
// little English stories, so that everything can be tried without a download. How
// it was made is in docs/demo-model.md.
package demo

import (
	"context"
	"embed"
	"io/fs"

	"github.com/steervec/steer/lm"
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

// Open loads the model.
func Open(ctx context.Context, numbers lm.Numbers) (*lm.Model, error) {
	return lm.OpenFS(ctx, Files(), Name, lm.OpenOptions{Numbers: numbers})
}
