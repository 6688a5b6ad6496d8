package jinja

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 5, 12, 7, 9, 0, time.UTC)

func render(source string, variables map[string]any) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	return t.Render(context.Background(), variables, noon)
}

// What is expected here is what Jinja's documentation and Python's say.
func TestRender(t *testing.T) {
	variables := map[string]any{
		"name":  "Ada",
		"list":  []any{3, 1, 2},
		"items": json.RawMessage(`[{"k":"b","n":1},{"k":"a","n":2},{"k":"b","n":3}]`),
		"d":     json.RawMessage(`{"z":1,"a":[true,null,1.5],"items":"hidden"}`),
		"none":  nil,
	}
	for _, test := range []struct{ source, want string }{
		// White space.
		{"a\n{% if true %}\nb\n{% endif %}\nc\n", "a\nb\nc"},
		{"a\n   {% if true %}\nb{% endif %}", "a\nb"},
		{"a\n   {%+ if true %}b{% endif %}", "a\n   b"},
		{"a  {{- 1 -}}  b", "a1b"},
		{"a\n\n{% for x in list %}{%- if x %}{{ x }}{% endif %}{% endfor %}", "a\n\n312"},
		{"{#- c -#}\n x", "x"},
		{"{% if true +%}\nb{% endif %}", "\nb"},
		{"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
		// Values.
		{"{{ 1 }} {{ 1.0 }} {{ 1e20 }} {{ true }} {{ none }} {{ 'a' }}", "1 1.0 1e+20 True None a"},
		{"{{ [1, 'a', none, \"it's\"] }} {{ (1,) }} {{ {'a': 1} }}", `[1, 'a', None, "it's"] (1,) {'a': 1}`},
		{`{{ "a\n\x41\u00e9" 'b' }}`, "a\nAéb"},
		{"{{ missing }}|{{ missing is defined }}|{{ missing|default('x') }}", "|False|x"},
		// Operators.
		{"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 + 2 * 3 }}", "3 -4 2 3.5 1024 7"},
		{"{{ 'a' ~ 1 ~ none }} {{ 'ab' * 2 }} {{ [1] + [2] }} {{ '%s=%d' % ('a', 2) }}", "a1None abab [1, 2] a=2"},
		{"{{ 1 < 2 < 3 }} {{ 'a' in 'cat' }} {{ 1 not in list }} {{ not 1 == 2 }}", "True True False True"},
		{"{{ 'x' if false }}{{ 'y' if true else 'z' }} {{ 0 or 'b' }} {{ 0 and 'b' }}", "y b 0"},
		{"{{ name[0] }}{{ name[-1] }} {{ name[::-1] }} {{ list[1:] }} {{ 'é漢字'[1:] }}", "Aa adA [1, 2] 漢字"},
		{"{{ d.z }} {{ d['items'] }} {{ d.items()|length }} {{ d.a[0] }} {{ d.get('q', 5) }}", "1 hidden 3 True 5"},
		// Statements.
		{"{% for x in list if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "1/2:3,2/2:2"},
		{"{% for x in [] %}x{% else %}empty{% endfor %}", "empty"},
		{"{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}", "32"},
		{"{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "a1b2"},
		{"{% for n in [1, [2, [3]]] recursive %}{% if n is iterable %}({{ loop(n) }}){% else %}{{ n }}{% endif %}{% endfor %}", "1(2(3))"},
		{"{% set x = 1 %}{% for i in list %}{% set x = 2 %}{% endfor %}{{ x }}", "1"},
		{"{% set ns = namespace(x=1) %}{% for i in list %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "7"},
		{"{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set t %} x {% endset %}{{ t|trim }}", "21x"},
		{"{% macro m(a, b='B') %}{{ a }}{{ b }}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m(1) }} {{ m(1, b=2) }} {{ m(1, 2, 3, c=4) }}", "1B{}() 12{}() 12{'c': 4}(3,)"},
		{"{% macro m() %}[{{ caller('x') }}]{% endmacro %}{% call(y) m() %}{{ y }}{% endcall %}", "[x]"},
		{"{% filter upper %}abc{% endfilter %}{% with x = 1 %}{{ x }}{% endwith %}{{ x }}", "ABC1"},
		{"{% generation %}g{% endgeneration %}", "g"},
		// Filters, tests, methods.
		{"{{ items|selectattr('k', 'equalto', 'b')|map(attribute='n')|join('+') }}", "1+3"},
		{"{{ items|sort(attribute='k')|map(attribute='n')|list }} {{ list|sort(reverse=true) }}", "[2, 1, 3] [3, 2, 1]"},
		{"{{ items|groupby('k')|map('first')|list }} {{ [1, 1, 2]|unique|list }} {{ list|sum }} {{ list|max }}", "['a', 'b'] [1, 2] 6 3"},
		{"{{ d|tojson }}", `{"z": 1, "a": [true, null, 1.5], "items": "hidden"}`},
		{"{{ {'a': [1, {}]}|tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ]\n}"},
		{"{{ '<é\"\n'|tojson }} {{ '<a>'|e }}", `"<é\"\n" &lt;a&gt;`},
		{"{{ 'a\nb\n\nc'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}", "a\n  b\n\n  c|  a\n  b"},
		{"{{ d|dictsort|map('first')|list }}", "['a', 'items', 'z']"},
		{"{{ ' a b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'xaxx'.strip('x') }} {{ 'aXb'.title() }}", "['a', 'b'] ['a', 'b,c'] a Axb"},
		{"{{ 'abc'.startswith(('x', 'a')) }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'b'.join(['a', 'c']) }} {{ '{} {n}'.format(1, n=2) }}", "True a-bX abc 1 2"},
		{"{{ 3 is odd }} {{ 'a' is string }} {{ d is mapping }} {{ 4 is divisibleby 2 }} {{ none is none }} {{ 1 is not none }} {{ list is sequence }}", "True True True True True True True"},
		{"{{ '3'|int + 1 }} {{ 'x'|int(7) }} {{ 2.5|round }} {{ '1.5'|float }} {{ 3.7|int }}", "4 7 2.0 1.5 3"},
		{"{{ strftime_now('%Y-%m-%d %H:%M:%S %-d %b %A') }}", "2026-03-05 12:07:09 5 Mar Thursday"},
	} {
		got, err := render(test.source, variables)
		if err != nil || got != test.want {
			t.Errorf("%q\n got %q, %v\nwant %q", test.source, got, err, test.want)
		}
	}
}

// What is expected here is what jinja2 3.1.6 with markupsafe 3.0.3 gives.
func TestMarkupEscapesWhatItMeets(t *testing.T) {
	for _, test := range []struct{ source, want string }{
		{"{{ 'a<'|safe + '<b>' }}|{{ '<b>' + 'a<'|safe }}|{{ 'a<'|safe ~ '<b>' }}", "a<&lt;b&gt;|&lt;b&gt;a<|a<<b>"},
		{"{{ ('<'|safe)|upper + '&' }}|{{ ' <x> '|safe|trim + '<' }}|{{ 'x'|safe|string + '<' }}|{{ 'x'|safe|title + '<' }}", "<&amp;|<x>&lt;|x&lt;|X<"},
		{"{{ ('%s<'|safe) % '<' }}|{{ ('%s<'|safe) % ('<'|safe) }}|{{ '%s'|safe|format('&') }}|{{ ('%d<'|safe) % 3 }}|{{ ('%r'|safe) % 'a' }}", "&lt;<|<<|&amp;|3<|&#39;a&#39;"},
		{"{{ ('<'|safe).join(['&', 1]) }}|{{ '<'.join(['&'|safe, 'b']) }}|{{ ['&'|safe, '<']|join('<') }}", "&amp;<1|&<b|&<<"},
		{"{{ ('a-b'|safe).replace('-', '<') }}|{{ ('a-b'|safe)|replace('-', '<') }}|{{ ('a-b'|safe).split('-')[0] + '<' }}", "a&lt;b|a<b|a&lt;"},
		{"{{ ('{}<{x}'|safe).format('&', x='>') }}|{{ ('ab'|safe)[0] + '<' }}|{{ ('ab'|safe)[1:] + '<' }}|{{ ('ab'|safe)[::-1] + '<' }}", "&amp;<&gt;|a&lt;|b&lt;|ba&lt;"},
		{"{{ ['<'|safe] }}|{{ ('<'|safe) == '<' }}|{{ '<' in ('<'|safe) }}|{{ {'<': 1}['<'|safe] }}|{{ ('<'|safe) is string }}|{{ ('<'|safe) is escaped }}|{{ '<' is escaped }}", "[Markup('<')]|True|True|1|True|True|False"},
		{"{{ '<'|e + '<' }}|{{ '<'|e|e }}|{{ '<'|e|forceescape }}|{{ '<'|safe|e }}|{{ ('<'|safe) * 2 + '&' }}|{{ ('<'|safe)|length }}|{{ ('é<'|safe)|list }}", "&lt;&lt;|&lt;|&amp;lt;|<|<<&amp;|1|['é', '<']"},
		{"{% set ns = namespace(x='<'|safe) %}{{ ns.x + '>' }}{% macro m() %}<{% endmacro %}{{ m() + '>' }}|{% set s %}<{% endset %}{{ s + '<'|safe }}", "<&gt;<>|&lt;<"},
		// As functionary-v3.1 lists its tools.
		{`{% set t = {"name": "<f>", "n": 1} %}{{ "Use '"|safe + t["name"] + "' to '"|safe + t | tojson() }}`, `Use '&lt;f&gt;' to '{&#34;name&#34;: &#34;&lt;f&gt;&#34;, &#34;n&#34;: 1}`},
	} {
		got, err := render(test.source, nil)
		if err != nil || got != test.want {
			t.Errorf("%q\n got %q, %v\nwant %q", test.source, got, err, test.want)
		}
	}
}

// Whatever an operation does to long values, it is paid for by the bytes that
// it touches and makes.
func TestLongValuesAreBounded(t *testing.T) {
	text := "{% set a = 'é' * 30000000 %}"
	words := "{% set a = 'ab ' * 1000000 %}"
	hundred := func(expression string) string {
		return "{% for i in range(100000) %}{% set b = " + expression + " %}{% endfor %}"
	}
	for name, source := range map[string]string{
		"length":            text + hundred("a|length"),
		"int":               text + hundred("a|int"),
		"float":             text + hundred("a|float"),
		"equality":          text + "{% set c = 'é' * 30000000 %}" + hundred("a == c"),
		"order":             text + hundred("a < a"),
		"keys":              text + hundred("{a: 1}[a]"),
		"membership":        text + hundred("a in {}"),
		"attributes":        text + hundred("{}[a]"),
		"names of filters":  text + hundred("[1]|map(a)|list"),
		"one character":     text + hundred("a[-1]"),
		"a slice":           text + hundred("a[1:]"),
		"a slice, reversed": text + hundred("a[::-1]"),
		"characters":        text + hundred("a|list"),
		"first":             text + hundred("a|first"),
		"concatenation":     text + hundred("a ~ 'x'"),
		"upper":             text + hundred("a|upper"),
		"lower, asked":      text + hundred("a is lower"),
		"alphabetic":        text + hundred("a.isalpha()"),
		"trim":              text + hundred("a|trim(a)"),
		"words":             words + hundred("a|wordcount"),
		"split":             words + hundred("a.split()"),
		"split by a letter": words + hundred("a.split('a')"),
		"split into lines":  "{% set a = '\n' * 3000000 %}" + hundred("a.splitlines()"),
		"join":              words + hundred("a|join"),
		"join by a string":  words + hundred("'ab'.join(a)"),
		"replace":           words + hundred("a|replace('a', 'bc')"),
		"escape":            "{% set a = '<' * 3000000 %}" + hundred("a|e"),
		"JSON":              text + hundred("a|tojson"),
		"repr":              text + hundred("[a]|string"),
		"formats":           text + hundred("'%s' % a"),
		"formats by fields": text + hundred("'{}'.format(a)"),
		"prefixes":          text + hundred("a.startswith((a, a))"),
		"long needles":      "{% set a = 'a' * 30000000 %}{% set c = 'b' ~ 'a' * 15000000 %}" + hundred("a.rfind(c)"),
		"sorting":           words + "{% set c = [a, a ~ 'b', a] %}" + hundred("c|sort"),
		"growing lists":     "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = ns.x + ['a' * 5000] %}{% endfor %}",
		"an error's text":   text + "{{ undefined_thing[a].x }}",
		"deep scopes": "{% set ns = namespace(f=none) %}{% macro make(g) %}{% macro h() %}{{ x }}{% endmacro %}{% set ns.f = h %}{% endmacro %}" +
			"{% for i in range(100000) %}{{ make(ns.f) }}{{ ns.f() }}{% for j in range(100) %}{{ ns.f() }}{% endfor %}{% endfor %}",
		"strings side by side": "{{ " + strings.Repeat("'a'", 300000) + "|nothing }}",
		"a long name":          "{{ " + strings.Repeat("a", 2000) + " }}",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			got, err := render(source, nil)
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if err == nil || len(err.Error()) > 1000 {
				t.Errorf("renders %.80q, error of %.200v", got, err)
			}
			if took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if made := (after.TotalAlloc - before.TotalAlloc) >> 20; made > 1200 {
				t.Errorf("allocated %d MB", made)
			}
		})
	}
}

func TestRenderingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	template, err := Parse("{% for i in range(1000) %}{% if i == 500 %}{{ strftime_now('%Y') }}{% endif %}{% for j in range(1000) %}{% endfor %}{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := template.Render(ctx, nil, noon); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it renders: %v", err)
	}
	short, err := Parse("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := short.Render(ctx, nil, noon); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it renders: %v", err)
	}
}

func TestErrorsAreValues(t *testing.T) {
	for _, test := range []struct{ source, want string }{
		{"{{ missing.x }}", `"missing" is undefined`},
		{"{{ missing() }}", `"missing" is undefined and cannot be called`},
		{"{{ [1].append(2) }}", `"append" is undefined and cannot be called`},
		{"{{ {}.update({}) }}", `"update" is undefined and cannot be called`},
		{"{{ 1 + 'a' }}", `"+" of a integer and a string`},
		{"{{ 1 // 0 }}", "division by zero"},
		{"{{ 1|nothing }}", `the filter "nothing" is not known`},
		{"\n{% if %}", "line 2"},
		{"{% if 1 %}", "expected one of"},
		{"{{ 'a }}", "a string does not end"},
		{"{% include 'x' %}", `the block "include" is not known`},
		{"{{ ''.__class__.__mro__ }}", `"__class__" is undefined`},
		{"{{ raise_exception('no') }}", "the template refuses: no"},
	} {
		_, err := render(test.source, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want %q", test.source, err, test.want)
		}
	}
	if _, err := render("{{ raise_exception('no') }}", nil); !errors.Is(err, ErrRaised) {
		t.Errorf("error %v, want ErrRaised", err)
	}
}

func TestHostileTemplatesOnlyFail(t *testing.T) {
	deep := strings.Repeat
	for name, source := range map[string]string{
		"recursion":            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"recursion by a value": "{% set ns = namespace() %}{% macro f() %}{{ ns.g() }}{% endmacro %}{% set ns.g = f %}{{ f() }}",
		"recursive loop":       "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"cycle":                "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
		"cycle in a list":      "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x == [namespace(x=ns.x)] }}{{ ns.x }}",
		"long loop":            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
		"large range":          "{{ range(1000000000) }}",
		"doubling":             "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
		"doubling a list":      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"nesting lists":        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
		"sharing":              "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
		"sharing as JSON":      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
		"sharing compared":     "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
		"repetition":           "{{ 'a' * 9999999999 }}",
		"padding":              "{{ 'a'.ljust(9999999999) }}{{ 'a'|indent(9999999999) }}",
		"formatting":           "{{ '%9999999999d' % 1 }}",
		"replacement":          "{% set x = 'a' * 99999 %}{{ x.replace('a', x) }}",
		"join":                 "{% set x = 'a' * 99999 %}{{ x.join(range(99999)|map('string')|list) }}",
		"deep brackets":        "{{ " + deep("(", 100000) + "1" + deep(")", 100000) + " }}",
		"deep signs":           "{{ " + deep("-", 100000) + "1 }}",
		"deep negation":        "{{ " + deep("not ", 100000) + "1 }}",
		"deep blocks":          deep("{% if 1 %}", 10000) + deep("{% endif %}", 10000),
		"deep conditions":      "{{ " + deep("1 if 0 else ", 10000) + "1 }}",
		"large source":         deep("a", maxSource+1),
		"power":                "{{ 9 ** 9 ** 9 ** 9 }}",
		"overflow":             "{{ 9223372036854775807 * 2 }}",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := render(source, nil); err == nil {
				t.Errorf("renders %.80q", got)
			}
		})
	}
}

func TestLongChainsAreNoNesting(t *testing.T) {
	got, err := render("{{ "+strings.Repeat("1 + ", 20000)+"1 }}{{ x"+strings.Repeat("|upper", 20000)+" }}", map[string]any{"x": "y"})
	if err != nil || got != "20001Y" {
		t.Errorf("got %.80q, %v", got, err)
	}
}
