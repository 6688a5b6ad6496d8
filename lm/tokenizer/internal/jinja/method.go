package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
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
	text, ok := value.(string)
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
	switch v := value.(type) {
	case undefined:
		fail("%q is undefined, so it has no %q", v.name, name)
	case *namespace:
		if found, ok := v.get(name); ok {
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
		if found := method(v, name); !isUndefined(found) {
			return found
		}
		if found, ok := v.get(name); ok {
			return found
		}
	default:
		return method(v, name)
	}
	return undefined{name}
}

func isUndefined(value any) bool {
	_, ok := value.(undefined)
	return ok
}

// method is the method of a string, a list or a dictionary. Those that
// change their object are not there.
func method(value any, name string) any {
	switch v := value.(type) {
	case string:
		if f, ok := stringMethods[name]; ok {
			return builtin(func(s *state, given arguments) any {
				s.handle(len(v))
				return f(s, v, given)
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
			return builtin(func(_ *state, given arguments) any {
				key, ok := given.get(0, "")
				if !ok {
					fail("get without a key")
				}
				if found, ok := v.get(key); ok {
					return found
				}
				return given.or(1, "", nil)
			})
		case "items":
			return builtin(func(s *state, _ arguments) any {
				s.spend(len(v.keys))
				return v.pairs()
			})
		case "keys":
			return builtin(func(*state, arguments) any { return &list{items: v.keys} })
		case "values":
			return builtin(func(s *state, _ arguments) any {
				out := &list{}
				for _, key := range s.items(v) {
					one, _ := v.get(key)
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

// affixes are one string or a tuple of strings.
func affixes(value any) []string {
	if l, ok := value.(*list); ok && l.tuple {
		var out []string
		for _, item := range l.items {
			text, ok := item.(string)
			if !ok {
				fail("a %s where a string should be", typeName(item))
			}
			out = append(out, text)
		}
		return out
	}
	text, ok := value.(string)
	if !ok {
		fail("a %s where a string should be", typeName(value))
	}
	return []string{text}
}

func textList(parts []string) *list {
	l := &list{items: make([]any, len(parts))}
	for i, part := range parts {
		l.items[i] = part
	}
	return l
}

// trimmed takes characters, by default white space, off the ends.
func trimmed(v string, given arguments, left, right bool) string {
	chars := given.text(0, "chars", "")
	drop := unicode.IsSpace
	if chars != "" {
		drop = func(r rune) bool { return strings.ContainsRune(chars, r) }
	}
	if left {
		v = strings.TrimLeftFunc(v, drop)
	}
	if right {
		v = strings.TrimRightFunc(v, drop)
	}
	return v
}

var stringMethods map[string]func(s *state, v string, given arguments) any

func init() {
	check := func(ok func(r rune) bool) func(*state, string, arguments) any {
		return func(_ *state, v string, _ arguments) any {
			return v != "" && strings.IndexFunc(v, func(r rune) bool { return !ok(r) }) < 0
		}
	}
	stringMethods = map[string]func(s *state, v string, given arguments) any{
		"strip":      func(_ *state, v string, given arguments) any { return trimmed(v, given, true, true) },
		"lstrip":     func(_ *state, v string, given arguments) any { return trimmed(v, given, true, false) },
		"rstrip":     func(_ *state, v string, given arguments) any { return trimmed(v, given, false, true) },
		"upper":      func(_ *state, v string, _ arguments) any { return strings.ToUpper(v) },
		"lower":      func(_ *state, v string, _ arguments) any { return strings.ToLower(v) },
		"capitalize": func(_ *state, v string, _ arguments) any { return capitalize(v) },
		"title":      func(_ *state, v string, _ arguments) any { return titled(v, unicode.IsLetter) },
		"split": func(_ *state, v string, given arguments) any {
			return textList(split(v, given))
		},
		"rsplit": func(_ *state, v string, given arguments) any {
			return textList(rsplit(v, given))
		},
		"splitlines": func(_ *state, v string, given arguments) any { return textList(splitLines(v)) },
		"partition": func(_ *state, v string, given arguments) any {
			before, after, ok := strings.Cut(v, given.text(0, "sep", ""))
			middle := ""
			if ok {
				middle = given.text(0, "sep", "")
			}
			return &list{items: []any{before, middle, after}, tuple: true}
		},
		"startswith": func(_ *state, v string, given arguments) any {
			for _, prefix := range affixes(given.or(0, "", nil)) {
				if strings.HasPrefix(v, prefix) {
					return true
				}
			}
			return false
		},
		"endswith": func(_ *state, v string, given arguments) any {
			for _, suffix := range affixes(given.or(0, "", nil)) {
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
		"replace": func(s *state, v string, given arguments) any { return s.replace(v, given) },
		"find": func(_ *state, v string, given arguments) any {
			return runeIndex(v, strings.Index(v, given.text(0, "", "")))
		},
		"rfind": func(_ *state, v string, given arguments) any {
			return runeIndex(v, strings.LastIndex(v, given.text(0, "", "")))
		},
		"index": func(_ *state, v string, given arguments) any {
			at := strings.Index(v, given.text(0, "", ""))
			if at < 0 {
				fail("the text is not in the string")
			}
			return runeIndex(v, at)
		},
		"count": func(_ *state, v string, given arguments) any {
			return int64(strings.Count(v, given.text(0, "", "")))
		},
		"join": func(s *state, v string, given arguments) any {
			var parts []string
			for _, item := range s.items(given.or(0, "", nil)) {
				text, ok := item.(string)
				if !ok {
					fail("join of a %s", typeName(item))
				}
				parts = append(parts, text)
				s.handle(len(text) + len(v))
			}
			return strings.Join(parts, v)
		},
		"zfill": func(s *state, v string, given arguments) any {
			n := given.integer(0, "", 0) - int(length(v))
			sign := ""
			if strings.HasPrefix(v, "-") || strings.HasPrefix(v, "+") {
				sign, v = v[:1], v[1:]
			}
			return sign + s.repeat("0", int64(n)) + v
		},
		"ljust": func(s *state, v string, given arguments) any {
			return v + s.repeat(given.text(1, "", " "), int64(given.integer(0, "", 0))-length(v))
		},
		"rjust": func(s *state, v string, given arguments) any {
			return s.repeat(given.text(1, "", " "), int64(given.integer(0, "", 0))-length(v)) + v
		},
		"isdigit":   check(unicode.IsDigit),
		"isnumeric": check(unicode.IsNumber),
		"isalpha":   check(unicode.IsLetter),
		"isalnum":   check(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
		"isspace":   check(unicode.IsSpace),
		"isupper": func(_ *state, v string, _ arguments) any {
			return v != strings.ToLower(v) && v == strings.ToUpper(v)
		},
		"islower": func(_ *state, v string, _ arguments) any {
			return v != strings.ToUpper(v) && v == strings.ToLower(v)
		},
		"format": func(s *state, v string, given arguments) any { return s.formatBraces(v, given) },
	}
}

// runeIndex is the index in characters for one in bytes.
func runeIndex(v string, at int) any {
	if at < 0 {
		return int64(-1)
	}
	return length(v[:at])
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
func split(v string, given arguments) []string {
	most := given.integer(1, "maxsplit", -1)
	separator, ok := given.get(0, "sep")
	if ok && separator != nil {
		by := given.text(0, "sep", "")
		if by == "" {
			fail("split by an empty string")
		}
		if most < 0 {
			return strings.Split(v, by)
		}
		return strings.SplitN(v, by, most+1)
	}
	var out []string
	for {
		v = strings.TrimLeftFunc(v, unicode.IsSpace)
		if v == "" {
			return out
		}
		end := strings.IndexFunc(v, unicode.IsSpace)
		if end < 0 {
			return append(out, v)
		}
		if most >= 0 && len(out) >= most {
			return append(out, v)
		}
		out = append(out, v[:end])
		v = v[end:]
	}
}

// rsplit is Python's str.rsplit with a separator.
func rsplit(v string, given arguments) []string {
	most := given.integer(1, "maxsplit", -1)
	by := given.text(0, "sep", "")
	if most < 0 {
		return split(v, given)
	}
	if by == "" {
		fail("rsplit by white space with a limit is not known")
	}
	var out []string
	for ; most > 0; most-- {
		at := strings.LastIndex(v, by)
		if at < 0 {
			break
		}
		out = append(out, v[at+len(by):])
		v = v[:at]
	}
	out = append(out, v)
	slices.Reverse(out)
	return out
}

// splitLines is Python's str.splitlines.
func splitLines(v string) []string {
	var out []string
	from := 0
	for i, r := range v {
		switch r {
		case '\n', '\v', '\f', '\r', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
			if i < from {
				continue // the line feed after a carriage return
			}
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

func (s *state) replace(v string, given arguments) string {
	from, to := given.text(0, "old", ""), given.text(1, "new", "")
	count := given.integer(2, "count", -1)
	n := strings.Count(v, from)
	if count >= 0 {
		n = min(n, count)
	}
	s.handle(len(v))
	s.handle(product(len(to), int64(n)))
	return strings.Replace(v, from, to, count)
}

// format is Python's "..." % values for %s, %d, %i, %r, %f and %%.
func (s *state) format(pattern string, value any) string {
	values := []any{value}
	if l, ok := value.(*list); ok && l.tuple {
		values = l.items
	}
	var out strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			out.WriteByte(pattern[i])
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
			out.WriteByte('%')
			continue
		}
		if len(values) == 0 {
			fail("too few values for the format %q", pattern)
		}
		value, values = values[0], values[1:]
		n, isNumber := number(value)
		var text string
		switch c := pattern[i]; {
		case c == 's':
			text = fmt.Sprintf("%"+flags+"s", s.str(value))
		case c == 'r':
			text = fmt.Sprintf("%"+flags+"s", s.repr(value, 0))
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
		s.handle(len(text))
		out.WriteString(text)
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
func (s *state) formatBraces(pattern string, given arguments) string {
	var out strings.Builder
	following := 0
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if (c == '{' || c == '}') && i+1 < len(pattern) && pattern[i+1] == c {
			out.WriteByte(c)
			i++
			continue
		}
		if c != '{' {
			out.WriteByte(c)
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
		text := s.str(value)
		s.handle(len(text))
		out.WriteString(text)
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
			panic(failure{fmt.Errorf("%w: %s", ErrRaised, given.text(0, "message", ""))})
		}),
		"strftime_now": builtin(func(s *state, given arguments) any {
			return strftime(s.now, given.text(0, "format", ""))
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
	s.spend(max(n, 0))
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
				one, _ := d.get(key)
				ns.set(key, one)
			}
			continue
		}
		for _, pair := range s.items(value) {
			both := s.items(pair)
			if len(both) != 2 {
				fail("a dictionary of %d instead of two values", len(both))
			}
			ns.set(both[0], both[1])
		}
	}
	for i, name := range given.names {
		ns.set(name, given.values[positional+i])
	}
	return ns
}

// strftime writes a time as C's strftime does in the C locale.
func strftime(t time.Time, format string) string {
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'H': "15", 'I': "03", 'j': "002",
		'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'Z': "MST", 'z': "-0700", 'e': "_2",
		'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'h': "Jan", 'f': "000000",
		'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
	}
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.WriteByte(format[i])
			continue
		}
		i++
		unpadded := format[i] == '-' && i+1 < len(format)
		if unpadded {
			i++
		}
		switch c := format[i]; {
		case c == '%':
			out.WriteByte('%')
		case layouts[c] != "":
			text := t.Format(layouts[c])
			if c == 'f' {
				text = fmt.Sprintf("%06d", t.Nanosecond()/1000)
			}
			if unpadded {
				text = strings.TrimLeft(text[:len(text)-1], "0 ") + text[len(text)-1:]
			}
			out.WriteString(text)
		default:
			fail("the time format %%%c is not known", c)
		}
	}
	return out.String()
}
