package arch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// switches holds what turnsBiasesOn collected before main: family -> fields.
var switches = map[string][]string{}

// turnsBiasesOn says which fields of a family's config give linear parts their biases
// where they are true, in the library that the family comes from: descriptions may
// read more of a config than it does. Its result lets a family's file say so at
// package level.
func turnsBiasesOn(family string, fields ...string) bool {
	switches[family] = fields
	return true
}

// Biased returns a config.json like this one, with one of the family's fields that
// give linear parts their biases turned on, so that the decoder is the same but for
// biases, and serves what it is to serve. It names the field; what serves already
// comes back as it is, with no name.
func Biased(config []byte, serves func(*Decoder) bool) (biased []byte, field string, err error) {
	plain, err := Parse(config)
	if err != nil {
		return nil, "", err
	}
	if serves(plain) {
		return config, "", nil
	}
	without := func(d *Decoder) *Decoder {
		for part := range d.Linears() {
			part.Bias = ""
		}
		return d
	}
	without(plain)
	for _, field := range switches[plain.Family] {
		biased, err := turnOn(config, field)
		if err != nil {
			return nil, "", err
		}
		d, err := Parse(biased)
		if err == nil && serves(d) && reflect.DeepEqual(plain, without(d)) {
			return biased, field, nil
		}
	}
	return nil, "", fmt.Errorf("no field of the config of a %s turns such a bias on", plain.Family)
}

// turnOn returns a config.json with a truth value of the text model set.
func turnOn(config []byte, field string) ([]byte, error) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(config))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	outer, err := newConfig(config) // another, since text supposes what is usual
	if err != nil {
		return nil, err
	}
	at := fields
	if text, _, _ := outer.text(); text != outer {
		at = fields[text.name].(map[string]any)
	}
	at[field] = true
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err = encoder.Encode(fields)
	return out.Bytes(), err
}
