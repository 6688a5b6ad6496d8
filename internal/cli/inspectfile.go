package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/pairs"
	"github.com/steervec/steer/vecfile"
)

// inspectFile shows a file that is no model.
func inspectFile(w io.Writer, path string, asJSON bool) error {
	switch kind := kindOfFile(path); kind {
	case vectorFile, foreignVector:
		return inspectVector(w, path, asJSON)
	case ggufFile:
		return fmt.Errorf("%s holds a model in GGUF, but its name does not end in .gguf, as it must to be opened", path)
	case otherFile:
		if hasExtension(path, ".safetensors") {
			_, err := safetensors.Open(path)
			return err
		}
		return inspectPairs(w, path, asJSON)
	case measuredFile, evaluationFile, sweepFolder:
		return fmt.Errorf("%s is of an evaluation (%s), which inspect does not show: see steer merge and steer report", path, kind)
	default:
		return inspectTensors(w, path, kind, asJSON)
	}
}

type shownLayer struct {
	Layer int     `json:"layer"`
	Width int     `json:"width"`
	Norm  float64 `json:"norm"`
	// ActivationNorm is the mean length of the activations that the vector was
	// trained on; 0: not known.
	ActivationNorm float64 `json:"activation_norm,omitempty"`
}

type shownVector struct {
	Kind           string       `json:"kind"`
	Format         string       `json:"format"`
	Producer       string       `json:"producer"`
	LayerType      lm.Site      `json:"layer_type"`
	Operator       string       `json:"operator,omitempty"` // "": add
	Rows           int          `json:"rows"`               // of each layer
	Layers         []shownLayer `json:"layers"`
	Hash           string       `json:"hash"` // of the file
	Model          string       `json:"model"`
	Family         string       `json:"family"`
	WeightsHash    string       `json:"weights_hash"`
	DType          string       `json:"dtype"` // of the model's products
	Steering       string       `json:"steering"`
	PairsHash      string       `json:"pairs_hash"`
	Aggregator     string       `json:"aggregator"`
	ReadToken      string       `json:"read_token"`
	ChatTemplate   string       `json:"chat_template"`
	SystemPositive string       `json:"system_positive,omitempty"`
	SystemNegative string       `json:"system_negative,omitempty"`
	Operations     string       `json:"operations"`
	Imported       string       `json:"imported,omitempty"` // how another tool's file was read
	Version        string       `json:"version"`
}

func inspectVector(w io.Writer, path string, asJSON bool) error {
	v, origin, err := steer.LoadVectorFrom(path, vecfile.Options{})
	if errors.As(err, new(*vecfile.AskError)) {
		return fmt.Errorf("%w; steer doctor shows what is in it", err)
	}
	if err != nil {
		return err
	}
	hash, err := hashFile(path)
	if err != nil {
		return err
	}
	p, norms := v.Provenance, v.Norms()
	shown := shownVector{"vector", string(origin.Format), origin.Producer.Name, v.Site, v.Operator, max(1, v.Rank), nil, hash, p.Model, p.Family, p.WeightsHash, p.DType,
		p.Steering, p.PairsHash, p.Aggregator, p.Read, p.ChatTemplate, p.SystemPositive, p.SystemNegative, p.Operations, p.Imported, p.Version}
	for _, n := range slices.Sorted(maps.Keys(v.Layers)) {
		shown.Layers = append(shown.Layers, shownLayer{n, len(v.Layers[n]) / shown.Rows, norms[n], v.ActivationNorms[n]})
	}
	if asJSON {
		return printJSON(w, shown)
	}
	text := &listing{}
	text.line("steering vector", path)
	if origin.Format != vecfile.Native {
		text.line("format", shown.Format)
		text.line("written by", shown.Producer)
	}
	text.line("layer type", shown.LayerType)
	text.line("model", shown.Model)
	text.line("family", shown.Family)
	text.line("weights", shown.WeightsHash)
	text.line("computed in", shown.DType)
	text.line("steered by", shown.Steering)
	text.line("pairs", shown.PairsHash)
	text.line("aggregator", shown.Aggregator)
	text.line("read token", shown.ReadToken)
	text.line("chat template", oneLineOf(shown.ChatTemplate, 80))
	text.line("system message, positive", oneLineOf(shown.SystemPositive, 80))
	text.line("system message, negative", oneLineOf(shown.SystemNegative, 80))
	text.line("operations", shown.Operations)
	text.line("imported", shown.Imported)
	text.line("operator", shown.Operator)
	text.line("made by steer", shown.Version)
	for _, l := range shown.Layers {
		of, elements := "", fmt.Sprintf("%d elements", l.Width)
		if shown.Rows > 1 {
			elements = fmt.Sprintf("%d rows of %s", shown.Rows, elements)
		}
		if l.ActivationNorm > 0 {
			of = fmt.Sprintf(" (activations: %.4f)", l.ActivationNorm)
		}
		text.line(fmt.Sprintf("layer %d", l.Layer), fmt.Sprintf("norm %.4f%s, %s", l.Norm, of, elements))
	}
	return text.write(w)
}

// shownCosines is how several vectors lie to each other.
type shownCosines struct {
	Kind    string        `json:"kind"`
	Vectors []string      `json:"vectors"`
	Layers  []layerCosine `json:"layers"`
}

// layerCosine holds the cosines at a layer, [vectors][vectors]; null where one of
// the two lacks the layer.
type layerCosine struct {
	Layer   int          `json:"layer"`
	Cosines [][]*float64 `json:"cosines"`
}

// inspectVectors shows the cosines between vectors, by layer.
func inspectVectors(w io.Writer, paths []string, asJSON bool) error {
	vectors := make([]*steer.Vector, len(paths))
	for i, path := range paths {
		var err error
		if vectors[i], err = steer.LoadVector(path); err != nil {
			return err
		}
	}
	byLayer := map[int][][]*float64{}
	for a, v := range vectors {
		for b, other := range vectors {
			cosines, err := v.Cosine(other)
			if err != nil {
				return fmt.Errorf("%s and %s: %w", paths[a], paths[b], err)
			}
			for layer, cosine := range cosines {
				if byLayer[layer] == nil {
					byLayer[layer] = make([][]*float64, len(paths))
					for i := range paths {
						byLayer[layer][i] = make([]*float64, len(paths))
					}
				}
				byLayer[layer][a][b] = &cosine
			}
		}
	}
	shown := shownCosines{Kind: "cosines", Vectors: paths}
	for _, layer := range slices.Sorted(maps.Keys(byLayer)) {
		shown.Layers = append(shown.Layers, layerCosine{layer, byLayer[layer]})
	}
	if asJSON {
		return printJSON(w, shown)
	}
	text := &listing{}
	names := []string{"layer"}
	for i, path := range paths {
		text.line(letter(i), path)
		for j := i + 1; j < len(paths); j++ {
			names = append(names, letter(i)+"·"+letter(j))
		}
	}
	text.heading("cosines:")
	text.row(names...)
	for _, l := range shown.Layers {
		cells := []string{strconv.Itoa(l.Layer)}
		for i := range paths {
			for j := i + 1; j < len(paths); j++ {
				cell := "-"
				if cosine := l.Cosines[i][j]; cosine != nil {
					cell = fmt.Sprintf("%.4f", *cosine)
				}
				cells = append(cells, cell)
			}
		}
		text.row(cells...)
	}
	return text.write(w)
}

// letter names the vector of a number: A to Z, A1 to Z1 and so on.
func letter(i int) string {
	name := string(rune('A' + i%26))
	if i >= 26 {
		name += strconv.Itoa(i / 26)
	}
	return name
}

// shownTensors is what the header of a safetensors file says.
type shownTensors struct {
	Kind     fileKind          `json:"kind"`
	Pairs    int               `json:"pairs,omitempty"`   // in activations and statistics
	Prompts  int               `json:"prompts,omitempty"` // in a recording
	Tensors  []shownTensor     `json:"tensors"`
	Metadata map[string]string `json:"metadata"`
}

type shownTensor struct {
	Name  string            `json:"name"`
	DType safetensors.DType `json:"dtype"`
	Shape []int             `json:"shape"`
}

// sampleBytes is how many bytes a sample's id has in a file of statistics.
const sampleBytes = 32

// inspectTensors shows a safetensors file that is not a vector, by its header.
func inspectTensors(w io.Writer, path string, kind fileKind, asJSON bool) error {
	file, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	shown := shownTensors{Kind: kind, Metadata: file.Metadata()}
	for _, name := range file.Names() {
		t, _ := file.Tensor(name)
		shown.Tensors = append(shown.Tensors, shownTensor{name, t.DType, t.Shape})
	}
	metadata := shown.Metadata
	switch kind {
	case activationsFile:
		if shape := shown.Tensors[0].Shape; len(shape) == 2 {
			shown.Pairs = shape[0]
		}
	case statisticsFile:
		if samples, ok := file.Tensor("samples"); ok {
			shown.Pairs = len(samples.Data) / sampleBytes
		}
		metadata = statisticsMetadata(metadata)
	case recordingFile:
		var prompts []recordedPrompt
		if text := metadata[promptsKey]; text != "" {
			if err := json.Unmarshal([]byte(text), &prompts); err != nil {
				return fmt.Errorf("read recording %s: metadata %q: %w", path, promptsKey, err)
			}
		}
		shown.Prompts = max(1, len(prompts))
	}
	if asJSON {
		return printJSON(w, shown)
	}
	text := &listing{}
	text.line(string(kind), path)
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		name, known := map[string]string{
			vecfile.LayerTypeKey: "layer type", vecfile.FamilyKey: "family", vecfile.WeightsHashKey: "weights", vecfile.PairsHashKey: "pairs",
			vecfile.ReadTokenKey: "read token", vecfile.ChatTemplateKey: "chat template", vecfile.VersionKey: "made by steer",
		}[key]
		if !known {
			name = key
		}
		text.line(name, oneLineOf(metadata[key], 100))
	}
	if shown.Pairs > 0 {
		text.line("pairs in it", shown.Pairs)
	}
	if shown.Prompts > 0 {
		text.line("prompts in it", shown.Prompts)
	}
	text.heading("tensors:")
	for _, t := range shown.Tensors {
		text.line(t.Name, fmt.Sprintf("%s %v", t.DType, t.Shape))
	}
	return text.write(w)
}

// statisticsMetadata are the entries of the header of statistics one by one.
func statisticsMetadata(metadata map[string]string) map[string]string {
	out := maps.Clone(metadata)
	var fields map[string]any
	if json.Unmarshal([]byte(metadata[statisticsKey]), &fields) != nil {
		return out
	}
	delete(out, statisticsKey)
	for name, value := range fields {
		switch value := value.(type) {
		case map[string]any:
			for inner, v := range value {
				out[inner] = fmt.Sprint(v)
			}
		case float64:
			out[name] = strconv.FormatFloat(value, 'f', -1, 64)
		default:
			out[name] = fmt.Sprint(value)
		}
	}
	return out
}

// shownPairs is what a file of pairs holds.
type shownPairs struct {
	Kind      string `json:"kind"`
	Pairs     int    `json:"pairs"`
	TokenIDs  bool   `json:"token_ids"`
	ReadToken string `json:"read_token"` // where a pair does not say
	Note      string `json:"note,omitempty"`
	First     struct {
		Positive string `json:"positive"`
		Negative string `json:"negative"`
	} `json:"first"`
}

func inspectPairs(w io.Writer, path string, asJSON bool) error {
	file, err := pairs.Open(path)
	if err != nil {
		return fmt.Errorf("%s is not a file of tensors; as pairs: %s", path, strings.TrimPrefix(err.Error(), path+": "))
	}
	shown := shownPairs{Kind: "pairs", Pairs: len(file.Samples), ReadToken: "-1", Note: file.Note}
	if file.Read != nil {
		shown.ReadToken = file.Read.String()
	}
	s := file.Samples[0]
	shown.First.Positive, shown.First.Negative = s.Positive, s.Negative
	if shown.TokenIDs = s.PositiveIDs != nil; shown.TokenIDs && s.Positive == "" {
		shown.First.Positive, shown.First.Negative = fmt.Sprint(s.PositiveIDs), fmt.Sprint(s.NegativeIDs)
	}
	if asJSON {
		return printJSON(w, shown)
	}
	text := &listing{}
	text.line("pairs", path)
	text.line("pairs in it", shown.Pairs)
	text.line("read token", shown.ReadToken)
	text.line("note", shown.Note)
	text.line("first positive", oneLineOf(shown.First.Positive, 100))
	text.line("first negative", oneLineOf(shown.First.Negative, 100))
	return text.write(w)
}
