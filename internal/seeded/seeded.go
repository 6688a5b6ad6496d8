// Package seeded makes the checkpoints of the reference goldens, whose weights
// are not stored: every element is a pure function of a seed, the tensor's name
// and the element's index.
package seeded

// Tensor is a tensor of tensors.json: what a checkpoint holds under a name.
type Tensor struct {
	Name  string  `json:"name"`
	Shape []int   `json:"shape"`
	Mean  float64 `json:"mean"`
	Std   float64 `json:"std"`
	DType string  `json:"dtype"` // F32, BF16 or F16
}

// Values returns the tensor's elements in row-major order as float32, before
// they are rounded to DType: the outputs of SplitMix64 (Steele, Lea and Flood
// 2014), each the sum of four uniform numbers, near enough to a bell.
func (t Tensor) Values(seed uint64) []float32 {
	n := 1
	for _, size := range t.Shape {
		n *= size
	}
	values := make([]float32, n)
	state := hash(t.Name) ^ mix(seed)
	for i := range values {
		state += 0x9E3779B97F4A7C15
		h := mix(state)
		sum := int64(h&0xFFFF+h>>16&0xFFFF+h>>32&0xFFFF+h>>48) - 131070
		// Each product is converted, so that no compiler fuses it with the sum.
		z := float64(0.8660254037844386 * (float64(sum) / 32768))
		values[i] = float32(t.Mean + float64(t.Std*z))
	}
	return values
}

// hash is the 64-bit FNV-1a hash of a name.
func hash(name string) uint64 {
	h := uint64(0xCBF29CE484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001B3
	}
	return h
}

// mix is the output function of SplitMix64.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
