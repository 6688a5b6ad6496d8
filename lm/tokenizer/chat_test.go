package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"
)

// The references were rendered by jinja2 as transformers sets it up; null
// stands where jinja2 itself fails.
func TestChatEqualsJinja2OnPublicTemplates(t *testing.T) {
	root := shared(t, "chat-templates")
	var contexts []map[string]json.RawMessage
	readJSON(t, filepath.Join(root, "contexts.json"), &contexts)
	var expected map[string][]*string
	readJSON(t, filepath.Join(root, "expected.json"), &expected)
	tok := &Tokenizer{}
	for name, renders := range expected {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range renders {
				variables := map[string]any{}
				for key, value := range contexts[i] {
					variables[key] = value
				}
				got, err := tok.Chat(t.Context(), nil, ChatOptions{
					Template:  string(source),
					Variables: variables,
					Now:       time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
				})
				switch {
				case want == nil && err == nil:
					t.Errorf("context %d: jinja2 fails, this gives %.200q", i, got)
				case want != nil && err != nil:
					t.Errorf("context %d: %v", i, err)
				case want != nil && got != *want:
					n := 0
					for n < min(len(got), len(*want)) && got[n] == (*want)[n] {
						n++
					}
					n = max(0, n-40)
					t.Errorf("context %d:\n got …%.160q\nwant …%.160q", i, got[n:], (*want)[n:])
				}
			}
		})
	}
}

// chatML is the format of many open models.
const chatML = `{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}
`

// alternating refuses conversations whose turns do not alternate.
const alternating = `{{ bos_token }}{% for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate') }}
    {%- endif %}
    {{- '[' ~ message.role|upper ~ '] ' ~ message.content|trim }}
{%- endfor %}`

var chatSeeds = []string{
	chatML, alternating,
	`{% macro f(x, y=1) %}{{ x }}{{ y }}{% if caller %}{{ caller() }}{% endif %}{% endmacro %}{% call f(1) %}z{% endcall %}`,
	`{% set ns = namespace(n=0) %}{% for a, b in {'x': 1}.items() %}{% set ns.n = ns.n + b %}{% else %}-{% endfor %}{{ ns.n }}`,
	`{{ messages|tojson(indent=2) }}{{ messages|map(attribute='role')|join(', ') }}{{ messages[::-1]|length }}`,
	`{%- raw -%} {{ }} {%- endraw -%}{# comment #}{{ "%s %d" % ("a", 1) }}{{ strftime_now('%d %b %Y') }}`,
	`{{ ("<%s>"|safe) % messages[0].content + ("{}"|safe).format("&") ~ ("a"|e)|upper }}{{ (messages|safe)[::-1] in "x" }}`,
	`{% set a = 'é' * 30000000 %}{% for i in range(100) %}{{ a|length }}{{ {a: 1}[a] }}{{ a.split('é')|join }}{% endfor %}`,
	`{{ 'a b c'.split(' ')[1:]|list|string|replace("'", '"') if 1 is odd and not false else none }}`,
}

func TestChatRendersConversations(t *testing.T) {
	tok := &Tokenizer{config: config{
		BOS:       configToken{"<s>"},
		Templates: templates{"default": chatML, "plain": alternating},
	}}
	turns := []Message{{"user", " Hi "}, {"assistant", "Hello."}, {"user", "Bye"}}
	for _, test := range []struct {
		name    string
		options ChatOptions
		want    string
	}{
		{"default", ChatOptions{}, "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"},
		{"generation prompt", ChatOptions{AddGenerationPrompt: true, Variables: map[string]any{"messages": []any{}}}, "<|im_start|>assistant\n"},
		{"named template", ChatOptions{Template: "plain"}, "<s>[USER] Hi[ASSISTANT] Hello.[USER] Bye"},
		{"template source", ChatOptions{Template: "{{ messages|length }} {{ x.y }}", Variables: map[string]any{"x": json.RawMessage(`{"y":2}`)}}, "3 2"},
		{"date", ChatOptions{Template: "{{ strftime_now('%d %B %Y') }}", Now: time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC)}, "26 July 2024"},
		{"order of keys", ChatOptions{Template: "{{ messages[2]|tojson }}"}, `{"role": "user", "content": "Bye"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := tok.Chat(t.Context(), turns, test.options)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v\nwant %q", got, err, test.want)
			}
		})
	}
}

func TestChatFailsAsValues(t *testing.T) {
	tok := &Tokenizer{}
	if _, err := tok.Chat(t.Context(), nil, ChatOptions{}); !errors.Is(err, ErrNoChatTemplate) {
		t.Errorf("without a template: %v", err)
	}
	if _, err := tok.Chat(t.Context(), []Message{{"assistant", ""}}, ChatOptions{Template: alternating}); !errors.Is(err, ErrTemplateRefuses) {
		t.Errorf("a refused conversation: %v", err)
	}
	if _, err := tok.Chat(t.Context(), nil, ChatOptions{Template: "nobody"}); err == nil {
		t.Error("an unknown name is no error")
	}
}

func TestTemplatesComeFromTheirFiles(t *testing.T) {
	main, err := os.ReadFile("testdata/small/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"tokenizer.json": {Data: main}}
	for _, step := range []struct{ file, data, want string }{
		{"", "", ""},
		{"tokenizer_config.json", `{"chat_template":"one"}`, "one"},
		{"tokenizer_config.json", `{"chat_template":[{"name":"default","template":"two"},{"name":"tools","template":"x"}]}`, "two"},
		{"chat_template.json", `{"chat_template":"three"}`, "three"},
		{"chat_template.jinja", "four", "four"},
	} {
		if step.file != "" {
			files[step.file] = &fstest.MapFile{Data: []byte(step.data)}
		}
		tok, err := Load(files)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.ChatTemplate(); got != step.want || tok.HasChatTemplate() != (step.want != "") {
			t.Errorf("with %s the template is %q, want %q", step.file, got, step.want)
		}
	}
}
