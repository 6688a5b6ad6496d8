package vecfile

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// blockOutput is the layer type of a vector whose file names none.
const blockOutput = "decoder_block"

// behaviour are the keys of metadata that change how a vector acts, other than the
// layer type. A format that its own tools read without them cannot hold them.
var behaviour = []string{OperatorKey, ConditionKey, TokensKey}

// plainAddition is the operator by which everyone's vectors act.
const plainAddition = "add"

// Losses says what of a vector a format cannot hold; nil: it holds all.
func (f File) Losses(as Format) ([]string, error) {
	to, err := known(as)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return nil, err
	}
	_, lost, err := f.fit(to, true)
	return lost, err
}

// fit returns what of a vector a format holds, with the metadata that says what the
// file is, and what is lost. A loss is an error unless lossy is true.
func (f File) fit(to format, lossy bool) (File, []string, error) {
	out := File{Layers: map[int][]float32{}, Rank: max(f.Rank, 1), Metadata: maps.Clone(f.Metadata)}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	var lost []string
	lose := func(text string, arguments ...any) { lost = append(lost, fmt.Sprintf(text, arguments...)) }
	if site := f.Metadata[LayerTypeKey]; !to.sites && site != "" && site != blockOutput {
		lose("it acts at %s; the format knows the output of the block alone", site)
		delete(out.Metadata, LayerTypeKey)
	}
	if !to.ranks && out.Rank > 1 {
		lose("it has %d rows a layer; the format has one, the first", out.Rank)
		out.Rank = 1
	}
	for _, key := range behaviour {
		if value := f.Metadata[key]; !to.behaviour && value != "" && (key != OperatorKey || value != plainAddition) {
			lose("its %s is %q; the format has none", key, value)
			delete(out.Metadata, key)
		}
	}
	for _, layer := range f.ascending() {
		values := f.Layers[layer]
		at := layer
		if count, err := strconv.Atoi(f.Metadata[ModelLayersKey]); layer < 0 && to.first >= 0 && err == nil {
			at = layer + count // negative layers count from the last
		}
		if at < to.first {
			lose("layer %d: the format begins at %d", layer, to.first)
			continue
		}
		if _, twice := out.Layers[at]; twice {
			return File{}, nil, fmt.Errorf("layers %d and %d are the same", layer, at)
		}
		out.Layers[at] = values[:len(values)/max(f.Rank, 1)*out.Rank]
	}
	out.Metadata[FormatKey] = strconv.Itoa(out.version())
	switch text, err := embed(out.Metadata); {
	case err != nil:
		return File{}, nil, err
	case len(text) > maxHeader/2: // the layers take less than the other half
		return File{}, nil, fmt.Errorf("the metadata takes %d bytes; at most %d are allowed", len(text), maxHeader/2)
	case len(lost) > 0 && !lossy:
		return File{}, nil, fmt.Errorf("format %s cannot hold the vector: %s", to.name, strings.Join(lost, "; "))
	case len(out.Layers) == 0:
		return File{}, nil, errors.New("no layer is left that the format can hold")
	}
	return out, lost, nil
}
