package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/steervec/steer/lm/checkpoint"
	"github.com/steervec/steer/lm/demo"
	"github.com/steervec/steer/lm/tokenizer"
)

func tokenizeCommand() *cobra.Command {
	var ref, text string
	var flags textFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "tokenize --model REF --text TEXT",
		Short: "Show the tokens of a text",
		Long: `Show the tokens of a text as a prompt: id, token, and the bytes of the text that it
stands for. Tokens that the tokenizer adds stand for no text. With --chat the text
is the rendered conversation. A folder with tokenizer.json alone is enough.`,
		Example: `  steer tokenize --model demo --text "Tom was very happy."`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "text"); err != nil {
				return err
			}
			if err := flags.readSystem(c); err != nil {
				return err
			}
			if err := flags.readText(c, "text", &text); err != nil {
				return err
			}
			t, err := openTokenizer(c, ref)
			if err != nil {
				return err
			}
			var e tokenizer.Encoding
			if flags.chat {
				text, e, err = renderChat(c.Context(), t, flags.messages(text))
			} else {
				e, err = t.Encode(text, tokenizer.EncodeOptions{})
			}
			if err != nil {
				return err
			}
			tokens := make([]string, len(e.IDs))
			for i, id := range e.IDs {
				tokens[i], _ = t.Token(id)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Text    string   `json:"text"`
					IDs     []int    `json:"ids"`
					Tokens  []string `json:"tokens"`
					Offsets [][2]int `json:"offsets"` // bytes of the text, [from, to)
				}{text, append([]int{}, e.IDs...), tokens, append([][2]int{}, e.Offsets...)})
			}
			var lines strings.Builder
			for i, id := range e.IDs {
				fmt.Fprintf(&lines, "%4d %8d  %-20s %q\n", i, id, tokens[i], text[e.Offsets[i][0]:e.Offsets[i][1]])
			}
			_, err = io.WriteString(c.OutOrStdout(), lines.String())
			return err
		},
	}
	flagsUnder(c, "Model", func(flags *pflag.FlagSet) { addRef(flags, &ref) })
	flagsUnder(c, "Text", func(set *pflag.FlagSet) {
		set.StringVar(&text, "text", "", "the `TEXT`; - reads it from standard input")
		flags.add(set)
	})
	flagsUnder(c, "Output", func(flags *pflag.FlagSet) { jsonFlag(flags, &asJSON) })
	return c
}

// openTokenizer reads a model's tokenizer without its weights.
func openTokenizer(c *cobra.Command, ref string) (*tokenizer.Tokenizer, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	files := demo.Files()
	if info, err := os.Stat(filepath.Join(ref, "tokenizer.json")); err == nil && info.Mode().IsRegular() && ref != demo.Name {
		files = os.DirFS(ref)
	} else if ref != demo.Name {
		downloads, finish := showDownloads(c.ErrOrStderr())
		var err error
		files, err = checkpoint.Files(c.Context(), ref, downloads)
		finish()
		if err != nil {
			return nil, err
		}
	}
	t, err := tokenizer.Load(files)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", ref, err)
	}
	return t, nil
}
