package arch

import (
	"fmt"
	"math"

	"github.com/steervec/steer/internal/finite"
)

// Rope describes rotary positions (Su et al. 2021): pair i of the first Size
// elements of a head turns by position * inverse[i].
type Rope struct {
	Size        int  // elements that turn, even
	Interleaved bool // pairs are neighbours, as in GPT-J; else half a Size apart

	inverse []float64 // [Size/2] radians per position
	scale   float64   // of cosines and sines

	// Some scalings depend on the length of the whole sequence: from threshold
	// tokens on, long gives the frequencies. threshold 0: they never change.
	threshold int
	long      func(length int) []float64
	perLength bool // each length past the threshold has frequencies of its own
}

// Variant names the frequencies that a sequence of this many tokens turns by.
// Keys cached under one variant are of no use under another.
func (r *Rope) Variant(length int) int {
	switch {
	case r == nil || r.threshold == 0 || length <= r.threshold:
		return 0
	case r.perLength:
		return length
	}
	return r.threshold + 1
}

// RopeVariant names the positions that a sequence of this many tokens is computed
// with; 0 for the usual ones. Nothing computed under one variant can be used
// under another.
func (d *Decoder) RopeVariant(length int) int {
	variant := 0
	for _, b := range d.Passed() {
		variant = max(variant, b.Attention.Rope.Variant(length))
	}
	return variant
}

// Angles writes the cosines and sines of a position under a variant, each [Size/2].
// Angles are products of float32 numbers, as the reference computes them.
func (r *Rope) Angles(position, variant int, cos, sin []float32) {
	for i, inverse := range r.frequencies(variant) {
		angle := float64(float32(position) * float32(inverse))
		cos[i] = float32(math.Cos(angle) * r.scale)
		sin[i] = float32(math.Sin(angle) * r.scale)
	}
}

// frequencies returns the inverse frequencies [Size/2] of a variant.
func (r *Rope) frequencies(variant int) []float64 {
	if variant == 0 {
		return r.inverse
	}
	return r.long(variant)
}

func (r *Rope) check(headSize int) error {
	if r.Size < 2 || r.Size%2 != 0 || r.Size > headSize {
		return fmt.Errorf("rotary positions turn %d elements of a head of %d", r.Size, headSize)
	}
	for _, f := range r.inverse {
		if !finite.Is(f) {
			return fmt.Errorf("rotary positions have a frequency of %v", f)
		}
	}
	if !finite.Is(r.scale) {
		return fmt.Errorf("rotary positions are scaled by %v", r.scale)
	}
	return nil
}

// newRope reads the base frequency rope_theta and the scaling that the config
// names, for heads that turn size elements. The formulas are those of
// transformers' modeling_rope_utils.
func newRope(c *Config, size int) *Rope {
	theta := c.Float("rope_theta", 10000)
	scaling := c.Object("rope_scaling")
	if parameters := c.Object("rope_parameters"); parameters != nil {
		// Since transformers 5 one object holds the base and the scaling, or one for each
		// kind of layers.
		if full := parameters.Object("full_attention"); full != nil {
			parameters = full
		}
		scaling = parameters
		theta = parameters.Float("rope_theta", theta)
	}
	return scaledRope(c, size, theta, scaling)
}

// localTheta returns the base of layers with a sliding window, where they have one of
// their own.
func localTheta(c *Config) float64 {
	if parameters := c.Object("rope_parameters"); parameters != nil {
		if local := parameters.Object("sliding_attention"); local != nil {
			return local.Float("rope_theta", 10000)
		}
	}
	return c.Float("rope_local_base_freq", 10000)
}

// plainFrequencies returns theta^(-2i/size) for each pair i.
func plainFrequencies(theta float64, size int) []float64 {
	inverse := make([]float64, size/2)
	for i := range inverse {
		inverse[i] = 1 / math.Pow(theta, float64(2*i)/float64(size))
	}
	return inverse
}

func scaledRope(c *Config, size int, theta float64, scaling *Config) *Rope {
	if size < 2 || size > maxWidth {
		c.fail("rotary positions turn %d elements of a head", size)
		return nil
	}
	if theta <= 1 {
		c.fail("the rotary base (rope_theta) is %v, not a number above 1", theta)
		return nil
	}
	r := &Rope{Size: size, inverse: plainFrequencies(theta, size), scale: 1}
	if scaling == nil {
		return r
	}
	kind := scaling.String("rope_type", scaling.String("type", "default"))
	trained := func() int { return c.Positive("max_position_embeddings", 2048) }
	factor := scaling.Float("factor", 1)
	switch kind {
	case "default":
	case "linear":
		for i := range r.inverse {
			r.inverse[i] /= factor
		}
	case "dynamic":
		r.dynamic(theta, factor, trained())
	case "llama3":
		low, high := scaling.Float("low_freq_factor", 1), scaling.Float("high_freq_factor", 4)
		if low >= high {
			scaling.fail("low_freq_factor is %v, not below high_freq_factor, %v", low, high)
			return nil
		}
		r.llama3(factor, low, high, float64(scaling.Positive("original_max_position_embeddings", trained())))
	case "yarn":
		length := trained()
		if scaling.Has("original_max_position_embeddings") {
			original := scaling.Positive("original_max_position_embeddings", 1)
			if !scaling.Has("factor") {
				factor = float64(length) / float64(original)
			}
			length = original
		}
		r.yarn(scaling, theta, factor, length)
	case "longrope", "su":
		r.longrope(c, scaling, theta, trained())
	default:
		c.fail("rope_scaling of type %q is not supported; known are linear, dynamic, llama3, yarn, longrope", kind)
	}
	return r
}

// dynamic raises the base with the sequence's length once it passes the trained
// one ("NTK-aware" scaling).
func (r *Rope) dynamic(theta, factor float64, trained int) {
	r.threshold, r.perLength = trained, true
	size := float64(r.Size)
	r.long = func(length int) []float64 {
		stretch := factor*float64(length)/float64(trained) - (factor - 1)
		return plainFrequencies(theta*math.Pow(stretch, size/(size-2)), r.Size)
	}
}

// llama3 divides low frequencies by factor, keeps high ones, and blends between
// (Llama 3.1's release).
func (r *Rope) llama3(factor, low, high, trained float64) {
	for i, f := range r.inverse {
		turns := trained * f / (2 * math.Pi) // over the trained length
		switch {
		case turns < low:
			r.inverse[i] = f / factor
		case turns <= high:
			blend := (turns - low) / (high - low)
			r.inverse[i] = (1-blend)*f/factor + blend*f
		}
	}
}

// yarn interpolates low frequencies, keeps high ones, ramps between, and scales
// the result (Peng et al. 2023, section 3).
func (r *Rope) yarn(scaling *Config, theta, factor float64, trained int) {
	size := float64(r.Size)
	// pair whose wave makes this many turns over the trained length
	pair := func(turns float64) float64 {
		return size * math.Log(float64(trained)/(turns*2*math.Pi)) / (2 * math.Log(theta))
	}
	low, high := pair(scaling.Float("beta_fast", 32)), pair(scaling.Float("beta_slow", 1))
	if scaling.Bool("truncate", true) {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, size-1)
	if low == high {
		high += 0.001
	}
	for i, f := range r.inverse {
		ramp := min(max((float64(i)-low)/(high-low), 0), 1)
		r.inverse[i] = f/factor*ramp + f*(1-ramp)
	}
	magnitude := func(weight float64) float64 {
		if factor <= 1 {
			return 1
		}
		return 0.1*weight*math.Log(factor) + 1
	}
	r.scale = magnitude(1)
	if m, all := scaling.Float("mscale", 0), scaling.Float("mscale_all_dim", 0); m != 0 && all != 0 {
		r.scale = magnitude(m) / magnitude(all)
	}
	r.scale = scaling.Float("attention_factor", r.scale)
}

// longrope divides each frequency by a factor of its own, from one list up to
// the original length and from another past it (Ding et al. 2024).
func (r *Rope) longrope(c, scaling *Config, theta float64, trained int) {
	short, long := scaling.Floats("short_factor"), scaling.Floats("long_factor")
	if len(short) != r.Size/2 || len(long) != r.Size/2 {
		scaling.fail("there are %d short and %d long factors for %d pairs", len(short), len(long), r.Size/2)
		return
	}
	for _, factors := range [][]float64{short, long} {
		for _, f := range factors {
			if !(leastFloat <= f && f <= mostFloat) {
				scaling.fail("a factor of a frequency is %v, not a number from %g to %g", f, leastFloat, mostFloat)
				return
			}
		}
	}
	original := c.Positive("original_max_position_embeddings", scaling.Positive("original_max_position_embeddings", trained))
	factor := scaling.Float("factor", 1)
	if original != trained {
		factor = float64(trained) / float64(original)
	}
	if factor > 1 && original == 1 {
		c.fail("original_max_position_embeddings is 1; its logarithm, which longrope divides by, is zero")
		return
	}
	if factor > 1 {
		r.scale = math.Sqrt(1 + math.Log(factor)/math.Log(float64(original)))
	}
	r.scale = scaling.Float("attention_factor", r.scale)
	divided := func(factors []float64) []float64 {
		inverse := plainFrequencies(theta, r.Size)
		for i := range inverse {
			inverse[i] /= factors[i]
		}
		return inverse
	}
	r.inverse = divided(short)
	r.threshold = original
	stretched := divided(long)
	r.long = func(int) []float64 { return stretched }
}
