package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// get is the argument at place i or with the name.
func (a arguments) get(i int, name string) (any, bool) {
	positional := len(a.values) - len(a.names)
	if i < positional {
		return a.values[i], true
	}
	if at := slices.Index(a.names, name); at >= 0 && name != "" {
		return a.values[positional+at], true
	}
	return nil, false
}

func (a arguments) or(i int, name string, byDefault any) any {
	if value, ok := a.get(i, name); ok {
		return value
	}
	return byDefault
}

func (a arguments) text(i int, name, byDefault string) string {
	value, ok := a.get(i, name)
	if !ok || value == nil {
		return byDefault
	}
	text, ok := asText(value)
	if !ok {
		fail("a %s where a string should be", typeName(value))
	}
	return text
}

func (a arguments) integer(i int, name string, byDefault int) int {
	value, ok := a.get(i, name)
	if !ok || value == nil {
		return byDefault
	}
	n, _ := number(value)
	integer, ok := n.(int64)
	if !ok {
		fail("a %s where an integer should be", typeName(value))
	}
	return int(max(min(integer, 1<<40), -1<<40))
}

// attribute is value.name.
func (s *state) attribute(value any, name string) any {
	s.read(len(name))
	switch v := value.(type) {
	case undefined:
		fail("%q is undefined, so it has no %q", v.name, name)
	case *namespace:
		if found, ok := v.get(s, name); ok {
			return found
		}
		return undefined{name}
	case *loop:
		return v.attribute(name)
	case *closure:
		if name == "name" {
			return v.name
		}
	case *dict:
		// As in Python, methods hide keys of the same name, even the methods
		// that would change the dictionary and that the sandbox refuses.
		switch name {
		case "clear", "pop", "popitem", "setdefault", "update", "fromkeys":
			return undefined{name}
		}
		if found := s.method(v, name); !isUndefined(found) {
			return found
		}
		if found, ok := v.get(s, name); ok {
			return found
		}
	default:
		return s.method(v, name)
	}
	return undefined{name}
}

func isUndefined(value any) bool {
	_, ok := value.(undefined)
	return ok
}

// method is the method of a string, a list or a dictionary. Those that
// change their object are not there.
func (s *state) method(value any, name string) any {
	s.read(len(name))
	switch v := value.(type) {
	case string, markup:
		if f, ok := stringMethods[name]; ok {
			return builtin(func(s *state, given arguments) any {
				text := s.str(v)
				s.read(len(text))
				result := f(s, text, given)
				if _, ok := v.(markup); ok {
					return marked(result)
				}
				return result
			})
		}
		if f, ok := markupMethods[name]; ok {
			return builtin(func(s *state, given arguments) any {
				s.read(len(s.str(v)))
				return like(v, f(s, v, given))
			})
		}
	case *list:
		switch name {
		case "index", "count":
			return builtin(func(s *state, given arguments) any {
				n := int64(0)
				for i, item := range s.items(v) {
					if s.equal(item, given.or(0, "", nil), 0) {
						if name == "index" {
							return int64(i)
						}
						n++
					}
				}
				if name == "index" {
					fail("the value is not in the list")
				}
				return n
			})
		case "copy":
			return builtin(func(*state, arguments) any { return v })
		}
	case *dict:
		switch name {
		case "get":
			return builtin(func(s *state, given arguments) any {
				key, ok := given.get(0, "")
				if !ok {
					fail("get without a key")
				}
				if found, ok := v.get(s, key); ok {
					return found
				}
				return given.or(1, "", nil)
			})
		case "items":
			return builtin(func(s *state, _ arguments) any {
				return v.pairs(s)
			})
		case "keys":
			return builtin(func(*state, arguments) any { return &list{items: v.keys} })
		case "values":
			return builtin(func(s *state, _ arguments) any {
				out := &list{}
				s.list(len(v.keys))
				for _, key := range s.items(v) {
					one, _ := v.get(s, key)
					out.items = append(out.items, one)
				}
				return out
			})
		case "copy":
			return builtin(func(*state, arguments) any { return v })
		}
	}
	return undefined{name}
}

// marked is the result of a method of markup: every string in it is markup.
func marked(result any) any {
	switch v := result.(type) {
	case string:
		return markup(v)
	case *list:
		for i, item := range v.items {
			v.items[i] = marked(item)
		}
	}
	return result
}

// affixes are one string or a tuple of strings.
func (s *state) affixes(value any) []string {
	items := []any{value}
	if l, ok := value.(*list); ok && l.tuple {
		items = l.items
	}
	s.list(len(items))
	out := make([]string, len(items))
	for i, item := range items {
		text, ok := asText(item)
		if !ok {
			fail("a %s where a string should be", typeName(item))
		}
		s.read(len(text))
		out[i] = text
	}
	return out
}

func textList(parts []string) *list {
	l := &list{items: make([]any, len(parts))}
	for i, part := range parts {
		l.items[i] = part
	}
	return l
}

// trimmed takes characters, by default white space, off the ends.
func (s *state) trimmed(v string, given arguments, left, right bool) string {
	s.walk(len(v))
	chars := given.text(0, "chars", "")
	drop := unicode.IsSpace
	if chars != "" {
		set := map[rune]bool{}
		s.hold(product(textSize, int64(len(chars))))
		for _, r := range chars {
			set[r] = true
		}
		drop = func(r rune) bool { return set[r] }
	}
	if left {
		v = strings.TrimLeftFunc(v, drop)
	}
	if right {
		v = strings.TrimRightFunc(v, drop)
	}
	return v
}

// stringMethods are the methods of strings that know nothing of markup: those
// of markup give markup for every string.
var stringMethods map[string]func(s *state, v string, given arguments) any

// markupMethods are those that write other values into the string: escaped,
// where the string, or what was formatted, is markup.
var markupMethods map[string]func(s *state, v any, given arguments) string

func init() {
	check := func(ok func(r rune) bool) func(*state, string, arguments) any {
		return func(s *state, v string, _ arguments) any {
			s.walk(len(v))
			return v != "" && strings.IndexFunc(v, func(r rune) bool { return !ok(r) }) < 0
		}
	}
	cased := func(f func(string) string) func(*state, string, arguments) any {
		return func(s *state, v string, _ arguments) any {
			s.text(maxCase * len(v))
			s.walk(len(v))
			return f(v)
		}
	}
	// found is where the first argument is in the string, by an index function.
	found := func(index func(v, part string) int) func(*state, string, arguments) any {
		return func(s *state, v string, given arguments) any {
			part := given.text(0, "", "")
			s.search(v, part)
			at := index(v, part)
			if at < 0 {
				return int64(-1)
			}
			return s.length(v[:at])
		}
	}
	padding := func(s *state, v any, given arguments) string {
		given.text(1, "", " ") // must be a string
		return s.repeat(s.escaped(v, given.or(1, "", " ")), int64(given.integer(0, "", 0))-s.length(v))
	}
	stringMethods = map[string]func(s *state, v string, given arguments) any{
		"strip":      func(s *state, v string, given arguments) any { return s.trimmed(v, given, true, true) },
		"lstrip":     func(s *state, v string, given arguments) any { return s.trimmed(v, given, true, false) },
		"rstrip":     func(s *state, v string, given arguments) any { return s.trimmed(v, given, false, true) },
		"upper":      cased(strings.ToUpper),
		"lower":      cased(strings.ToLower),
		"capitalize": cased(capitalize),
		"title":      cased(func(v string) string { return titled(v, unicode.IsLetter) }),
		"split": func(s *state, v string, given arguments) any {
			return textList(s.split(v, given))
		},
		"rsplit": func(s *state, v string, given arguments) any {
			return textList(s.rsplit(v, given))
		},
		"splitlines": func(s *state, v string, given arguments) any { return textList(s.splitLines(v)) },
		"partition": func(s *state, v string, given arguments) any {
			by := given.text(0, "sep", "")
			s.search(v, by)
			before, after, ok := strings.Cut(v, by)
			middle := ""
			if ok {
				middle = by
			}
			return &list{items: []any{before, middle, after}, tuple: true}
		},
		"startswith": func(s *state, v string, given arguments) any {
			for _, prefix := range s.affixes(given.or(0, "", nil)) {
				if strings.HasPrefix(v, prefix) {
					return true
				}
			}
			return false
		},
		"endswith": func(s *state, v string, given arguments) any {
			for _, suffix := range s.affixes(given.or(0, "", nil)) {
				if strings.HasSuffix(v, suffix) {
					return true
				}
			}
			return false
		},
		"removeprefix": func(_ *state, v string, given arguments) any {
			return strings.TrimPrefix(v, given.text(0, "", ""))
		},
		"removesuffix": func(_ *state, v string, given arguments) any {
			return strings.TrimSuffix(v, given.text(0, "", ""))
		},
		"find":  found(strings.Index),
		"rfind": found(strings.LastIndex),
		"index": func(s *state, v string, given arguments) any {
			at := found(strings.Index)(s, v, given)
			if at == int64(-1) {
				fail("the text is not in the string")
			}
			return at
		},
		"count": func(s *state, v string, given arguments) any {
			part := given.text(0, "", "")
			s.search(v, part)
			return int64(strings.Count(v, part))
		},
		"zfill": func(s *state, v string, given arguments) any {
			n := given.integer(0, "", 0) - int(s.length(v))
			sign := ""
			if strings.HasPrefix(v, "-") || strings.HasPrefix(v, "+") {
				sign, v = v[:1], v[1:]
			}
			return s.join(sign+s.repeat("0", int64(n)), v)
		},
		"isdigit":   check(unicode.IsDigit),
		"isnumeric": check(unicode.IsNumber),
		"isalpha":   check(unicode.IsLetter),
		"isalnum":   check(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
		"isspace":   check(unicode.IsSpace),
		"isupper":   func(s *state, v string, _ arguments) any { return s.isCase(v, strings.ToUpper, strings.ToLower) },
		"islower":   func(s *state, v string, _ arguments) any { return s.isCase(v, strings.ToLower, strings.ToUpper) },
	}
	markupMethods = map[string]func(s *state, v any, given arguments) string{
		"replace": func(s *state, v any, given arguments) string {
			given.text(1, "new", "") // must be a string
			return s.replace(s.str(v), given.text(0, "old", ""), s.escaped(v, given.or(1, "new", "")), given.integer(2, "count", -1))
		},
		"join": func(s *state, v any, given arguments) string {
			out := s.builder()
			for i, item := range s.items(given.or(0, "", nil)) {
				if i > 0 {
					out.put(s.str(v))
				}
				if _, ok := asText(item); !ok && v == plain(v) {
					fail("join of a %s", typeName(item))
				}
				out.put(s.escaped(v, item))
			}
			return out.String()
		},
		"ljust":  func(s *state, v any, given arguments) string { return s.join(s.str(v), padding(s, v, given)) },
		"rjust":  func(s *state, v any, given arguments) string { return s.join(padding(s, v, given), s.str(v)) },
		"format": func(s *state, v any, given arguments) string { return s.formatBraces(v, given) },
	}
}

func capitalize(v string) string {
	for i, r := range v {
		size := len(string(r))
		return v[:i] + strings.ToUpper(string(r)) + strings.ToLower(v[i+size:])
	}
	return v
}

// titled writes the first letter of every word large and the others small.
func titled(v string, inWord func(rune) bool) string {
	var out strings.Builder
	inside := false
	for _, r := range v {
		if inside {
			out.WriteRune(unicode.ToLower(r))
		} else {
			out.WriteRune(unicode.ToTitle(r))
		}
		inside = inWord(r)
	}
	return out.String()
}

// split is Python's str.split.
func (s *state) split(v string, given arguments) []string {
	most := given.integer(1, "maxsplit", -1)
	var out []string
	add := func(part string) {
		s.hold(textSize)
		out = append(out, part)
	}
	separator, ok := given.get(0, "sep")
	if ok && separator != nil {
		by := given.text(0, "sep", "")
		if by == "" {
			fail("split by an empty string")
		}
		s.search(v, by)
		for most < 0 || len(out) < most {
			before, after, ok := strings.Cut(v, by)
			if !ok {
				break
			}
			add(before)
			v = after
		}
		add(v)
		return out
	}
	s.walk(len(v))
	for {
		v = strings.TrimLeftFunc(v, unicode.IsSpace)
		if v == "" {
			return out
		}
		end := strings.IndexFunc(v, unicode.IsSpace)
		if end < 0 || most >= 0 && len(out) >= most {
			add(v)
			return out
		}
		add(v[:end])
		v = v[end:]
	}
}

// rsplit is Python's str.rsplit with a separator.
func (s *state) rsplit(v string, given arguments) []string {
	most := given.integer(1, "maxsplit", -1)
	by := given.text(0, "sep", "")
	if most < 0 {
		return s.split(v, given)
	}
	if by == "" {
		fail("rsplit by white space with a limit is not known")
	}
	s.search(v, by)
	var out []string
	for ; most > 0; most-- {
		at := strings.LastIndex(v, by)
		if at < 0 {
			break
		}
		s.hold(textSize)
		out = append(out, v[at+len(by):])
		v = v[:at]
	}
	out = append(out, v)
	slices.Reverse(out)
	return out
}

// splitLines is Python's str.splitlines.
func (s *state) splitLines(v string) []string {
	var out []string
	s.read(len(v))
	from := 0
	for i, r := range v {
		switch r {
		case '\n', '\v', '\f', '\r', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
			if i < from {
				continue // the line feed after a carriage return
			}
			s.hold(textSize)
			out = append(out, v[from:i])
			from = i + len(string(r))
			if r == '\r' && strings.HasPrefix(v[from:], "\n") {
				from++
			}
		}
	}
	if from < len(v) {
		out = append(out, v[from:])
	}
	return out
}

func (s *state) replace(v, from, to string, count int) string {
	s.search(v, from)
	n := strings.Count(v, from)
	if count >= 0 {
		n = min(n, count)
	}
	s.text(len(v))
	s.text(product(len(to), int64(n)))
	return strings.Replace(v, from, to, count)
}

// format is Python's "..." % values for %s, %d, %i, %r, %f and %%.
func (s *state) format(template, value any) string {
	pattern := s.str(template)
	s.read(len(pattern))
	values := []any{value}
	if l, ok := value.(*list); ok && l.tuple {
		values = l.items
	}
	out := s.builder()
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			from := i
			for i+1 < len(pattern) && pattern[i+1] != '%' {
				i++
			}
			out.put(pattern[from : i+1])
			continue
		}
		begin := i + 1
		i = begin
		for i < len(pattern) && strings.IndexByte("-+ 0#.123456789", pattern[i]) >= 0 {
			i++
		}
		if i >= len(pattern) || i-begin > 4 {
			fail("the format %q", pattern)
		}
		flags := pattern[begin:i]
		if pattern[i] == '%' {
			out.put("%")
			continue
		}
		if len(values) == 0 {
			fail("too few values for the format %q", pattern)
		}
		value, values = values[0], values[1:]
		n, isNumber := number(value)
		padded := func(text string) string {
			s.hold(len(text))
			return fmt.Sprintf("%"+flags+"s", text)
		}
		var text string
		switch c := pattern[i]; {
		case c == 's':
			text = padded(s.escaped(template, value))
		case c == 'r':
			text = padded(s.escaped(template, s.repr(value)))
		case (c == 'd' || c == 'i') && isNumber:
			if f, ok := n.(float64); ok {
				n = int64(f)
			}
			text = fmt.Sprintf("%"+flags+"d", n)
		case (c == 'f' || c == 'F') && isNumber:
			text = fmt.Sprintf("%"+flags+"f", float(n))
		default:
			fail("the format %q for a %s", pattern, typeName(value))
		}
		out.put(text)
	}
	if len(values) > 0 && !isMapping(value) {
		fail("too many values for the format %q", pattern)
	}
	return out.String()
}

func isMapping(value any) bool {
	_, ok := value.(*dict)
	return ok
}

// formatBraces is str.format for {}, {0} and {name}.
func (s *state) formatBraces(template any, given arguments) string {
	pattern := s.str(template)
	s.read(len(pattern))
	out := s.builder()
	following := 0
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if (c == '{' || c == '}') && i+1 < len(pattern) && pattern[i+1] == c {
			out.put(pattern[i : i+1])
			i++
			continue
		}
		if c != '{' {
			from := i
			for i+1 < len(pattern) && pattern[i+1] != '{' && pattern[i+1] != '}' {
				i++
			}
			out.put(pattern[from : i+1])
			continue
		}
		end := strings.IndexByte(pattern[i:], '}')
		if end < 0 {
			fail("the format %q", pattern)
		}
		field := pattern[i+1 : i+end]
		i += end
		at, err := strconv.Atoi(field)
		if field == "" {
			at, err = following, nil
			following++
		}
		if err != nil {
			at = math.MaxInt
		}
		value, ok := given.get(at, field)
		if !ok || at < 0 {
			fail("the format field %q", field)
		}
		out.put(s.escaped(template, value))
	}
	return out.String()
}

// globals are the functions that every template has.
func globals() map[string]any {
	return map[string]any{
		"range":     builtin(rangeOf),
		"namespace": builtin(newNamespace),
		"dict": builtin(func(s *state, given arguments) any {
			return &newNamespace(s, given).(*namespace).dict
		}),
		"raise_exception": builtin(func(_ *state, given arguments) any {
			panic(failure{fmt.Errorf("%w: %s", ErrRaised, shortened(given.text(0, "message", ""), maxMessage))})
		}),
		"strftime_now": builtin(func(s *state, given arguments) any {
			return s.strftime(given.text(0, "format", ""))
		}),
		"joiner": builtin(func(_ *state, given arguments) any {
			separator, used := given.text(0, "sep", ", "), false
			return builtin(func(*state, arguments) any {
				if !used {
					used = true
					return ""
				}
				return separator
			})
		}),
	}
}

// maxMessage bounds what a template refuses with, in bytes.
const maxMessage = 4 << 10

func rangeOf(s *state, given arguments) any {
	from, to, step := 0, given.integer(0, "", 0), given.integer(2, "", 1)
	if len(given.values) > 1 {
		from, to = to, given.integer(1, "", 0)
	}
	if step == 0 {
		fail("range with step 0")
	}
	n := (to - from + step - 1) / step
	if step < 0 {
		n = (from - to - step - 1) / -step
	}
	if n > maxRange {
		fail("range of more than %d items", maxRange)
	}
	s.list(max(n, 0))
	l := &list{}
	for i := 0; i < n; i++ {
		l.items = append(l.items, int64(from+i*step))
	}
	return l
}

func newNamespace(s *state, given arguments) any {
	ns := &namespace{}
	positional := len(given.values) - len(given.names)
	for _, value := range given.values[:positional] {
		if d, ok := value.(*dict); ok {
			for _, key := range s.items(d) {
				one, _ := d.get(s, key)
				ns.set(s, key, one)
			}
			continue
		}
		for _, pair := range s.items(value) {
			both := s.items(pair)
			if len(both) != 2 {
				fail("a dictionary of %d instead of two values", len(both))
			}
			ns.set(s, both[0], both[1])
		}
	}
	for i, name := range given.names {
		ns.set(s, name, given.values[positional+i])
	}
	return ns
}

// strftime writes a time as C's strftime does in the C locale.
func (s *state) strftime(format string) string {
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'H': "15", 'I': "03", 'j': "002",
		'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'Z': "MST", 'z': "-0700", 'e': "_2",
		'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'h': "Jan", 'f': "000000",
		'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
	}
	s.read(len(format))
	out := s.builder()
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.put(format[i : i+1])
			continue
		}
		i++
		unpadded := format[i] == '-' && i+1 < len(format)
		if unpadded {
			i++
		}
		switch c := format[i]; {
		case c == '%':
			out.put("%")
		case layouts[c] != "":
			text := s.now.Format(layouts[c])
			if c == 'f' {
				text = fmt.Sprintf("%06d", s.now.Nanosecond()/1000)
			}
			if unpadded {
				text = strings.TrimLeft(text[:len(text)-1], "0 ") + text[len(text)-1:]
			}
			out.put(text)
		default:
			fail("the time format %%%c is not known", c)
		}
	}
	return out.String()
}
