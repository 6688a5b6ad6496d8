package lm

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/steervec/steer/lm/tokenizer"
)

// Between restricts an edit to a part of the text that begins and ends with given
// strings, as a reasoning model's thinking does, or to what is not in it. The token
// that completes the beginning is the first inside, and the one before that which
// completes the end is the last: inside are the tokens after which the model writes
// the part. The prompt counts, with its special tokens; there may be several parts.
type Between struct {
	Begin   string `json:"begin"`
	End     string `json:"end"`
	Outside bool   `json:"outside,omitempty"` // the tokens that are in no such part
}

// Decay makes an edit fade over the generated tokens: what it adds is multiplied by
// 2^(-n/HalfLife), n being how many generated tokens lie between the token and the
// one numbered From. Where that is less than 2^-24 it does not act any more.
type Decay struct {
	HalfLife float64 `json:"half_life"`      // in tokens; 0: it does not fade
	From     int     `json:"from,omitempty"` // of the generated tokens, from 0, the last that has all of it
}

// Check returns an error where the numbers make no sense.
func (d Decay) Check() error {
	if !(d.HalfLife >= 0) || math.IsInf(d.HalfLife, 0) {
		return fmt.Errorf("the half-life is %v", d.HalfLife)
	}
	if d.From < 0 || d.From > 0 && d.HalfLife == 0 {
		return fmt.Errorf("it decays from token %d with a half-life of %v", d.From, d.HalfLife)
	}
	return nil
}

// at returns the share that is left at a position.
func (d Decay) at(position, prompt int) float32 {
	faded := position - prompt - d.From
	if d.HalfLife == 0 || faded <= 0 {
		return 1
	}
	if halves := float64(faded) / d.HalfLife; halves <= 24 {
		return float32(math.Exp2(-halves))
	}
	return 0
}

// Check returns an error where a string is missing.
func (b Between) Check() error {
	if b.Begin == "" || b.End == "" {
		return errors.New("a part of the text begins or ends with nothing")
	}
	return nil
}

// maxParts is how many kinds of parts may be looked for in one sequence.
const maxParts = 64

// parts finds out which tokens of a sequence are inside which parts of its text.
// It follows the tokens as they come.
type parts struct {
	stream *tokenizer.Stream
	of     []Between // Outside is of no importance
	rest   []string  // text that may still begin a string that is looked for
	inside []uint64  // [tokens so far] a bit for each part
}

func newParts(tokens *tokenizer.Tokenizer, of []Between) *parts {
	return &parts{stream: tokens.NewStream(false), of: of, rest: make([]string, len(of))}
}

// at returns in which parts the token at a position is.
func (p *parts) at(tokens []int, position int) uint64 {
	for len(p.inside) <= position {
		n := len(p.inside)
		inside := uint64(0)
		if n > 0 {
			inside = p.inside[n-1]
		}
		text := p.stream.Push(tokens[n])
		for i, between := range p.of {
			rest := p.rest[i] + text
			sought := between.sought(inside>>i&1 != 0)
			for at := strings.Index(rest, sought); at >= 0; at = strings.Index(rest, sought) {
				rest = rest[at+len(sought):]
				inside ^= 1 << i
				sought = between.sought(inside>>i&1 != 0)
			}
			p.rest[i] = rest[max(0, len(rest)-len(sought)+1):]
		}
		p.inside = append(p.inside, inside)
	}
	return p.inside[position]
}

// sought returns the string that is looked for next.
func (b Between) sought(inside bool) string {
	if inside {
		return b.End
	}
	return b.Begin
}
