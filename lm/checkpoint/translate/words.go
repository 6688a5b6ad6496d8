package translate

// cut says how a byte-level vocabulary's text is cut into words before pairs
// are merged, and what else hangs on tokenizer.ggml.pre.
type cut struct {
	steps        []any // pre-tokenizers of tokenizer.json
	normalizer   any
	ignoreMerges bool // a word that is a token is that token
	addBOS       bool // where the metadata does not say
}

// Patterns as the models' own tokenizer.json write them.
const (
	contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	llama3Words  = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Words   = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	tekkenWords  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	gpt4oWords   = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+` + contractions + `?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*` + contractions + `?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	seedWords    = contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`
	// deepSeekWords are cut one after the other.
	deepSeekNumbers = `\p{N}{1,3}`
	deepSeekHan     = `[一-龥぀-ゟ゠-ヿ]+`
	deepSeekWords   = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
	bloomWords      = ` ?[^(\s|[.,!?…。，、।۔،])]+`
)

// object is a JSON object.
type object = map[string]any

// split cuts at every match of a pattern, which becomes a word of its own.
func split(pattern string) object {
	return object{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false}
}

var (
	toBytes     = object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}
	gpt2Words   = object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}
	eachDigit   = object{"type": "Digits", "individual_digits": true}
	punctuation = object{"type": "Punctuation", "behavior": "Contiguous"}
	nfc         = object{"type": "NFC"}
)

var (
	gpt2Cut     = cut{steps: []any{gpt2Words}}
	digitsCut   = cut{steps: []any{eachDigit, gpt2Words}}
	llama3Cut   = cut{steps: []any{split(llama3Words), toBytes}, ignoreMerges: true, addBOS: true}
	dbrxCut     = cut{steps: []any{split(llama3Words), toBytes}}
	deepSeekCut = cut{steps: []any{split(deepSeekNumbers), split(deepSeekHan), split(deepSeekWords), toBytes}}
	qwen2Cut    = cut{steps: []any{split(qwen2Words), toBytes}, normalizer: nfc}
)

// cuts are the cuts into words by tokenizer.ggml.pre.
var cuts = map[string]cut{
	"gpt-2":            gpt2Cut,
	"phi-2":            gpt2Cut,
	"mpt":              gpt2Cut,
	"olmo":             {steps: []any{gpt2Words}, normalizer: nfc},
	"jais":             gpt2Cut,
	"gigachat":         gpt2Cut,
	"starcoder":        digitsCut,
	"refact":           digitsCut,
	"command-r":        {steps: []any{eachDigit, gpt2Words}, normalizer: nfc},
	"smollm":           digitsCut,
	"codeshell":        digitsCut,
	"exaone":           digitsCut,
	"llama-bpe":        llama3Cut,
	"llama3":           llama3Cut,
	"llama-v3":         llama3Cut,
	"falcon3":          llama3Cut,
	"falcon-h1":        llama3Cut,
	"lfm2":             llama3Cut,
	"deepseek-v3":      deepSeekCut,
	"hunyuan-dense":    deepSeekCut,
	"hunyuan":          {steps: []any{split(qwen2Words), toBytes}},
	"dbrx":             dbrxCut,
	"smaug-bpe":        dbrxCut,
	"exaone4":          gpt2Cut,
	"glm4":             dbrxCut,
	"chatglm-bpe":      dbrxCut,
	"seed-coder":       {steps: []any{split(seedWords), toBytes}},
	"qwen2":            qwen2Cut,
	"stablelm2":        {steps: []any{split(qwen2Words), toBytes}},
	"deepseek-r1-qwen": {steps: []any{split(qwen2Words), toBytes}, addBOS: true},
	"tekken":           {steps: []any{split(tekkenWords), toBytes}, ignoreMerges: true, addBOS: true},
	"llama4":           {steps: []any{split(gpt4oWords), toBytes}},
	"gpt-4o":           {steps: []any{split(gpt4oWords), toBytes}},
	"bloom":            {steps: []any{split(bloomWords), toBytes}},
	"falcon":           {steps: []any{punctuation, gpt2Words, split("[0-9][0-9][0-9]")}},
}
