package arch

import "strconv"

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
