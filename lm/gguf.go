package lm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/translate"
	"github.com/steervec/steer/lm/demo"
)

// WriteGGUF writes the checkpoint at ref, as [Open] takes it, as a GGUF file for llama.cpp
// and for this module: a folder of safetensors, a repository of the Hub or the
// demonstration model is converted with its tokenizer and chat template, a GGUF file is
// copied. Matrices are stored in the type, plain numbers or blocks of few bits, norms and
// what chooses experts in float32; rows that are not whole blocks get one of smaller
// blocks with as many bits. It returns how many tensors are stored in other numbers than
// they were, or than float32.
//
// What is read of the file is the same model: an error says what of it the format has no
// word for, or that there is none for the family. Tensors are read as they are written,
// some rows at a time.
func WriteGGUF(ctx context.Context, ref string, w io.Writer, kind gguf.Type, options checkpoint.Options) (tensors int, err error) {
	options.Outline = true // to be copied, a GGUF file need not be understood
	var c *checkpoint.Checkpoint
	if ref == demo.Name {
		c, err = checkpoint.OpenFS(demo.Files(), demo.Name, options)
	} else {
		c, err = checkpoint.Open(ctx, ref, options)
	}
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if tensors, err = writeGGUF(ctx, c, w, kind); err != nil {
		return 0, fmt.Errorf("write %s as GGUF: %w", ref, err)
	}
	return tensors, nil
}

func writeGGUF(ctx context.Context, c *checkpoint.Checkpoint, w io.Writer, kind gguf.Type) (int, error) {
	if file := c.GGUF(); file != nil {
		return file.Quantize(ctx, w, kind)
	}
	plan, err := translate.NewPlan(c, kind)
	if err != nil {
		return 0, err
	}
	if err := sameModel(c.Config(), plan); err != nil {
		return 0, err
	}
	return plan.Matrices(), plan.Write(ctx, w)
}

// sameModel compares the model that a config describes with the one that will be read
// of the file: a field that the format has no word for must not change what is computed.
func sameModel(config []byte, plan *translate.Plan) error {
	read, err := plan.Config()
	if err != nil {
		return err
	}
	if config, err = cutAlike(config, read); err != nil {
		return err
	}
	want, err := arch.Parse(config)
	if err != nil {
		return err
	}
	got, err := arch.Parse(read)
	if err != nil {
		return err
	}
	if difference := differs(reflect.ValueOf(*got), reflect.ValueOf(*want), ""); difference != "" {
		return errors.New("the format cannot say what the config does: of the file's model " + difference)
	}
	return nil
}

// cutAlike returns the config with what another one says of how tensors are cut.
func cutAlike(config, other []byte) ([]byte, error) {
	var fields, of map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(config, &fields), json.Unmarshal(other, &of)); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	for _, name := range []string{"experts_apart", "heads_apart", "gates_apart"} {
		if value, ok := of[name]; ok {
			fields[name] = value
		}
	}
	return json.Marshal(fields)
}

// apart are fields of a description in which a GGUF file may differ: how tensors are
// named and cut, and how long texts may be, which files say of what YaRN stretches.
var apart = map[string]bool{"Family": true, "Prefix": true, "Wrapper": true, "Modules": true, "Weight": true, "MaxPositions": true}

// differs says what is first another in two descriptions of a model; "": nothing is.
// Which tensor fills a part does not count, but whether there is one does. Numbers may
// differ by what float32 rounds.
func differs(got, want reflect.Value, path string) string {
	differ := func(is bool) string {
		if !is {
			return ""
		}
		return fmt.Sprintf("%s is %v, not %v", strings.TrimPrefix(path, "."), got, want)
	}
	switch got.Kind() {
	case reflect.Pointer:
		if got.IsNil() || want.IsNil() {
			return differ(got.IsNil() != want.IsNil())
		}
		if rope, ok := got.Interface().(*arch.Rope); ok {
			return differ(!turnAlike(rope, want.Interface().(*arch.Rope)))
		}
		return differs(got.Elem(), want.Elem(), path)
	case reflect.Struct:
		for i := range got.NumField() {
			field := got.Type().Field(i)
			if apart[field.Name] || !field.IsExported() {
				continue
			}
			if d := differs(got.Field(i), want.Field(i), path+"."+field.Name); d != "" {
				return d
			}
		}
	case reflect.Slice:
		if got.Len() != want.Len() {
			return differ(true)
		}
		for i := range got.Len() {
			if d := differs(got.Index(i), want.Index(i), fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
	case reflect.String:
		if got.Type() != reflect.TypeFor[string]() { // a word, not the name of a tensor
			return differ(got.String() != want.String())
		}
		return differ((got.Len() == 0) != (want.Len() == 0))
	case reflect.Float32, reflect.Float64:
		return differ(math.Abs(got.Float()-want.Float()) > 1e-6*math.Abs(want.Float()))
	case reflect.Bool, reflect.Int, reflect.Uint8:
		return differ(!got.Equal(want))
	}
	return ""
}

// turnAlike reports whether two tell the same angles of positions within a few lengths,
// each as short and as long as it takes sequences to be.
func turnAlike(a, b *arch.Rope) bool {
	if a.Size != b.Size {
		return false
	}
	angles := func(r *arch.Rope, position, length int) []float32 {
		both := make([]float32, r.Size/2*2)
		r.Angles(position, r.Variant(length), both[:r.Size/2], both[r.Size/2:])
		return both
	}
	for length := 1; length < 1<<18; length *= 8 {
		position := min(length-1, 63)
		of := angles(b, position, length)
		for i, v := range angles(a, position, length) {
			if math.Abs(float64(v-of[i])) > 1e-5*float64(position+1) {
				return false
			}
		}
	}
	return true
}
