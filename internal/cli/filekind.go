package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/vecfile"
)

// fileKind is what a file is, as far as its first bytes or its header tell.
type fileKind string

const (
	vectorFile      fileKind = "vector"
	foreignVector   fileKind = "vector of another tool"
	activationsFile fileKind = "activations"
	statisticsFile  fileKind = "statistics"
	recordingFile   fileKind = "recording"
	measuredFile    fileKind = "measured" // a part of an evaluation
	evaluationFile  fileKind = "evaluation"
	sweepFolder     fileKind = "sweep"
	tensorsFile     fileKind = "tensors" // safetensors of somebody else
	ggufFile        fileKind = "gguf"
	otherFile       fileKind = "other" // pairs, or nothing that is known
)

// written reports whether files of the kind are those that steer writes.
func (k fileKind) written() bool {
	return slices.Contains([]fileKind{vectorFile, activationsFile, statisticsFile, recordingFile, measuredFile, evaluationFile}, k)
}

// maxHeader bounds the header of a file that steer wrote.
const maxHeader = 16 << 20

// kindOfFile looks at the beginning of a file.
func kindOfFile(path string) fileKind {
	if _, ours, ok := vecfile.Detect(path); ok && ours {
		return vectorFile
	} else if ok {
		return foreignVector
	}
	if startsWith(path, "GGUF") {
		return ggufFile
	}
	if eval.IsPart(path) {
		return measuredFile
	}
	if startsWith(path, evaluationStart) {
		return evaluationFile
	}
	if _, err := os.Stat(filepath.Join(path, eval.ManifestFile)); err == nil {
		return sweepFolder
	}
	file, err := safetensors.OpenLimited(path, maxHeader)
	if err != nil {
		return otherFile
	}
	defer file.Close()
	return kindOfTensors(file)
}

// isVector reports whether a file holds a vector of any format.
func isVector(path string) bool {
	_, _, ok := vecfile.Detect(path)
	return ok
}

func startsWith(path, want string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	start := make([]byte, len(want))
	_, err = io.ReadFull(file, start)
	return err == nil && bytes.Equal(start, []byte(want))
}

const (
	statisticsKey = "steer.statistics" // the metadata key that a file of statistics has
	samplesTensor = "samples"          // the tensor that activations of a shard have
)

func kindOfTensors(file *safetensors.File) fileKind {
	metadata, names := file.Metadata(), file.Names()
	switch {
	case metadata[statisticsKey] != "":
		return statisticsFile
	case metadata[vecfile.FormatKey] != "":
		return vectorFile
	case len(names) == 0 || metadata[vecfile.LayerTypeKey] == "":
		return tensorsFile
	case all(names, func(name string) bool {
		return isLayerOf(name, "positive") || isLayerOf(name, "negative") || name == samplesTensor
	}):
		return activationsFile
	case all(names, func(name string) bool {
		return name == logitsTensor || slices.ContainsFunc(arch.Sites(), func(s lm.Site) bool { return isLayerOf(name, string(s)) })
	}):
		return recordingFile
	}
	return tensorsFile
}

func all(names []string, is func(string) bool) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !is(name) })
}

// isLayerOf reports whether a tensor's name is prefix.<layer>.
func isLayerOf(name, prefix string) bool {
	number, ok := strings.CutPrefix(name, prefix+".")
	layer, err := strconv.Atoi(number)
	return ok && err == nil && layer >= 0 && strconv.Itoa(layer) == number
}
