package torch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// surroundings are what a pickle may ask for.
type surroundings struct {
	// storage returns the storage of an id.
	storage func(id any) (*storage, error)
	// file reads a file inside the pickle; nil where there must be none.
	file func(data []byte) (any, error)
}

// unpickle runs one pickle and returns its value and what follows it.
func unpickle(data []byte, around surroundings) (value any, rest []byte, err error) {
	m := &machine{surroundings: around, data: data, nested: len(data), memo: map[uint64]any{}}
	for {
		start := m.at
		op, err := m.byte()
		if err == nil && op == opStop {
			value, err := m.pop()
			return value, m.data[m.at:], err
		}
		if err == nil {
			run, known := instructions[op]
			if !known {
				return nil, nil, fmt.Errorf("pickle: instruction %s at byte %d is not allowed", nameOf(op), start)
			}
			err = run(m)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("pickle: at byte %d: %w", start, err)
		}
	}
}

// machine is the stack machine that pickles are programs of. Each instruction
// pushes one value at most, so its memory is bounded by the length of the data.
type machine struct {
	surroundings
	data   []byte
	at     int
	stack  []any
	memo   map[uint64]any
	nested int // bytes that files inside the pickle may still have
}

// mark is where a group of values begins on the stack.
type mark struct{}

// class is a name that a pickle looks up, one of those that are allowed.
type class struct{ module, name string }

func (c class) String() string { return c.module + "." + c.name }

var errEnd = errors.New("it ends in the middle")

func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.at) {
		return nil, errEnd
	}
	m.at += int(n)
	return m.data[m.at-int(n) : m.at], nil
}

func (m *machine) byte() (byte, error) {
	b, err := m.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// number reads an unsigned number of so many bytes.
func (m *machine) number(size uint64) (uint64, error) {
	b, err := m.take(size)
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), err
}

// line reads up to a line's end.
func (m *machine) line() (string, error) {
	n := bytes.IndexByte(m.data[m.at:], '\n')
	if n < 0 {
		return "", errEnd
	}
	text := string(m.data[m.at : m.at+n])
	m.at += n + 1
	return text, nil
}

func (m *machine) push(value any) { m.stack = append(m.stack, value) }

func (m *machine) pop() (any, error) {
	value, err := m.top()
	if err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return value, err
}

func (m *machine) top() (any, error) {
	if len(m.stack) == 0 {
		return nil, errors.New("the stack is empty")
	}
	value := m.stack[len(m.stack)-1]
	if _, is := value.(mark); is {
		return nil, errors.New("a mark is where a value should be")
	}
	return value, nil
}

// popToMark returns the values above the last mark, and removes both.
func (m *machine) popToMark() ([]any, error) {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if _, is := m.stack[i].(mark); is {
			values := slices.Clone(m.stack[i+1:])
			m.stack = m.stack[:i]
			return values, nil
		}
	}
	return nil, errors.New("there is no mark")
}

// tuple replaces the last n values by a tuple of them.
func (m *machine) tuple(n int) error {
	values := make(Tuple, n)
	for i := n - 1; i >= 0; i-- {
		value, err := m.pop()
		if err != nil {
			return err
		}
		values[i] = value
	}
	m.push(values)
	return nil
}

func (m *machine) remember(key uint64, err error) error {
	if err != nil {
		return err
	}
	value, err := m.top()
	m.memo[key] = value
	return err
}

func (m *machine) recall(key uint64, err error) error {
	if err != nil {
		return err
	}
	value, ok := m.memo[key]
	if !ok {
		return fmt.Errorf("nothing is remembered under %d", key)
	}
	m.push(value)
	return nil
}

func (m *machine) appendTo(values []any) error {
	top, err := m.top()
	if err != nil {
		return err
	}
	list, ok := top.(*List)
	if !ok {
		return fmt.Errorf("values are appended to %s", Describe(top))
	}
	list.Items = append(list.Items, values...)
	return nil
}

func (m *machine) setItems(values []any) error {
	top, err := m.top()
	if err != nil {
		return err
	}
	dict, ok := top.(*Dict)
	if !ok || len(values)%2 != 0 {
		return fmt.Errorf("%d keys and values are set in %s", len(values), Describe(top))
	}
	for i := 0; i < len(values); i += 2 {
		if err := dict.set(values[i], values[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// lookUp pushes a name that is allowed.
func (m *machine) lookUp(module, name string) error {
	c := class{module, name}
	if !c.allowed() {
		return fmt.Errorf("class %q is not one that is rebuilt", c)
	}
	m.push(c)
	return nil
}

const opStop = '.'

// instructions are those that rebuild plain values; the rest of the language
// imports, calls or subclasses.
var instructions = map[byte]func(m *machine) error{
	0x80: func(m *machine) error { // PROTO
		version, err := m.byte()
		if err == nil && version > 5 {
			return fmt.Errorf("version %d of the format is not known", version)
		}
		return err
	},
	0x95: func(m *machine) error { _, err := m.number(8); return err }, // FRAME
	'(':  func(m *machine) error { m.push(mark{}); return nil },        // MARK
	'0':  func(m *machine) error { _, err := m.pop(); return err },     // POP
	'1':  func(m *machine) error { _, err := m.popToMark(); return err },
	'2': func(m *machine) error { // DUP
		value, err := m.top()
		m.push(value)
		return err
	},
	'N':  func(m *machine) error { m.push(nil); return nil },   // NONE
	0x88: func(m *machine) error { m.push(true); return nil },  // NEWTRUE
	0x89: func(m *machine) error { m.push(false); return nil }, // NEWFALSE

	'I': func(m *machine) error { // INT, which also writes booleans
		text, err := m.line()
		if err != nil {
			return err
		}
		if text == "00" || text == "01" {
			m.push(text == "01")
			return nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		m.push(n)
		return err
	},
	'J': func(m *machine) error { n, err := m.number(4); m.push(int64(int32(n))); return err }, // BININT
	'K': func(m *machine) error { n, err := m.number(1); m.push(int64(n)); return err },        // BININT1
	'M': func(m *machine) error { n, err := m.number(2); m.push(int64(n)); return err },        // BININT2
	0x8a: func(m *machine) error { // LONG1
		size, err := m.number(1)
		return m.long(size, err)
	},
	0x8b: func(m *machine) error { // LONG4
		size, err := m.number(4)
		return m.long(size, err)
	},
	'F': func(m *machine) error { // FLOAT
		text, err := m.line()
		if err != nil {
			return err
		}
		x, err := strconv.ParseFloat(text, 64)
		m.push(x)
		return err
	},
	'G': func(m *machine) error { // BINFLOAT
		b, err := m.take(8)
		if err != nil {
			return err
		}
		m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
		return nil
	},

	'T':  func(m *machine) error { return m.text(4) }, // BINSTRING
	'U':  func(m *machine) error { return m.text(1) }, // SHORT_BINSTRING
	'X':  func(m *machine) error { return m.text(4) }, // BINUNICODE
	0x8c: func(m *machine) error { return m.text(1) }, // SHORT_BINUNICODE
	0x8d: func(m *machine) error { return m.text(8) }, // BINUNICODE8
	'V': func(m *machine) error { // UNICODE
		text, err := m.line()
		m.push(text)
		return err
	},
	'B':  func(m *machine) error { return m.bytes(4) }, // BINBYTES
	'C':  func(m *machine) error { return m.bytes(1) }, // SHORT_BINBYTES
	0x8e: func(m *machine) error { return m.bytes(8) }, // BINBYTES8

	']': func(m *machine) error { m.push(&List{}); return nil }, // EMPTY_LIST
	'l': func(m *machine) error { // LIST
		values, err := m.popToMark()
		m.push(&List{values})
		return err
	},
	'a': func(m *machine) error { // APPEND
		value, err := m.pop()
		if err != nil {
			return err
		}
		return m.appendTo([]any{value})
	},
	'e': func(m *machine) error { // APPENDS
		values, err := m.popToMark()
		if err != nil {
			return err
		}
		return m.appendTo(values)
	},
	')': func(m *machine) error { m.push(Tuple{}); return nil }, // EMPTY_TUPLE
	't': func(m *machine) error { // TUPLE
		values, err := m.popToMark()
		m.push(Tuple(values))
		return err
	},
	0x85: func(m *machine) error { return m.tuple(1) },
	0x86: func(m *machine) error { return m.tuple(2) },
	0x87: func(m *machine) error { return m.tuple(3) },
	'}':  func(m *machine) error { m.push(&Dict{}); return nil }, // EMPTY_DICT
	'd': func(m *machine) error { // DICT
		values, err := m.popToMark()
		if err != nil {
			return err
		}
		m.push(&Dict{})
		return m.setItems(values)
	},
	's': func(m *machine) error { // SETITEM
		value, err := m.pop()
		if err != nil {
			return err
		}
		key, err := m.pop()
		if err != nil {
			return err
		}
		return m.setItems([]any{key, value})
	},
	'u': func(m *machine) error { // SETITEMS
		values, err := m.popToMark()
		if err != nil {
			return err
		}
		return m.setItems(values)
	},

	'p':  func(m *machine) error { return m.remember(m.lineNumber()) },           // PUT
	'q':  func(m *machine) error { return m.remember(m.number(1)) },              // BINPUT
	'r':  func(m *machine) error { return m.remember(m.number(4)) },              // LONG_BINPUT
	0x94: func(m *machine) error { return m.remember(uint64(len(m.memo)), nil) }, // MEMOIZE
	'g':  func(m *machine) error { return m.recall(m.lineNumber()) },             // GET
	'h':  func(m *machine) error { return m.recall(m.number(1)) },                // BINGET
	'j':  func(m *machine) error { return m.recall(m.number(4)) },                // LONG_BINGET

	'c': func(m *machine) error { // GLOBAL
		module, err := m.line()
		if err != nil {
			return err
		}
		name, err := m.line()
		if err != nil {
			return err
		}
		return m.lookUp(module, name)
	},
	0x93: func(m *machine) error { // STACK_GLOBAL
		name, err := m.pop()
		if err != nil {
			return err
		}
		module, err := m.pop()
		if err != nil {
			return err
		}
		a, isText := module.(string)
		b, isTextToo := name.(string)
		if !isText || !isTextToo {
			return fmt.Errorf("a class is named by %s and %s", Describe(module), Describe(name))
		}
		return m.lookUp(a, b)
	},
	'Q': func(m *machine) error { // BINPERSID
		id, err := m.pop()
		if err != nil {
			return err
		}
		found, err := m.storage(id)
		m.push(found)
		return err
	},
	'R': func(m *machine) error { // REDUCE
		arguments, err := m.pop()
		if err != nil {
			return err
		}
		callee, err := m.pop()
		if err != nil {
			return err
		}
		value, err := m.rebuild(callee, arguments)
		m.push(value)
		return err
	},
	0x81: func(m *machine) error { // NEWOBJ
		arguments, err := m.pop()
		if err != nil {
			return err
		}
		of, err := m.pop()
		if err != nil {
			return err
		}
		value, err := newObject(of, arguments)
		m.push(value)
		return err
	},
	'b': func(m *machine) error { // BUILD
		state, err := m.pop()
		if err != nil {
			return err
		}
		of, err := m.top()
		if err != nil {
			return err
		}
		return build(of, state)
	},
}

func (m *machine) text(size uint64) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	b, err := m.take(n)
	m.push(string(b))
	return err
}

func (m *machine) bytes(size uint64) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	b, err := m.take(n)
	m.push(b)
	return err
}

// long reads a whole number of size bytes, signed, the lowest first.
func (m *machine) long(size uint64, err error) error {
	if err != nil {
		return err
	}
	b, err := m.take(size)
	if err != nil {
		return err
	}
	if len(b) > 8 {
		return fmt.Errorf("a whole number has %d bytes", len(b))
	}
	var n int64
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | int64(b[i])
	}
	if unused := 64 - 8*len(b); len(b) > 0 {
		n = n << unused >> unused // the sign
	}
	m.push(n)
	return nil
}

func (m *machine) lineNumber() (uint64, error) {
	text, err := m.line()
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// names of the instructions that are not allowed.
var names = map[byte]string{
	'L': "LONG", 'S': "STRING", 0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER", 0x8f: "EMPTY_SET", 0x90: "ADDITEMS",
	0x91: "FROZENSET", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 'i': "INST", 'o': "OBJ", 0x92: "NEWOBJ_EX", 'P': "PERSID",
}

func nameOf(op byte) string {
	if name, ok := names[op]; ok {
		return fmt.Sprintf("%s (0x%02x)", name, op)
	}
	return fmt.Sprintf("0x%02x", op)
}
