// Package modelspage writes docs/models.md: what each model type's description
// says, and which golden proves it.
package modelspage

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/steervec/steer/lm/arch"
	"github.com/steervec/steer/lm/checkpoint/translate"
)

// Golden is what the page needs to know of a golden.
type Golden struct {
	Config json.RawMessage      `json:"config"`
	Guess  map[arch.Site]string `json:"guess"` // of the Python library: site -> module path
}

// Page writes the page for goldens by name.
func Page(goldens map[string]Golden) (string, error) {
	type variant struct {
		name string
		Golden
		*arch.Decoder
	}
	families := map[string][]variant{}
	for _, name := range slices.Sorted(maps.Keys(goldens)) {
		d, err := arch.Parse(goldens[name].Config)
		if err != nil {
			return "", fmt.Errorf("golden %s: %w", name, err)
		}
		families[d.Family] = append(families[d.Family], variant{name, goldens[name], d})
	}
	containers := map[string][]string{} // model type -> general.architecture
	for _, a := range translate.Architectures() {
		for _, modelType := range translate.ModelTypes(a) {
			containers[modelType] = append(containers[modelType], "`"+a+"`")
		}
	}

	var page strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&page, format+"\n", args...) }
	line("# Model types")
	line("")
	line("Generated from the code; `go generate ./internal/modelspage` writes it, and a test fails when it is out of date.")
	line("")
	line("%d values of `model_type`, held by %d goldens: small checkpoints with random weights whose tokens, logits, activations at every", len(families), len(goldens))
	line("site, trained vectors, steered logits and generations the Python library computed (`TestGoldens`). What is said below of a golden is")
	line("read off the description that its `config.json` becomes (`go doc ./lm/arch Decoder`). [Adding a model family](adding-a-model-family.md)")
	line("is an hour's work.")
	line("")
	line("| model type | GGUF architecture | goldens |")
	line("|---|---|---|")
	for _, family := range arch.Families() {
		var names []string
		for _, v := range families[family] {
			names = append(names, "`"+v.name+"`")
		}
		line("| [`%s`](#%s) | %s | %s |", family, family, strings.Join(containers[family], ", "), strings.Join(names, ", "))
	}
	line("")
	line("Public checkpoints of these types, with about how many parameters they have, and the memory, in steps of two, of the smallest machine that holds them in")
	line("bfloat16. No test opens them.")
	line("")
	line("| model type | checkpoint | billions | GB | |")
	line("|---|---|---|---|---|")
	for _, family := range arch.Families() {
		for _, k := range knownCheckpoints[family] {
			line("| `%s` | `%s` | %v | %d | %s |", family, k.name, k.billions, k.memory(), k.note)
		}
	}
	line("")
	line("A multimodal checkpoint whose `text_config` names one of these types is read as its text model, and so are those that go by another name:")
	line("")
	line("| model type | read as |")
	line("|---|---|")
	aliases := arch.Aliases()
	for _, alias := range slices.Sorted(maps.Keys(aliases)) {
		line("| `%s` | `%s` |", alias, aliases[alias])
	}
	line("")
	line("`TestMultimodalCheckpointsAreReadAsTheirTextModel` wraps goldens as gemma3, llama4, mistral3, llava, qwen2_vl, qwen2_5_vl, qwen3_vl and glm4v do.")
	for _, family := range arch.Families() {
		line("")
		line("## %s", family)
		for _, v := range families[family] {
			line("")
			line("**%s**: %s.", v.name, sizes(v.Decoder))
			line("")
			sentences, err := describe(v.Decoder, v.Config)
			if err != nil {
				return "", fmt.Errorf("golden %s: %w", v.name, err)
			}
			for _, sentence := range sentences {
				line("- %s", sentence)
			}
		}
	}

	line("")
	line("## Where the guessed layers are wrong")
	line("")
	line("The Python library guesses from module names which module a layer type is. `modules.Guess` (lm/modules) gives the same guesses; by default")
	line("steer takes the right modules, which each description names (`Decoder.Modules`). They differ here:")
	line("")
	line("| golden | layer type | guessed | right |")
	line("|---|---|---|---|")
	for _, family := range arch.Families() {
		for _, v := range families[family] {
			for _, site := range arch.Sites() {
				guess, right := v.Guess[site], strings.Join(v.ModuleTemplates(site), "`, `")
				if guess == right {
					continue
				}
				line("| `%s` | `%s` | %s | %s |", v.name, site, orNone(guess), orNone(right))
			}
		}
	}

	line("")
	line("## GGUF")
	line("")
	line("A GGUF file is read as the checkpoint that it was made from (`lm/checkpoint/translate`): metadata becomes the config and the tokenizer,")
	line("tensors get their old names and order. Values of `general.architecture`, and what they become:")
	line("")
	line("| architecture | model type |")
	line("|---|---|")
	for _, a := range translate.Architectures() {
		var types []string
		for _, modelType := range translate.ModelTypes(a) {
			types = append(types, "`"+modelType+"`")
		}
		line("| `%s` | %s |", a, strings.Join(types, ", "))
	}
	line("")
	page.WriteString(ggufNotes)
	return page.String(), nil
}

const ggufNotes = `The goldens, written as llama.cpp's converter writes them and read back, give the tokens and the logits of their safetensors bit for bit; where factors of
rotary scaling or multipliers pass through the metadata as float32, within 3e-5 (` + "`go test -run GGUF ./lm`" + `). [decisions.md](decisions.md) has the comparison with llama.cpp.

Tensors may be F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL or MXFP4. Blocks of few bits are multiplied as
they are ([quantised.md](quantised.md)). Tokenizers are those with
` + "`tokenizer.ggml.model`" + ` ` + "`gpt2`" + ` (byte-level) and ` + "`llama`" + ` (SentencePiece with byte fallback).

What the format does not hold, a model read from it does not have:

- llama.cpp writes no sliding window for ` + "`llama`" + `, so a Mistral with one is read as a llama without; where a file does name a window it is used
  (phi3, where llama.cpp itself ignores it).
- ` + "`gemma2`" + ` and ` + "`gemma3`" + `: the scale of the scores is the head size's, but hidden/heads in the models of 46 and 62 layers, as in llama.cpp.
- Activations are the families' own: llama.cpp computes GELU with a table of halves, which shows in the third digit of logits.
- A SentencePiece vocabulary puts a space before every text, also before one that begins with a space. Mistral's own ` + "`tokenizer.json`" + ` does not.
`

func orNone(module string) string {
	if module == "" {
		return "none"
	}
	return "`" + module + "`"
}

// sizes are the parameters that a golden tries.
func sizes(d *arch.Decoder) string {
	a, m := firstAttention(d), &d.Blocks[0].MLP
	heads := fmt.Sprintf("%d heads of %d", a.Heads, a.HeadSize)
	if a.Latent != nil {
		heads = fmt.Sprintf("%d heads", a.Heads)
	} else if a.KVHeads != a.Heads {
		heads = fmt.Sprintf("%d heads of %d on %d key/value heads", a.Heads, a.HeadSize, a.KVHeads)
	}
	return fmt.Sprintf("%d layers, hidden %d, %s, inner %d, vocabulary %d", len(d.Blocks), d.Hidden, heads, m.Inner, d.Vocabulary)
}

// firstAttention is the attention of the first layer that has any.
func firstAttention(d *arch.Decoder) *arch.Attention {
	for i := range d.Blocks {
		if a := &d.Blocks[i].Attention; a.Heads > 0 {
			return a
		}
	}
	return &d.Blocks[0].Attention
}

// describe says in words what a description's fields hold.
func describe(d *arch.Decoder, config json.RawMessage) ([]string, error) {
	var fields struct {
		Scaling map[string]any `json:"rope_scaling"`
		DType   string         `json:"torch_dtype"`
	}
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, err
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	b := &d.Blocks[0]
	a, m := firstAttention(d), &b.MLP

	if b.Parallel && b.BeforeMLP == nil {
		add("Attention and MLP in parallel, behind one norm.")
	} else if b.Parallel {
		add("Attention and MLP in parallel, each behind a norm of its own.")
	}
	add("%s", norms(b))
	switch {
	case b.AttentionScale == b.MLPScale && b.MLPScale != 0 && b.MLPScale != 1:
		add("What attention and MLP add to the stream is multiplied by %v.", b.AttentionScale)
	case b.AttentionScale != b.MLPScale && b.MLPScale != 0:
		add("What attention adds to the stream is multiplied by %v, what the MLP adds by %v.", b.AttentionScale, b.MLPScale)
	}
	switch {
	case b.AttentionKeeps == 0 || b.AttentionKeeps == 1:
	case b.MLPKeeps == 0:
		add("The stream, with what attention gives, is multiplied by %v.", b.AttentionKeeps)
	default:
		add("The stream is multiplied by %v before attention adds to it, and by %v before the MLP does.", b.AttentionKeeps, b.MLPKeeps)
	}
	if s := d.Streams; s != nil {
		add("%d residual streams, of which a block computes the first, and predicts and corrects the others (AltUp); `decoder_block` holds all side by side.", s.Count)
	}
	if b.Laurel != nil {
		add("A learned residual of rank %d beside attention (LAuReL).", b.Laurel.Rank)
	}
	if in := d.Embedding.LayerInputs; in != nil {
		add("Each layer takes in %d elements that the token has for it alone.", in.Width)
	}
	if b.ResidualAfterNorm {
		add("The residual is taken after the norm.")
	}
	switch {
	case b.AttentionAddsResidual && b.MLPAddsResidual:
		add("The modules of attention and MLP give out their result with the residual added.")
	case b.MLPAddsResidual:
		add("The module of the MLP gives out its result with the residual added.")
	}

	add("%s", positions(d, fields.Scaling))
	var attention []string
	switch {
	case a.Fused.Weight != "" && a.Groups > 1:
		order := "queries, keys and values"
		if a.ValuesBeforeKeys {
			order = "queries, values and keys"
		}
		attention = append(attention, fmt.Sprintf("%s in one tensor, in %d groups", order, a.Groups))
	case a.Fused.Weight != "":
		attention = append(attention, "queries, keys and values in one tensor")
	}
	if a.Query.Bias != "" || a.Fused.Bias != "" {
		if a.Output.Bias != "" {
			attention = append(attention, "biases")
		} else {
			attention = append(attention, "biases on queries, keys and values")
		}
	} else if a.Output.Bias != "" {
		attention = append(attention, "a bias on the output")
	}
	if a.QueryNorm != nil {
		scope := map[arch.NormScope]string{
			arch.EachHead: "on each head of queries and keys", arch.EachHeadOwnWeight: "on each head of queries and keys, with weights of its own", arch.AllHeads: "over all heads of queries and of keys",
		}[a.NormScope]
		if a.NormAfterRope {
			scope += ", after the rotation"
		}
		attention = append(attention, kindOf(a.QueryNorm)+" "+scope)
	}
	if a.Clip != 0 {
		attention = append(attention, fmt.Sprintf("queries, keys and values clamped to ±%v", a.Clip))
	}
	if usual := float32(1 / math.Sqrt(float64(keySize(a)))); a.Scale != usual {
		text := fmt.Sprintf("scores scaled by %v", a.Scale)
		if last := lastAttention(d).Scale; last != a.Scale {
			text += fmt.Sprintf(" on the first layer to %v on the last", last)
		}
		attention = append(attention, text)
	} else if lastAttention(d).Scale != a.Scale {
		attention = append(attention, "scores divided by the layer's number as well")
	}
	if a.SoftCap != 0 {
		attention = append(attention, fmt.Sprintf("scores capped softly at %v", a.SoftCap))
	}
	if l := a.Latent; l != nil {
		text := fmt.Sprintf("keys and values of all heads made of one latent of %d elements, beside %d that turn, which is what the cache holds; heads of %d and %d elements of keys and %d of values",
			l.Rank, l.RopeSize, l.KeySize, l.RopeSize, l.ValueSize)
		if l.QueryRank > 0 {
			text += fmt.Sprintf("; queries through %d elements", l.QueryRank)
		}
		attention = append(attention, text)
	}
	if e := a.Experts; e != nil {
		attention = append(attention, fmt.Sprintf("queries and output of %d among %d experts for each token, with %d heads each", e.PerToken, e.Count, a.KVHeads))
	}
	if a.Differential != nil {
		attention = append(attention, "the second half of the heads taken from the first (differential attention)")
	}
	if a.Gated {
		attention = append(attention, "what the heads gather multiplied by the sigmoid of gates that stand among the queries")
	}
	if a.ValueNorm != nil {
		attention = append(attention, "values normalised")
	}
	if text := sharing(d); text != "" {
		attention = append(attention, text)
	}
	if a.Sinks != "" {
		attention = append(attention, "a sink beside the positions of each head")
	}
	if len(attention) > 0 {
		add("Attention: %s.", strings.Join(attention, "; "))
	}
	for _, text := range recurrences(d) {
		add("%s", text)
	}
	if text := windows(d); text != "" {
		add("%s", text)
	}
	for _, text := range mlps(d) {
		add("%s", text)
	}
	if m.Up.Transposed || a.Fused.Transposed {
		add("Weights are stored as [in, out].")
	}

	var ends []string
	if s := d.Embedding.Scale; s != 0 && s != 1 {
		ends = append(ends, fmt.Sprintf("embeddings multiplied by %v", s))
	}
	if d.Embedding.Norm != nil {
		ends = append(ends, "a norm on the embeddings")
	}
	if d.Embedding.Width != 0 {
		ends = append(ends, fmt.Sprintf("embeddings of %d elements, projected into and out of the stream", d.Embedding.Width))
	}
	if d.Norm == nil {
		ends = append(ends, "no last norm")
	}
	if d.Head.Tied {
		ends = append(ends, "the head is the embeddings' matrix")
	}
	if d.Head.Bias != "" {
		ends = append(ends, "a bias on the head")
	}
	if s := d.Head.Scale; s != 0 && s != 1 {
		ends = append(ends, fmt.Sprintf("logits multiplied by %v", s))
	}
	if d.Head.SoftCap != 0 {
		ends = append(ends, fmt.Sprintf("logits capped softly at %v", d.Head.SoftCap))
	}
	if fields.DType == "bfloat16" {
		ends = append(ends, "weights in bfloat16")
	}
	if len(ends) > 0 {
		text := strings.Join(ends, "; ")
		add("%s%s.", strings.ToUpper(text[:1]), text[1:])
	}
	return out, nil
}

// sharing says which layers attend to the keys and values of others.
func sharing(d *arch.Decoder) string {
	var pairs []string
	for i := range d.Blocks {
		if back := d.Blocks[i].Attention.KeysBack; back > 0 {
			pairs = append(pairs, fmt.Sprintf("layer %d attends to those of layer %d", i, i-back))
		}
	}
	if pairs == nil {
		return ""
	}
	return "keys and values are not all layers' own: " + strings.Join(pairs, ", ")
}

// lastAttention is the attention of the last layer that has any.
func lastAttention(d *arch.Decoder) *arch.Attention {
	for i := range slices.Backward(d.Blocks) {
		if a := &d.Blocks[i].Attention; a.Heads > 0 {
			return a
		}
	}
	return &d.Blocks[0].Attention
}

// recurrences says which layers have a state, and what it is.
func recurrences(d *arch.Decoder) (out []string) {
	seen := map[string][]string{}
	for i := range d.Blocks {
		b := &d.Blocks[i]
		if b.Recurrence == nil {
			continue
		}
		text := "in place of attention: " + recurrence(b.Recurrence)
		if b.Attention.Heads > 0 {
			text = "beside attention: " + recurrence(b.Recurrence)
		}
		if len(seen[text]) == 0 {
			out = append(out, text)
		}
		seen[text] = append(seen[text], fmt.Sprint(i))
	}
	for i, text := range out {
		out[i] = fmt.Sprintf("Layers %s, %s.", strings.Join(seen[text], ", "), text)
	}
	return out
}

func recurrence(r *arch.Recurrence) string {
	var text string
	if c := r.Convolution; c != nil {
		text = fmt.Sprintf("a convolution over %d tokens", c.Taps)
	}
	if m := r.Memory; m != nil {
		if text != "" {
			text += ", then "
		}
		text += fmt.Sprintf("a memory of %d heads of %d×%d", m.Heads, m.KeySize, m.ValueSize)
		switch m.KeyHeads {
		case m.Heads:
		case 1:
			text += " on one key"
		default:
			text += fmt.Sprintf(" on %d keys", m.KeyHeads)
		}
		if m.Rates != "" {
			text += " that fades by steps"
		} else {
			text += " that fades evenly"
		}
		if m.Delta {
			text += " and learns by the delta rule"
		}
	}
	if r.Size(arch.Gate) > 0 {
		text += ", gated"
	}
	if r.Norm != nil {
		text += ", normalised"
	}
	return text + fmt.Sprintf("; a state of %d elements", r.StateSize())
}

// keySize is the number of elements of a head's keys.
func keySize(a *arch.Attention) int {
	if a.Latent != nil {
		return a.Latent.KeySize + a.Latent.RopeSize
	}
	return a.HeadSize
}

func kindOf(n *arch.Norm) string {
	kind := "RMS norm"
	if n.Kind == arch.Layer {
		kind = "layer norm"
		switch {
		case n.Weight == "":
			kind += " without weights"
		case n.Bias == "":
			kind += " without bias"
		}
	}
	if n.Offset != 0 {
		kind += fmt.Sprintf(" (weight stored less %v)", n.Offset)
	}
	return kind
}

func norms(b *arch.Block) string {
	var places []string
	kind := ""
	for _, p := range []struct {
		norm  *arch.Norm
		place string
	}{
		{b.BeforeAttention, "before attention"}, {b.AfterAttention, "after attention"}, {b.AfterAttentionAdd, "after adding attention"},
		{b.BeforeMLP, "before the MLP"}, {b.AfterMLP, "after the MLP"}, {b.AfterMLPAdd, "after adding the MLP"},
	} {
		if p.norm != nil {
			places, kind = append(places, p.place), kindOf(p.norm)
		}
	}
	return fmt.Sprintf("%s%s %s.", strings.ToUpper(kind[:1]), kind[1:], strings.Join(places, ", "))
}

func positions(d *arch.Decoder, scaling map[string]any) string {
	a := firstAttention(d)
	for i := range d.Blocks {
		if d.Blocks[i].Attention.Rope != nil {
			a = &d.Blocks[i].Attention
			break
		}
	}
	switch {
	case d.Embedding.Sinusoidal:
		return fmt.Sprintf("Positions as sines and cosines, counted from %d.", d.Embedding.PositionOffset)
	case d.Embedding.Positions != "" && d.Embedding.PositionOffset != 0:
		return fmt.Sprintf("Learned positions, counted from %d.", d.Embedding.PositionOffset)
	case d.Embedding.Positions != "":
		return "Learned positions."
	case a.Alibi != nil:
		text := "ALiBi in place of positions"
		if a.Alibi.RoundBias {
			text += ", rounded to bfloat16"
		}
		if a.Alibi.ScaleBias {
			text += ", scaled with the scores"
		}
		return text + "."
	case a.Rope == nil:
		return "No positions."
	}
	text := "Rotary positions"
	if a.Rope.Size != a.HeadSize && a.Latent == nil {
		text += fmt.Sprintf(" on %d of %d elements", a.Rope.Size, a.HeadSize)
	}
	if a.Rope.Interleaved {
		text += ", neighbours turning together"
	}
	if len(scaling) > 0 {
		kind := scaling["rope_type"]
		if kind == nil {
			kind = scaling["type"]
		}
		text += fmt.Sprintf(", scaling %v", kind)
		for _, key := range slices.Sorted(maps.Keys(scaling)) {
			if number, ok := scaling[key].(float64); ok {
				text += fmt.Sprintf(", %s %v", key, number)
			}
		}
	}
	return text + "."
}

func windows(d *arch.Decoder) string {
	var layers, bare []string
	window, attending := 0, 0
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		if a.Heads > 0 {
			attending++
		}
		if a.Window != 0 {
			layers, window = append(layers, fmt.Sprint(i)), a.Window
		} else if a.Heads > 0 && a.Rope == nil && a.Alibi == nil && d.Embedding.Positions == "" && !d.Embedding.Sinusoidal {
			bare = append(bare, fmt.Sprint(i))
		}
	}
	var sentences []string
	switch {
	case len(layers) == len(d.Blocks):
		sentences = append(sentences, fmt.Sprintf("A window of %d positions on every layer.", window))
	case len(layers) > 0:
		sentences = append(sentences, fmt.Sprintf("A window of %d positions on layers %s.", window, strings.Join(layers, ", ")))
	}
	sentences = append(sentences, chunks(d)...)
	if rope := otherRope(d); rope != "" {
		sentences = append(sentences, rope)
	}
	if len(bare) > 0 && len(bare) < attending {
		sentences = append(sentences, fmt.Sprintf("Layers %s have no positions.", strings.Join(bare, ", ")))
	}
	return strings.Join(sentences, " ")
}

// chunks says which layers see chunks of positions, and which scale their queries.
func chunks(d *arch.Decoder) (out []string) {
	var chunked, tempered []string
	var chunk int
	var temperature *arch.Temperature
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		if a.Chunk != 0 {
			chunked, chunk = append(chunked, fmt.Sprint(i)), a.Chunk
		}
		if a.Temperature != nil {
			tempered, temperature = append(tempered, fmt.Sprint(i)), a.Temperature
		}
	}
	if chunked != nil {
		out = append(out, fmt.Sprintf("Chunks of %d positions on layers %s.", chunk, strings.Join(chunked, ", ")))
	}
	if tempered != nil {
		out = append(out, fmt.Sprintf("Queries of layers %s grow with the logarithm of their position, by %v from %v on.", strings.Join(tempered, ", "), temperature.Scale, temperature.Floor))
	}
	return out
}

// otherRope says whether some layers turn by other frequencies than the first.
func otherRope(d *arch.Decoder) string {
	var first []float32
	var others []string
	for i := range d.Blocks {
		r := d.Blocks[i].Attention.Rope
		if r == nil {
			continue
		}
		cos, sin := make([]float32, r.Size/2), make([]float32, r.Size/2)
		r.Angles(1, 0, cos, sin)
		if first == nil {
			first = cos
		}
		if !slices.Equal(cos, first) {
			others = append(others, fmt.Sprint(i))
		}
	}
	if others == nil {
		return ""
	}
	return fmt.Sprintf("Layers %s turn by frequencies of their own.", strings.Join(others, ", "))
}

func mlps(d *arch.Decoder) (out []string) {
	activation := map[arch.Activation]string{arch.SiLU: "SiLU", arch.GELU: "GELU", arch.GELUTanh: "GELU by tanh", arch.ReLU: "ReLU",
		arch.ReLU2: "squared ReLU", arch.QuickGELU: "SiLU of slope 1.702", arch.LearnedIELU: "xIELU with constants of each layer"}
	seen := map[string][]string{}
	for i := range d.Blocks {
		m := &d.Blocks[i].MLP
		text := "MLP"
		if e := m.Experts; e != nil {
			text = experts(m)
		}
		if m.Gate.Weight != "" || m.GateUp.Weight != "" {
			text += ", gated"
		}
		text += ", " + activation[m.Activation]
		if m.Sparsity != 0 {
			text += fmt.Sprintf(", a share of %v of the gates closed", m.Sparsity)
		}
		if m.GateLimit != 0 {
			text += fmt.Sprintf(" of at most %v, up within ±%v and %v added", m.GateLimit, m.GateLimit, m.UpOffset)
		}
		switch {
		case m.GateUp.Weight != "" && m.Alternating:
			text += ", rows of gate and up alternating in one tensor"
		case m.GateUp.Weight != "":
			text += ", gate and up in one tensor"
		}
		if m.Down.Bias != "" {
			text += ", biases"
		}
		if first := d.Blocks[i].First; first != nil && first.Shortcut != nil {
			text += ", after another block of the layer, whose mlp reads beside it: " + experts(first.Shortcut)
		}
		if b := d.Blocks[i].MLPBeside; b != nil {
			text += fmt.Sprintf(", and beside them a dense MLP of inner size %d", b.Inner)
		}
		if len(seen[text]) == 0 {
			out = append(out, text)
		}
		seen[text] = append(seen[text], fmt.Sprint(i))
	}
	for i, text := range out {
		if len(out) > 1 {
			out[i] = fmt.Sprintf("Layer %s: %s.", strings.Join(seen[text], ", "), text)
		} else {
			out[i] = text + "."
		}
	}
	return out
}

// experts says how a mixture routes.
func experts(m *arch.MLP) string {
	e := m.Experts
	text := fmt.Sprintf("%d experts of inner size %d, %d for each token", e.Count, m.Inner, e.PerToken)
	switch e.Scoring {
	case arch.Sigmoid:
		text += " by the sigmoid of their score"
	case arch.SparseMixer:
		text += " by a sparse mixer"
	}
	if e.Correction != "" {
		text += " with a correction"
	}
	if e.Idle > 0 {
		text += fmt.Sprintf(", among %d more that give what they read", e.Idle)
	}
	if e.Groups > 1 {
		text += fmt.Sprintf(", from the best %d of %d groups", e.GroupsPerToken, e.Groups)
	}
	if e.Normalize {
		text += ", their weights made to sum to 1"
	}
	if e.Scale != 0 && e.Scale != 1 {
		text += fmt.Sprintf(", times %v", e.Scale)
	}
	if e.WeighInput {
		text += ", which multiply what they read"
	}
	if e.Shared != nil {
		text += fmt.Sprintf(", and one of %d for all", e.Shared.Inner)
		if e.SharedGate.Weight != "" {
			text += " behind a gate"
		}
	}
	if !strings.Contains(m.Down.Weight, "{expert}") {
		text += ", all in one tensor"
	}
	return text
}
