package vecfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

const magicNPY = "\x93NUMPY"

// metadataArray is the name of the array of bytes that holds our metadata in an
// npz file.
const metadataArray = "steer"

func parseNPY(_ string, data []byte) (*content, error) {
	a, err := readArray(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	values, err := a.floats()
	if err != nil {
		return nil, err
	}
	c := &content{format: NPY, may: []string{"blocks", "hidden-states"}}
	return c, c.addRows(a.shape, values)
}

// addRows adds an array of one dimension, which is one direction, or of two, whose
// rows are numbered from 0.
func (c *content) addRows(shape []int, values []float32) error {
	if len(shape) == 2 && shape[0] == 1 {
		shape = shape[1:]
	}
	switch len(shape) {
	case 1:
		c.lone = true
		return c.add(0, shape, values)
	case 2:
		if shape[0] > maxLayer {
			return fmt.Errorf("it has %d rows; no model has as many layers", shape[0])
		}
		for r := range shape[0] {
			if err := c.add(r, shape[1:], values[r*shape[1]:][:shape[1]]); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("its shape is %v, not [width] or [layers, width]", shape)
}

func parseNPZ(_ string, data []byte) (*content, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	c := &content{format: NPZ, may: []string{"blocks", "hidden-states"}}
	// The bytes that all arrays together may have: numbers do not compress as a file does
	// that is made to fill memory.
	budget := int64(64<<20) + 16*int64(len(data))
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			return nil, fmt.Errorf("%q in it is no array", f.Name)
		}
		number, numbered := numberIn(name)
		if !numbered && name != metadataArray {
			return nil, fmt.Errorf("array %q is not named after a layer, as layer.3 or 3 is", name)
		}
		a, err := readMember(f, &budget)
		if err == nil && name == metadataArray {
			if c.ours() {
				return nil, fmt.Errorf("array %q is there twice", name)
			}
			c.producer = steerProducer
			c.metadata, err = embedded(a.data)
		} else if err == nil {
			var values []float32
			if values, err = a.floats(); err == nil {
				err = c.add(number, a.shape, values)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
	}
	return c, nil
}

func readMember(f *zip.File, budget *int64) (array, error) {
	r, err := f.Open()
	if err != nil {
		return array{}, err
	}
	defer r.Close()
	a, err := readArray(r, *budget)
	*budget -= int64(len(a.data))
	return a, err
}

// array is an array of a NumPy file.
type array struct {
	shape   []int
	element string // of the letters b i u f c and the bytes of an element: f4
	big     bool   // its numbers have their highest byte first
	columns bool   // of two dimensions, columns lie one after the other
	data    []byte
}

// header is the Python dictionary before the numbers, as numpy.lib.format writes
// it: the keys sorted.
var header = regexp.MustCompile(`^\{'descr': '([<>|=])([biufc]\d{1,2})', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\),? *\}\s*$`)

// readArray reads an array of no more than so many bytes. Memory is taken for what
// is really there, in steps.
func readArray(r io.Reader, most int64) (array, error) {
	start := make([]byte, len(magicNPY)+2)
	if _, err := io.ReadFull(r, start); err != nil || string(start[:len(magicNPY)]) != magicNPY {
		return array{}, errors.New("it does not begin as an array of NumPy does")
	}
	var size uint64
	switch version := start[len(magicNPY)]; version {
	case 1:
		size = 2
	case 2, 3:
		size = 4
	default:
		return array{}, fmt.Errorf("version %d of the format is not known", version)
	}
	var length [8]byte
	if _, err := io.ReadFull(r, length[:size]); err != nil {
		return array{}, fmt.Errorf("the header: %w", err)
	}
	const maxText = 1 << 16
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxText {
		return array{}, fmt.Errorf("the header takes %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return array{}, fmt.Errorf("the header: %w", err)
	}
	parts := header.FindSubmatch(text)
	if parts == nil {
		return array{}, fmt.Errorf("the header %.100q is not one of numbers", text)
	}
	a := array{element: string(parts[2]), big: string(parts[1]) == ">", columns: string(parts[3]) == "True"}
	bytes, err := strconv.ParseUint(a.element[1:], 10, 64)
	for part := range strings.SplitSeq(string(parts[4]), ",") {
		if part = strings.TrimSpace(part); part == "" || err != nil {
			continue
		}
		var d int
		d, err = strconv.Atoi(part)
		a.shape = append(a.shape, d)
		high, low := bits.Mul64(bytes, uint64(d))
		if high != 0 || low > uint64(most) {
			return array{}, fmt.Errorf("shape (%s) of %s takes more than the %d bytes that there may be", parts[4], a.element, most)
		}
		bytes = low
	}
	if err != nil {
		return array{}, err
	}
	if a.data, err = io.ReadAll(io.LimitReader(r, int64(bytes))); err == nil && uint64(len(a.data)) < bytes {
		err = fmt.Errorf("shape %v of %s takes %d bytes; there are %d", a.shape, a.element, bytes, len(a.data))
	}
	return a, err
}

// floats returns the numbers, row after row.
func (a array) floats() ([]float32, error) {
	kind, ok := map[string]safetensors.DType{"f2": safetensors.F16, "f4": safetensors.F32, "f8": safetensors.F64}[a.element]
	if !ok {
		return nil, fmt.Errorf("it holds elements %q, not numbers with a fraction", a.element)
	}
	data := a.data
	if a.big {
		data = slices.Clone(data)
		for element := range slices.Chunk(data, kind.Size()) {
			slices.Reverse(element)
		}
	}
	values, err := safetensors.Tensor{DType: kind, Shape: a.shape, Data: data}.Float32s()
	if err != nil || !a.columns || len(a.shape) != 2 {
		return values, err
	}
	rows, columns := a.shape[0], a.shape[1]
	out := make([]float32, len(values))
	for r := range rows {
		for c := range columns {
			out[r*columns+c] = values[c*rows+r]
		}
	}
	return out, nil
}

// encodeNPZ writes an array layer.<n> for each layer, and one with our metadata.
func encodeNPZ(f File) ([]byte, error) {
	metadata, err := embed(f.Metadata)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, layer := range f.ascending() {
		values := safetensors.AppendFloats(nil, safetensors.F32, f.Layers[layer])
		if err := writeMember(z, prefix+strconv.Itoa(layer), "<f4", f.shape(layer), values); err != nil {
			return nil, err
		}
	}
	if err := writeMember(z, metadataArray, "|u1", []int{len(metadata)}, metadata); err != nil {
		return nil, err
	}
	err = z.Close()
	return out.Bytes(), err
}

func writeMember(z *zip.Writer, name, element string, shape []int, data []byte) error {
	w, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store})
	if err != nil {
		return err
	}
	dimensions := ""
	for _, d := range shape {
		dimensions += strconv.Itoa(d) + ", "
	}
	if len(shape) > 1 {
		dimensions = strings.TrimSuffix(dimensions, ", ")
	} else {
		dimensions = strings.TrimSuffix(dimensions, " ")
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", element, dimensions)
	const before, alignment = len(magicNPY) + 4, 64 // bytes: what stands before the text
	text += strings.Repeat(" ", alignment-1-(before+len(text))%alignment) + "\n"
	head := binary.LittleEndian.AppendUint16([]byte(magicNPY+"\x01\x00"), uint16(len(text)))
	for _, part := range [][]byte{head, []byte(text), data} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}
