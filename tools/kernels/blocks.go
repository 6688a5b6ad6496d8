package main

// blockFormat says how weights lie in blocks, as package kernel's table of the same
// name does, which explains the words.
type blockFormat struct {
	name     string
	inputs   int // of a record
	group    int
	halves   int
	head     int
	planes   []int
	offset   int // of what is multiplied, a power of two: that is never below 0
	codebook *[16]int8
	scales   scales
}

// perBlock returns the words of 32 inputs.
func (f blockFormat) perBlock() (n int) {
	for _, bits := range f.planes {
		n += bits
	}
	return n
}

// minus says whether groups have minima.
func (f blockFormat) minus() bool {
	return f.scales == twoHalves || f.scales == sixBits || f.scales == pairsOfNibbles
}

// scales is how the scales of groups are kept.
type scales int

const (
	halfEach       scales = iota // a half for each group
	twoHalves                    // a half for all, and a minimum that is added
	sixBits                      // six bits for each scale and minimum
	sixBitsSigned                // six bits for each scale, less 32
	signedBytes                  // a byte for each scale
	pairsOfNibbles               // a byte for each scale and minimum
	exponents                    // a byte, the exponent
)

var blockFormats = []blockFormat{
	{name: "Q4_0", inputs: 64, group: 32, halves: 2, planes: []int{4}, offset: 8},
	{name: "Q4_1", inputs: 32, group: 32, halves: 2, planes: []int{4}, scales: twoHalves},
	{name: "Q5_0", inputs: 64, group: 32, halves: 2, planes: []int{4, 1}, offset: 16},
	{name: "Q5_1", inputs: 32, group: 32, halves: 2, planes: []int{4, 1}, scales: twoHalves},
	{name: "Q8_0", inputs: 64, group: 32, halves: 2, planes: []int{8}, offset: 128},
	{name: "Q2_K", inputs: 256, group: 16, halves: 2, head: 4, planes: []int{2}, scales: pairsOfNibbles},
	{name: "Q3_K", inputs: 256, group: 16, halves: 1, head: 3, planes: []int{2, 1}, offset: 4, scales: sixBitsSigned},
	{name: "Q4_K", inputs: 256, group: 32, halves: 2, head: 3, planes: []int{4}, scales: sixBits},
	{name: "Q5_K", inputs: 256, group: 32, halves: 2, head: 3, planes: []int{4, 1}, scales: sixBits},
	{name: "Q6_K", inputs: 256, group: 16, halves: 1, head: 4, planes: []int{4, 2}, offset: 32, scales: signedBytes},
	{name: "IQ4_NL", inputs: 64, group: 32, halves: 2, planes: []int{4}, offset: 128,
		codebook: &[16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}},
	{name: "MXFP4", inputs: 64, group: 32, halves: 1, planes: []int{4}, offset: 16, scales: exponents,
		codebook: &[16]int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}},
}

// What a unit of 16 outputs is unpacked to: 256 inputs at most.
const (
	unitBytes  = 128 * 64 // pairs of 16-bit integers
	scaleBytes = 16 * 64  // scales, and as many minima
)

const unpackDoc = `unpacks some records of a unit of 16 outputs: the integers in pairs of inputs,
[pairs, 16], and scale and minus of the groups, [groups, 16].`

const oneRowDoc = `adds to dst the product of one row with some records of a unit of 16 outputs.
What scale and minus lead to is scratch for those of a record.`

const integerTileDoc = `multiplies %d rows of a, aStride bytes apart, with %d outputs,
unpacked in units of 16: it adds to dst for each of some groups, of so many halves
of 16 inputs, the sum of the integers' products times both scales, less minus times
the sum of the activations unless minus is nil. All strides are in bytes.`

const floatsDoc = `turns what was unpacked into numbers [inputs, 16].`

const integersDoc = `turns blocks of 32 activations into integers with a scale.`
