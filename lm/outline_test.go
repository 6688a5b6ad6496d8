package lm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/engine"
	"github.com/steervec/steer/lm/internal/ggufwrite"
)

// outlined is an engine that knows a model's outline.
type outlined struct {
	engine.Engine
	decoder *arch.Decoder
	file    string
}

func (o outlined) Decoder() *arch.Decoder { return o.decoder }

// An engine that opens GGUF files itself is given the file and, of an architecture
// that is not known here, its outline; others are told what is not known.
func TestAnEngineMayOpenFilesItself(t *testing.T) {
	file := &ggufwrite.File{}
	file.Set("general.architecture", "unheard")
	for key, value := range map[string]uint32{"block_count": 7, "embedding_length": 2, "context_length": 512} {
		file.Set("unheard."+key, value)
	}
	file.Tensors = []ggufwrite.Tensor{{Name: "token_embd.weight", Type: gguf.F32, Shape: []int{3, 2}, Data: make([]byte, 24)}}
	path := filepath.Join(t.TempDir(), "unheard.gguf")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var opened outlined
	open := func(_ context.Context, source engine.Source, _ engine.DType) (engine.Engine, error) {
		var ok bool
		if opened.file, ok = source.(engine.Filed).File(); !ok {
			return nil, errors.New("there is no file")
		}
		var err error
		opened.decoder, err = arch.Outline(source.Config())
		return opened, err
	}
	m, err := lm.Open(t.Context(), path, lm.OnFiles(open))
	if err != nil {
		t.Fatal(err)
	}
	if opened.file != path || m.Layers() != 7 || m.Decoder().Family != "unheard" {
		t.Errorf("the engine opened %s, a %s of %d layers", opened.file, m.Decoder().Family, m.Layers())
	}
	if _, err := lm.Open(t.Context(), path); err == nil {
		t.Error("the file was opened without an engine that opens files")
	}
	if _, err := lm.Open(t.Context(), gpt2, lm.OnFiles(open)); err == nil {
		t.Error("a folder has a file")
	}
}
