package main

import (
	"bytes"
	"io/fs"
	"testing"

	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/demo/stories"
)

// The model in the repository reads texts by the tokenizer that this command
// writes.
func TestTheModelHasThisTokenizer(t *testing.T) {
	if testing.Short() {
		t.Skip("learning a tokenizer takes some seconds")
	}
	want, err := fs.ReadFile(demo.Files(), "tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := stories.Tokenizer(texts(trainSeed, tokenizerTexts, nil), vocabulary); !bytes.Equal(got, want) {
		t.Error("the corpus has changed since the model was trained: see docs/demo-model.md")
	}
}
