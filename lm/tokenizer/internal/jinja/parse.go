package jinja

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parser turns tokens into statements and expressions that can be run.
type parser struct {
	tokens []token
	at     int
	depth  int
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) take() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

func (p *parser) fail(format string, values ...any) {
	fail("line %d: %s", p.peek().line, fmt.Sprintf(format, values...))
}

// enter counts nesting; it is undone by the function that it returns.
func (p *parser) enter() func() {
	if p.depth++; p.depth > maxNesting {
		p.fail("nested more than %d deep", maxNesting)
	}
	return func() { p.depth-- }
}

func (p *parser) is(kind tokenKind, texts ...string) bool {
	t := p.peek()
	return t.kind == kind && slices.Contains(texts, t.text)
}

func (p *parser) accept(kind tokenKind, text string) bool {
	if p.is(kind, text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) operator(text string) bool { return p.accept(tokenOperator, text) }
func (p *parser) word(text string) bool     { return p.accept(tokenName, text) }

func (p *parser) expect(kind tokenKind, text string) {
	if !p.accept(kind, text) {
		p.fail("expected %q, found %s", text, p.peek())
	}
}

func (p *parser) name() string {
	if p.peek().kind != tokenName {
		p.fail("expected a name, found %s", p.peek())
	}
	return p.take().text
}

func (p *parser) endBlock() {
	if p.peek().kind != tokenBlockEnd {
		p.fail("expected the end of the block, found %s", p.peek())
	}
	p.at++
}

// body reads statements up to the end or to a block that begins with one of
// the words in until. Of that block, "{%" and the word are taken.
func (p *parser) body(until ...string) []statement {
	defer p.enter()()
	var body []statement
	for {
		switch t := p.take(); t.kind {
		case tokenEnd:
			if len(until) > 0 {
				p.fail("expected one of %q", until)
			}
			return body
		case tokenText:
			body = append(body, func(s *state) signal {
				s.out.put(t.text)
				return next
			})
		case tokenPrintBegin:
			value := p.tuple()
			if p.peek().kind != tokenPrintEnd {
				p.fail("expected \"}}\", found %s", p.peek())
			}
			p.at++
			body = append(body, func(s *state) signal {
				s.out.put(s.str(value(s)))
				return next
			})
		case tokenBlockBegin:
			word := p.name()
			if slices.Contains(until, word) {
				return body
			}
			body = append(body, p.block(word))
		default:
			p.fail("unexpected %s", t)
		}
	}
}

// ended is the word of the block at which the last body ended.
func (p *parser) ended() string { return p.tokens[p.at-1].text }

// block reads the rest of a block after its first word.
func (p *parser) block(word string) statement {
	switch word {
	case "if":
		return p.ifBlock()
	case "for":
		return p.forBlock()
	case "set":
		return p.setBlock()
	case "macro":
		name := p.name()
		m := p.macro("endmacro", name)
		return func(s *state) signal {
			s.hold(closureSize)
			s.scope.vars[name] = m.close(s)
			return next
		}
	case "call":
		return p.callBlock()
	case "filter":
		filters := p.filter(p.name())
		for p.operator("|") {
			filters = chain(filters, p.filter(p.name()))
		}
		p.endBlock()
		body := p.body("endfilter")
		p.endBlock()
		return func(s *state) signal {
			defer s.nest()()
			s.out.put(s.str(filters(s, s.capture(body))))
			return next
		}
	case "with":
		return p.withBlock()
	case "generation": // marks the assistant's text; prints it as it is
		p.endBlock()
		body := p.body("endgeneration")
		p.endBlock()
		return func(s *state) signal { return s.run(body) }
	case "break":
		p.endBlock()
		return func(*state) signal { return leaveLoop }
	case "continue":
		p.endBlock()
		return func(*state) signal { return nextIteration }
	}
	p.fail("the block %q is not known", word)
	return nil
}

// nest opens a scope; the function that it returns closes it.
func (s *state) nest() func() {
	s.spend(10)
	outer := s.scope
	s.scope = outer.child()
	return func() { s.scope = outer }
}

func (p *parser) ifBlock() statement {
	type branch struct {
		condition expression // nil: else
		body      []statement
	}
	var branches []branch
	condition := p.tuple()
	for {
		p.endBlock()
		body := p.body("elif", "else", "endif")
		branches = append(branches, branch{condition, body})
		word := p.ended()
		if word == "endif" {
			p.endBlock()
			break
		}
		if condition == nil {
			p.fail("%q after else", word)
		}
		condition = nil
		if word == "elif" {
			condition = p.tuple()
		}
	}
	return func(s *state) signal {
		for _, b := range branches {
			if b.condition == nil || truth(b.condition(s)) {
				return s.run(b.body)
			}
		}
		return next
	}
}

// targets reads the names that are assigned to, "a" or "a, b".
func (p *parser) targets(stop string) []string {
	parentheses := p.operator("(")
	names := []string{p.name()}
	for p.operator(",") {
		if p.is(tokenName, stop) || p.is(tokenOperator, stop, ")") {
			break
		}
		names = append(names, p.name())
	}
	if parentheses {
		p.expect(tokenOperator, ")")
	}
	return names
}

// assign gives value to one name, or its items to several.
func (s *state) assign(names []string, value any) {
	if len(names) == 1 {
		s.scope.vars[names[0]] = value
		return
	}
	items := s.items(value)
	if len(items) != len(names) {
		fail("%d values for %d names", len(items), len(names))
	}
	for i, name := range names {
		s.scope.vars[name] = items[i]
	}
}

func (p *parser) forBlock() statement {
	names := p.targets("in")
	p.expect(tokenName, "in")
	over := p.tupleOf(p.or)
	var only expression
	if p.word("if") {
		only = p.expression()
	}
	recursive := p.word("recursive")
	p.endBlock()
	body := p.body("else", "endfor")
	var otherwise []statement
	if p.ended() == "else" {
		p.endBlock()
		otherwise = p.body("endfor")
	}
	p.endBlock()

	var run func(s *state, value any, depth int) signal
	run = func(s *state, value any, depth int) signal {
		if depth > maxNesting {
			fail("a loop calls itself more than %d deep", maxNesting)
		}
		items := s.items(value)
		if only != nil {
			var kept []any
			s.list(len(items))
			for _, item := range items {
				leave := s.nest()
				s.assign(names, item)
				if truth(only(s)) {
					kept = append(kept, item)
				}
				leave()
			}
			items = kept
		}
		l := &loop{items: items, depth: depth}
		if recursive {
			inside := s.scope
			l.again = func(s *state, value any) string {
				outer, out := s.scope, s.out
				s.scope = inside
				text := s.capture([]statement{func(s *state) signal { return run(s, value, depth+1) }})
				s.scope, s.out = outer, out
				return text
			}
		}
		for i, item := range items {
			leave := s.nest()
			l.index = i
			s.assign(names, item)
			s.scope.vars["loop"] = l
			end := s.run(body)
			leave()
			if end == leaveLoop {
				break
			}
		}
		if len(items) == 0 {
			defer s.nest()()
			return s.run(otherwise)
		}
		return next
	}
	return func(s *state) signal { return run(s, over(s), 0) }
}

func (p *parser) setBlock() statement {
	if p.at+1 < len(p.tokens) && p.tokens[p.at+1].text == "." && p.tokens[p.at+1].kind == tokenOperator {
		object := p.name()
		p.expect(tokenOperator, ".")
		attribute := p.name()
		set := func(s *state, value any) {
			ns, ok := s.variable(object).(*namespace)
			if !ok {
				fail("cannot set an attribute of %q, which is not a namespace", object)
			}
			ns.set(s, attribute, value)
		}
		value := p.setValue()
		return func(s *state) signal {
			set(s, value(s))
			return next
		}
	}
	names := p.targets("=")
	value := p.setValue()
	return func(s *state) signal {
		s.assign(names, value(s))
		return next
	}
}

// setValue reads "= value %}", or the body of a set block.
func (p *parser) setValue() expression {
	if p.operator("=") {
		value := p.tuple()
		p.endBlock()
		return value
	}
	var filters filter
	for p.operator("|") {
		filters = chain(filters, p.filter(p.name()))
	}
	p.endBlock()
	body := p.body("endset")
	p.endBlock()
	return func(s *state) any {
		defer s.nest()()
		text := any(s.capture(body))
		if filters != nil {
			text = filters(s, text)
		}
		return text
	}
}

func (p *parser) withBlock() statement {
	var names []string
	var values []expression
	for p.peek().kind == tokenName {
		names = append(names, p.name())
		p.expect(tokenOperator, "=")
		values = append(values, p.expression())
		if !p.operator(",") {
			break
		}
	}
	p.endBlock()
	body := p.body("endwith")
	p.endBlock()
	return func(s *state) signal {
		var computed []any
		for _, value := range values {
			computed = append(computed, value(s))
		}
		defer s.nest()()
		for i, name := range names {
			s.scope.vars[name] = computed[i]
		}
		return s.run(body)
	}
}

func (p *parser) callBlock() statement {
	var header *macro
	if p.is(tokenOperator, "(") {
		header = &macro{name: "caller"}
		p.parameters(header)
	} else {
		header = &macro{name: "caller"}
	}
	called := p.expression()
	p.endBlock()
	header.body = p.body("endcall")
	p.endBlock()
	return func(s *state) signal {
		s.hold(closureSize)
		s.caller = header.close(s)
		s.out.put(s.str(called(s)))
		s.caller = nil
		return next
	}
}

// macro reads a macro from its parameters on.
func (p *parser) macro(end, name string) *macro {
	m := &macro{name: name}
	p.parameters(m)
	p.endBlock()
	m.body = p.body(end)
	p.endBlock()
	return m
}

func (p *parser) parameters(m *macro) {
	p.expect(tokenOperator, "(")
	for !p.operator(")") {
		m.parameters = append(m.parameters, p.name())
		var byDefault expression
		if p.operator("=") {
			byDefault = p.expression()
		}
		m.defaults = append(m.defaults, byDefault)
		if !p.operator(",") {
			p.expect(tokenOperator, ")")
			break
		}
	}
}

// tuple reads an expression, or several as a tuple.
func (p *parser) tuple() expression { return p.tupleOf(p.expression) }

func (p *parser) tupleOf(one func() expression) expression {
	first := one()
	if !p.is(tokenOperator, ",") {
		return first
	}
	items := []expression{first}
	for p.operator(",") {
		if t := p.peek(); t.kind == tokenPrintEnd || t.kind == tokenBlockEnd || p.is(tokenOperator, ")", "=") {
			break
		}
		items = append(items, one())
	}
	return func(s *state) any { return &list{items: s.all(items), tuple: true} }
}

func (s *state) all(expressions []expression) []any {
	s.list(len(expressions))
	values := make([]any, len(expressions))
	for i, e := range expressions {
		values[i] = e(s)
	}
	return values
}

// expression reads "a", or "a if condition else b".
func (p *parser) expression() expression {
	defer p.enter()()
	value := p.or()
	for p.word("if") {
		then := value
		condition := p.or()
		otherwise := func(*state) any { return undefined{"the missing else of an inline if"} }
		if p.word("else") {
			otherwise = p.expression()
		}
		value = func(s *state) any {
			s.spend(1)
			if truth(condition(s)) {
				return then(s)
			}
			return otherwise(s)
		}
	}
	return value
}

func (p *parser) or() expression {
	terms := []expression{p.and()}
	for p.word("or") {
		terms = append(terms, p.and())
	}
	return firstWhere(terms, true)
}

func (p *parser) and() expression {
	terms := []expression{p.not()}
	for p.word("and") {
		terms = append(terms, p.not())
	}
	return firstWhere(terms, false)
}

// firstWhere is the first term whose truth is stop, or the last term.
func firstWhere(terms []expression, stop bool) expression {
	if len(terms) == 1 {
		return terms[0]
	}
	return func(s *state) any {
		var value any
		for _, term := range terms {
			s.spend(1)
			if value = term(s); truth(value) == stop {
				break
			}
		}
		return value
	}
}

func (p *parser) not() expression {
	if !p.word("not") {
		return p.compare()
	}
	defer p.enter()()
	value := p.not()
	return func(s *state) any { return !truth(value(s)) }
}

// step is an operator with its right side, of a chain a + b - c.
type step struct {
	operator string
	right    expression
}

func (p *parser) compare() expression {
	first := p.sum()
	var steps []step
	for {
		t := p.peek()
		switch {
		case p.is(tokenOperator, "==", "!=", "<", ">", "<=", ">="), p.is(tokenName, "in"):
			p.at++
			steps = append(steps, step{t.text, p.sum()})
			continue
		case p.is(tokenName, "not") && p.tokens[p.at+1].kind == tokenName && p.tokens[p.at+1].text == "in":
			p.at += 2
			steps = append(steps, step{"not in", p.sum()})
			continue
		}
		break
	}
	if steps == nil {
		return first
	}
	return func(s *state) any {
		left := first(s)
		for _, next := range steps {
			right := next.right(s)
			if !s.compare(next.operator, left, right) {
				return false
			}
			left = right
		}
		return true
	}
}

// leftChain reads a chain of operators of equal rank.
func (p *parser) leftChain(term func() expression, operators ...string) expression {
	first := term()
	var steps []step
	for p.is(tokenOperator, operators...) {
		operator := p.take().text
		steps = append(steps, step{operator, term()})
	}
	if steps == nil {
		return first
	}
	return func(s *state) any {
		value := first(s)
		for _, next := range steps {
			value = s.binary(next.operator, value, next.right(s))
		}
		return value
	}
}

func (p *parser) sum() expression     { return p.leftChain(p.concat, "+", "-") }
func (p *parser) concat() expression  { return p.leftChain(p.product, "~") }
func (p *parser) product() expression { return p.leftChain(p.power, "*", "/", "//", "%") }
func (p *parser) power() expression   { return p.leftChain(p.unary, "**") }
func (p *parser) unary() expression   { return p.filtered(p.signed()) }

func (p *parser) signed() expression {
	if !p.is(tokenOperator, "-", "+") {
		return p.postfix(p.primary())
	}
	defer p.enter()()
	negative := p.take().text == "-"
	value := p.signed()
	return func(s *state) any {
		if negative {
			return s.binary("-", int64(0), value(s))
		}
		return s.binary("+", int64(0), value(s))
	}
}

func (p *parser) primary() expression {
	t := p.take()
	constant := func(value any) expression { return func(*state) any { return value } }
	switch t.kind {
	case tokenName:
		switch t.text {
		case "true", "True":
			return constant(true)
		case "false", "False":
			return constant(false)
		case "none", "None":
			return constant(nil)
		}
		return func(s *state) any { return s.variable(t.text) }
	case tokenString:
		text := []string{t.text}
		for p.peek().kind == tokenString {
			text = append(text, p.take().text)
		}
		return constant(strings.Join(text, ""))
	case tokenInt:
		value, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			p.fail("the number %s is too large", t.text)
		}
		return constant(value)
	case tokenFloat:
		value, _ := strconv.ParseFloat(t.text, 64)
		return constant(value)
	}
	if t.kind == tokenOperator {
		switch t.text {
		case "(":
			if p.operator(")") {
				return constant(&list{tuple: true})
			}
			value := p.tuple()
			p.expect(tokenOperator, ")")
			return value
		case "[":
			var items []expression
			for !p.operator("]") {
				items = append(items, p.expression())
				if !p.operator(",") {
					p.expect(tokenOperator, "]")
					break
				}
			}
			return func(s *state) any { return &list{items: s.all(items)} }
		case "{":
			return p.dictionary()
		}
	}
	p.at--
	p.fail("unexpected %s", t)
	return nil
}

func (p *parser) dictionary() expression {
	var keys, values []expression
	for !p.operator("}") {
		keys = append(keys, p.expression())
		p.expect(tokenOperator, ":")
		values = append(values, p.expression())
		if !p.operator(",") {
			p.expect(tokenOperator, "}")
			break
		}
	}
	return func(s *state) any {
		d := &dict{}
		for i, key := range keys {
			d.set(s, key(s), values[i](s))
		}
		return d
	}
}

// postfix reads ".name", "[index]" and "(arguments)" after a value.
func (p *parser) postfix(value expression) expression {
	var steps []func(s *state, value any) any
	for {
		switch {
		case p.operator("."):
			if t := p.peek(); t.kind == tokenInt {
				p.at++
				index, _ := strconv.ParseInt(t.text, 10, 64)
				steps = append(steps, func(s *state, value any) any { return s.item(value, index) })
				continue
			}
			name := p.name()
			steps = append(steps, func(s *state, value any) any { return s.attribute(value, name) })
			continue
		case p.operator("["):
			steps = append(steps, p.subscript())
			continue
		case p.operator("("):
			arguments := p.arguments()
			steps = append(steps, func(s *state, value any) any { return s.call(value, arguments(s)) })
			continue
		}
		break
	}
	return follow(value, steps)
}

func follow(value expression, steps []func(s *state, value any) any) expression {
	if steps == nil {
		return value
	}
	return func(s *state) any {
		v := value(s)
		for _, step := range steps {
			s.spend(1)
			v = step(s, v)
		}
		return v
	}
}

func (p *parser) subscript() func(s *state, value any) any {
	var parts [3]expression
	n, slice := 0, false
	for !p.operator("]") {
		if p.operator(":") {
			slice = true
			if n++; n > 2 {
				p.fail("too many colons")
			}
			continue
		}
		if parts[n] != nil {
			p.fail("expected \"]\", found %s", p.peek())
		}
		parts[n] = p.tuple()
	}
	if !slice {
		index := parts[0]
		if index == nil {
			p.fail("an empty index")
		}
		return func(s *state, value any) any { return s.item(value, index(s)) }
	}
	return func(s *state, value any) any {
		var bounds [3]any
		for i, part := range parts {
			if part != nil {
				bounds[i] = part(s)
			}
		}
		return s.slice(value, bounds)
	}
}

// arguments are the values given to a call.
type arguments struct {
	values []any
	names  []string // of the last len(names) values
	caller any
}

func (p *parser) arguments() func(s *state) arguments {
	var values []expression
	var names []string
	for !p.operator(")") {
		if t := p.peek(); t.kind == tokenName && p.tokens[p.at+1].kind == tokenOperator && p.tokens[p.at+1].text == "=" {
			p.at += 2
			names = append(names, t.text)
		} else if names != nil {
			p.fail("a positional argument after a named one")
		}
		values = append(values, p.expression())
		if !p.operator(",") {
			p.expect(tokenOperator, ")")
			break
		}
	}
	return func(s *state) arguments {
		caller := s.caller
		s.caller = nil
		return arguments{s.all(values), names, caller}
	}
}

// filtered reads "| filter" and "is test" after a value.
func (p *parser) filtered(value expression) expression {
	var steps []func(s *state, value any) any
	for {
		switch {
		case p.operator("|"):
			steps = append(steps, p.filter(p.name()))
			continue
		case p.word("is"):
			steps = append(steps, p.test())
			continue
		case p.operator("("):
			arguments := p.arguments()
			steps = append(steps, func(s *state, value any) any { return s.call(value, arguments(s)) })
			continue
		}
		break
	}
	return follow(value, steps)
}

// filter computes a value from another.
type filter = func(s *state, value any) any

func chain(first, second filter) filter {
	if first == nil {
		return second
	}
	return func(s *state, value any) any { return second(s, first(s, value)) }
}

func (p *parser) filter(name string) filter {
	given := func(*state) arguments { return arguments{} }
	if p.operator("(") {
		given = p.arguments()
	}
	return func(s *state, value any) any { return s.filter(name, value, given(s)) }
}

func (p *parser) test() filter {
	negated := p.word("not")
	name := p.name()
	given := func(*state) arguments { return arguments{} }
	t := p.peek()
	switch {
	case p.operator("("):
		given = p.arguments()
	case t.kind == tokenString, t.kind == tokenInt, t.kind == tokenFloat, p.is(tokenOperator, "[", "{"),
		t.kind == tokenName && !slices.Contains([]string{"else", "or", "and", "is", "if", "in", "not", "recursive"}, t.text):
		value := p.postfix(p.primary())
		given = func(s *state) arguments { return arguments{values: []any{value(s)}} }
	}
	return func(s *state, value any) any { return s.test(name, value, given(s)) != negated }
}
