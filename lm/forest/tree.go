package forest

import (
	"container/heap"
	"fmt"
	"slices"
)

// Tree is a forest of computed tokens: a token is found again by all tokens
// before it and by what acts on each. It has one user at a time.
//
// Tokens are added while a run is packed and count as computed once the run has
// succeeded ([Tree.Commit]); after one that failed they go ([Tree.Discard]). A
// [Branch] holds what is in use; what nobody holds stays while there is room, and
// the least recently used leaves go first.
//
// Some models keep, beside what lies in the slots of tokens, a state that every
// token changes. The tree numbers states: it keeps one where a path ends and one
// where paths part, and a branch goes on from there alone (states.go).
type Tree struct {
	pages    Pages
	states   states
	capacity int // slots that may be in use before leaves that nobody holds go
	root     *node
	shared   room // for tokens that are computed many at a time
	added    []*node
	leaves   leaves // that nobody holds
	ends     int    // nodes that have no children
	most     int    // that there may be; 0: any number
	freed    Path   // slots of nodes that have gone since tokens were committed last
	tokens   int
	clock    uint64
	runs     uint64           // that were committed or taken back
	branches map[*Branch]bool // that are held
}

// node is a chain of tokens under one mark, each the parent of the next.
type node struct {
	parent   *node
	mark     Mark
	tokens   []int
	path     Path // of these tokens; its pages are held
	added    int  // tokens at the end that are not computed yet
	children map[key]*node
	holders  int    // branches that end with this node
	used     uint64 // when it was last followed
	at       int    // in the tree's leaves; -1: not there
	state    int    // past the last of the tokens that are computed; 0: none
	next     int    // past the last token, when the run is computed; 0: none
	parts    bool   // paths will part at its end
}

// key is what tells the children of a node apart.
type key struct {
	token int
	mark  Mark
}

// NewTree returns an empty tree that keeps what nobody holds as long as no more
// than capacity slots are in use; 0 keeps nothing. A state counts for so many slots
// as its weight; 0: the model has none. Of paths that end in different nodes it has
// no more than ends, 0 being any number, if branches are extended while it is not
// [Tree.Full]; half of them are for what nobody holds.
func NewTree(capacity, weight, ends int) *Tree {
	return &Tree{states: states{weight: weight}, capacity: capacity, most: ends, root: &node{at: -1}, branches: map[*Branch]bool{}}
}

// Full reports whether no other path may part before the next commit.
func (t *Tree) Full() bool { return t.most > 0 && t.ends >= t.most }

// Freed returns the slots of nodes that have gone since tokens were committed last.
func (t *Tree) Freed() []Span { return t.freed }

// Slots returns the number of slots that exist.
func (t *Tree) Slots() int { return t.pages.Slots() }

// States returns the number of states that exist; they are numbered from 1.
func (t *Tree) States() int { return len(t.states.taken) }

// Used returns the number of slots in pages that are in use, and for which states
// count that are.
func (t *Tree) Used() int { return t.pages.Used() + t.states.used*t.states.weight }

// Tokens returns the number of tokens in the tree.
func (t *Tree) Tokens() int { return t.tokens }

// Branch is a path of the tree from its root, held until it is released.
type Branch struct {
	tree   *Tree
	end    *node
	path   Path
	length int
	own    room // for tokens that come one at a time

	run           uint64 // in which it was last moved
	start         int    // its length before that
	again         int    // tokens of the last extension that the tree had
	before, after int    // states of the last extension
}

// Branch returns an empty branch.
func (t *Tree) Branch() *Branch {
	t.root.holders++
	b := &Branch{tree: t, end: t.root, run: t.runs}
	t.branches[b] = true
	return b
}

// Len returns the number of tokens of the branch.
func (b *Branch) Len() int { return b.length }

// Path returns the slots of the branch's tokens. It is valid until the branch is
// extended.
func (b *Branch) Path() Path { return b.path }

// Follow goes on along the tokens as far as the tree has them, and the state that
// follows on them where there are states. It returns how far.
func (b *Branch) Follow(s Sequence) int {
	if b.tree.states.weight > 0 {
		s = s.Upto(b.resumable(s))
	}
	return b.follow(s)
}

// follow goes on as far as the tree has the tokens.
func (b *Branch) follow(s Sequence) int {
	b.move()
	t, followed := b.tree, 0
	t.clock++
	for followed < len(s.Tokens) {
		next := b.end.children[key{s.Tokens[followed], s.mark(followed)}]
		if next == nil {
			break
		}
		n := next.matches(s.From(followed))
		if n < len(next.tokens) {
			next = t.split(next, n)
		}
		for _, span := range next.path {
			b.path = b.path.With(span)
		}
		b.moveTo(next)
		followed += n
	}
	b.length += followed
	return followed
}

// Extend goes on along the tokens and adds those that the tree lacks. It returns
// how many it had, which are to be computed once more. Where paths part there and no
// state is kept yet, it goes no further, so that one will be. New tokens lie beside those that other branches add to the same
// run; a branch that grows token by token beside others sets so many slots aside
// instead, ahead of need, so that its keys stay neighbours.
func (b *Branch) Extend(s Sequence, ahead int) (had int) {
	b.before = b.end.last()
	t, from := b.tree, b.end
	had = b.follow(s)
	b.again = had
	if had > 0 && had < len(s.Tokens) && t.states.weight > 0 && b.end.last() == 0 {
		s = s.Upto(had)
	}
	slots := &t.shared
	if ahead > 0 {
		slots = &b.own
	}
	for i := had; i < len(s.Tokens); {
		// a stretch of one mark
		n, mark := 1, s.mark(i)
		for i+n < len(s.Tokens) && s.mark(i+n) == mark {
			n++
		}
		end := b.end
		if end == t.root || end.mark != mark || end.holders > 1 || len(end.children) > 0 || end.parts || end.next != 0 {
			end = &node{parent: b.end, mark: mark, at: -1}
			if b.end == t.root || len(b.end.children) > 0 {
				t.ends++
			}
			b.end.put(key{s.Tokens[i], mark}, end)
			b.moveTo(end)
		}
		for left := n; left > 0; {
			span := slots.take(&t.pages, left, max(left, ahead))
			end.add(span, &t.pages)
			b.path = b.path.With(span)
			left -= span.Len
		}
		end.tokens = append(end.tokens, s.Tokens[i:i+n]...)
		if end.added == 0 {
			t.added = append(t.added, end)
		}
		end.added += n
		end.used = t.clock
		t.tokens += n
		b.length += n
		i += n
	}
	if t.states.weight > 0 {
		b.leave(from)
	}
	return had
}

// matches returns how many of the node's tokens a sequence begins with.
func (n *node) matches(s Sequence) int {
	same := 0
	for same < len(n.tokens) && same < len(s.Tokens) && n.tokens[same] == s.Tokens[same] && n.mark == s.mark(same) {
		same++
	}
	return same
}

// add puts slots, whose pages are held for the node, behind those of the node.
func (n *node) add(s Span, pages *Pages) {
	spans := len(n.path)
	n.path = n.path.With(s)
	if len(n.path) == spans && s.Slot%PageSlots != 0 {
		pages.drop(Span{s.Slot, 1}) // the span before holds the page already
	}
}

// move notes where the branch was before the run that is packed. A path that was
// handed out for the run stays as it is.
func (b *Branch) move() {
	if b.run != b.tree.runs {
		b.run, b.start = b.tree.runs, b.length
	} else {
		b.path = slices.Clone(b.path)
	}
}

// moveTo ends the branch with another node.
func (b *Branch) moveTo(to *node) {
	to.holders++
	b.tree.remove(to)
	b.end.holders--
	b.end.used, to.used = b.tree.clock, b.tree.clock
	b.tree.consider(b.end)
	b.end = to
}

// Release lets go of the branch, which must not be used any more. What nobody
// holds then may go at the next commit.
func (b *Branch) Release() {
	t := b.tree
	if t == nil {
		return
	}
	delete(t.branches, b)
	b.own.clear(&t.pages)
	b.end.holders--
	t.consider(b.end)
	*b = Branch{}
}

// Commit says that what was added is computed.
func (t *Tree) Commit() {
	if len(t.added) > 0 {
		t.freed = t.freed[:0]
	}
	t.keepStates()
	for _, n := range t.added {
		n.added = 0
		t.consider(n)
	}
	t.added = t.added[:0]
	t.runs++
	t.shared.clear(&t.pages)
	t.Trim()
}

// Discard takes back what was added since the last commit. Branches return to
// where they were.
func (t *Tree) Discard() {
	for b := range t.branches {
		b.retreat()
	}
	t.dropStates()
	for _, n := range slices.Backward(t.added) {
		keep := len(n.tokens) - n.added
		t.tokens -= n.added
		n.added = 0
		if keep == 0 {
			t.detach(n)
			continue
		}
		n.tokens = n.tokens[:keep]
		head, tail := n.path.cut(keep)
		t.holdBoundary(head, tail)
		t.free(tail)
		n.path = head
		t.consider(n)
	}
	t.added = t.added[:0]
	t.runs++
	t.shared.clear(&t.pages)
	t.Trim()
}

// retreat ends the branch where it ended before the run that is packed. No node
// begins before that and ends later but by tokens that are added.
func (b *Branch) retreat() {
	if b.run != b.tree.runs || b.length == b.start {
		return
	}
	for b.length-len(b.end.tokens) >= b.start && b.end != b.tree.root {
		b.length -= len(b.end.tokens)
		parent := b.end.parent
		parent.holders++
		b.tree.remove(parent)
		b.end.holders--
		b.tree.consider(b.end)
		b.end = parent
	}
	b.length = b.start
	b.path, _ = b.path.cut(b.length)
}

// cut parts a path after n positions.
func (p Path) cut(n int) (head, tail Path) {
	for _, s := range p {
		switch {
		case n >= s.Len:
			head = append(head, s)
		case n <= 0:
			tail = append(tail, s)
		default:
			head = append(head, Span{s.Slot, n})
			tail = append(tail, Span{s.Slot + n, s.Len - n})
		}
		n -= s.Len
	}
	return head, tail
}

// holdBoundary holds the page once more that both parts of a span that was cut
// in two touch.
func (t *Tree) holdBoundary(head, tail Path) {
	if len(head) == 0 || len(tail) == 0 {
		return
	}
	last, first := head[len(head)-1], tail[0]
	if last.Slot+last.Len == first.Slot && first.Slot%PageSlots != 0 {
		t.pages.hold(Span{first.Slot, 1})
	}
}

// split parts a node after n tokens and returns the first part, whose child the
// rest is.
func (t *Tree) split(n *node, at int) *node {
	head, tail := n.path.cut(at)
	t.holdBoundary(head, tail)
	upper := &node{
		parent: n.parent, mark: n.mark, tokens: slices.Clone(n.tokens[:at]), path: head,
		added: max(0, n.added-(len(n.tokens)-at)), used: n.used, at: -1,
	}
	n.parent.put(key{n.tokens[0], n.mark}, upper)
	if upper.added > 0 {
		// what is added later must go first
		t.added = slices.Insert(t.added, slices.Index(t.added, n), upper)
		n.added = len(n.tokens) - at
	}
	if n.added == len(n.tokens)-at { // what is computed is all above
		upper.state, n.state = n.state, 0
	}
	n.parent, n.tokens, n.path = upper, slices.Clone(n.tokens[at:]), tail
	upper.put(key{n.tokens[0], n.mark}, n)
	return upper
}

func (n *node) put(k key, child *node) {
	if n.children == nil {
		n.children = map[key]*node{}
	}
	n.children[k] = child
}

// consider puts a node among the leaves that may go.
func (t *Tree) consider(n *node) {
	if n != t.root && n.holders == 0 && len(n.children) == 0 && n.added == 0 && n.at < 0 {
		heap.Push(&t.leaves, n)
	}
}

func (t *Tree) remove(n *node) {
	if n.at >= 0 {
		heap.Remove(&t.leaves, n.at)
	}
}

// Trim drops the least recently used leaves until what is in use fits. Not
// while a run is packed.
func (t *Tree) Trim() {
	for len(t.leaves) > 0 && (t.Used() > t.capacity || t.most > 0 && t.ends > t.most/2) {
		n := heap.Pop(&t.leaves).(*node)
		t.tokens -= len(n.tokens)
		t.detach(n)
	}
}

// detach takes a leaf out of the tree.
func (t *Tree) detach(n *node) {
	t.free(n.path)
	t.states.free(n.state)
	delete(n.parent.children, key{n.tokens[0], n.mark})
	if n.parent == t.root || len(n.parent.children) > 0 {
		t.ends--
	}
	t.consider(n.parent)
}

func (t *Tree) free(slots Path) {
	for _, s := range slots {
		t.pages.drop(s)
	}
	t.freed = append(t.freed, slots...)
}

// leaves is a heap, the least recently used first.
type leaves []*node

func (l leaves) Len() int           { return len(l) }
func (l leaves) Less(i, j int) bool { return l[i].used < l[j].used }
func (l leaves) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].at, l[j].at = i, j
}
func (l *leaves) Push(n any) {
	n.(*node).at = len(*l)
	*l = append(*l, n.(*node))
}
func (l *leaves) Pop() any {
	last := len(*l) - 1
	n := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	n.at = -1
	return n
}

// Check returns an error where the tree, its branches and its pages contradict
// each other. It visits everything: for tests and for idle moments.
func (t *Tree) Check() error {
	c := check{tree: t, pages: make([]int32, len(t.pages.needed)), slots: map[int]bool{}, ends: map[*node]int{}, states: map[int]bool{}}
	for b := range t.branches {
		c.ends[b.end]++
		c.count(b.own.spans)
	}
	c.count(t.shared.spans)
	if err := c.visit(t.root); err != nil {
		return err
	}
	if c.tokens != t.tokens || c.leaves != len(t.leaves) {
		return fmt.Errorf("%d tokens and %d leaves are counted, %d and %d are there", t.tokens, len(t.leaves), c.tokens, c.leaves)
	}
	if c.childless != t.ends {
		return fmt.Errorf("%d paths are counted, %d are there", t.ends, c.childless)
	}
	if err := c.checkStates(); err != nil {
		return err
	}
	free := 0
	for page, n := range t.pages.needed {
		if n == 0 {
			free++
		}
		if n != c.pages[page] {
			return fmt.Errorf("page %d has %d holders, and %d hold it", page, n, c.pages[page])
		}
	}
	if free != t.pages.free {
		return fmt.Errorf("%d pages are counted as free, %d are", t.pages.free, free)
	}
	return nil
}

// check is what a visit of the whole tree has found.
type check struct {
	tree           *Tree
	pages          []int32      // holders of each
	slots          map[int]bool // of tokens
	ends           map[*node]int
	states         map[int]bool // of nodes
	tokens, leaves int
	childless      int // nodes
}

func (c *check) count(p Path) {
	for _, s := range p {
		for page := s.Slot / PageSlots; page <= (s.Slot+s.Len-1)/PageSlots; page++ {
			c.pages[page]++
		}
	}
}

func (c *check) visit(n *node) error {
	root := n == c.tree.root
	if !root && (len(n.tokens) == 0 || n.path.Len() != len(n.tokens)) {
		return fmt.Errorf("a node has %d tokens in %d slots", len(n.tokens), n.path.Len())
	}
	c.tokens += len(n.tokens)
	c.count(n.path)
	for _, s := range n.path {
		for slot := s.Slot; slot < s.Slot+s.Len; slot++ {
			if c.slots[slot] {
				return fmt.Errorf("slot %d belongs to two tokens", slot)
			}
			c.slots[slot] = true
		}
	}
	if err := c.countStates(n); err != nil {
		return err
	}
	if c.ends[n] != n.holders {
		return fmt.Errorf("a node says that %d branches hold it, and %d do", n.holders, c.ends[n])
	}
	if idle := !root && n.holders == 0 && len(n.children) == 0 && n.added == 0; idle != (n.at >= 0) {
		return fmt.Errorf("a leaf is listed as free: %v, and is: %v", n.at >= 0, idle)
	}
	if n.at >= 0 {
		c.leaves++
	}
	if !root && len(n.children) == 0 {
		c.childless++
	}
	for k, child := range n.children {
		if child.parent != n || len(child.tokens) == 0 || k != (key{child.tokens[0], child.mark}) {
			return fmt.Errorf("a child is filed under %v", k)
		}
		if err := c.visit(child); err != nil {
			return err
		}
	}
	return nil
}
