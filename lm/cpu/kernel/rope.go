package kernel

// Rope turns the first 2*len(cos) elements of one head x by the angles whose
// cosines and sines are given (Su et al. 2021). Half-split pairing turns
// (x[i], x[i+n]) with n = len(cos), as Llama and GPT-NeoX do; interleaved
// pairing turns (x[2i], x[2i+1]), as GPT-J does.
func Rope(x, cos, sin []float32, interleaved bool) {
	n := len(cos)
	if interleaved {
		for i := range n {
			a, b := x[2*i], x[2*i+1]
			x[2*i] = a*cos[i] - b*sin[i]
			x[2*i+1] = b*cos[i] + a*sin[i]
		}
		return
	}
	if f := active.rope; f != nil && n > 0 {
		f(&x[:2*n][0], &cos[0], &sin[:n][0], n)
		return
	}
	plainRope(x[:n], x[n:2*n], cos, sin)
}

// plainRope turns the pairs (x[i], y[i]).
func plainRope(x, y, cos, sin []float32) {
	for i, a := range x {
		b := y[i]
		x[i] = a*cos[i] - b*sin[i]
		y[i] = b*cos[i] + a*sin[i]
	}
}
