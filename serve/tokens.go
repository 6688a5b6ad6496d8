package serve

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/steervec/steer/lm/tokenizer"
)

// tokenTexts knows what tokens read as inside of a text.
type tokenTexts struct {
	tokens *tokenizer.Tokenizer
	known  sync.Map // id -> string
}

// of returns the text of a token as it reads behind another one: at the beginning of
// a text some tokenizers leave out a space. Without a tokenizer it is the id.
func (t *tokenTexts) of(id int) string {
	if t.tokens == nil {
		return fmt.Sprintf("token_id:%d", id)
	}
	if text, ok := t.known.Load(id); ok {
		return text.(string)
	}
	text := t.decode([]int{id}, false)
	if twice := t.decode([]int{id, id}, false); strings.HasPrefix(twice, text) {
		text = twice[len(text):]
	}
	t.known.Store(id, text)
	return text
}

// decode returns the text of tokens; "" without a tokenizer.
func (t *tokenTexts) decode(ids []int, skipSpecial bool) string {
	if t.tokens == nil {
		return ""
	}
	return t.tokens.Decode(ids, skipSpecial)
}

// special reports whether a text leaves the token out.
func (t *tokenTexts) special(id int) bool { return t.tokens != nil && t.tokens.IsSpecial(id) }

func (t *tokenTexts) list(ids []int) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = t.of(id)
	}
	return out
}

// tokenize, detokenize and tokenizerInfo are what lm-evaluation-harness asks of a
// server whose tokenizer it does not have.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	body, p := s.readBody(w, r)
	object := struct {
		Model   string `json:"model"`
		Prompt  string `json:"prompt"`
		Special *bool  `json:"add_special_tokens"`
	}{}
	if p == nil {
		p = decodeObject(body, &object, "")
	}
	if p != nil {
		p.write(w)
		return
	}
	if s.tokens == nil {
		noTokenizer().write(w)
		return
	}
	e, err := s.tokens.Encode(object.Prompt, tokenizer.EncodeOptions{NoSpecialTokens: object.Special != nil && !*object.Special})
	if err != nil {
		invalid("prompt", "%v", err).write(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"tokens": append([]int{}, e.IDs...), "count": len(e.IDs), "max_model_len": s.context})
}

func (s *Server) detokenize(w http.ResponseWriter, r *http.Request) {
	body, p := s.readBody(w, r)
	object := struct {
		Model  string `json:"model"`
		Tokens []int  `json:"tokens"`
	}{}
	if p == nil {
		p = decodeObject(body, &object, "")
	}
	if p != nil {
		p.write(w)
		return
	}
	if s.tokens == nil {
		noTokenizer().write(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"prompt": s.tokens.Decode(object.Tokens, false)})
}

func (s *Server) tokenizerInfo(w http.ResponseWriter, _ *http.Request) {
	if s.tokens == nil {
		noTokenizer().write(w)
		return
	}
	info := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": nil, "max_model_len": s.context}
	for key, token := range map[string]func() (int, bool){"eos_token": s.tokens.EOS, "bos_token": s.tokens.BOS, "pad_token": s.tokens.Pad, "unk_token": s.tokens.Unknown} {
		info[key] = nil
		if id, ok := token(); ok {
			info[key], _ = s.tokens.Token(id)
		}
	}
	if template := s.template(); template != "" {
		info["chat_template"] = template
	}
	writeJSON(w, http.StatusOK, info)
}

func noTokenizer() *problem {
	return invalid("", "the model has no tokenizer; prompts are lists of token ids")
}
