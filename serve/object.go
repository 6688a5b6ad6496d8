package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// decodeObject reads a JSON object into a struct, key by key, so that an error
// names the path of what is wrong. A key that the struct lacks is an error.
func decodeObject(data json.RawMessage, into any, path string) *problem {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil || keys == nil {
		return invalid(path, "it is not an object")
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		one, err := json.Marshal(map[string]json.RawMessage{key: keys[key]})
		if err != nil {
			return invalid(path, "%v", err)
		}
		decoder := json.NewDecoder(bytes.NewReader(one))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			return invalid(join(path, key), "%s", jsonMistake(err))
		}
	}
	return nil
}

// join returns the path of a key.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// at returns the path of an element.
func at(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }

// jsonMistake says what is wrong with a value, in words for who wrote it.
func jsonMistake(err error) string {
	if mistyped := (*json.UnmarshalTypeError)(nil); errors.As(err, &mistyped) {
		return fmt.Sprintf("it is a JSON %s, which is not what belongs here (%s)", mistyped.Value, kindOf(mistyped))
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if strings.HasPrefix(text, "unknown field") {
		return "this key is not known"
	}
	return text
}

// kindOf names what a field takes.
func kindOf(e *json.UnmarshalTypeError) string {
	switch kind := e.Type.Kind().String(); {
	case strings.HasPrefix(kind, "int") || strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "slice":
		return "a list"
	case kind == "bool":
		return "true or false"
	case kind == "map" || kind == "struct":
		return "an object"
	default:
		return "a " + kind
	}
}

// isNull reports whether a value is absent or null.
func isNull(data json.RawMessage) bool { return len(data) == 0 || string(data) == "null" }
