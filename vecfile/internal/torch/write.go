package torch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// Layer is a tensor of float32 elements under a number.
type Layer struct {
	Number int
	Shape  []int // whose product is the number of Values
	Values []float32
}

// Save returns a zip archive that torch.load reads, with weights_only too, as a
// dictionary from whole numbers to tensors. It has one more record of the given
// name, which torch.load passes over. Equal arguments give equal bytes.
func Save(layers []Layer, extra string, record []byte) ([]byte, error) {
	const folder = "archive/"
	program := pickler{}
	program.raw("\x80\x02}(") // version 2, a dictionary, and a mark
	for i, layer := range layers {
		program.layer(i, layer)
	}
	program.raw("u.") // sets the items, and ends
	w := &archiveWriter{}
	w.zip = zip.NewWriter(&w.data)
	w.add(folder+"data.pkl", program.data)
	w.add(folder+"byteorder", []byte("little"))
	for i, layer := range layers {
		w.add(fmt.Sprintf("%sdata/%d", folder, i), safetensors.AppendFloats(nil, safetensors.F32, layer.Values))
	}
	w.add(folder+"version", []byte("3\n"))
	w.add(folder+extra, record)
	if w.err == nil {
		w.err = w.zip.Close()
	}
	return w.data.Bytes(), w.err
}

// pickler appends instructions.
type pickler struct{ data []byte }

func (p *pickler) raw(text string) { p.data = append(p.data, text...) }

func (p *pickler) number(n int) {
	p.data = binary.LittleEndian.AppendUint32(append(p.data, 'J'), uint32(int32(n)))
}

func (p *pickler) text(s string) {
	p.data = binary.LittleEndian.AppendUint32(append(p.data, 'X'), uint32(len(s)))
	p.raw(s)
}

func (p *pickler) tuple(values []int) {
	p.raw("(")
	for _, n := range values {
		p.number(n)
	}
	p.raw("t")
}

// layer appends a key and the call that rebuilds its tensor, which is all of
// storage i, row after row.
func (p *pickler) layer(i int, layer Layer) {
	p.number(layer.Number)
	p.raw("ctorch._utils\n_rebuild_tensor_v2\n((")
	p.text("storage")
	p.raw("ctorch\nFloatStorage\n")
	p.text(fmt.Sprint(i))
	p.text("cpu")
	p.number(len(layer.Values))
	p.raw("tQ")
	p.number(0) // where it begins in the storage
	p.tuple(layer.Shape)
	strides := make([]int, len(layer.Shape))
	for d, step := len(strides)-1, 1; d >= 0; d-- {
		strides[d] = step
		step *= layer.Shape[d]
	}
	p.tuple(strides)
	p.raw("\x89ccollections\nOrderedDict\n)RtR") // no gradient, no hooks
}

// archiveWriter writes records uncompressed and aligned, as torch.save does.
type archiveWriter struct {
	data bytes.Buffer
	zip  *zip.Writer
	at   int // bytes written
	err  error
}

func (w *archiveWriter) add(name string, record []byte) {
	if w.err != nil {
		return
	}
	const header, field, alignment = 30, 4, 64 // bytes: a record's header without its name, that of an extra field
	begin := w.at + header + len(name) + field
	padding := (alignment - begin%alignment) % alignment
	extra := binary.LittleEndian.AppendUint16([]byte("FB"), uint16(padding))
	extra = append(extra, bytes.Repeat([]byte("Z"), padding)...)
	size := uint64(len(record))
	to, err := w.zip.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, Extra: extra,
		CRC32: crc32.ChecksumIEEE(record), CompressedSize64: size, UncompressedSize64: size})
	if err == nil {
		_, err = to.Write(record)
	}
	w.err = err
	w.at = begin + padding + len(record)
}
