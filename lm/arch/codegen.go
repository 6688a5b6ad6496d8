package arch

var _ = register(codeGen, "codegen")

// codeGen is gptj with queries, values and keys, in this order, of four parts of
// the heads in one tensor.
func codeGen(c *Config) *Decoder {
	d := gptJ(c)
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		a.Query, a.Key, a.Value = Linear{}, Linear{}, Linear{}
		a.Fused, a.Groups, a.ValuesBeforeKeys = linear(block("transformer.h", i)+"attn.qkv_proj", false), 4, true
	}
	return d
}
