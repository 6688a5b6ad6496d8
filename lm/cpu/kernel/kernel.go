// Package kernel holds the inner loops of the CPU executor: matrix products
// with packed weights, attention over cached keys and values, norms, rotary
// positions, activations and softmax.
//
// Every function here has a plain Go form that is its specification. The
// results for one row never depend on what other rows are in the call, nor on
// the number of cores: a token gets the same bits alone, in a batch, and when
// its prefix was computed earlier.
//
//go:generate go -C ../../../tools run ./kernels ../lm/cpu/kernel
package kernel

// Precision says in which number formats a product runs. Accumulation is
// always in float32.
type Precision uint8

const (
	// F32 multiplies float32 weights with float32 activations.
	F32 Precision = iota
	// BF16 multiplies bfloat16 weights with activations that are rounded to
	// bfloat16 (nearest, ties to even) at the entry of the product.
	BF16
	// Mixed multiplies bfloat16 weights with float32 activations.
	Mixed
)

// String returns "f32", "bf16" or "mixed".
func (p Precision) String() string {
	switch p {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	default:
		return "mixed"
	}
}
