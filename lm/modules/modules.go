// Package modules finds layers by the paths of a model's modules, as the Python
// library's steering_vectors.layer_matching does.
package modules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/steervec/steer/lm"
)

// Config says for layer types which module of a model the layer of each number
// is (the reference's ModelLayerConfig). What is missing in it can be guessed; see
// [Guess].
type Config map[lm.Site]Matcher

// Matcher gives the path of the module that is a layer (the reference's
// LayerMatcher): [Template] or [Func].
type Matcher interface {
	// Module returns the path for a 0-based layer. It need not exist: layers are
	// counted until a path does not.
	Module(layer int) (string, error)
}

// Template is a module path with {num} in the layer's place, such as
// "model.layers.{num}.mlp"; {{ and }} stand for braces. Any other field, or no
// {num} at all, is an error.
type Template string

// Func computes the path of the module.
type Func func(layer int) string

// Module calls the function.
func (f Func) Module(layer int) (string, error) { return f(layer), nil }

// Module puts the layer into the template.
func (t Template) Module(layer int) (string, error) {
	if !strings.Contains(string(t), "{num}") {
		return "", fmt.Errorf("layer template %q: there is no {num} in it", string(t))
	}
	var path strings.Builder
	for rest := string(t); rest != ""; {
		brace := strings.IndexAny(rest, "{}")
		if brace < 0 {
			path.WriteString(rest)
			break
		}
		path.WriteString(rest[:brace])
		rest = rest[brace:]
		switch {
		case strings.HasPrefix(rest, "{{"), strings.HasPrefix(rest, "}}"):
			path.WriteByte(rest[0])
			rest = rest[2:]
		case strings.HasPrefix(rest, "{num}"):
			path.WriteString(strconv.Itoa(layer))
			rest = rest[len("{num}"):]
		default:
			return "", fmt.Errorf("layer template %q: %q is neither {num} nor a doubled brace", string(t), rest)
		}
	}
	return path.String(), nil
}

// Collect returns the paths of a model's layers in order: those of layer 0, 1, …
// until the matcher's path is none of the model's modules (the reference's
// collect_matching_layers, and by its length get_num_matching_layers).
func Collect(modules []string, matcher Matcher) ([]string, error) {
	if matcher == nil {
		return nil, errors.New("collect layers: no layer matcher")
	}
	exists := make(map[string]bool, len(modules))
	for _, path := range modules {
		exists[path] = true
	}
	var layers []string
	// The bound is for functions that ignore the layer.
	for layer := range len(exists) {
		path, err := matcher.Module(layer)
		if err != nil {
			return nil, fmt.Errorf("collect layers: %w", err)
		}
		if !exists[path] {
			break
		}
		layers = append(layers, path)
	}
	return layers, nil
}

// SiteOf says which site of a model a layer type is, given the model's modules as
// lm.Model.Modules returns them: the site whose module the configuration's matcher
// gives for layer 0, or where it has no matcher for the type the site of that name.
// It is an error where the matcher finds nothing, or gives for some layer the module
// of another layer or site: what is read under its number would not be that layer.
func SiteOf(modules map[string]lm.Address, layerType lm.Site, config Config) (lm.Site, error) {
	matcher, ok := config[layerType]
	if !ok {
		return layerType, nil
	}
	paths, err := Collect(slices.Collect(maps.Keys(modules)), matcher)
	if err != nil {
		return "", err
	}
	if len(paths) == 0 {
		return "", fmt.Errorf("the matcher for layer type %q finds no module of the model", layerType)
	}
	site := modules[paths[0]].Site
	for layer, path := range paths {
		if at := modules[path]; at != (lm.Address{Layer: layer, Site: site}) {
			return "", fmt.Errorf("the matcher for layer type %q gives for layer %d the module %q, which is %v", layerType, layer, path, at)
		}
	}
	return site, nil
}

// Guess returns the configuration completed by guesses from a model's
// module paths, in the model's own order, for the given layer types or, where
// none is given, for all that can be guessed: decoder_block, self_attn, mlp,
// input_layernorm, post_attention_layernorm. What the configuration has stays
// as it is; a type for which no module qualifies stays absent. The argument is
// not changed. This is the reference's guess_and_enhance_layer_config.
func Guess(modules []string, config Config, types ...lm.Site) Config {
	guessed := make(Config, len(config))
	maps.Copy(guessed, config)
	if len(types) == 0 {
		types = []lm.Site{lm.DecoderBlock, lm.SelfAttn, lm.MLP, lm.InputLayerNorm, lm.PostAttentionLayerNorm}
	}
	for _, layerType := range types {
		words, known := telltales[layerType]
		if _, given := config[layerType]; given || !known {
			continue
		}
		if template, ok := guessTemplate(modules, words); ok {
			guessed[layerType] = template
		}
	}
	return guessed
}

// telltales are the words of which the template of a layer type must contain
// one; none means that any template will do.
var telltales = map[lm.Site][]string{
	lm.DecoderBlock:           nil,
	lm.SelfAttn:               {"attn", "attention"},
	lm.MLP:                    {"mlp"},
	lm.InputLayerNorm:         {"ln_1", "input_layernorm"},
	lm.PostAttentionLayerNorm: {"ln_2", "post_attention_layernorm"},
}

// numbered splits a module path at its first number. \p{Nd} is what \d means in
// Python's patterns over text.
var numbered = regexp.MustCompile(`^([^\p{Nd}]+)\.\p{Nd}+(.*)$`)

// guessTemplate turns the first number of each path into {num} and takes the
// template that arises most often, among equals the shortest in characters,
// among these the first. This is the reference's
// layer_matching._guess_block_matcher_from_layers, its score included.
func guessTemplate(modules, words []string) (Template, bool) {
	var templates []string
	counts := map[string]int{}
	for _, path := range modules {
		parts := numbered.FindStringSubmatch(path)
		if parts == nil {
			continue
		}
		template := parts[1] + ".{num}" + parts[2]
		if !containsAny(template, words) {
			continue
		}
		if counts[template] == 0 {
			templates = append(templates, template)
		}
		counts[template]++
	}
	best, bestScore := "", 0.0
	for _, template := range templates {
		score := float64(counts[template]) + 1/float64(utf8.RuneCountInString(template))
		if score > bestScore {
			best, bestScore = template, score
		}
	}
	return Template(best), best != ""
}

func containsAny(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return len(words) == 0
}
