package tokenizer

// trie is a set of strings, each with a value, to be walked byte by byte
// from node 0.
type trie struct {
	first  [256]int32 // node after the first byte, 0: none
	edges  map[uint64]int32
	values []int32 // by node, -1: no string ends there
}

func (t *trie) add(s string, value int32) {
	if t.values == nil {
		t.values = []int32{-1}
		t.edges = map[uint64]int32{}
	}
	node := int32(0)
	for i := range len(s) {
		next := t.next(node, s[i])
		if next < 0 {
			next = int32(len(t.values))
			t.values = append(t.values, -1)
			if node == 0 {
				t.first[s[i]] = next
			} else {
				t.edges[uint64(node)<<8|uint64(s[i])] = next
			}
		}
		node = next
	}
	if node != 0 {
		t.values[node] = value
	}
}

// next is the node after byte b, -1 when no string goes on so.
func (t *trie) next(node int32, b byte) int32 {
	next := t.first[b]
	if node != 0 {
		next = t.edges[uint64(node)<<8|uint64(b)]
	}
	if next == 0 {
		return -1
	}
	return next
}

// value is the value of the string that ends at node, -1 when none does.
func (t *trie) value(node int32) int32 { return t.values[node] }

// longest is the value and the length of the longest string that s begins
// with, -1 when there is none.
func (t *trie) longest(s string) (value int32, length int) {
	value = -1
	node := int32(0)
	for i := range len(s) {
		if node = t.next(node, s[i]); node < 0 {
			break
		}
		if v := t.values[node]; v >= 0 {
			value, length = v, i+1
		}
	}
	return value, length
}
