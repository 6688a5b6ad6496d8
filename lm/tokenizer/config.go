package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// config is the part of tokenizer_config.json and special_tokens_map.json
// that matters here.
type config struct {
	BOS       configToken `json:"bos_token"`
	EOS       configToken `json:"eos_token"`
	Pad       configToken `json:"pad_token"`
	Unknown   configToken `json:"unk_token"`
	Templates templates   `json:"chat_template"`
}

// configToken is a token given as a string or as an object with its content.
type configToken struct{ Content string }

func (c *configToken) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '{' {
		var object struct{ Content string }
		if err := json.Unmarshal(data, &object); err != nil {
			return err
		}
		c.Content = object.Content
		return nil
	}
	return json.Unmarshal(data, &c.Content)
}

// templates are the chat templates by name; a single one is called "default".
type templates map[string]string

func (t *templates) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '[' {
		var list []struct{ Name, Template string }
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		*t = templates{}
		for _, entry := range list {
			(*t)[entry.Name] = entry.Template
		}
		return nil
	}
	var source *string
	if err := json.Unmarshal(data, &source); err != nil {
		return err
	}
	if source != nil {
		*t = templates{"default": *source}
	}
	return nil
}

func (c *config) setTemplate(source string) {
	merged := templates{"default": source}
	for name, other := range c.Templates {
		if name != "default" {
			merged[name] = other
		}
	}
	c.Templates = merged
}

// addSpecialTokens fills in from special_tokens_map.json what
// tokenizer_config.json leaves open.
func (c *config) addSpecialTokens(data []byte) error {
	if data == nil {
		return nil
	}
	var file config
	if err := json.Unmarshal(data, &file); err != nil {
		return fmt.Errorf("parse special_tokens_map.json: %w", err)
	}
	for _, pair := range [][2]*configToken{
		{&c.BOS, &file.BOS}, {&c.EOS, &file.EOS}, {&c.Pad, &file.Pad}, {&c.Unknown, &file.Unknown},
	} {
		if pair[0].Content == "" {
			*pair[0] = *pair[1]
		}
	}
	return nil
}
