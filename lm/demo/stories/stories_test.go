package stories

import (
	"regexp"
	"strings"
	"testing"
)

func TestTextsFollowFromTheSeed(t *testing.T) {
	a, b, c := NewWriter(1), NewWriter(1), NewWriter(2)
	same := 0
	for range 100 {
		x, y, z := a.Story("").String(), b.Story("").String(), c.Story("").String()
		if x != y {
			t.Fatalf("one seed gives %q and %q", x, y)
		}
		if x == z {
			same++
		}
		if q, r := a.Question().String(), b.Question().String(); q != r {
			t.Fatalf("one seed gives %q and %q", q, r)
		}
		c.Question()
	}
	if same > 0 {
		t.Errorf("%d of 100 stories are the same for another seed", same)
	}
}

func TestStoriesAreRarelyTheSame(t *testing.T) {
	w, seen, beginnings := NewWriter(3), map[string]bool{}, map[string]bool{}
	const n = 20000
	for range n {
		s := w.Story("")
		seen[s.String()] = true
		beginnings[s.Beginning] = true
	}
	if len(seen) < n-5 || len(beginnings) < n*95/100 {
		t.Errorf("of %d stories %d are distinct, of their beginnings %d", n, len(seen), len(beginnings))
	}
}

// What is seen on a page: sentences that begin and end as they should, no open
// slots, articles that fit, a mood in its words and in no beginning.
func TestStoriesReadWell(t *testing.T) {
	wrong := regexp.MustCompile(`[{}]|\b[Aa] [aeiou]|\b[Aa]n [^aeiou]|\. [a-z]|  |\.\.|^[a-z]`)
	w := NewWriter(4)
	for range 5000 {
		for _, mood := range Moods() {
			s := w.Story(mood)
			if text := s.String(); wrong.MatchString(text) || !strings.HasSuffix(text, ".") {
				t.Fatalf("%q: %q", text, wrong.FindString(text))
			}
			if Share(strings.Join(s.Rest, " "), mood) == 0 && !strings.Contains(s.Rest[1], mood) {
				t.Fatalf("no word of %q shows that it is %s", s.Rest, mood)
			}
		}
		if q := w.Question(); wrong.MatchString(q.String()) || !strings.HasSuffix(q.String(), ")") {
			t.Fatalf("%q", q)
		}
	}
}

// Half of the questions have the first answer, and the right answer is named.
func TestQuestionsAreBalanced(t *testing.T) {
	w, first := NewWriter(5), 0
	for range 4000 {
		q := w.Question()
		if q.Right == "A" {
			first++
		}
		if !strings.Contains(q.Text, "(A) ") || !strings.Contains(q.Text, "(B) ") || q.Answers[0] == q.Answers[1] {
			t.Fatalf("%q", q)
		}
	}
	if first < 1850 || first > 2150 {
		t.Errorf("%d of 4000 questions have the first answer", first)
	}
}

func TestCheckKnowsEveryStoryAndNoOtherSentence(t *testing.T) {
	w := NewWriter(6)
	for range 3000 {
		text := w.Story("").String()
		if sentences, known := Check(text); known != sentences {
			t.Fatalf("%d of %d sentences are known of %q", known, sentences, text)
		}
	}
	for _, text := range []string{"Tom was very very happy.", "Tom lived in.", "He cried until the stars came.", "the the."} {
		if _, known := Check(text); known != 0 {
			t.Errorf("%q is known", text)
		}
	}
}
