package pairs

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Shares say which share of the data each part of a split gets. They add up to 1.
type Shares struct{ Train, HeldOut, Test float64 }

// ParseShares reads shares as they are written on a command line: "60/20/20", in
// per cent.
func ParseShares(text string) (Shares, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return Shares{}, fmt.Errorf("%q is not three numbers such as 60/20/20: per cent for training, held out, and for the test", text)
	}
	var shares [3]float64
	for i, part := range parts {
		value, err := strconv.ParseFloat(part, 64)
		if err != nil || !(0 <= value && value <= 100) {
			return Shares{}, fmt.Errorf("%q is not a number from 0 to 100", part)
		}
		shares[i] = value / 100
	}
	if sum := shares[0] + shares[1] + shares[2]; math.Abs(sum-1) > 1e-9 {
		return Shares{}, fmt.Errorf("%s adds up to %g, not to 100", text, 100*sum)
	}
	return Shares{shares[0], shares[1], shares[2]}, nil
}

// Parts are the parts of a split.
type Parts[T any] struct{ Train, HeldOut, Test []T }

// Split parts items. Where an item goes depends on its key, the seed and the
// shares alone, by a hash: it stays there when others come or go, and items of one
// key stay together. The parts have about the sizes that the shares ask for.
func Split[T any](items []T, key func(T) string, seed uint64, shares Shares) Parts[T] {
	var parts Parts[T]
	for _, item := range items {
		to := &parts.Test
		switch at := place(key(item), seed); {
		case at < shares.Train:
			to = &parts.Train
		case at < shares.Train+shares.HeldOut || shares.Test == 0:
			to = &parts.HeldOut
		}
		*to = append(*to, item)
	}
	return parts
}

// place maps a key evenly to numbers from 0 up to, and not including, 1.
func place(key string, seed uint64) float64 {
	sum := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, seed), key...))
	return float64(binary.LittleEndian.Uint64(sum[:])>>11) / (1 << 53)
}
