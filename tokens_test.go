package steer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/steervec/steer/lm"
)

// selected lists the positions below length that are selected.
func selected(tokens lm.Tokens, prompt, length int) []int {
	positions := []int{}
	for position := range length {
		if tokens.Selects(position, prompt) {
			positions = append(positions, position)
		}
	}
	return positions
}

// A prompt of 5 tokens is followed by 3 generated ones. What is expected below 5
// is what Python's list(range(5))[...] or torch's mask[...] = 1 selects.
func TestTokenSelections(t *testing.T) {
	const prompt, length = 5, 8
	for _, test := range []struct {
		text   string
		tokens lm.Tokens
		want   []int
	}{
		{"0:", From(0), []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"3:", From(3), []int{3, 4, 5, 6, 7}},
		{"5:", From(5), []int{5, 6, 7}},
		{"-2:", From(-2), []int{3, 4, 5, 6, 7}},
		{"-9:", From(-9), []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"1,4", At(1, 4), []int{1, 4}},
		{"-1,0", At(-1, 0), []int{0, 4}},
		{"-5,0,0", At(-5, 0, 0), []int{0}},
		{"1::2", Range(1, End, 2), []int{1, 3, 5, 7}},
		{"1:4", Range(1, 4, 1), []int{1, 2, 3}},
		{"0:-1", Range(0, -1, 1), []int{0, 1, 2, 3}},
		{"-3:-1", Range(-3, -1, 1), []int{2, 3}},
		{"-4::3", Range(-4, End, 3), []int{1, 4, 7}},
		{"2:7:2", Range(2, 7, 2), []int{2, 4, 6}},
		{"0:100:4", Range(0, 100, 4), []int{0, 4}},
		{"mask:0,0,1,1,0", Mask(false, false, true, true, false), []int{2, 3}},
		{"prompt", Prompt(), []int{0, 1, 2, 3, 4}},
		{"response", Response(), []int{5, 6, 7}},
		{"response:1:", Generated(1, End), []int{6, 7}},
		{"response:1:2", Generated(1, 2), []int{6}},
	} {
		t.Run(test.text, func(t *testing.T) {
			if err := test.tokens.Check(prompt); err != nil {
				t.Fatal(err)
			}
			if got := selected(test.tokens, prompt, length); !slices.Equal(got, test.want) {
				t.Errorf("selects %v, want %v", got, test.want)
			}
			if got := fmt.Sprint(test.tokens); got != test.text {
				t.Errorf("prints as %q, want %q", got, test.text)
			}
			parsed, err := ParseTokens(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := selected(parsed, prompt, length); !slices.Equal(got, test.want) {
				t.Errorf("read from text it selects %v, want %v", got, test.want)
			}
		})
	}
}

func TestSelectionsWrittenInOtherWays(t *testing.T) {
	for text, want := range map[string]string{
		":": "0:", "::": "0:", ":3": "0:3", "::2": "0::2", " 1 , 2 ": "1,2", "-3:-1:1": "-3:-1", "mask: 1, 0": "mask:1,0",
	} {
		tokens, err := ParseTokens(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := fmt.Sprint(tokens); got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}

func TestSelectionsThatTheTextMayNotHave(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "is not a position",
		"1,,2":                    `"" is not a position`,
		"first":                   `tokens "first": "first" is not a position`,
		"1:2:3:4":                 "more than from:to:step",
		"1:b":                     `token slice "1:b": "b" is not a position`,
		"::0":                     "the step 0 is not positive",
		"::-1":                    "the step -1 is not positive",
		"response:2:2":            "generated tokens are from:to",
		"response:-1:":            "both counted from 0",
		"response:0:4:2":          "generated tokens are from:to",
		"response:x":              "is not a position",
		"mask:":                   "is neither 0 nor 1",
		"mask:0,2":                `"2" is neither 0 nor 1`,
		"99999999999999999999999": "is not a position",
	} {
		_, err := ParseTokens(text)
		checkError(t, err, want)
	}
}

func TestSelectionsThatAPromptOfFiveTokensCannotMeet(t *testing.T) {
	for _, test := range []struct {
		tokens lm.Tokens
		want   string
	}{
		{At(7), "token 7 is outside the prompt of 5 tokens"},
		{At(1, 5), "token 5 is outside the prompt of 5 tokens"},
		{At(-6), "token -6 is outside the prompt of 5 tokens"},
		{At(), "the list of positions is empty"},
		{Mask(true, true, true, true, true, true), "the token mask has 6 entries, the prompt 5 tokens"},
		{Mask(true), "the token mask has 1 entries, the prompt 5 tokens"},
		{Mask(make([]bool, 5)...), "the token mask selects none of the prompt's 5 tokens"},
		{Range(3, 2, 1), "tokens 3:2 of a prompt of 5 tokens: nothing is selected"},
		{Range(-1, -3, 1), "nothing is selected"},
		{Range(0, 5, 0), "the step 0 is not positive"},
	} {
		checkError(t, test.tokens.Check(5), test.want)
	}
}

func FuzzParseTokens(f *testing.F) {
	for _, text := range []string{"1,4", "-1,0", "1::2", "-3:", "mask:0,0,1,1,0", "prompt", "response", "::", "mask:", ",", "1:2:3:4"} {
		f.Add(text, 5)
	}
	f.Fuzz(func(t *testing.T, text string, prompt int) {
		tokens, err := ParseTokens(text)
		if err != nil {
			return
		}
		prompt = int(uint16(prompt))
		_ = tokens.Check(prompt)
		again, err := ParseTokens(fmt.Sprint(tokens))
		if err != nil {
			t.Fatalf("%q prints as %q, which is refused: %v", text, tokens, err)
		}
		for position := range 64 {
			if tokens.Selects(position, prompt) != again.Selects(position, prompt) {
				t.Fatalf("%q and its print %q differ at %d of %d", text, tokens, position, prompt)
			}
		}
	})
}
