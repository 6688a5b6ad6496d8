package translate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Source is a Hugging Face checkpoint that is to be written as a GGUF file.
type Source interface {
	Config() []byte // of config.json
	FS() fs.FS      // of the tokenizer's files
	Names() []string
	Tensor(name string) (safetensors.Tensor, bool)
	Release(safetensors.Tensor)
	EndTokens() ([]int, error)
}

// Plan says how a checkpoint is written as the GGUF file that llama.cpp's converter
// makes of it. The source must stay open.
type Plan struct {
	file gguf.Contents
	made []gguf.Made
}

// NewPlan plans the file of a checkpoint, its matrices in a type that can be written
// or, as [gguf.Tensor.Becomes] has it, in one that fits. Nothing is read but headers
// and vectors. Errors say which family, field or tensor the format has no word for.
func NewPlan(from Source, kind gguf.Type) (*Plan, error) {
	w := &writing{from: from, kind: kind, used: map[string]bool{}}
	for _, name := range from.Names() {
		w.used[name] = false
	}
	if err := json.Unmarshal(from.Config(), &w.config); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	for _, step := range []func(){w.family, w.metadata, w.scaling, w.tensors, w.tokenizer} {
		if step(); w.err != nil {
			return nil, w.err
		}
	}
	return &Plan{w.file, w.made}, nil
}

// Config returns the config.json that stands for the file where it is read.
func (p *Plan) Config() ([]byte, error) {
	c, err := New(p.file.Preview(p.made), safetensors.F32)
	if err != nil {
		return nil, err
	}
	return c.files["config.json"], nil
}

// Matrices returns how many tensors are stored in other numbers than float32.
func (p *Plan) Matrices() (n int) {
	for _, t := range p.made {
		if t.Type != gguf.F32 {
			n++
		}
	}
	return n
}

// Write writes the file. Tensors are read as they are written, some rows at a time.
func (p *Plan) Write(ctx context.Context, w io.Writer) error { return p.file.Write(ctx, w, p.made) }

// writing is the work of NewPlan.
type writing struct {
	from   Source
	config object
	kind   gguf.Type
	name   string // general.architecture
	arch   architecture
	shape  headShape
	file   gguf.Contents
	made   []gguf.Made
	used   map[string]bool // by the checkpoint's names of tensors
	err    error
}

func (w *writing) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// otherFields are names under which families keep what most call otherwise.
var otherFields = map[string]string{
	"num_hidden_layers": "n_layer n_layers", "hidden_size": "n_embd d_model", "num_attention_heads": "n_head n_heads",
	"intermediate_size": "n_inner ffn_hidden_size", "max_position_embeddings": "n_positions max_seq_len", "num_local_experts": "num_experts",
}

// field returns the first of the fields that the config has.
func (w *writing) field(names ...string) any {
	for _, name := range names {
		for one := range strings.FieldsSeq(name + " " + otherFields[name]) {
			if value := w.config[one]; value != nil {
				return value
			}
		}
	}
	return nil
}

func (w *writing) number(names ...string) float64 {
	n, _ := w.field(names...).(float64)
	return n
}

// size returns a size that the config must name, or the one given where it does not.
func (w *writing) size(name string, otherwise int) int {
	value := w.field(name)
	if value == nil && otherwise > 0 {
		return otherwise
	}
	n, ok := value.(float64)
	if !ok || n < 1 || n > 1<<24 || n != math.Trunc(n) {
		w.fail("config.json: %s is %v, not a whole number from 1 to %d", name, value, 1<<24)
		return 1
	}
	return int(n)
}

// family finds the architecture that the checkpoint's model type is written as.
func (w *writing) family() {
	modelType, _ := w.config["model_type"].(string)
	for name, a := range architectures {
		if a.modelType == modelType || slices.Contains(a.otherTypes, modelType) {
			w.name, w.arch = name, a
		}
	}
	if w.name != "" {
		return
	}
	var known []string
	for name := range architectures {
		known = append(known, ModelTypes(name)...)
	}
	slices.Sort(known)
	if w.config["text_config"] != nil {
		w.fail("config.json: %q wraps a text model, and only those that stand alone are written as GGUF", modelType)
	}
	w.fail("config.json: model_type is %q, for which there is no architecture of GGUF; there are for %s", modelType, strings.Join(known, ", "))
}

// set gives a key of the architecture its value, unless it has one already.
func (w *writing) set(key string, value any) {
	key = w.name + "." + key
	if w.file.Value(key) == nil {
		w.file.Set(key, value)
	}
}

// metadata writes what the config says: what the family tells by itself, then what
// the tables of keys hold.
func (w *writing) metadata() {
	if rope, ok := w.config["rope_parameters"].(object); ok { // where newer configs keep all of it
		for _, name := range []string{"rope_theta", "partial_rotary_factor"} {
			if w.config[name] == nil {
				w.config[name] = rope[name]
			}
		}
		if w.config["rope_scaling"] == nil {
			w.config["rope_scaling"] = rope
		}
	}
	w.file.Set("general.architecture", w.name)
	w.file.Set("general.type", "model")
	w.file.Set("general.file_type", w.kind.FileType())
	s := &w.shape
	s.layers, s.hidden, s.heads = w.size("num_hidden_layers", 0), w.size("hidden_size", 0), w.size("num_attention_heads", 0)
	if s.layers > maxLayers {
		w.fail("config.json: num_hidden_layers is %d, more than %d", s.layers, maxLayers)
	}
	s.keyHeads, s.size = w.size("num_key_value_heads", s.heads), w.size("head_dim", max(s.hidden/s.heads, 1))
	if w.err == nil && w.arch.tell != nil {
		w.arch.tell(w)
	}
	if s.heads%s.keyHeads != 0 {
		w.fail("config.json: %d heads cannot share %d keys", s.heads, s.keyHeads)
	}
	if w.err != nil {
		return
	}
	w.set("block_count", uint32(s.layers))
	w.set("context_length", uint32(w.size("max_position_embeddings", 2048)))
	w.set("feed_forward_length", uint32(w.size("intermediate_size", 4*s.hidden)))
	w.set("attention.head_count_kv", uint32(s.keyHeads))
	if s.size*s.heads != s.hidden || w.config["head_dim"] != nil {
		w.set("attention.key_length", uint32(s.size))
		w.set("attention.value_length", uint32(s.size))
	}
	if !w.arch.still {
		turning := s.size
		if part, ok := w.config[w.arch.partial].(float64); ok {
			turning = int(float64(s.size) * part)
		}
		w.set("rope.dimension_count", uint32(turning))
	}
	for _, table := range []map[string]string{w.arch.keys, commonKeys} {
		for _, key := range slices.Sorted(maps.Keys(table)) {
			w.copy(key, strings.Fields(table[key])...)
		}
	}
}

// realKeys are parts of the keys whose values are no whole numbers.
var realKeys = []string{"epsilon", "freq_base", "scale", "softcapping", "clamp", "alibi_bias"}

// copy writes the first of some fields of the config that is there.
func (w *writing) copy(key string, fields ...string) {
	switch value := w.field(fields...).(type) {
	case bool:
		w.set(key, value)
	case float64:
		switch {
		case slices.ContainsFunc(realKeys, func(part string) bool { return strings.Contains(key, part) }):
			w.set(key, float32(value))
		case value == math.Trunc(value) && value >= 0 && value <= math.MaxUint32:
			w.set(key, uint32(value))
		default:
			w.fail("config.json: %s is %v, not a whole number", fields[0], value)
		}
	}
}

// counts writes fields of the config that are there and not 0.
func (w *writing) counts(keys map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if n := w.number(keys[key]); n > 0 {
			w.copy(key, keys[key])
		}
	}
}

// kinds writes, of layers of which only some have attention, how many keys each has.
func (w *writing) kinds(attention string) {
	types, _ := w.config["layer_types"].([]any)
	if len(types) != w.shape.layers {
		w.fail("config.json: layer_types names %d layers of %d", len(types), w.shape.layers)
		return
	}
	keys := make([]uint32, len(types))
	for i, kind := range types {
		if kind == attention {
			keys[i] = uint32(w.shape.keyHeads)
		}
	}
	w.set("attention.head_count_kv", keys)
}

// sliding writes which layers have a sliding window.
func (w *writing) sliding() {
	types, _ := w.config["layer_types"].([]any)
	if types == nil {
		w.copy("attention.sliding_window_pattern", "sliding_window_pattern")
		return
	}
	pattern := make([]bool, len(types))
	for i, kind := range types {
		pattern[i] = kind == "sliding_attention"
	}
	w.set("attention.sliding_window_pattern", pattern)
}

// scaling writes how rotary frequencies are scaled.
func (w *writing) scaling() {
	scaling, _ := w.config["rope_scaling"].(object)
	if scaling == nil || w.arch.still {
		return
	}
	kind, _ := scaling["rope_type"].(string)
	if kind == "" {
		kind, _ = scaling["type"].(string)
	}
	number := func(name string) float64 { n, _ := scaling[name].(float64); return n }
	original := number("original_max_position_embeddings")
	if original == 0 {
		original = w.number("original_max_position_embeddings", "max_position_embeddings")
	}
	switch kind {
	case "", "default":
	case "linear":
		w.set("rope.scaling.type", "linear")
		w.set("rope.scaling.factor", float32(number("factor")))
	case "yarn":
		w.set("rope.scaling.type", "yarn")
		w.set("rope.scaling.factor", float32(number("factor")))
		w.set("rope.scaling.original_context_length", uint32(original))
		if n := number("attention_factor"); n != 0 {
			w.set("rope.scaling.attn_factor", float32(n))
		}
	case "llama3":
		w.table("rope_freqs.weight", w.llama3Factors(number, original))
	case "longrope", "su":
		w.set("rope.scaling.original_context_length", uint32(original))
		factor := number("attention_factor")
		if factor == 0 {
			factor = 1
			if scale := w.number("max_position_embeddings") / original; scale > 1 {
				factor = math.Sqrt(1 + math.Log(scale)/math.Log(original))
			}
		}
		w.set("rope.scaling.attn_factor", float32(factor))
		for _, name := range []string{"long", "short"} {
			list, _ := scaling[name+"_factor"].([]any)
			var factors []float32
			for _, v := range list {
				n, _ := v.(float64)
				factors = append(factors, float32(n))
			}
			w.table("rope_factors_"+name+".weight", factors)
		}
	default:
		w.fail("config.json: GGUF has no rope_scaling of type %q", kind)
	}
}

// llama3Factors are what frequencies are divided by, for pairs of elements that turn:
// the factor for those of waves longer than the original context over low_freq_factor,
// 1 for those shorter than over high_freq_factor, and between both a smooth passage.
func (w *writing) llama3Factors(number func(string) float64, original float64) (factors []float32) {
	low, high, theta := number("low_freq_factor"), number("high_freq_factor"), w.number("rope_theta")
	if theta == 0 {
		theta = 10000
	}
	for i := 0; i < min(w.shape.size, maxFactors); i += 2 {
		wave := 2 * math.Pi * math.Pow(theta, float64(i)/float64(w.shape.size))
		smooth := max(0, min(1, (original/wave-low)/(high-low)))
		factors = append(factors, float32(1/((1-smooth)/number("factor")+smooth)))
	}
	return factors
}

// maxFactors bounds the elements of a head whose frequencies are scaled.
const maxFactors = 1 << 16

// table writes a list of numbers as a tensor.
func (w *writing) table(name string, values []float32) {
	if len(values) == 0 || len(values) > maxFactors/2 {
		w.fail("config.json: rope_scaling gives %d numbers for the tensor %q", len(values), name)
		return
	}
	w.vector(name, []int{len(values)}, values)
}

// encoded returns JSON as it is compared: keys sorted, and without what says nothing.
func encoded(value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // what was decoded can be encoded
	return out.String()
}
