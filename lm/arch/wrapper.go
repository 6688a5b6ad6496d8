package arch

import (
	"encoding/json"
	"maps"
	"strings"
)

// Many multimodal checkpoints hold a known text model under another name: its
// config is the object text_config, and its tensors have a prefix of their own.
// Such a checkpoint is read as its text model.

// aliases are model types whose text model is that of a known one where it reads
// nothing but text: positions in three directions are then all the same.
var aliases = map[string]string{
	"qwen2_vl": "qwen2", "qwen2_vl_text": "qwen2",
	"qwen2_5_vl": "qwen2", "qwen2_5_vl_text": "qwen2",
	"qwen3_vl": "qwen3", "qwen3_vl_text": "qwen3",
	"glm4v": "glm4", "glm4v_text": "glm4",
}

// usual are the values that wrapped configs leave out, as the configuration class
// of the text model has them.
var usual = map[string]map[string]string{
	"gemma3_text": {
		"vocab_size": "262208", "hidden_size": "2304", "intermediate_size": "9216", "num_hidden_layers": "26",
		"num_attention_heads": "8", "num_key_value_heads": "4", "head_dim": "256", "max_position_embeddings": "131072",
		"rope_theta": "1000000", "sliding_window": "4096",
	},
	"gemma3n_text": {
		"vocab_size": "262400", "hidden_size": "2048", "intermediate_size": "16384", "num_hidden_layers": "35",
		"num_attention_heads": "8", "num_key_value_heads": "2", "head_dim": "256", "max_position_embeddings": "32768",
		"rope_theta": "1000000", "final_logit_softcapping": "30", "vocab_size_per_layer_input": "262144",
	},
	"llama": {
		"vocab_size": "32000", "hidden_size": "4096", "intermediate_size": "11008", "num_hidden_layers": "32", "num_attention_heads": "32",
		"max_position_embeddings": "2048",
	},
	"mistral": {
		"vocab_size": "32000", "hidden_size": "4096", "intermediate_size": "14336", "num_hidden_layers": "32", "num_attention_heads": "32",
		"num_key_value_heads": "8", "max_position_embeddings": "131072",
	},
}

// Aliases returns the model types that are read as another one's text model.
func Aliases() map[string]string { return maps.Clone(aliases) }

// text returns the config and the model type of the text model, and the model
// type of what it is wrapped in, "" for a text model alone.
func (c *Config) text() (text *Config, modelType, wrapper string) {
	modelType = c.String("model_type", "")
	text = c
	if inner := c.Object("text_config"); inner != nil && families[modelType] == nil {
		wrapper, text = modelType, inner
		modelType = text.String("model_type", "")
		if name := "tie_word_embeddings"; !text.Has(name) && c.Has(name) {
			text.fields[name] = c.fields[name]
		}
		text.suppose(usual[modelType])
	}
	if known, ok := aliases[modelType]; ok {
		if wrapper == "" {
			wrapper = modelType
		}
		modelType = known
		text.plainPositions()
	}
	return text, modelType, wrapper
}

// plainPositions takes positions in several directions for those of a text.
func (c *Config) plainPositions() {
	scaling, ok := c.fields["rope_scaling"].(map[string]any)
	if !ok {
		return
	}
	for _, key := range []string{"type", "rope_type"} {
		if scaling[key] == "mrope" {
			scaling[key] = "default"
		}
	}
}

// suppose gives fields that are missing the values that the family's
// configuration class has for them: wrappers leave out what is usual.
func (c *Config) suppose(usual map[string]string) {
	for name, value := range usual {
		if !c.Has(name) {
			c.fields[name] = json.Number(value)
		}
	}
}

// Names returns the names under which a checkpoint may hold the tensor of a name,
// the likeliest first: the name itself; without the prefix, as checkpoints saved
// without their head have it; and where the model was wrapped, those that wrappers
// give it.
func (d *Decoder) Names(name string) []string {
	names := []string{name}
	short, prefixed := strings.CutPrefix(name, d.Prefix)
	if prefixed {
		names = append(names, short)
	}
	if d.Wrapper == "" {
		return names
	}
	names = append(names, "language_model."+name)
	if prefixed {
		names = append(names, "model.language_model."+short)
	}
	return names
}
