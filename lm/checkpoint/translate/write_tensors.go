package translate

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/lm/checkpoint/safetensors"
)

// rows are those of a tensor that is written, one after the other.
type rows struct {
	shape []int // the last is the width
	// row writes row r. Several goroutines may call it at once.
	row func(dst []float32, r int)
	// release says that the tensors which the rows are made of are read.
	release func()
}

// storedTypes are the numbers that tensors of checkpoints can hold.
var storedTypes = map[safetensors.DType]gguf.Type{safetensors.F32: gguf.F32, safetensors.F16: gguf.F16, safetensors.BF16: gguf.BF16}

// unread ends the names of tensors that checkpoints hold and models make nothing of.
var unread = []string{".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"}

// tensors plans every tensor.
func (w *writing) tensors() {
	for layer := -1; layer < w.shape.layers && w.err == nil; layer++ {
		for _, p := range w.arch.parts {
			if inBlock := strings.HasPrefix(p.stored, blk); inBlock == (layer >= 0) && p.how != factorTable {
				number := strconv.Itoa(layer)
				p.stored, p.name = strings.ReplaceAll(p.stored, "{num}", number), strings.ReplaceAll(p.name, "{num}", number)
				w.part(p)
			}
		}
	}
	for _, name := range w.from.Names() {
		left := !w.used[name] && !slices.ContainsFunc(unread, func(end string) bool { return strings.HasSuffix(name, end) })
		if left && !w.isHead(name) && !w.ahead(name) {
			w.fail("tensor %q is none that the architecture %s has a name for", name, w.name)
		}
	}
}

// isHead reports whether a tensor is the head of a model whose head is its embedding.
func (w *writing) isHead(name string) bool {
	return w.tied() && slices.ContainsFunc(w.arch.parts, func(p part) bool { return p.stored == "output" && name == p.name+".weight" })
}

func (w *writing) tied() bool { return w.config["tie_word_embeddings"] == true }

// ahead reports whether a tensor is of a block behind the last, which predicts tokens
// further ahead.
func (w *writing) ahead(name string) bool {
	first, _, _ := strings.Cut(layers, "{num}")
	rest, ok := strings.CutPrefix(name, first)
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n >= w.shape.layers && w.number("num_nextn_predict_layers") > 0
}

// find returns a tensor of the checkpoint, whose names may lack their first part.
func (w *writing) find(name string) (safetensors.Tensor, bool) {
	_, short, _ := strings.Cut(name, ".")
	for _, one := range []string{name, short} {
		if t, ok := w.from.Tensor(one); ok {
			w.used[one] = true
			if _, known := storedTypes[t.DType]; !known {
				w.fail("tensor %q holds %s, which is not written", one, t.DType)
			}
			if t.Len() == 0 {
				w.fail("tensor %q of shape %v is empty", one, t.Shape)
			}
			return t, w.err == nil
		}
	}
	return safetensors.Tensor{}, false
}

// of returns the rows of a tensor as they are.
func (w *writing) of(t safetensors.Tensor) rows {
	kind, width := storedTypes[t.DType], t.Shape[len(t.Shape)-1]
	bytes := width * t.DType.Size()
	return rows{t.Shape, func(dst []float32, r int) { kind.Expand(dst, t.Data[r*bytes:(r+1)*bytes]) }, func() { w.from.Release(t) }}
}

func (r rows) width() int { return r.shape[len(r.shape)-1] }

// count returns the number of rows.
func (r rows) count() int {
	n := 1
	for _, s := range r.shape[:len(r.shape)-1] {
		n *= s
	}
	return n
}

// all returns every element.
func (r rows) all() []float32 {
	out, width := make([]float32, r.count()*r.width()), r.width()
	for i := range r.count() {
		r.row(out[i*width:(i+1)*width], i)
	}
	return out
}

// part plans what the checkpoint has of a part.
func (w *writing) part(p part) {
	if p.stored == "output" && w.tied() {
		return
	}
	if p.how == asRow || p.how == fading || p.how == fadingFlat {
		w.bare(p)
		return
	}
	for _, suffix := range []string{".weight", ".bias"} {
		switch p.how {
		case fusedQKV: // its three tensors are parts by themselves
		case stacked:
			if all, ok := w.stack(p.name + suffix); ok {
				w.add(p.stored+suffix, all)
			} else {
				w.otherwise(p, suffix)
			}
		default:
			if w.used[p.name+suffix] && p.how != upper && p.how != lower {
				continue // it is stored under another name already
			}
			if t, ok := w.find(p.name + suffix); ok {
				w.add(p.stored+suffix, w.changed(t, p.how, suffix))
			} else {
				w.otherwise(p, suffix)
			}
		}
	}
}

// otherwise plans what the checkpoint has in a form of its own.
func (w *writing) otherwise(p part, suffix string) {
	if w.arch.otherwise == nil || w.err != nil {
		return
	}
	if all, ok := w.arch.otherwise(w, p.name, suffix); ok {
		w.add(p.stored+suffix, all)
	}
}

// bareNames ends the names of tensors that checkpoints keep without .weight or .bias.
var bareNames = map[string]string{"ssm_norm": ".weight", "exp_probs_b": ".bias", "ssm_dt": ".bias", "attn_sinks": ".weight", "altup_correct_scale": ".weight"}

// bare plans a row that checkpoints name without .weight and .bias.
func (w *writing) bare(p part) {
	t, ok := w.find(p.name)
	if !ok {
		return
	}
	name := p.stored[strings.LastIndexByte(p.stored, '.')+1:]
	values, shape := w.of(t).all(), []int{t.Len()}
	switch name {
	case "ssm_a", "ssm_d":
		if p.how != fadingFlat {
			shape = []int{t.Len(), 1}
		}
	case "ssm_norm":
		groups := w.size("mamba_n_groups", 1)
		if t.Len()%groups != 0 {
			w.fail("tensor %q has %d elements for %d groups", t.Name, t.Len(), groups)
			return
		}
		shape = []int{groups, t.Len() / groups}
	}
	if p.how == fading || p.how == fadingFlat {
		for i, v := range values {
			values[i] = float32(-math.Exp(float64(v)))
		}
	}
	w.vector(p.stored+bareNames[name], shape, values)
}

// vector plans a tensor of float32 that is in memory.
func (w *writing) vector(name string, shape []int, values []float32) {
	data := make([]byte, 4*len(values))
	_ = gguf.F32.Encode(data, values) // every number fits
	w.made = append(w.made, gguf.Made{Tensor: gguf.Tensor{Name: name, Type: gguf.F32, Shape: shape, Data: data}})
}

// add plans a tensor.
func (w *writing) add(name string, from rows) {
	if w.err != nil {
		return
	}
	if len(from.shape) > 3 {
		w.fail("tensor %q has shape %v, more dimensions than are written", name, from.shape)
		return
	}
	if len(from.shape) == 1 {
		w.vector(name, from.shape, from.all())
		return
	}
	t := gguf.Tensor{Name: name, Type: gguf.F32, Shape: from.shape}
	t.Type = t.Becomes(w.kind)
	width := from.width()
	w.made = append(w.made, gguf.Made{Tensor: t, Done: from.release, Rows: func(values []float32, first int) error {
		for r := range len(values) / width {
			from.row(values[r*width:(r+1)*width], first+r)
		}
		return nil
	}})
}

// changed returns the rows of a tensor after a change.
func (w *writing) changed(t safetensors.Tensor, how change, suffix string) rows {
	from := w.of(t)
	h := w.shape
	queries, keys := h.heads*h.size, h.keyHeads*h.size
	ordered := func(count int, order func(row int) int) rows {
		if t.Shape[0] != count || len(t.Shape) > 2 {
			w.fail("tensor %q has shape %v; the config asks for %d rows", t.Name, t.Shape, count)
			return from
		}
		if len(t.Shape) == 2 {
			return rows{from.shape, func(dst []float32, r int) { from.row(dst, order(r)) }, from.release}
		}
		values := from.all()
		return rows{from.shape, func(dst []float32, _ int) {
			for i := range dst {
				dst[i] = values[order(i)]
			}
		}, from.release}
	}
	switch how {
	case pairedQ:
		return ordered(queries, paired(h.size))
	case pairedK:
		return ordered(keys, paired(h.size))
	case unfusedQKV:
		return ordered(queries+2*keys, apart(queries/h.keyHeads, keys/h.keyHeads, queries, keys))
	case plusOne:
		if suffix == ".weight" {
			return rows{from.shape, func(dst []float32, r int) {
				from.row(dst, r)
				for i := range dst {
					dst[i]++
				}
			}, from.release}
		}
	case transposed:
		if len(t.Shape) == 2 {
			return w.turned(t)
		}
	case asVector:
		if len(t.Shape) == 2 && t.Shape[0] == 1 {
			from.shape = t.Shape[1:]
		}
	case asTaps:
		if len(t.Shape) == 3 && t.Shape[1] == 1 {
			from.shape = []int{t.Shape[0], t.Shape[2]}
		}
	case upper, lower:
		return w.half(from, t.Name, how)
	case padded:
		if vocabulary := w.size("vocab_size", 0); len(t.Shape) == 2 && vocabulary > t.Shape[0] {
			return rows{[]int{vocabulary, t.Shape[1]}, func(dst []float32, r int) {
				if r >= t.Shape[0] {
					r = 0
				}
				from.row(dst, r)
			}, from.release}
		}
	}
	return from
}

// paired is the inverse of unpaired.
func paired(size int) func(int) int {
	return func(row int) int {
		head, i := row/size*size, row%size
		if size%2 != 0 {
			return row
		}
		return head + i%2*(size/2) + i/2
	}
}

// apart is the inverse of fused: it says where in groups of q queries, k keys and k
// values a row lies.
func apart(q, k, queries, keys int) func(int) int {
	return func(row int) int {
		switch {
		case row < queries:
			return row/q*(q+2*k) + row%q
		case row < queries+keys:
			row -= queries
			return row/k*(q+2*k) + q + row%k
		}
		row -= queries + keys
		return row/k*(q+2*k) + q + k + row%k
	}
}

// turned returns the columns of a matrix.
func (w *writing) turned(t safetensors.Tensor) rows {
	kind, bytes := storedTypes[t.DType], t.DType.Size()
	in, out := t.Shape[0], t.Shape[1]
	return rows{[]int{out, in}, func(dst []float32, r int) {
		for i := range dst {
			at := (i*out + r) * bytes
			kind.Expand(dst[i:i+1], t.Data[at:at+bytes])
		}
	}, func() { w.from.Release(t) }}
}

// half returns the upper or the lower rows of a matrix or, of a stack, of each.
func (w *writing) half(from rows, name string, how change) rows {
	shape := slices.Clone(from.shape)
	if len(shape) < 2 || shape[len(shape)-2]%2 != 0 {
		w.fail("tensor %q has shape %v, which does not come apart into two", name, shape)
		return from
	}
	n := shape[len(shape)-2] / 2
	shape[len(shape)-2] = n
	offset := int(how-upper) * n
	half := rows{shape, func(dst []float32, r int) { from.row(dst, r/n*2*n+offset+r%n) }, from.release}
	if how == upper {
		half.release = func() {} // the lower half is still to be read
	}
	return half
}

// stack puts tensors of experts or heads, whose number stands in the name, into one of
// one dimension more.
func (w *writing) stack(name string) (rows, bool) {
	var parts []rows
	for i := range maxStack {
		number := strconv.Itoa(i)
		t, ok := w.find(strings.NewReplacer("{expert}", number, "{head}", number, "{stream}", number).Replace(name))
		if !ok {
			break
		}
		parts = append(parts, w.of(t))
		if !slices.Equal(t.Shape, parts[0].shape) {
			w.fail("tensor %q has shape %v, the first of its kind %v", t.Name, t.Shape, parts[0].shape)
		}
	}
	if len(parts) == 0 || w.err != nil {
		return rows{}, false
	}
	return stackOf(parts), true
}

func stackOf(parts []rows) rows {
	each := parts[0].count()
	return rows{append([]int{len(parts)}, parts[0].shape...), func(dst []float32, r int) { parts[r/each].row(dst, r%each) }, func() {
		for _, p := range parts {
			p.release()
		}
	}}
}

// headsApart gives the keys of heads, turned, or their values, of a matrix that holds
// for each head the keys above the values (DeepSeek's kv_b_proj).
func headsApart(w *writing, name, suffix string) (rows, bool) {
	fused, ok := w.find(strings.NewReplacer("k_b_proj.{head}", "kv_b_proj", "v_b_proj.{head}", "kv_b_proj").Replace(name) + suffix)
	if !ok {
		return rows{}, false
	}
	keys, values := w.size("qk_nope_head_dim", 0), w.size("v_head_dim", 0)
	heads := w.size("num_attention_heads", 0)
	if len(fused.Shape) != 2 || fused.Shape[0] != heads*(keys+values) {
		w.fail("tensor %q has shape %v; the config asks for %d rows", fused.Name, fused.Shape, heads*(keys+values))
		return rows{}, false
	}
	from, rank := w.of(fused), fused.Shape[1]
	if strings.Contains(name, ".v_b_proj.") {
		return rows{[]int{heads, values, rank}, func(dst []float32, r int) {
			from.row(dst, r/values*(keys+values)+keys+r%values)
		}, from.release}, true
	}
	kind, bytes := storedTypes[fused.DType], fused.DType.Size()
	return rows{[]int{heads, rank, keys}, func(dst []float32, r int) {
		for i := range dst {
			at := ((r/rank*(keys+values)+i)*rank + r%rank) * bytes
			kind.Expand(dst[i:i+1], fused.Data[at:at+bytes])
		}
	}, func() {}}, true
}

// expertsApart gives gate, up or down of gpt-oss's experts, which its checkpoints keep
// as one tensor [experts, in, out], gate and up in every other column, or in MXFP4 as
// [experts, out, in/32, 16] bytes beside [experts, out, in/32] exponents.
func expertsApart(w *writing, name, suffix string) (rows, bool) {
	base, part, _ := strings.Cut(name, ".{expert}.")
	fused, first, step := base+".down_proj", 0, 1
	if part != "down_proj" {
		fused, step = base+".gate_up_proj", 2
		if part == "up_proj" {
			first = 1
		}
	}
	if suffix == ".bias" {
		t, ok := w.find(fused + "_bias") // [experts, out]
		if !ok || len(t.Shape) != 2 {
			return rows{}, false
		}
		from, width := w.of(t), t.Shape[1]
		return rows{[]int{t.Shape[0], width / step}, func(dst []float32, r int) {
			all := make([]float32, width)
			from.row(all, r)
			for i := range dst {
				dst[i] = all[first+i*step]
			}
		}, func() {}}, true
	}
	if blocks, ok := w.from.Tensor(fused + "_blocks"); ok {
		return w.microscaled(fused, blocks, first, step)
	}
	t, ok := w.find(fused)
	if !ok || len(t.Shape) != 3 {
		return rows{}, false
	}
	return columns(t, first, step, t.Shape[2]/step), true
}

// columns gives of a stack [experts, in, out] for each expert n columns as rows, from
// the first on and so many apart.
func columns(t safetensors.Tensor, first, step, n int) rows {
	kind, bytes := storedTypes[t.DType], t.DType.Size()
	in, out := t.Shape[1], t.Shape[2]
	return rows{[]int{t.Shape[0], n, in}, func(dst []float32, r int) {
		for i := range dst {
			at := ((r/n*in+i)*out + first + r%n*step) * bytes
			kind.Expand(dst[i:i+1], t.Data[at:at+bytes])
		}
	}, func() {}}
}

// expertsSideBySide gives gate, up or down of llama4's experts, which its checkpoints
// keep as one tensor [experts, in, out], all columns of the gate before those of up.
func expertsSideBySide(w *writing, name, suffix string) (rows, bool) {
	base, part, stacked := strings.Cut(name, ".experts.{expert}.")
	if !stacked || suffix != ".weight" {
		return rows{}, false
	}
	fused, parts := base+".experts.gate_up_proj", 2
	if part == "down_proj" {
		fused, parts = base+".experts.down_proj", 1
	}
	t, ok := w.find(fused)
	if !ok || len(t.Shape) != 3 || t.Shape[2]%parts != 0 {
		return rows{}, false
	}
	n, first := t.Shape[2]/parts, 0
	if part == "up_proj" {
		first = n
	}
	return columns(t, first, 1, n), true
}

// stackedExperts gives a part of dbrx's experts, which its checkpoints keep one below the
// other, [experts*inner, hidden].
func stackedExperts(w *writing, name, suffix string) (rows, bool) {
	t, ok := w.find(strings.Replace(name, ".{expert}.", ".mlp.", 1))
	if !ok || suffix != ".weight" {
		return rows{}, false
	}
	ffn, _ := w.config["ffn_config"].(object)
	n, _ := ffn["moe_num_experts"].(float64)
	count := int(n)
	if len(t.Shape) != 2 || count < 1 || t.Shape[0]%count != 0 {
		w.fail("tensor %q of shape %v does not hold %d experts", t.Name, t.Shape, count)
		return rows{}, false
	}
	t.Shape = []int{count, t.Shape[0] / count, t.Shape[1]}
	if strings.HasSuffix(name, ".w2") {
		return columns(t, 0, 1, t.Shape[2]), true
	}
	return w.of(t), true
}

// gatesApart gives queries, keys and values of qwen3_next's linear attention, or its
// gates, of which its checkpoints have one tensor: those of each key together.
func gatesApart(w *writing, name, suffix string) (rows, bool) {
	base, part, _ := strings.Cut(name, ".in_proj_")
	if part != "qkv" && part != "z" {
		return rows{}, false
	}
	t, ok := w.find(base + ".in_proj_qkvz" + suffix)
	if !ok {
		return rows{}, false
	}
	groups, keys := w.size("linear_num_key_heads", 0), w.size("linear_key_head_dim", 0)
	values := w.size("linear_num_value_heads", 0) / groups * w.size("linear_value_head_dim", 0)
	each := 2*keys + 2*values
	if len(t.Shape) != 2 || t.Shape[0] != groups*each {
		w.fail("tensor %q has shape %v; the config asks for %d rows", t.Name, t.Shape, groups*each)
		return rows{}, false
	}
	from := w.of(t)
	if part == "z" {
		return rows{[]int{groups * values, t.Shape[1]}, func(dst []float32, r int) {
			from.row(dst, r/values*each+2*keys+values+r%values)
		}, from.release}, true
	}
	return rows{[]int{groups * (2*keys + values), t.Shape[1]}, func(dst []float32, r int) {
		switch {
		case r < groups*keys:
			r = r/keys*each + r%keys
		case r < 2*groups*keys:
			r -= groups * keys
			r = r/keys*each + keys + r%keys
		default:
			r -= 2 * groups * keys
			r = r/values*each + 2*keys + r%values
		}
		from.row(dst, r)
	}, func() {}}, true // the gates are still to be read
}

// microscaled reads rows of experts in MXFP4, whose bytes hold two neighbours each; a
// block of a GGUF file has its exponent first, and in each byte what lies 16 apart.
func (w *writing) microscaled(name string, blocks safetensors.Tensor, first, step int) (rows, bool) {
	scales, ok := w.from.Tensor(name + "_scales")
	s := blocks.Shape
	if !ok || blocks.DType != safetensors.U8 || scales.DType != safetensors.U8 || len(s) != 4 || s[3] != 16 || !slices.Equal(scales.Shape, s[:3]) {
		w.fail("tensors %q and %q, %v of %s and %v of %s, are no blocks of MXFP4", blocks.Name, scales.Name, s, blocks.DType, scales.Shape, scales.DType)
		return rows{}, false
	}
	w.used[name+"_blocks"], w.used[name+"_scales"] = true, true
	perRow, each := s[2], s[1]/step
	return rows{[]int{s[0], each, perRow * 32}, func(dst []float32, r int) {
		from := (r/each*s[1] + first + r%each*step) * perRow
		for b := range perRow {
			var block [17]byte
			block[0] = scales.Data[from+b]
			pairs := blocks.Data[(from+b)*16:][:16]
			for i := range 16 {
				block[1+i] = pairs[i/2]>>(i%2*4)&15 | pairs[8+i/2]>>(i%2*4)&15<<4
			}
			gguf.MXFP4.Expand(dst[b*32:(b+1)*32], block[:])
		}
	}, func() {}}, true
}
