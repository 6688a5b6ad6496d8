package vecfile

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/steervec/steer/internal/output"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
	"github.com/steervec/steer/vecfile/internal/torch"
)

// Format is how a file holds a vector.
type Format string

const (
	Native       Format = "native"        // safetensors, with tensors layer.<n>
	GGUF         Format = "gguf"          // control vectors of llama.cpp and repeng
	NPZ          Format = "npz"           // arrays of NumPy in a zip file
	NPY          Format = "npy"           // one array of NumPy
	PyTorch      Format = "pt"            // what torch.save writes, and pickles of tensors
	SVEC         Format = "svec"          // JSON of IBM's activation-steering
	SteeringLite Format = "steering-lite" // safetensors, with tensors layer<n>.v
	JSON         Format = "json"          // JSON, layers to numbers
)

// format is what the package knows of a format.
type format struct {
	name       Format
	extensions []string // the first is that of files that are written
	parse      func(name string, data []byte) (*content, error)
	write      func(path string, f File) error // what fits the format; nil: it is only read

	// What files of the format can say.
	sites     bool // other sites than decoder_block
	ranks     bool // several directions a layer
	behaviour bool // how a vector acts
	first     int  // the lowest layer
}

const anyLayer = -maxLayer

// formats are told apart by what files begin with, never by names.
var formats = []format{
	{name: Native, extensions: []string{".safetensors"}, parse: parseSafetensors, write: writeNative, sites: true, ranks: true, behaviour: true, first: anyLayer},
	{name: GGUF, extensions: []string{".gguf"}, parse: parseGGUF, write: written(encodeGGUF), first: 1},
	{name: NPZ, extensions: []string{".npz"}, parse: parseNPZ, write: written(encodeNPZ), sites: true, ranks: true, behaviour: true, first: anyLayer},
	{name: NPY, extensions: []string{".npy"}, parse: parseNPY},
	{name: PyTorch, extensions: []string{".pt", ".bin", ".pth", ".pkl"}, parse: parseTorch, write: written(encodeTorch), sites: true, ranks: true, behaviour: true, first: anyLayer},
	{name: SVEC, extensions: []string{".svec"}, parse: parseJSON, write: written(encodeSVEC), first: 0},
	{name: SteeringLite, parse: parseSafetensors},
	{name: JSON, extensions: []string{".json"}, parse: parseJSON, write: written(encodeJSON), sites: true, ranks: true, behaviour: true, first: anyLayer},
}

// written returns how a format is written whose files are made in memory.
func written(encode func(File) ([]byte, error)) func(path string, f File) error {
	return func(path string, f File) error {
		data, err := encode(f)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		file, err := output.Create(path)
		if err != nil {
			return err
		}
		defer file.Abort()
		if _, err := file.Write(data); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return file.Commit()
	}
}

// Formats returns the formats that are written.
func Formats() (names []Format) {
	for _, f := range formats {
		if f.write != nil {
			names = append(names, f.name)
		}
	}
	return names
}

// FormatFor returns the format that files of a name's extension are written in.
func FormatFor(path string) (Format, error) {
	extension := strings.ToLower(filepath.Ext(path))
	for _, f := range formats {
		if f.write != nil && slices.Contains(f.extensions, extension) {
			return f.name, nil
		}
	}
	return "", fmt.Errorf("the name %s does not say a format that vectors are written in: it is one of %v", filepath.Base(path), Formats())
}

func known(name Format) (format, error) {
	for _, f := range formats {
		if f.name == name {
			return f, nil
		}
	}
	return format{}, fmt.Errorf("unknown format %q: it is one of %v", name, Formats())
}

// maxFile bounds the files that are read whole, in bytes. The largest vectors are
// some 100 layers of 20,000 numbers; written as text, ten times that.
const maxFile = 1 << 30

// readFile returns the bytes of a file, which must be a regular one of no more
// than maxFile bytes.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read %s: it has %d bytes; vectors have at most %d", path, info.Size(), maxFile)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// errNoVector is wrapped by errors about files that hold no vector of a format
// that is known.
var errNoVector = errors.New("it is no vector file that is known")

// sniff returns the format of what begins so. Which of two formats a zip file, a
// JSON text or a safetensors file is, their contents say.
func sniff(data []byte) (Format, error) {
	switch {
	case len(data) > 8 && data[8] == '{' && bytes.Equal(data[4:8], make([]byte, 4)): // a header's length, below 4 GiB, whose own bytes may be those of a pickle
		return Native, nil
	case bytes.HasPrefix(data, []byte("GGUF")):
		return GGUF, nil
	case bytes.HasPrefix(data, []byte(magicNPY)):
		return NPY, nil
	case bytes.HasPrefix(data, []byte("PK")):
		return sniffZip(data)
	case torch.IsFile(data):
		return PyTorch, nil
	case bytes.HasPrefix(bytes.TrimLeft(data[:min(len(data), 512)], " \t\r\n\ufeff"), []byte("{")):
		return sniffJSON(data)
	}
	return "", errNoVector
}

func sniffZip(data []byte) (Format, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	for _, f := range z.File {
		switch {
		case strings.HasSuffix(f.Name, "/data.pkl"):
			return PyTorch, nil
		case strings.HasSuffix(f.Name, ".npy"):
			return NPZ, nil
		}
	}
	return "", errNoVector
}

// byteOrderMark is what some programs begin texts with.
var byteOrderMark = []byte("\ufeff")

func sniffJSON(data []byte) (Format, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimPrefix(data, byteOrderMark), &keys); err != nil {
		return "", fmt.Errorf("%w: %w", errNoVector, err)
	}
	if keys[directionsKey] != nil {
		return SVEC, nil
	}
	for key := range keys {
		if _, ok := numberIn(key); ok || key == layersKey {
			return JSON, nil
		}
	}
	return "", errNoVector
}

// Detect says in what format a file holds a vector, and whether this package
// wrote it. It looks at headers, not at numbers, but for files of text.
func Detect(path string) (name Format, ours, ok bool) {
	c, err := open(path)
	if err != nil {
		return "", false, false
	}
	return c.format, c.metadata[FormatKey] != "", true
}

// open reads a file, of whichever format. Those that models are written in too are
// mapped, and a model is refused by its header.
func open(path string) (*content, error) {
	start, err := begin(path)
	if err != nil {
		return nil, err
	}
	var c *content
	switch kind, _ := sniff(start); kind {
	case Native:
		file, err := safetensors.OpenLimited(path, maxHeader)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		c, err = ofTensors(file)
		return c, placed(path, err)
	case GGUF:
		file, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		c, err = ofGGUF(file)
		return c, placed(path, err)
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c, err = parse(path, data)
	return c, placed(path, err)
}

// placed says of an error in which file it is.
func placed(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read vector %s: %w", path, err)
}

// begin returns the first bytes of a file, by which safetensors are known.
func begin(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	start := make([]byte, 16)
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return start[:n], nil
}

// parse reads a file that is in memory. Its name stands in nothing but what it
// says of the file's origin.
func parse(name string, data []byte) (*content, error) {
	kind, err := sniff(data)
	if err != nil {
		return nil, err
	}
	f, err := known(kind)
	if err != nil {
		return nil, err
	}
	return f.parse(name, data)
}
