package steer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Sample is a pair of prompts that differ in what the vector is to carry: the
// positive prompt shows it, the negative one does not.
type Sample struct {
	Positive, Negative string // the prompts as text

	// PositiveIDs and NegativeIDs are the prompts as token ids, complete with
	// special tokens. Where they are given they are used as they are, the text is
	// not looked at and no tokenizer is needed. Either both are given or none.
	PositiveIDs, NegativeIDs []int

	// ReadPositive and ReadNegative are the positions of the tokens whose
	// activations are read, negative ones counted from the prompt's end. Nil means
	// the position that holds for the whole run.
	ReadPositive, ReadNegative *int
}

// hashSamples returns a digest of the samples in their order, "sha256:…", by
// which a vector remembers what it was trained on.
func hashSamples(samples []Sample) string {
	digest := sha256.New()
	read := func(position *int) string {
		if position == nil {
			return "-"
		}
		return strconv.Itoa(*position)
	}
	for _, s := range samples {
		// %q keeps the parts apart whatever is in them.
		fmt.Fprintf(digest, "%q %q %v %v %s %s\n",
			s.Positive, s.Negative, s.PositiveIDs, s.NegativeIDs, read(s.ReadPositive), read(s.ReadNegative))
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}
