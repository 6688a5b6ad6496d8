// Package exact adds float32 numbers without rounding, so that a sum does not depend
// on their order.
package exact

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
)

// Sums are sums of float32 numbers without any rounding, so that they depend
// neither on the order of the numbers nor on how they were split and merged.
//
// A sum is an integer in units of 2^-149, the smallest float32, in limbs of 32
// bits: Σ limbs[k]·2^(32k-149). A limb is a signed 64-bit number, so that carries
// may wait until 254 numbers are added (Neal 2015, "Fast exact summation using
// small and large superaccumulators", whose small one this is).
type Sums struct {
	width   int
	limbs   [limbs][]int64 // each [width]; nil: zero
	pending int            // numbers added to each sum since carries were passed on
	invalid bool           // a number was not finite
}

// New returns so many sums that are zero.
func New(width int) Sums { return Sums{width: width} }

// Width returns how many sums there are.
func (s *Sums) Width() int { return s.width }

const (
	limbs      = 9   // 254 powers of two and 24 bits of mantissa in eight, and the carries of 2^40 numbers
	maxPending = 254 // numbers below 2^55, and a limb below 2^31 to begin with
)

// Add adds one number to a sum. It must be followed by Added once all sums had
// their number.
func (s *Sums) Add(i int, x float32) {
	word := math.Float32bits(x)
	exponent, mantissa := word>>23&0xff, int64(word&(1<<23-1))
	if exponent != 0 {
		mantissa |= 1 << 23
		exponent--
	}
	if exponent == 254 {
		s.invalid = true
		return
	}
	sign := int64(int32(word) >> 31) // 0 or -1
	limb := s.limbs[exponent>>5]
	if limb == nil {
		limb = make([]int64, s.width)
		s.limbs[exponent>>5] = limb
	}
	limb[i] += (mantissa<<(exponent&31) ^ sign) - sign
}

// AddDifferences adds a[i]-b[i], rounded to float32, to each sum: Add in a loop,
// with what is rare left to it.
func (s *Sums) AddDifferences(a, b []float32) {
	a, b = a[:s.width], b[:s.width]
	for i, x := range a {
		word := math.Float32bits(x - b[i])
		exponent := word>>23&0xff - 1
		limb := s.limbs[exponent>>5&7]
		if exponent >= 254 || i >= len(limb) { // zero, tiny, not finite, or the first in this limb
			s.Add(i, x-b[i])
			continue
		}
		sign := int64(int32(word) >> 31)
		limb[i] += (int64(word&(1<<23-1)|1<<23)<<(exponent&31) ^ sign) - sign
	}
	s.Added()
}

// Added says that every sum has had its number.
func (s *Sums) Added() {
	if s.pending++; s.pending == maxPending {
		s.carry()
	}
}

// carry brings every limb but the last into [-2^31, 2^31), which makes the limbs
// of a sum unique.
func (s *Sums) carry() {
	for k := range limbs - 1 {
		for i, v := range s.limbs[k] {
			up := (v + 1<<31) >> 32
			if up == 0 {
				continue
			}
			s.limbs[k][i] = v - up<<32
			if s.limbs[k+1] == nil {
				s.limbs[k+1] = make([]int64, s.width)
			}
			s.limbs[k+1][i] += up
		}
	}
	s.pending = 0
}

// Merge adds other sums, which keep what they have.
func (s *Sums) Merge(other *Sums) {
	s.carry()
	other.carry()
	for k, limb := range other.limbs {
		if limb != nil && s.limbs[k] == nil {
			s.limbs[k] = make([]int64, s.width)
		}
		for i, v := range limb {
			s.limbs[k][i] += v
		}
	}
	s.carry()
	s.invalid = s.invalid || other.invalid
}

// Values returns the sums, each rounded once.
func (s *Sums) Values() ([]float64, error) {
	if s.invalid {
		return nil, errors.New("the activations hold numbers that are not finite")
	}
	s.carry()
	out := make([]float64, s.width)
	var sum, limb big.Int
	var rounded big.Float
	for i := range out {
		sum.SetInt64(0)
		for k := limbs - 1; k >= 0; k-- {
			sum.Lsh(&sum, 32)
			if s.limbs[k] != nil {
				sum.Add(&sum, limb.SetInt64(s.limbs[k][i]))
			}
		}
		rounded.SetPrec(0).SetInt(&sum)
		out[i], _ = rounded.SetMantExp(&rounded, -149).Float64()
	}
	return out, nil
}

// AppendTo appends the sums: a bit for each limb that is not zero everywhere, in
// two bytes, then those limbs.
func (s *Sums) AppendTo(out []byte) ([]byte, error) {
	if s.invalid {
		return nil, errors.New("the activations hold numbers that are not finite")
	}
	s.carry()
	var there uint16
	for k, limb := range s.limbs {
		for _, v := range limb {
			if v != 0 {
				there |= 1 << k
				break
			}
		}
	}
	out = binary.LittleEndian.AppendUint16(out, there)
	for k, limb := range s.limbs {
		if there&(1<<k) == 0 {
			continue
		}
		for _, v := range limb {
			out = binary.LittleEndian.AppendUint64(out, uint64(v))
		}
	}
	return out, nil
}

// Length returns how many of the bytes are those of the sums that begin them.
func (s *Sums) Length(data []byte) (int, error) {
	if len(data) < 2 {
		return 0, fmt.Errorf("sums in %d bytes", len(data))
	}
	n := bits.OnesCount16(binary.LittleEndian.Uint16(data))
	if (len(data)-2)/8/s.width < n {
		return 0, fmt.Errorf("the sums end before %d limbs", n)
	}
	return 2 + 8*s.width*n, nil
}

// Read takes what AppendTo wrote of sums of the same width, which must be all of
// data.
func (s *Sums) Read(data []byte) error {
	if len(data) < 2 {
		return fmt.Errorf("sums in %d bytes", len(data))
	}
	there := binary.LittleEndian.Uint16(data)
	data = data[2:]
	*s = Sums{width: s.width}
	if there >= 1<<limbs {
		return errors.New("sums of more limbs than there are")
	}
	for k := range limbs {
		if there&(1<<k) == 0 {
			continue
		}
		if len(data)/8 < s.width {
			return fmt.Errorf("the sums end in limb %d", k)
		}
		s.limbs[k] = make([]int64, s.width)
		for i := range s.limbs[k] {
			v := int64(binary.LittleEndian.Uint64(data[8*i:]))
			if v < -(1<<40) || v >= 1<<40 {
				return fmt.Errorf("limb %d of sum %d is out of range", k, i)
			}
			s.limbs[k][i] = v
		}
		data = data[8*s.width:]
	}
	if len(data) != 0 {
		return fmt.Errorf("%d bytes follow the sums", len(data))
	}
	s.carry()
	return nil
}
