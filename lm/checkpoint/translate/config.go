package translate

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// commonKeys are metadata keys, without the architecture's name before them, and
// the config's fields that mean the same, whatever the family calls them.
var commonKeys = map[string]string{
	"block_count":                      "num_hidden_layers",
	"embedding_length":                 "hidden_size",
	"feed_forward_length":              "intermediate_size",
	"context_length":                   "max_position_embeddings",
	"attention.head_count":             "num_attention_heads",
	"attention.head_count_kv":          "num_key_value_heads",
	"attention.key_length":             "head_dim",
	"attention.layer_norm_rms_epsilon": "rms_norm_eps",
	"attention.layer_norm_epsilon":     "layer_norm_eps layer_norm_epsilon norm_epsilon",
	"attention.sliding_window":         "sliding_window",
	"rope.freq_base":                   "rope_theta",
	"expert_count":                     "num_local_experts",
	"expert_used_count":                "num_experts_per_tok",
}

// maxLayers and maxStack bound what the metadata and a tensor's shape can make us
// list.
const (
	maxLayers = 4096
	maxStack  = 4096
)

// headShape is what the order of rows depends on.
type headShape struct {
	layers, hidden, heads, keyHeads, size int
	ahead                                 int // blocks behind the last that predict tokens further ahead, which are left out
}

// value returns the metadata of the architecture's key.
func (t *translation) value(key string) any { return t.file.Value(t.name + "." + key) }

func (t *translation) has(tensor string) bool {
	_, ok := t.file.Tensor(tensor)
	return ok
}

// copy puts the value of a metadata key into fields of the config. A list that
// has a value for each layer must have the same for all.
func (t *translation) copy(key, fields string) {
	value := t.value(key)
	switch list := value.(type) {
	case []uint64:
		value = same(t, key, list)
	case []int64:
		value = same(t, key, list)
	}
	if value == nil {
		return
	}
	for field := range strings.FieldsSeq(fields) {
		t.config[field] = value
	}
}

// same returns the one value of a list of layers. Layers that have none of what is
// counted say 0.
func same[T uint64 | int64](t *translation, key string, list []T) any {
	list = slices.DeleteFunc(slices.Clone(list), func(n T) bool { return n == 0 })
	if list = slices.Compact(list); len(list) != 1 {
		t.fail("metadata %s.%s differs from layer to layer, which is not supported", t.name, key)
		return nil
	}
	return list[0]
}

// settings fills the config from the metadata.
func (t *translation) settings() {
	t.config["model_type"] = t.arch.modelType
	for key, fields := range commonKeys {
		t.copy(key, fields)
	}
	for key, fields := range t.arch.keys {
		t.copy(key, fields)
	}
	for field, value := range t.arch.constants {
		t.config[field] = value
	}
	t.config["tie_word_embeddings"] = !t.has("output.weight")
	if t.vocabulary(); t.err != nil {
		return
	}
	t.shape.layers = t.size("block_count")
	if t.value("nextn_predict_layers") != nil {
		if n, ok := t.value("nextn_predict_layers").(uint64); ok && n < uint64(t.shape.layers) {
			t.shape.ahead = int(n)
			t.shape.layers -= t.shape.ahead
			t.config["num_hidden_layers"] = t.shape.layers
		}
	}
	t.shape.hidden = t.size("embedding_length")
	t.shape.heads = t.size("attention.head_count")
	t.shape.keyHeads = t.shape.heads
	if t.value("attention.head_count_kv") != nil {
		t.shape.keyHeads = t.size("attention.head_count_kv")
	}
	if t.shape.layers > maxLayers {
		t.fail("metadata %s.block_count is %d, more than %d", t.name, t.shape.layers, maxLayers)
	}
	if t.err != nil {
		return
	}
	t.shape.size = t.shape.hidden / t.shape.heads
	if t.value("attention.key_length") != nil {
		t.shape.size = t.size("attention.key_length")
		if v := t.value("attention.value_length"); t.value("attention.key_length_mla") == nil && v != nil && v != t.value("attention.key_length") {
			t.fail("keys of %d elements and values of %v are not supported", t.shape.size, v)
		}
	}
	if t.shape.size < 1 {
		t.fail("metadata %s: %d heads are more than %d elements can be shared by", t.name, t.shape.heads, t.shape.hidden)
	}
	if t.arch.settle != nil && t.err == nil {
		t.arch.settle(t)
	}
}

// vocabulary says how many tokens there are, and which of them end a text.
func (t *translation) vocabulary() {
	embedding, ok := t.file.Tensor("token_embd.weight")
	if !ok || len(embedding.Shape) != 2 {
		t.fail("tensor %q is missing or no matrix", "token_embd.weight")
		return
	}
	t.config["vocab_size"] = embedding.Shape[0]
	t.endTokens()
}

// size returns a size that the metadata must name.
func (t *translation) size(key string) int {
	value := t.value(key)
	switch list := value.(type) {
	case []uint64:
		value = same(t, key, list)
	case []int64:
		value = same(t, key, list)
	}
	if n, ok := value.(int64); ok && n > 0 {
		value = uint64(n)
	}
	n, ok := value.(uint64)
	if !ok || n < 1 || n > 1<<24 {
		t.fail("metadata %s.%s is %v, not a whole number from 1 to %d", t.name, key, value, 1<<24)
		return 1
	}
	return int(n)
}

// endTokens says which tokens end a generation: the end of a text and, of chat
// models, that of a turn.
func (t *translation) endTokens() {
	var ends []uint64
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if id, ok := t.file.Value("tokenizer.ggml." + key).(uint64); ok && !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	if len(ends) > 0 {
		t.config["eos_token_id"] = ends
	}
}

// slidingPattern says which layers have a sliding window, where the metadata
// does: every n-th has none, or one truth value for each layer.
func (t *translation) slidingPattern() {
	switch pattern := t.value("attention.sliding_window_pattern").(type) {
	case uint64:
		t.config["sliding_window_pattern"] = pattern
	case []bool:
		types := []string{}
		for _, sliding := range pattern {
			if sliding {
				types = append(types, "sliding_attention")
			} else {
				types = append(types, "full_attention")
			}
		}
		t.config["layer_types"] = types
	}
}

// rope fills in what turns and how its frequencies are scaled.
func (t *translation) rope() {
	if t.value("rope.dimension_count") != nil {
		turning := t.size("rope.dimension_count")
		switch {
		case t.arch.partial != "":
			t.config[t.arch.partial] = fraction(turning, t.shape.size)
		case turning != t.shape.size && t.value("attention.key_length_mla") == nil:
			t.fail("metadata %s.rope.dimension_count is %d; heads of %d elements turn whole", t.name, turning, t.shape.size)
		}
	}
	number := func(key string) float64 {
		f, _ := t.value(key).(float64)
		return f
	}
	scaling := map[string]any{}
	factor := number("rope.scaling.factor")
	if old := number("rope.scale_linear"); factor == 0 && old != 0 {
		factor = old
	}
	if attention := number("rope.scaling.attn_factor"); attention != 0 {
		scaling["attention_factor"] = attention
	}
	original, _ := t.value("rope.scaling.original_context_length").(uint64)
	short, long := t.factors("rope_factors_short.weight"), t.factors("rope_factors_long.weight")
	freqs := t.factors("rope_freqs.weight")
	kind, _ := t.value("rope.scaling.type").(string)
	switch {
	case freqs != nil:
		// Frequencies are divided one by one, whatever the length: as longrope does
		// with one list for all lengths.
		scaling["rope_type"], scaling["attention_factor"] = "longrope", 1
		scaling["short_factor"], scaling["long_factor"] = freqs, freqs
		scaling["original_max_position_embeddings"] = math.MaxInt32
	case short != nil && long != nil:
		scaling["rope_type"], scaling["short_factor"], scaling["long_factor"] = "longrope", short, long
		if original != 0 {
			t.config["original_max_position_embeddings"] = original
		}
	case kind == "linear" || kind == "" && factor != 0:
		scaling["rope_type"], scaling["factor"] = "linear", factor
	case kind == "yarn":
		scaling["rope_type"], scaling["factor"] = "yarn", factor
		if original != 0 {
			scaling["original_max_position_embeddings"] = original
			t.config["max_position_embeddings"] = math.Round(factor * float64(original))
		}
	case kind == "" || kind == "none":
		return
	default:
		t.fail("metadata %s.rope.scaling.type is %q, which is not supported; known are none, linear, yarn, longrope", t.name, kind)
	}
	maps.Copy(scaling, t.arch.scaling)
	t.config["rope_scaling"] = scaling
}

// factors reads a table of numbers, nil where the file has none.
func (t *translation) factors(name string) []float32 {
	tensor, ok := t.file.Tensor(name)
	if !ok {
		return nil
	}
	if tensor.Type != 0 || len(tensor.Shape) != 1 || tensor.Len() > 1<<16 {
		t.fail("tensor %q is %v of %v, not a short list of F32", name, tensor.Shape, tensor.Type)
		return nil
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.fail("%w", err)
	}
	return values
}

// fraction returns part/whole, such that the whole times it is not less than part.
func fraction(part, whole int) float64 {
	f := float64(part) / float64(whole)
	for int(float64(whole)*f) < part {
		f = math.Nextafter(f, 2)
	}
	return f
}

func block(layer int, name string) string { return "blk." + strconv.Itoa(layer) + "." + name }
