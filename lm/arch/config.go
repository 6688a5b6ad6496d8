package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Parse turns the bytes of a config.json into the decoder that it describes, of a
// multimodal model into that of its text model. An unknown model_type gets an error that lists the known ones.
func Parse(config []byte) (*Decoder, error) {
	c, err := newConfig(config)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	outer := c
	c, modelType, wrapper := outer.text()
	if modelType == "" {
		return nil, errors.New("config.json: model_type is missing")
	}
	describe, ok := families[modelType]
	if !ok {
		return nil, fmt.Errorf("config.json: model_type %q is not supported; known are %s", modelType, strings.Join(Families(), ", "))
	}
	decoder := describe(c)
	if c.err == nil {
		c.err = outer.err
	}
	if c.err == nil {
		decoder.Family, decoder.Wrapper = modelType, wrapper
		c.err = decoder.check()
	}
	if c.err != nil {
		return nil, fmt.Errorf("config.json of a %s: %w", modelType, c.err)
	}
	return decoder, nil
}

// Families returns every known model_type, sorted.
func Families() []string {
	names := make([]string, 0, len(families))
	for name := range families {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// families holds what register collected before main: model_type -> description.
var families = map[string]func(*Config) *Decoder{}

// register adds a family for each of its model types. Its result lets a
// family's file register at package level.
func register(describe func(*Config) *Decoder, modelTypes ...string) bool {
	for _, modelType := range modelTypes {
		families[modelType] = describe
	}
	return true
}

// Config reads the fields of a config.json. The first field that is missing or
// of the wrong kind is kept as the error of the whole; what is returned after
// it means nothing.
type Config struct {
	fields map[string]any
	err    error   // of the outermost object alone
	parent *Config // nil: this is the outermost object
	name   string  // of this object in its parent
}

func newConfig(data []byte) (*Config, error) {
	c := &Config{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&c.fields); err != nil {
		return nil, err
	}
	return c, nil
}

// Has reports whether the field is there and not null.
func (c *Config) Has(name string) bool { return c.fields[name] != nil }

// Int returns a whole number that is zero or positive and less than 2^31. Of
// several names the first that is there counts, as configs have renamed fields.
func (c *Config) Int(names ...string) int {
	for _, name := range names {
		if c.Has(name) {
			return c.IntOr(name, 0)
		}
	}
	c.fail("%s is missing", names[0])
	return 0
}

// IntOr is Int with a value for a field that is missing or null.
func (c *Config) IntOr(name string, otherwise int) int {
	if !c.Has(name) {
		return otherwise
	}
	f := c.number(name)
	if f != math.Trunc(f) || f < 0 || f > math.MaxInt32 {
		c.fail("%s is %v, not a whole number from 0 to 2147483647", name, c.fields[name])
		return 0
	}
	return int(f)
}

// What a positive number of a config may be. Epsilons, rotary bases, factors and
// multipliers in use lie between 1e-12 and 1e9; what is far outside turns into
// zeros, infinities and NaNs once it is squared in float32.
const (
	leastFloat = 1e-12
	mostFloat  = 1e12
)

// Float returns a positive number from 1e-12 to 1e12, or otherwise where the
// field is missing or null. A field that says what otherwise is, such as 0 for
// none, is right too.
func (c *Config) Float(name string, otherwise float64) float64 {
	if !c.Has(name) {
		return otherwise
	}
	f := c.number(name)
	if f != otherwise && !(leastFloat <= f && f <= mostFloat) {
		c.fail("%s is %v, not a number from %g to %g", name, c.fields[name], leastFloat, mostFloat)
		return otherwise
	}
	return f
}

// Positive is IntOr for a whole number that cannot be zero.
func (c *Config) Positive(name string, otherwise int) int {
	n := c.IntOr(name, otherwise)
	if n < 1 {
		c.fail("%s is %d, not a whole number from 1 on", name, n)
		return 1
	}
	return n
}

// Bool returns a truth value, or otherwise where the field is missing or null.
func (c *Config) Bool(name string, otherwise bool) bool {
	if !c.Has(name) {
		return otherwise
	}
	b, ok := c.fields[name].(bool)
	if !ok {
		c.fail("%s is %v, not true or false", name, c.fields[name])
	}
	return b
}

// String returns a text, or otherwise where the field is missing or null.
func (c *Config) String(name, otherwise string) string {
	if !c.Has(name) {
		return otherwise
	}
	s, ok := c.fields[name].(string)
	if !ok {
		c.fail("%s is %v, not a text", name, c.fields[name])
	}
	return s
}

// Floats returns a list of finite numbers, nil where the field is missing or null.
func (c *Config) Floats(name string) []float64 {
	var out []float64
	for _, v := range c.list(name) {
		n, ok := v.(json.Number)
		f, err := n.Float64()
		if !ok || err != nil {
			c.fail("%s holds %v, not a number", name, v)
			return nil
		}
		out = append(out, f)
	}
	return out
}

// Strings returns a list of texts, nil where the field is missing or null.
func (c *Config) Strings(name string) []string {
	var out []string
	for _, v := range c.list(name) {
		s, ok := v.(string)
		if !ok {
			c.fail("%s holds %v, not a text", name, v)
			return nil
		}
		out = append(out, s)
	}
	return out
}

func (c *Config) list(name string) []any {
	if !c.Has(name) {
		return nil
	}
	list, ok := c.fields[name].([]any)
	if !ok {
		c.fail("%s is %v, not a list", name, c.fields[name])
	}
	return list
}

// Object returns a nested object as a Config that reports to this one's error;
// nil where the field is missing or null.
func (c *Config) Object(name string) *Config {
	if !c.Has(name) {
		return nil
	}
	fields, ok := c.fields[name].(map[string]any)
	if !ok {
		c.fail("%s is %v, not an object", name, c.fields[name])
		return nil
	}
	return &Config{fields: fields, parent: c, name: name}
}

func (c *Config) number(name string) float64 {
	n, ok := c.fields[name].(json.Number)
	f, err := n.Float64()
	if !ok || err != nil {
		c.fail("%s is %v, not a number", name, c.fields[name])
		return 0
	}
	return f
}

func (c *Config) fail(format string, args ...any) {
	if c.parent != nil {
		c.parent.fail("%s: %w", c.name, fmt.Errorf(format, args...))
	} else if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// maxLayers bounds what a config can make us allocate before any weight was seen.
const maxLayers = 4096

// layers returns the number of blocks that the field names, bounded.
func (c *Config) layers(names ...string) int {
	n := c.Int(names...)
	if n < 1 || n > maxLayers {
		c.fail("%s is %d, not from 1 to %d", names[0], n, maxLayers)
		return 0
	}
	return n
}

// divide returns a/b where b divides a; otherwise the config contradicts itself.
func (c *Config) divide(a, b int, what string) int {
	if b <= 0 || a%b != 0 {
		c.fail("%s: %d is not a multiple of %d", what, a, b)
		return 1
	}
	return a / b
}

// activation names the function that the field asks for.
func (c *Config) activation(name, otherwise string) Activation {
	text := c.String(name, otherwise)
	switch text {
	case "silu", "swish":
		return SiLU
	case "gelu":
		return GELU
	case "gelu_new", "gelu_pytorch_tanh", "gelu_fast":
		return GELUTanh
	case "relu":
		return ReLU
	case "relu2":
		return ReLU2
	case "xielu":
		return LearnedIELU
	}
	c.fail("%s %q is not supported; known are silu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, relu2", name, text)
	return SiLU
}
