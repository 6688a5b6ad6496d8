package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// filter is value | name(given).
func (s *state) filter(name string, value any, given arguments) any {
	s.read(len(name))
	f, ok := filters[name]
	if !ok {
		fail("the filter %q is not known", name)
	}
	return f(s, value, given)
}

type filterFunc = func(s *state, value any, given arguments) any

var filters map[string]filterFunc

// onText is a filter of the value as text, which grows by at most the factor.
// Markup stays markup.
func onText(factor int, f func(text string) string) filterFunc {
	return func(s *state, value any, _ arguments) any {
		text := s.str(value)
		s.text(product(factor, int64(len(text))))
		return like(value, f(text))
	}
}

func escaping(s *state, value any, _ arguments) any { return markup(s.escape(value)) }

func length(s *state, value any, _ arguments) any { return s.length(value) }

// maxCase is how many bytes one can become where letters change their case.
const maxCase = 3

func init() {
	filters = map[string]filterFunc{
		"abs": func(s *state, value any, _ arguments) any {
			n, _ := number(value)
			switch v := n.(type) {
			case int64:
				if v < 0 {
					return integers("-", 0, v)
				}
				return v
			case float64:
				return math.Abs(v)
			}
			fail("abs of a %s", typeName(value))
			return nil
		},
		"attr": func(s *state, value any, given arguments) any {
			return s.attribute(value, given.text(0, "name", ""))
		},
		"batch":       batch,
		"capitalize":  onText(maxCase, capitalize),
		"count":       length,
		"length":      length,
		"d":           byDefault,
		"default":     byDefault,
		"dictsort":    dictSort,
		"e":           escaping,
		"escape":      escaping,
		"forceescape": func(s *state, value any, _ arguments) any { return markup(s.escape(s.str(value))) },
		"first": func(s *state, value any, _ arguments) any {
			if items := s.items(value); len(items) > 0 {
				return items[0]
			}
			return undefined{"the first item of nothing"}
		},
		"last": func(s *state, value any, _ arguments) any {
			if items := s.items(value); len(items) > 0 {
				return items[len(items)-1]
			}
			return undefined{"the last item of nothing"}
		},
		"float": func(s *state, value any, given arguments) any {
			switch v := plain(value).(type) {
			case string:
				s.hold(2 * len(v)) // errors hold the text
				if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
					return f
				}
			default:
				if n, ok := number(value); ok {
					return float(n)
				}
			}
			return given.or(0, "default", 0.0)
		},
		"int": toInteger,
		"format": func(s *state, value any, given arguments) any {
			return like(value, s.format(value, &list{items: given.values, tuple: true}))
		},
		"groupby": groupBy,
		"indent":  indent,
		"items": func(s *state, value any, _ arguments) any {
			switch v := value.(type) {
			case undefined:
				return &list{}
			case *dict:
				return v.pairs(s)
			}
			fail("items of a %s", typeName(value))
			return nil
		},
		"join": func(s *state, value any, given arguments) any {
			separator := s.str(given.or(0, "d", ""))
			attribute, ok := given.get(1, "attribute")
			out := s.builder()
			for i, item := range s.items(value) {
				if i > 0 {
					out.put(separator)
				}
				if ok && attribute != nil {
					item = s.path(item, attribute)
				}
				out.put(s.str(item))
			}
			return out.String()
		},
		"list":  func(s *state, value any, _ arguments) any { return &list{items: s.items(value)} },
		"lower": onText(maxCase, strings.ToLower),
		"upper": onText(maxCase, strings.ToUpper),
		"title": func(s *state, value any, _ arguments) any {
			text := s.str(value)
			s.text(maxCase * len(text))
			s.walk(len(text))
			return titled(text, func(r rune) bool { return !unicode.IsSpace(r) && !strings.ContainsRune("-({[<", r) })
		},
		"map": mapped,
		"max": func(s *state, value any, given arguments) any { return s.extreme(value, given, 1) },
		"min": func(s *state, value any, given arguments) any { return s.extreme(value, given, -1) },
		"reject": func(s *state, value any, given arguments) any {
			return s.selected(value, given, false, false)
		},
		"rejectattr": func(s *state, value any, given arguments) any {
			return s.selected(value, given, true, false)
		},
		"select": func(s *state, value any, given arguments) any {
			return s.selected(value, given, false, true)
		},
		"selectattr": func(s *state, value any, given arguments) any {
			return s.selected(value, given, true, true)
		},
		"replace": func(s *state, value any, given arguments) any {
			return s.replace(s.str(value), given.text(0, "old", ""), given.text(1, "new", ""), given.integer(2, "count", -1))
		},
		"reverse": func(s *state, value any, _ arguments) any {
			if text, ok := asText(value); ok {
				runes := s.runes(text)
				slices.Reverse(runes)
				s.text(len(text))
				return like(value, string(runes))
			}
			items := s.items(value)
			s.list(len(items))
			items = slices.Clone(items)
			slices.Reverse(items)
			return &list{items: items}
		},
		"round": round,
		"safe":  func(s *state, value any, _ arguments) any { return markup(s.str(value)) },
		"sort":  sorted,
		"string": func(s *state, value any, _ arguments) any {
			return like(value, s.str(value))
		},
		"sum": func(s *state, value any, given arguments) any {
			attribute, ok := given.get(0, "attribute")
			total := given.or(1, "start", int64(0))
			for _, item := range s.items(value) {
				if ok && attribute != nil {
					item = s.path(item, attribute)
				}
				total = s.binary("+", total, item)
			}
			return total
		},
		"tojson": func(s *state, value any, given arguments) any { return s.toJSON(value, given) },
		"trim": func(s *state, value any, given arguments) any {
			return like(value, s.trimmed(s.str(value), given, true, true))
		},
		"unique": unique,
		"wordcount": func(s *state, value any, _ arguments) any {
			text := s.str(value)
			s.walk(len(text))
			n, inside := int64(0), false
			for _, r := range text {
				word := unicode.IsLetter(r) || unicode.IsNumber(r) || r == '_'
				if word && !inside {
					n++
				}
				inside = word
			}
			return n
		},
	}
}

func byDefault(_ *state, value any, given arguments) any {
	if isUndefined(value) || truth(given.or(1, "boolean", false)) && !truth(value) {
		return given.or(0, "default_value", "")
	}
	return value
}

func batch(s *state, value any, given arguments) any {
	n := given.integer(0, "linecount", 0)
	if n < 1 {
		fail("batch of %d", n)
	}
	out := &list{}
	for group := range slices.Chunk(s.items(value), n) {
		s.hold(entrySize)
		out.items = append(out.items, &list{items: group})
	}
	return out
}

func toInteger(s *state, value any, given arguments) any {
	switch v := plain(value).(type) {
	case string:
		s.hold(3 * len(v)) // errors hold the text
		text := strings.ReplaceAll(strings.TrimSpace(v), "_", "")
		if n, err := strconv.ParseInt(text, given.integer(1, "base", 10), 64); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(f) < 1<<62 {
			return int64(f)
		}
	case float64:
		if math.Abs(v) < 1<<62 {
			return int64(v)
		}
	default:
		if n, ok := number(value); ok {
			return n
		}
	}
	return given.or(0, "default", int64(0))
}

func indent(s *state, value any, given arguments) any {
	width, ok := asText(given.or(0, "width", int64(4)))
	if !ok {
		width = s.repeat(" ", int64(given.integer(0, "width", 4)))
	}
	text := s.str(value)
	s.text(len(text) + 1)
	lines := s.splitLines(text + "\n")
	blank := truth(given.or(2, "blank", false))
	out := s.builder()
	for i, line := range lines {
		if i > 0 {
			out.put("\n")
		}
		if i == 0 && truth(given.or(1, "first", false)) || i > 0 && (blank || line != "") {
			out.put(width)
		}
		out.put(line)
	}
	return like(value, out.String())
}

func round(_ *state, value any, given arguments) any {
	n, ok := number(value)
	if !ok {
		fail("round of a %s", typeName(value))
	}
	scale := math.Pow(10, float64(given.integer(0, "precision", 0)))
	f := float(n) * scale
	switch method := given.text(1, "method", "common"); method {
	case "common":
		f = math.RoundToEven(f)
	case "ceil":
		f = math.Ceil(f)
	case "floor":
		f = math.Floor(f)
	default:
		fail("round by %q", method)
	}
	return f / scale
}

// path is the value at a dotted path of attributes, or at an index.
func (s *state) path(value, path any) any {
	text, ok := asText(path)
	if !ok {
		return s.item(value, path)
	}
	s.hold(len(text) * textSize)
	for _, name := range strings.Split(text, ".") {
		if n, err := strconv.ParseInt(name, 10, 64); err == nil {
			value = s.item(value, n)
		} else {
			value = s.item(value, name)
		}
	}
	return value
}

func mapped(s *state, value any, given arguments) any {
	out := &list{}
	if !truth(value) { // even None, as in jinja2
		return out
	}
	attribute, ok := given.get(math.MaxInt, "attribute")
	otherwise, hasDefault := given.get(math.MaxInt, "default")
	name := ""
	if !ok {
		if len(given.values) == len(given.names) {
			fail("map without a filter or an attribute")
		}
		name = given.text(0, "", "")
		given.values = given.values[1:]
	}
	for _, item := range s.items(value) {
		s.list(1)
		if ok {
			item = s.path(item, attribute)
			if hasDefault && isUndefined(item) {
				item = otherwise
			}
		} else {
			item = s.filter(name, item, given)
		}
		out.items = append(out.items, item)
	}
	return out
}

// selected are the items that pass a test, or that do not; with attr the
// test is on an attribute of them.
func (s *state) selected(value any, given arguments, attr, want bool) any {
	if !truth(value) { // even None, as in jinja2
		return &list{}
	}
	var attribute any
	if attr {
		if len(given.values) == 0 {
			fail("an attribute is missing")
		}
		attribute = given.values[0]
		given.values = given.values[1:]
	}
	name := ""
	if len(given.values) > len(given.names) {
		name = given.text(0, "", "")
		given.values = given.values[1:]
	}
	out := &list{}
	for _, item := range s.items(value) {
		tested := item
		if attr {
			tested = s.path(item, attribute)
		}
		passes := false
		if name == "" {
			passes = truth(tested)
		} else {
			passes = s.test(name, tested, given)
		}
		if passes == want {
			s.list(1)
			out.items = append(out.items, item)
		}
	}
	return out
}

// sortKey is what an item is sorted or told apart by.
func (s *state) sortKey(item any, attribute any, caseSensitive bool) any {
	if attribute != nil {
		item = s.path(item, attribute)
	}
	if text, ok := asText(item); ok && !caseSensitive {
		s.text(maxCase * len(text))
		return strings.ToLower(text)
	}
	return item
}

func sorted(s *state, value any, given arguments) any {
	caseSensitive := truth(given.or(1, "case_sensitive", false))
	attribute := given.or(2, "attribute", nil)
	reverse := truth(given.or(0, "reverse", false))
	type keyed struct{ item, key any }
	items := s.items(value)
	s.list(3 * len(items))
	pairs := make([]keyed, len(items))
	for i, item := range items {
		pairs[i] = keyed{item, s.sortKey(item, attribute, caseSensitive)}
	}
	slices.SortStableFunc(pairs, func(a, b keyed) int {
		n := s.order(a.key, b.key)
		if reverse {
			return -n
		}
		return n
	})
	out := &list{items: make([]any, len(pairs))}
	for i, pair := range pairs {
		out.items[i] = pair.item
	}
	return out
}

func dictSort(s *state, value any, given arguments) any {
	d, ok := value.(*dict)
	if !ok {
		fail("dictsort of a %s", typeName(value))
	}
	by := any(int64(0))
	switch given.text(1, "by", "key") {
	case "key":
	case "value":
		by = int64(1)
	default:
		fail("dictsort by something else than key or value")
	}
	return sorted(s, d.pairs(s), arguments{values: []any{
		given.or(2, "reverse", false), given.or(0, "case_sensitive", false), by,
	}})
}

func unique(s *state, value any, given arguments) any {
	caseSensitive := truth(given.or(0, "case_sensitive", false))
	attribute := given.or(1, "attribute", nil)
	seen := &dict{}
	out := &list{}
	for _, item := range s.items(value) {
		key := s.sortKey(item, attribute, caseSensitive)
		if _, ok := seen.get(s, key); !ok {
			seen.set(s, key, nil)
			out.items = append(out.items, item)
		}
	}
	return out
}

func groupBy(s *state, value any, given arguments) any {
	attribute := given.or(0, "attribute", nil)
	out := &list{}
	var last any
	var group *list
	for _, item := range sorted(s, value, arguments{
		values: []any{attribute}, names: []string{"attribute"},
	}).(*list).items {
		s.list(1)
		key := s.path(item, attribute)
		if group == nil || !s.equal(last, key, 0) {
			s.hold(entrySize)
			group = &list{}
			out.items = append(out.items, &list{items: []any{key, group}, tuple: true})
			last = key
		}
		group.items = append(group.items, item)
	}
	return out
}

func (s *state) extreme(value any, given arguments, sign int) any {
	attribute := given.or(1, "attribute", nil)
	caseSensitive := truth(given.or(0, "case_sensitive", false))
	items := s.items(value)
	if len(items) == 0 {
		return undefined{"the extreme of nothing"}
	}
	best, most := items[0], s.sortKey(items[0], attribute, caseSensitive)
	for _, item := range items[1:] {
		if key := s.sortKey(item, attribute, caseSensitive); s.order(key, most)*sign > 0 {
			best, most = item, key
		}
	}
	return best
}

// test is value is name(given).
func (s *state) test(name string, value any, given arguments) bool {
	s.spend(1)
	argument := func() any {
		if len(given.values) == 0 {
			fail("the test %q needs a value", name)
		}
		return given.values[0]
	}
	text, isText := asText(value)
	_, isMarkup := value.(markup)
	_, isList := value.(*list)
	_, isDict := value.(*dict)
	integer, isInteger := value.(int64)
	boolean, isBoolean := value.(bool)
	_, isFloat := value.(float64)
	switch name {
	case "defined":
		return !isUndefined(value)
	case "undefined":
		return isUndefined(value)
	case "none":
		return value == nil
	case "boolean":
		return isBoolean
	case "true":
		return isBoolean && boolean
	case "false":
		return isBoolean && !boolean
	case "integer":
		return isInteger
	case "float":
		return isFloat
	case "number":
		return isInteger || isFloat || isBoolean
	case "string":
		return isText
	case "mapping":
		return isDict
	case "sequence":
		return isText || isList || isDict || isUndefined(value)
	case "iterable":
		_, isLoop := value.(*loop)
		return isText || isList || isDict || isLoop || isUndefined(value)
	case "callable":
		switch value.(type) {
		case builtin, *closure, *loop, undefined:
			return true
		}
		return false
	case "odd", "even", "divisibleby":
		by := int64(2)
		if name == "divisibleby" {
			by, _ = argument().(int64)
		}
		if !isInteger || by == 0 {
			fail("the test %q of a %s", name, typeName(value))
		}
		return (integer%by == 0) == (name != "odd")
	case "escaped":
		return isMarkup
	case "lower":
		return isText && s.isCase(text, strings.ToLower, strings.ToUpper)
	case "upper":
		return isText && s.isCase(text, strings.ToUpper, strings.ToLower)
	case "in":
		return s.contains(argument(), value)
	case "eq", "equalto", "==":
		return s.compare("==", value, argument())
	case "ne", "!=":
		return s.compare("!=", value, argument())
	case "lt", "lessthan", "<":
		return s.compare("<", value, argument())
	case "le", "<=":
		return s.compare("<=", value, argument())
	case "gt", "greaterthan", ">":
		return s.compare(">", value, argument())
	case "ge", ">=":
		return s.compare(">=", value, argument())
	case "sameas":
		other := argument()
		return typeName(value) == typeName(other) && s.equal(value, other, 0)
	case "filter":
		s.read(len(text))
		return filters[text] != nil
	}
	fail("the test %q is not known", name)
	return false
}

// isCase says whether a text is in one case, and has letters that could be in
// the other.
func (s *state) isCase(text string, this, other func(string) string) bool {
	s.hold(2 * maxCase * len(text))
	s.walk(len(text))
	return text == this(text) && text != other(text)
}

// toJSON writes JSON as Python's json.dumps does for transformers: without
// escapes for what is not ASCII.
func (s *state) toJSON(value any, given arguments) string {
	w := &jsonWriter{s: s, out: s.builder(), between: ", ", colon: ": "}
	w.ascii = truth(given.or(0, "ensure_ascii", false))
	if indent := given.or(1, "indent", nil); indent != nil {
		w.between = ","
		if text, ok := asText(indent); ok {
			w.indent = text
		} else {
			w.indent = s.repeat(" ", int64(given.integer(1, "indent", 0)))
		}
		w.lines = true
	}
	if separators := given.or(2, "separators", nil); separators != nil {
		both := s.items(separators)
		if len(both) != 2 {
			fail("tojson with %d separators", len(both))
		}
		w.between, w.colon = s.str(both[0]), s.str(both[1])
	}
	w.sorted = truth(given.or(3, "sort_keys", false))
	w.write(value, 0)
	return w.out.String()
}

type jsonWriter struct {
	s              *state
	out            *builder
	between, colon string
	indent         string
	lines          bool // break lines
	ascii, sorted  bool
}

func (w *jsonWriter) put(text string) { w.out.put(text) }

func (w *jsonWriter) breakLine(depth int) {
	if w.lines {
		w.put("\n")
		w.put(w.s.repeat(w.indent, int64(depth)))
	}
}

func (w *jsonWriter) write(value any, depth int) {
	w.s.spend(1)
	if depth > maxNesting {
		fail("a value is nested more than %d deep", maxNesting)
	}
	switch v := plain(value).(type) {
	case nil:
		w.put("null")
	case bool:
		w.put(strconv.FormatBool(v))
	case int64:
		w.put(strconv.FormatInt(v, 10))
	case float64:
		text := floatRepr(v)
		if special := map[string]string{"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[text]; special != "" {
			text = special
		}
		w.put(text)
	case string:
		w.text(v)
	case *list:
		if len(v.items) == 0 {
			w.put("[]")
			return
		}
		w.put("[")
		for i, item := range v.items {
			if i > 0 {
				w.put(w.between)
			}
			w.breakLine(depth + 1)
			w.write(item, depth+1)
		}
		w.breakLine(depth)
		w.put("]")
	case *dict:
		w.dict(v, depth)
	default:
		fail("a %s cannot be written as JSON", typeName(value))
	}
}

func (w *jsonWriter) dict(d *dict, depth int) {
	if len(d.keys) == 0 {
		w.put("{}")
		return
	}
	keys := d.keys
	if w.sorted {
		w.s.list(len(keys))
		keys = slices.Clone(keys)
		slices.SortStableFunc(keys, w.s.order)
	}
	w.put("{")
	for i, key := range keys {
		if i > 0 {
			w.put(w.between)
		}
		w.breakLine(depth + 1)
		switch k := plain(key).(type) {
		case string:
			w.text(k)
		case nil, bool, int64, float64:
			w.put("\"")
			w.write(k, depth+1)
			w.put("\"")
		default:
			fail("a %s cannot be a key in JSON", typeName(key))
		}
		w.put(w.colon)
		value, _ := d.get(w.s, key)
		w.write(value, depth+1)
	}
	w.breakLine(depth)
	w.put("}")
}

func (w *jsonWriter) text(text string) {
	const most = 6 // bytes that one becomes
	w.s.read(len(text))
	if strings.IndexFunc(text, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' || r > 0x7e }) < 0 {
		w.put("\"")
		w.put(text)
		w.put("\"")
		return
	}
	w.s.hold(most * len(text))
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\f':
			out.WriteString(`\f`)
		case r < 0x20, w.ascii && r > 0x7e && r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	w.put(out.String())
}
