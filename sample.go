package steer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"

	"github.com/steervec/steer/lm"
)

// Sample is a pair of prompts that differ in what the vector is to carry: the
// positive prompt shows it, the negative one does not. For aggregators that are
// [aggregators.Unpaired] a sample may have one of them only.
type Sample struct {
	Positive, Negative string // the prompts as text

	// PositiveIDs and NegativeIDs are the prompts as token ids, complete with
	// special tokens. Where they are given they are used as they are, the text is
	// not looked at and no tokenizer is needed. Either both are given or none.
	PositiveIDs, NegativeIDs []int

	// PositiveResponse and NegativeResponse say where in a prompt the response
	// begins, for readings that ask: a byte of the text, or with token ids a token.
	// 0: not known.
	PositiveResponse, NegativeResponse int

	// ReadPositive and ReadNegative are what is read of the prompts. Nil means what
	// holds for the whole run.
	ReadPositive, ReadNegative Reading
}

// lacks reports whether the sample has no prompt of a side, positive or negative,
// while it has the other.
func (s *Sample) lacks(side string) bool {
	positive, negative := s.Positive != "" || s.PositiveIDs != nil, s.Negative != "" || s.NegativeIDs != nil
	return positive != negative && positive != (side == "positive")
}

// SampleError is what is wrong with one of the samples.
type SampleError struct {
	Sample int    // from 0
	Side   string // positive or negative
	Err    error
}

func (e *SampleError) Error() string {
	return fmt.Sprintf("sample %d, %s prompt: %v", e.Sample, e.Side, e.Err)
}

// Unwrap returns the error without the sample's number.
func (e *SampleError) Unwrap() error { return e.Err }

// sampleID tells samples apart: half a digest of what was given, the same for
// every model, then half a digest of the tokens and what is read of them.
type sampleID [sha256.Size]byte

const givenID = sha256.Size / 2 // length of the first half

// identify returns the id of a sample and its two inputs.
func identify(s *Sample, positive, negative lm.Input) (id sampleID) {
	digest := sha256.New()
	for _, text := range []string{s.Positive, s.Negative} {
		digestNumbers(digest, len(text))
		digest.Write([]byte(text))
	}
	for _, ids := range [][]int{s.PositiveIDs, s.NegativeIDs, {s.PositiveResponse, s.NegativeResponse}} {
		digestNumbers(digest, len(ids))
		digestNumbers(digest, ids...)
	}
	for _, r := range []Reading{s.ReadPositive, s.ReadNegative} {
		text := ""
		if r != nil {
			text = r.String()
		}
		digestNumbers(digest, len(text))
		digest.Write([]byte(text))
	}
	copy(id[:givenID], digest.Sum(nil))
	digest.Reset()
	for _, in := range []lm.Input{positive, negative} {
		span := spanOf(in)
		digestNumbers(digest, len(in.Tokens), span.From, span.To)
		digestNumbers(digest, in.Tokens...)
	}
	copy(id[givenID:], digest.Sum(nil))
	return id
}

func digestNumbers(digest hash.Hash, numbers ...int) {
	var buffer [8 * 64]byte
	for chunk := range slices.Chunk(numbers, 64) {
		data := buffer[:0]
		for _, n := range chunk {
			data = binary.LittleEndian.AppendUint64(data, uint64(n))
		}
		digest.Write(data)
	}
}

// hashSamples returns a digest of samples whatever their order, "sha256:…", by
// which a vector remembers what it was trained on. It sorts the ids.
func hashSamples(ids []sampleID) string {
	slices.SortFunc(ids, func(a, b sampleID) int { return bytes.Compare(a[:], b[:]) })
	digest := sha256.New()
	for _, id := range ids {
		digest.Write(id[:givenID])
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}
