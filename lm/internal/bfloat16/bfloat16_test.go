package bfloat16

import (
	"math"
	"testing"
)

func TestEveryNumberSurvives(t *testing.T) {
	for b := range 1 << 16 {
		f := Widen(uint16(b))
		if f != f {
			if g := Widen(Round(f)); g == g {
				t.Errorf("NaN %#04x becomes %v", b, g)
			}
			continue
		}
		if got := Round(f); got != uint16(b) {
			t.Errorf("%#04x becomes %#04x", b, got)
		}
	}
}

func TestWhatLiesBetweenIsRounded(t *testing.T) {
	for _, test := range []struct {
		f    float32
		want uint16
	}{
		{1 + 1.0/512, 0x3f80},             // less than halfway
		{1 + 1.0/256, 0x3f80},             // halfway: the even one is below
		{1 + 3.0/256, 0x3f82},             // halfway: the even one is above
		{1 + 1.0/256 + 1.0/65536, 0x3f81}, // more than halfway
		{-1 - 3.0/256, 0xbf82},
		{math.MaxFloat32, 0x7f80}, // infinity
		{math.Float32frombits(0x7f800001), 0x7fc0},
		{math.SmallestNonzeroFloat32, 0},
	} {
		if got := Round(test.f); got != test.want {
			t.Errorf("%v becomes %#04x, want %#04x", test.f, got, test.want)
		}
	}
}
