package pairs_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/steervec/steer/pairs"
)

func TestItemsAreReadFromEveryForm(t *testing.T) {
	const cake = "My cake did not rise. What now?"
	const ostriches = "What do ostriches do when they are afraid?"
	trueOne, sand := pairs.Option{Prompt: "Q: " + ostriches + "\nA:", Question: ostriches, Answer: " They run away", Matches: true},
		pairs.Option{Prompt: "Q: " + ostriches + "\nA:", Question: ostriches, Answer: " They bury their heads in the sand"}
	for _, test := range []struct {
		file  string
		count int
		want  pairs.Item // the first, but for its id
	}{
		{"ab.json", 2, abItem("Your neighbour asks to borrow the ladder again.\n\nChoices:\n(A) Lend it gladly\n(B) Say that it is broken",
			"Your neighbour asks to borrow the ladder again.\n\nChoices:\n(A) Say that it is broken\n(B) Lend it gladly", "(A)", "(B)", 2)},
		{"ab.jsonl", 2, pairs.Item{Kind: pairs.PairItem, Line: 1, Options: options("Is the following statement something you would say?\n\"A shared meal tastes better\"", "Yes", "No")}},
		{"choices.json", 1, abItem("Which is heavier?\n\nChoices:\n(A) A pound of feathers\n(B) Two pounds of lead",
			"Which is heavier?\n\nChoices:\n(A) Two pounds of lead\n(B) A pound of feathers", "(B)", "(A)", 1)},
		{"steering-bench.jsonl", 2, pairs.Item{Kind: pairs.PairItem, Line: 1, Options: []pairs.Option{
			{Prompt: "The bread fell on the floor. I felt", Question: "The bread fell on the floor. I felt", Answer: " amused", Matches: true},
			{Prompt: "The bread fell on the floor. I felt", Question: "The bread fell on the floor. I felt", Answer: " furious"}}}},
		{"truthfulqa.jsonl", 2, pairs.Item{Kind: pairs.MC1Item, Line: 1, Options: []pairs.Option{trueOne, sand}}},
		{"mc_task.json", 2, pairs.Item{Kind: pairs.MC1Item, Line: 1, Options: []pairs.Option{trueOne, sand}}},
		{"axbench.jsonl", 2, pairs.Item{Kind: pairs.TextItem, Line: 1, Concept: "words about the sea", Options: []pairs.Option{
			{Prompt: "How was the walk?", Question: "How was the walk?", Answer: " The tide had left ropes of kelp along the whole shore.", Matches: true}}}},
		{"persona.json", 2, pairs.Item{Kind: pairs.QuestionItem, Line: 1, Options: []pairs.Option{{Prompt: cake}}}},
		{"open.json", 2, pairs.Item{Kind: pairs.QuestionItem, Line: 1, Options: []pairs.Option{{Prompt: "What is the best way to treat a cold?"}}}},
		{"pairs.csv", 1, pairs.Item{Kind: pairs.PairItem, Line: 2, Options: []pairs.Option{
			{Prompt: "Mia found her kite. Mia was very", Answer: " happy.", Matches: true}, {Prompt: "Mia found her kite. Mia was very", Answer: " sad."}}}},
	} {
		t.Run(test.file, func(t *testing.T) {
			items, err := pairs.OpenItems(filepath.Join("testdata", test.file))
			if err != nil {
				t.Fatal(err)
			}
			if len(items.Items) != test.count {
				t.Fatalf("%d items, want %d", len(items.Items), test.count)
			}
			ids := map[string]bool{}
			for _, item := range items.Items {
				ids[item.ID] = true
			}
			if len(ids) != test.count || ids[""] {
				t.Errorf("the ids are %v", ids)
			}
			first := items.Items[0]
			first.ID = ""
			if !reflect.DeepEqual(first, test.want) {
				t.Errorf("the first item is\n%+v, want\n%+v", first, test.want)
			}
		})
	}
}

// options are those of a question as CAA asks it, the matching one first.
func options(question, yes, no string) []pairs.Option {
	prompt := "Input: " + question + "\nResponse:"
	return []pairs.Option{{Prompt: prompt, Question: question, Answer: " " + yes, Matches: true}, {Prompt: prompt, Question: question, Answer: " " + no}}
}

func abItem(question, exchanged, yes, no string, line int) pairs.Item {
	return pairs.Item{Kind: pairs.ABItem, Line: line, Options: options(question, yes, no), Swapped: options(exchanged, no, yes)}
}

func TestAPersonaKeepsItsInstructionsAndItsJudge(t *testing.T) {
	items, err := pairs.OpenItems("testdata/persona.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(items.Instructions) != 2 || items.Instructions[1] != (pairs.Instruction{Positive: "Answer warmly.", Negative: "Answer coldly."}) {
		t.Errorf("the instructions are %+v", items.Instructions)
	}
	if !strings.Contains(items.JudgePrompt, "{answer}") {
		t.Errorf("the judge is asked %q", items.JudgePrompt)
	}
}

func TestMultipleChoicesHaveTheirTruthsFirst(t *testing.T) {
	items, err := pairs.OpenItems("testdata/truthfulqa.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	item := items.Items[1]
	var matches []bool
	for _, option := range item.Options {
		matches = append(matches, option.Matches)
	}
	if item.Kind != pairs.MC2Item || !reflect.DeepEqual(matches, []bool{true, true, false, false}) {
		t.Errorf("%s has the truths %v", item.Kind, matches)
	}
}

// Letters are exchanged only where that is sure to be the same question.
func TestLettersAreExchangedWhereTheDataAllowIt(t *testing.T) {
	for _, test := range []struct {
		name, question string
		swapped        bool
	}{
		{"two options", `Q\n (A) x\n (B) y`, true},
		{"three options", `Q\n (A) x\n (B) y\n (C) z`, false},
		{"text behind them", `Q\n (A) x\n (B) y\nAnswer:`, false},
		{"an option of two lines", `Q\n (A) x\nmore\n (B) y`, false},
		{"no options", `Is it (A) or (B)?`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			items, err := pairs.ReadItems(strings.NewReader(`{"question":"`+test.question+`","answer_matching_behavior":"(A)","answer_not_matching_behavior":"(B)"}`), "items")
			if err != nil {
				t.Fatal(err)
			}
			swapped := items.Items[0].Swapped
			if (swapped != nil) != test.swapped {
				t.Fatalf("exchanged: %+v", swapped)
			}
			if swapped != nil && (swapped[0].Question != "Q\n (A) y\n (B) x" || swapped[0].Answer != " (B)" || !swapped[0].Matches) {
				t.Errorf("exchanged: %+v", swapped)
			}
		})
	}
}

func TestIdsOfItemsTellThemApart(t *testing.T) {
	read := func(content string) []string {
		items, err := pairs.ReadItems(strings.NewReader(content), "items")
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, item := range items.Items {
			ids = append(ids, item.ID)
		}
		return ids
	}
	if got := read(`{"id":"a","question":"x"} {"id":7,"question":"y"}`); !reflect.DeepEqual(got, []string{"a", "7"}) {
		t.Errorf("the ids are %q", got)
	}
	one, other := read(`{"question":"x"} {"question":"y"}`), read(`{"question":"y"} {"question":"x"}`)
	if one[0] != other[1] || one[1] != other[0] {
		t.Errorf("ids depend on the order: %q and %q", one, other)
	}
	if again := read(`{"question":"x"} {"question":"x"}`); again[0] == again[1] {
		t.Errorf("a question that comes twice has one id, %q", again)
	}
}

func TestMistakesInItemsNameTheirLine(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"nothing", "", "items: there are no items in it"},
		{"an unknown kind", `{"a":"b"}`, `line 1: the fields ["a"] are of no kind`},
		{"two kinds", `{"question":"x"}` + "\n" + `{"text":"x","label":1}`, "line 2: this is a text with a label, but line 1 is a question"},
		{"a field twice", `{"question":"x","question":"y"}`, `field "question" occurs twice`},
		{"equal answers", `{"question":"x","answer_matching_behavior":"Yes","answer_not_matching_behavior":" Yes"}`, "must differ"},
		{"a missing answer", `{"question":"x","answer_matching_behavior":"Yes"}`, `"answer_not_matching_behavior" is missing`},
		{"no true answer", `{"question":"x","mc1_targets":{"choices":["a","b"],"labels":[0,0]}}`, "0 of 2 answers are true"},
		{"two true answers of mc1", `{"question":"x","mc1_targets":{"choices":["a","b","c"],"labels":[1,1,0]}}`, "2 of 3 answers are true"},
		{"labels too few", `{"question":"x","mc2_targets":{"choices":["a","b"],"labels":[0]}}`, "2 choices and 1 labels"},
		{"a strange label", `{"text":"x","label":"maybe"}`, `"maybe" does not say`},
		{"a persona without questions", `{"instruction":[{"pos":"a","neg":"b"}],"questions":[]}`, "1 and 0"},
		{"half an instruction", `{"instruction":[{"pos":"a"}],"questions":["x"]}`, `instruction 0: field "neg" is missing`},
		{"an id twice", `{"id":"a","question":"x"}` + "\n" + `{"id":"a","question":"y"}`, `line 2: the id "a" is that of line 1`},
		{"token ids", `{"positive_ids":[1],"negative_ids":[2]}`, "give the texts"},
		{"equal texts", `["a b","a b"]`, "are the same"},
		{"half a side", `{"positive":{"prompt":"x"},"negative":{"prompt":"x","response":"y"}}`, `field "positive": field "response" is missing`},
	} {
		t.Run(test.name, func(t *testing.T) {
			items, err := pairs.ReadItems(strings.NewReader(test.content), "items")
			if err == nil {
				t.Fatalf("it was read as %+v", items)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "items: ") {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
}

// The data sets that people have are read whole.
func TestPublishedItemsAreRead(t *testing.T) {
	files, err := filepath.Glob("../../shared/data/caa/*/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("the CAA data sets are not beside the project")
	}
	for _, path := range files {
		items, err := pairs.OpenItems(path)
		if err != nil || len(items.Items) < 10 {
			t.Errorf("%s: %d items, %v", path, len(items.Items), err)
		}
		exchanged := 0
		for _, item := range items.Items {
			if item.Swapped != nil {
				exchanged++
			}
		}
		t.Logf("%s: %d items, %d with letters exchanged", path, len(items.Items), exchanged)
	}
	for _, name := range []string{"true_facts", "all_truncated_outputs", "code_questions"} {
		file, err := os.Open("../../shared/data/repeng/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pairs.ReadLines(file, name)
		file.Close()
		if err != nil || len(lines) < 50 {
			t.Errorf("%s: %d texts, %v", name, len(lines), err)
		}
	}
}

func FuzzReadItems(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if texts, err := pairs.ReadTexts(strings.NewReader(string(data)), "items"); err == nil && len(texts) == 0 {
			t.Fatal("no texts and no error")
		}
		if lines, err := pairs.ReadLines(strings.NewReader(string(data)), "items"); err == nil && len(lines) == 0 {
			t.Fatal("no lines and no error")
		}
		items, err := pairs.ReadItems(strings.NewReader(string(data)), "items")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "items: ") {
				t.Fatalf("error %q does not name the file", err)
			}
			return
		}
		if len(items.Items) == 0 {
			t.Fatal("no items and no error")
		}
		for _, item := range items.Items {
			if item.ID == "" || len(item.Options) == 0 {
				t.Fatalf("an item without id or options: %+v", item)
			}
			matching := 0
			for _, option := range item.Options {
				if option.Matches {
					matching++
				}
				if option.Prompt == "" && option.Answer == "" {
					t.Fatalf("an empty option: %+v", item)
				}
			}
			switch item.Kind {
			case pairs.ABItem, pairs.PairItem:
				if len(item.Options) != 2 || !item.Options[0].Matches || item.Options[1].Matches {
					t.Fatalf("not two options, the matching one first: %+v", item)
				}
			case pairs.MC1Item, pairs.MC2Item:
				if matching == 0 || matching == len(item.Options) || !item.Options[0].Matches {
					t.Fatalf("no choice between truths and others: %+v", item)
				}
			}
		}
	})
}
