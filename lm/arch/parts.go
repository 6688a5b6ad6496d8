package arch

import (
	"math"
	"strconv"
)

// block returns the beginning of the tensor names of one layer.
func block(prefix string, layer int) string { return prefix + "." + strconv.Itoa(layer) + "." }

// linear is the part of the tensors name.weight and, with bias, name.bias.
func linear(name string, bias bool) Linear {
	l := Linear{Weight: name + ".weight"}
	if bias {
		l.Bias = name + ".bias"
	}
	return l
}

// conv1D is a linear with bias whose weight is stored as [in, out].
func conv1D(name string) Linear {
	return Linear{Weight: name + ".weight", Bias: name + ".bias", Transposed: true}
}

// rms is the RMS norm of the tensor name.weight, with the config's epsilon.
func rms(c *Config, name string, site Site) *Norm {
	return &Norm{Kind: RMS, Weight: name + ".weight", Epsilon: float32(c.Float("rms_norm_eps", 1e-6)), Site: site}
}

// layerNorm is the layer norm of name.weight and name.bias.
func layerNorm(name string, epsilon float64, site Site) *Norm {
	return &Norm{Kind: Layer, Weight: name + ".weight", Bias: name + ".bias", Epsilon: float32(epsilon), Site: site}
}

// AddSinusoid adds to a row [hidden] the sines, then the cosines, of the position
// turning by 10000^(-i/(hidden/2-1)) in element i (Vaswani et al. 2017, section
// 3.5, as tensor2tensor and fairseq lay it out). Angles are float32 numbers.
func AddSinusoid(row []float32, position int) {
	half := len(row) / 2
	step := math.Log(10000) / float64(max(half-1, 1))
	for i := range half {
		angle := float64(float32(position) * float32(math.Exp(float64(float32(i)*float32(-step)))))
		row[i] += float32(math.Sin(angle))
		row[half+i] += float32(math.Cos(angle))
	}
}
