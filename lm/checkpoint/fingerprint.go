package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// A fingerprint holds samples of every tensor: a small one whole, of others so
// many stretches of so many bytes, evenly spread from the first byte to the last.
// A training that changes a tensor changes most of its numbers, if only by a
// rounding, and a sample of one stretch would see it; the others are for changes
// of rows, such as those of new tokens, which stand last. Reading more would cost
// opening a model time: the samples of a thousand tensors are 2 MB.
const (
	samples     = 8
	sampleBytes = 256
)

// fingerprinter hashes parts that follow one another unambiguously.
type fingerprinter struct{ hash.Hash }

func newFingerprinter() fingerprinter {
	f := fingerprinter{sha256.New()}
	f.part([]byte("steer: a model's config, headers and samples, 2"))
	return f
}

// part adds a part and its length.
func (f fingerprinter) part(part []byte) {
	f.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(part))))
	f.Write(part)
}

// tensor adds samples of a tensor's bytes, whose number the header says.
func (f fingerprinter) tensor(data []byte) {
	if len(data) <= samples*sampleBytes {
		f.Write(data)
		return
	}
	for i := range samples {
		at := (len(data) - sampleBytes) / (samples - 1) * i
		if i == samples-1 {
			at = len(data) - sampleBytes
		}
		f.Write(data[at : at+sampleBytes])
	}
}

func (f fingerprinter) sum() string { return "sha256:" + hex.EncodeToString(f.Sum(nil)) }

func (w *weights) fingerprint(config []byte) string {
	f := newFingerprinter()
	f.part(config)
	for _, file := range w.files {
		f.part(file.Header())
		for _, name := range file.Names() {
			t, _ := file.Tensor(name)
			f.tensor(t.Data)
		}
	}
	return f.sum()
}

func (s ggufStore) fingerprint([]byte) string {
	f := newFingerprinter()
	f.part(s.file.Header()) // says the config too
	for _, name := range s.file.Names() {
		t, _ := s.file.Tensor(name)
		f.tensor(t.Data)
	}
	return f.sum()
}
