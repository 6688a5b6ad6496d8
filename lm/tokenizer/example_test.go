package tokenizer_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/steervec/steer/lm/tokenizer"
)

func Example() {
	tok, err := tokenizer.Load(os.DirFS("testdata/small"))
	if err != nil {
		log.Fatal(err)
	}
	encoding, err := tok.Encode("Hello world", tokenizer.EncodeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for i, id := range encoding.IDs {
		token, _ := tok.Token(id)
		fmt.Println(id, token, encoding.Offsets[i])
	}
	fmt.Println(tok.Decode(encoding.IDs, true))
	// Output:
	// 39 H [0 1]
	// 328 el [1 3]
	// 75 l [3 4]
	// 78 o [4 5]
	// 296 Ġw [5 7]
	// 266 or [7 9]
	// 75 l [9 10]
	// 67 d [10 11]
	// Hello world
}

func ExampleTokenizer_Chat() {
	tok, err := tokenizer.Load(os.DirFS("testdata/small"))
	if err != nil {
		log.Fatal(err)
	}
	text, err := tok.Chat(context.Background(), []tokenizer.Message{{Role: "user", Content: "Hi!"}}, tokenizer.ChatOptions{
		Template:            "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
		AddGenerationPrompt: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(text)
	// Output: <user>Hi!</user><assistant>
}
