package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Values are nil (None), undefined, bool, int64, float64, string, markup, *list,
// *dict, *namespace, *loop, *closure and builtin.

// undefined is the value of a name or an attribute that there is not.
type undefined struct{ name string }

// list is a list or a tuple. It is never changed once made.
type list struct {
	items []any
	tuple bool
}

// dict is a dictionary in order of insertion. It is never changed once made.
type dict struct {
	keys   []any
	values map[any]any // by hashed key
}

// namespace holds attributes that templates may set.
type namespace struct{ dict }

// builtin is a function that is not written in the template.
type builtin func(s *state, given arguments) any

// hash is the form of a key in which equal keys are equal.
func (s *state) hash(key any) any {
	switch k := plain(key).(type) {
	case string:
		s.read(len(k))
		return k
	case nil, int64:
		return k
	case bool:
		return boolInt(k)
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<62 {
			return int64(k)
		}
		return k
	}
	fail("a %s cannot be a key", typeName(key))
	return nil
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (d *dict) get(s *state, key any) (any, bool) {
	value, ok := d.values[s.hash(key)]
	return value, ok
}

func (d *dict) set(s *state, key, value any) {
	h := s.hash(key)
	if d.values == nil {
		d.values = map[any]any{}
	}
	if _, ok := d.values[h]; !ok {
		s.hold(entrySize)
		d.keys = append(d.keys, key)
	}
	d.values[h] = value
}

func (d *dict) pairs(s *state) *list {
	s.hold(product(len(d.keys), entrySize))
	l := &list{}
	for _, key := range d.keys {
		value, _ := d.get(s, key)
		l.items = append(l.items, &list{items: []any{key, value}, tuple: true})
	}
	return l
}

// fromGo converts a value of Go.
func (s *state) fromGo(value any, depth int) any {
	if depth > maxNesting {
		fail("a value is nested more than %d deep", maxNesting)
	}
	switch v := value.(type) {
	case nil, bool, int64, float64, string:
		return v
	case int:
		return int64(v)
	case json.RawMessage:
		return s.fromJSON(v)
	case []any:
		l := &list{}
		s.list(len(v))
		for _, item := range v {
			l.items = append(l.items, s.fromGo(item, depth+1))
		}
		return l
	case map[string]any:
		d := &dict{}
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			d.set(s, key, s.fromGo(v[key], depth+1))
		}
		return d
	}
	data, err := json.Marshal(value)
	if err != nil {
		fail("a variable of type %T: %v", value, err)
	}
	return s.fromJSON(data)
}

// fromJSON reads JSON with its objects in order.
func (s *state) fromJSON(data []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var read func(depth int) any
	token := func() json.Token {
		t, err := decoder.Token()
		if err != nil {
			fail("read a variable: %v", err)
		}
		return t
	}
	read = func(depth int) any {
		if depth > maxNesting {
			fail("a value is nested more than %d deep", maxNesting)
		}
		switch t := token().(type) {
		case json.Delim:
			if t == '[' {
				l := &list{}
				for decoder.More() {
					s.list(1)
					l.items = append(l.items, read(depth+1))
				}
				token()
				return l
			}
			d := &dict{}
			for decoder.More() {
				key := token()
				d.set(s, key, read(depth+1))
			}
			token()
			return d
		case json.Number:
			if i, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
				return i
			}
			f, _ := t.Float64()
			return f
		default:
			return t
		}
	}
	return read(0)
}

func typeName(value any) string {
	switch v := value.(type) {
	case nil:
		return "none"
	case undefined:
		return "undefined value"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "float"
	case string, markup:
		return "string"
	case *list:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *dict:
		return "dictionary"
	case *namespace:
		return "namespace"
	case *loop:
		return "loop"
	}
	return "function"
}

func truth(value any) bool {
	switch v := value.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return len(v.keys) > 0
	}
	return true
}

// str is the value as it is printed.
func (s *state) str(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case undefined:
		return ""
	}
	return s.repr(value)
}

// repr is the value as Python writes it.
func (s *state) repr(value any) string {
	out := s.builder()
	s.writeRepr(out, value, 0)
	return out.String()
}

func (s *state) writeRepr(out *builder, value any, depth int) {
	s.spend(1)
	if depth > maxNesting {
		fail("a value is nested more than %d deep", maxNesting)
	}
	switch v := value.(type) {
	case nil:
		out.put("None")
	case undefined:
		out.put("Undefined")
	case bool:
		if v {
			out.put("True")
		} else {
			out.put("False")
		}
	case int64:
		out.put(strconv.FormatInt(v, 10))
	case float64:
		out.put(floatRepr(v))
	case string:
		out.put(s.stringRepr(v))
	case markup:
		out.put("Markup(")
		out.put(s.stringRepr(string(v)))
		out.put(")")
	case *list:
		brackets := "[]"
		if v.tuple {
			brackets = "()"
		}
		out.put(brackets[:1])
		for i, item := range v.items {
			if i > 0 {
				out.put(", ")
			}
			s.writeRepr(out, item, depth+1)
		}
		if v.tuple && len(v.items) == 1 {
			out.put(",")
		}
		out.put(brackets[1:])
	case *dict:
		s.writeDict(out, v, depth)
	case *namespace:
		out.put("<Namespace ")
		s.writeDict(out, &v.dict, depth)
		out.put(">")
	case *loop:
		out.put(fmt.Sprintf("<LoopContext %d/%d>", v.index+1, len(v.items)))
	case *closure:
		out.put("<Macro " + s.stringRepr(v.name) + ">")
	default:
		out.put("<function>")
	}
}

func (s *state) writeDict(out *builder, d *dict, depth int) {
	out.put("{")
	for i, key := range d.keys {
		if i > 0 {
			out.put(", ")
		}
		value, _ := d.get(s, key)
		s.writeRepr(out, key, depth+1)
		out.put(": ")
		s.writeRepr(out, value, depth+1)
	}
	out.put("}")
}

func floatRepr(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func (s *state) stringRepr(text string) string {
	const most = 4 // bytes that one becomes
	s.hold(most * len(text))
	quote := byte('\'')
	if strings.Contains(text, "'") && !strings.Contains(text, "\"") {
		quote = '"'
	}
	var out strings.Builder
	out.WriteByte(quote)
	for _, r := range text {
		switch {
		case r == rune(quote) || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	out.WriteByte(quote)
	return out.String()
}

// items are what a loop over the value gets.
func (s *state) items(value any) []any {
	switch v := plain(value).(type) {
	case undefined:
		return nil
	case *list:
		s.spend(len(v.items))
		return v.items
	case *dict:
		s.spend(len(v.keys))
		return v.keys
	case string:
		n := s.length(v)
		s.hold(product(textSize, n))
		items := make([]any, 0, n)
		for _, r := range v {
			items = append(items, string(r))
		}
		return items
	}
	fail("a %s cannot be looped over", typeName(value))
	return nil
}

// number is the value as a number: an int64 or a float64.
func number(value any) (any, bool) {
	switch v := value.(type) {
	case bool:
		return boolInt(v), true
	case int64, float64:
		return v, true
	}
	return nil, false
}

func float(value any) float64 {
	switch v := value.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}

func (s *state) equal(a, b any, depth int) bool {
	s.spend(1)
	if depth > maxNesting {
		fail("a value is nested more than %d deep", maxNesting)
	}
	x, ok := number(a)
	if y, also := number(b); ok && also {
		i, iok := x.(int64)
		j, jok := y.(int64)
		if iok && jok {
			return i == j
		}
		return float(x) == float(y)
	}
	switch v := plain(a).(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string:
		w, ok := asText(b)
		if !ok || len(v) != len(w) {
			return false
		}
		s.read(len(v))
		return v == w
	case *list:
		w, ok := b.(*list)
		return ok && v.tuple == w.tuple && slices.EqualFunc(v.items, w.items, func(a, b any) bool {
			return s.equal(a, b, depth+1)
		})
	case *dict:
		w, ok := b.(*dict)
		if !ok || len(v.keys) != len(w.keys) {
			return false
		}
		for _, key := range v.keys {
			left, _ := v.get(s, key)
			right, ok := w.get(s, key)
			if !ok || !s.equal(left, right, depth+1) {
				return false
			}
		}
		return true
	case *namespace, *loop, *closure:
		return a == b
	}
	return false
}

// order compares two values: -1, 0 or 1.
func (s *state) order(a, b any) int {
	s.spend(1)
	x, ok := number(a)
	if y, also := number(b); ok && also {
		i, iok := x.(int64)
		j, jok := y.(int64)
		switch {
		case iok && jok && i < j, !(iok && jok) && float(x) < float(y):
			return -1
		case iok && jok && i > j, !(iok && jok) && float(x) > float(y):
			return 1
		}
		return 0
	}
	if v, ok := asText(a); ok {
		if w, ok := asText(b); ok {
			s.read(min(len(v), len(w)))
			return strings.Compare(v, w)
		}
	}
	if v, ok := a.(*list); ok {
		if w, ok := b.(*list); ok && v.tuple == w.tuple {
			for i := range min(len(v.items), len(w.items)) {
				if !s.equal(v.items[i], w.items[i], 0) {
					return s.order(v.items[i], w.items[i])
				}
			}
			return len(v.items) - len(w.items)
		}
	}
	fail("a %s and a %s have no order", typeName(a), typeName(b))
	return 0
}

func (s *state) compare(operator string, a, b any) bool {
	switch operator {
	case "==":
		return s.equal(a, b, 0)
	case "!=":
		return !s.equal(a, b, 0)
	case "in":
		return s.contains(b, a)
	case "not in":
		return !s.contains(b, a)
	case "<":
		return s.order(a, b) < 0
	case ">":
		return s.order(a, b) > 0
	case "<=":
		return s.order(a, b) <= 0
	}
	return s.order(a, b) >= 0
}

func (s *state) contains(container, value any) bool {
	switch c := plain(container).(type) {
	case string:
		part, ok := asText(value)
		if !ok {
			fail("a %s is not looked for in a string", typeName(value))
		}
		s.search(c, part)
		return strings.Contains(c, part)
	case *dict:
		_, ok := c.get(s, value)
		return ok
	}
	for _, item := range s.items(container) {
		if s.equal(item, value, 0) {
			return true
		}
	}
	return false
}

// binary computes a sum, a product and the like.
func (s *state) binary(operator string, a, b any) any {
	s.spend(1)
	if operator == "~" {
		return s.join(s.str(a), s.str(b))
	}
	x, ok := number(a)
	y, also := number(b)
	if ok && also {
		i, iok := x.(int64)
		j, jok := y.(int64)
		if iok && jok {
			return integers(operator, i, j)
		}
		return floats(operator, float(x), float(y))
	}
	if v, ok := asText(a); ok {
		if _, ok := asText(b); ok && operator == "+" {
			if _, ok := b.(markup); ok {
				return markup(s.join(s.escape(a), s.escape(b)))
			}
			return like(a, s.join(v, s.escaped(a, b)))
		}
		if n, ok := y.(int64); ok && operator == "*" {
			return like(a, s.repeat(v, n))
		}
		if operator == "%" {
			return like(a, s.format(a, b))
		}
	}
	switch v := a.(type) {
	case *list:
		if w, ok := b.(*list); ok && operator == "+" && v.tuple == w.tuple {
			s.list(len(v.items) + len(w.items))
			return &list{items: slices.Concat(v.items, w.items), tuple: v.tuple}
		}
		if n, ok := y.(int64); ok && operator == "*" {
			s.hold(product(itemSize*len(v.items), n))
			return &list{items: slices.Repeat(v.items, int(max(n, 0))), tuple: v.tuple}
		}
	case int64:
		if w, ok := asText(b); ok && operator == "*" {
			return like(b, s.repeat(w, v))
		}
	}
	fail("%q of a %s and a %s", operator, typeName(a), typeName(b))
	return nil
}

func (s *state) join(a, b string) string {
	s.text(len(a) + len(b))
	return a + b
}

func (s *state) repeat(text string, n int64) string {
	s.text(product(len(text), n))
	return strings.Repeat(text, int(max(n, 0)))
}

func integers(operator string, a, b int64) any {
	switch operator {
	case "+":
		if c := a + b; (c > a) == (b > 0) {
			return c
		}
	case "-":
		if c := a - b; (c < a) == (b > 0) {
			return c
		}
	case "*":
		if a == 0 || b == 0 {
			return int64(0)
		}
		if c := a * b; c/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64) {
			return c
		}
	case "/":
		if b != 0 {
			return float64(a) / float64(b)
		}
		fail("division by zero")
	case "//", "%":
		if b == 0 {
			fail("division by zero")
		}
		if b == -1 {
			if operator == "%" {
				return int64(0)
			}
			return integers("-", 0, a)
		}
		quotient, remainder := a/b, a%b
		if remainder != 0 && (remainder < 0) != (b < 0) {
			quotient, remainder = quotient-1, remainder+b
		}
		if operator == "//" {
			return quotient
		}
		return remainder
	case "**":
		if b < 0 {
			return math.Pow(float64(a), float64(b))
		}
		if power := math.Pow(float64(a), float64(b)); math.Abs(power) < 1<<53 {
			return int64(power)
		}
	}
	fail("the number %d %s %d is too large", a, operator, b)
	return nil
}

func floats(operator string, a, b float64) any {
	switch operator {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "**":
		return math.Pow(a, b)
	}
	if b == 0 {
		fail("division by zero")
	}
	switch operator {
	case "/":
		return a / b
	case "//":
		return math.Floor(a / b)
	}
	return a - b*math.Floor(a/b)
}

// item is value[key].
func (s *state) item(value, key any) any {
	switch v := value.(type) {
	case undefined:
		fail("%q is undefined", v.name)
	case *dict:
		if found, ok := v.get(s, key); ok {
			return found
		}
	case *list:
		if n, ok := key.(int64); ok {
			if n < 0 {
				n += int64(len(v.items))
			}
			if n >= 0 && n < int64(len(v.items)) {
				return v.items[n]
			}
		}
	case string, markup:
		if n, ok := key.(int64); ok {
			text := s.str(v)
			length := s.length(text)
			s.walk(len(text))
			if n < 0 {
				n += length
			}
			if n >= 0 && n < length {
				text = text[runeOffset(text, int(n)):]
				return like(v, text[:runeOffset(text, 1)])
			}
		}
	}
	if name, ok := asText(key); ok {
		if _, isDict := value.(*dict); isDict {
			return s.method(value, name)
		}
		return s.attribute(value, name)
	}
	if n, ok := key.(int64); ok {
		return undefined{strconv.FormatInt(n, 10)}
	}
	return undefined{typeName(key)}
}

func (s *state) runes(text string) []rune {
	s.hold(product(4, s.length(text)))
	return []rune(text)
}

// runeOffset is where in the text the n-th character begins; n is at most the
// number of characters.
func runeOffset(text string, n int) int {
	for i := range text {
		if n == 0 {
			return i
		}
		n--
	}
	return len(text)
}

// slice is value[from:to:step].
func (s *state) slice(value any, bounds [3]any) any {
	bound := func(i int) (int, bool) {
		if bounds[i] == nil {
			return 0, false
		}
		n, ok := number(bounds[i])
		if j, isInt := n.(int64); ok && isInt {
			return int(max(min(j, 1<<40), -1<<40)), true
		}
		fail("a slice with a %s", typeName(bounds[i]))
		return 0, false
	}
	step, ok := bound(2)
	if !ok {
		step = 1
	}
	if step == 0 {
		fail("a slice with step 0")
	}
	// places are those that the slice takes in a sequence of n: the first and how many.
	places := func(n int) (from, count int) {
		from, to := 0, n
		low, high := 0, n
		if step < 0 {
			from, to = n-1, -1
			low, high = -1, n-1
		}
		clamp := func(i int) int {
			if i < 0 {
				i += n
			}
			return max(low, min(high, i))
		}
		if i, ok := bound(0); ok {
			from = clamp(i)
		}
		if i, ok := bound(1); ok {
			to = clamp(i)
		}
		switch {
		case step > 0 && from < to:
			count = (to - from + step - 1) / step
		case step < 0 && from > to:
			count = (from - to - step - 1) / -step
		}
		return from, count
	}
	switch v := plain(value).(type) {
	case string:
		from, count := places(int(s.length(v)))
		if step == 1 {
			s.walk(len(v))
			v = v[runeOffset(v, from):]
			return like(value, v[:runeOffset(v, count)])
		}
		runes := s.runes(v)
		s.text(product(utf8.UTFMax, int64(count)))
		out := make([]rune, count)
		for i := range out {
			out[i] = runes[from+i*step]
		}
		return like(value, string(out))
	case *list:
		from, count := places(len(v.items))
		s.list(count)
		out := &list{items: make([]any, count), tuple: v.tuple}
		for i := range out.items {
			out.items[i] = v.items[from+i*step]
		}
		return out
	}
	fail("a slice of a %s", typeName(value))
	return nil
}

// length is the number of items or characters.
func (s *state) length(value any) int64 {
	switch v := plain(value).(type) {
	case undefined:
		return 0
	case string:
		s.read(len(v))
		return int64(utf8.RuneCountInString(v))
	case *list:
		return int64(len(v.items))
	case *dict:
		return int64(len(v.keys))
	case *loop:
		return int64(len(v.items))
	}
	fail("a %s has no length", typeName(value))
	return 0
}

// macro is a macro as it is written.
type macro struct {
	name       string
	parameters []string
	defaults   []expression // nil: none
	body       []statement
}

// closure is a macro with the scope that it sees.
type closure struct {
	*macro
	scope *scope
}

func (m *macro) close(s *state) *closure { return &closure{m, s.scope} }

// call calls a function.
func (s *state) call(function any, given arguments) any {
	s.spend(1)
	switch f := function.(type) {
	case builtin:
		return f(s, given)
	case *closure:
		return s.callMacro(f, given)
	case *loop:
		if f.again != nil && len(given.values) == 1 {
			return f.again(s, given.values[0])
		}
	case undefined:
		fail("%q is undefined and cannot be called", f.name)
	}
	fail("a %s cannot be called", typeName(function))
	return nil
}

func (s *state) callMacro(m *closure, given arguments) any {
	if s.calls++; s.calls > maxCalls {
		fail("macros call each other more than %d deep", maxCalls)
	}
	outer := s.scope
	s.scope = m.scope.child()
	defer func() {
		s.scope = outer
		s.calls--
	}()
	s.hold(entrySize * (1 + len(m.parameters)))
	bound := make([]bool, len(m.parameters))
	positional := len(given.values) - len(given.names)
	rest := &list{tuple: true}
	s.list(positional)
	for i, value := range given.values[:positional] {
		if i < len(m.parameters) {
			s.scope.vars[m.parameters[i]], bound[i] = value, true
		} else {
			rest.items = append(rest.items, value)
		}
	}
	named := &dict{}
	for i, name := range given.names {
		value := given.values[positional+i]
		switch at := slices.Index(m.parameters, name); {
		case at < 0 && name == "caller":
			s.scope.vars["caller"] = value
		case at < 0:
			named.set(s, name, value)
		case bound[at]:
			fail("the macro %q gets %q twice", m.name, name)
		default:
			s.scope.vars[name], bound[at] = value, true
		}
	}
	s.scope.vars["varargs"], s.scope.vars["kwargs"] = rest, named
	if given.caller != nil {
		s.scope.vars["caller"] = given.caller
	}
	for i, name := range m.parameters {
		if bound[i] {
			continue
		}
		s.scope.vars[name] = undefined{name}
		if m.defaults[i] != nil {
			s.scope.vars[name] = m.defaults[i](s)
		}
	}
	return s.capture(m.body)
}

// loop is the variable "loop" of a for block.
type loop struct {
	items   []any
	index   int
	depth   int
	again   func(s *state, value any) string // nil: not recursive
	changed any
}

func (l *loop) attribute(name string) any {
	n := len(l.items)
	at := func(i int) any {
		if i < 0 || i >= n {
			return undefined{name}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return int64(l.index + 1)
	case "index0":
		return int64(l.index)
	case "revindex":
		return int64(n - l.index)
	case "revindex0":
		return int64(n - l.index - 1)
	case "first":
		return l.index == 0
	case "last":
		return l.index == n-1
	case "length":
		return int64(n)
	case "depth":
		return int64(l.depth + 1)
	case "depth0":
		return int64(l.depth)
	case "previtem":
		return at(l.index - 1)
	case "nextitem":
		return at(l.index + 1)
	case "cycle":
		index := l.index
		return builtin(func(_ *state, given arguments) any {
			if len(given.values) == 0 {
				fail("loop.cycle without values")
			}
			return given.values[index%len(given.values)]
		})
	case "changed":
		return builtin(func(s *state, given arguments) any {
			now := &list{items: given.values, tuple: true}
			same := l.changed != nil && s.equal(l.changed, now, 0)
			l.changed = now
			return !same
		})
	}
	return undefined{name}
}
