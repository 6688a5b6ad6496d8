package pairs_test

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer"
	"github.com/steervec/steer/pairs"
)

func TestPairsAreReadFromEveryForm(t *testing.T) {
	want := []steer.Sample{{Positive: "I am happy", Negative: "I am sad"}, {Positive: "a", Negative: "b"}}
	ids := []steer.Sample{{PositiveIDs: []int{1, 15}, NegativeIDs: []int{1, 9}}}
	for _, test := range []struct {
		name, content string
		want          []steer.Sample
	}{
		{"JSON Lines of objects", `{"positive":"I am happy","negative":"I am sad"}` + "\n" + `{"positive":"a","negative":"b"}` + "\n", want},
		{"JSON Lines of lists", `["I am happy","I am sad"]` + "\r\n" + `["a","b"]`, want},
		{"JSON array of objects", `[{"positive":"I am happy","negative":"I am sad"}, {"positive":"a","negative":"b"}]`, want},
		{"JSON array of lists", `[["I am happy","I am sad"],["a","b"]]`, want},
		{"CSV", "positive,negative\nI am happy,I am sad\na,b\n", want},
		{"CSV in the other order, with a byte order mark", "\ufeffnegative,positive\r\nI am sad,I am happy\r\nb,a\r\n", want},
		{"token ids", `{"positive_ids":[1,15],"negative_ids":[1,9]}`, ids},
		{"token ids in CSV", "positive_ids,negative_ids\n1 15,1 9\n", ids},
		{"positions", `{"positive":"a","negative":"b","read_positive":-2,"read_negative":0}`,
			[]steer.Sample{{Positive: "a", Negative: "b", ReadPositive: steer.ReadAt(-2), ReadNegative: steer.ReadAt(0)}}},
		{"readings", `{"positive":"a","negative":"b","read_positive":"mean:1:","read_negative":"mean"}`,
			[]steer.Sample{{Positive: "a", Negative: "b", ReadPositive: steer.ReadMean(steer.From(1)), ReadNegative: steer.ReadMean(nil)}}},
		{"readings in CSV", "positive,negative,read_positive\na,b,-2\n",
			[]steer.Sample{{Positive: "a", Negative: "b", ReadPositive: steer.ReadAt(-2)}}},
		{"CAA", `[{"question":" Is it? ","answer_matching_behavior":" (A) ","answer_not_matching_behavior":"(B)"}]`,
			[]steer.Sample{{Positive: "Input: Is it?\nResponse: (A)", Negative: "Input: Is it?\nResponse: (B)", PositiveResponse: 24, NegativeResponse: 24}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := pairs.Read(strings.NewReader(test.content), "pairs")
			if err != nil || !reflect.DeepEqual(got.Samples, test.want) {
				t.Errorf("read %+v (%v), want %+v", got.Samples, err, test.want)
			}
		})
	}
}

func TestEachPairKnowsItsLine(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []int
	}{
		"JSON Lines with empty ones": {"\n[\"a\", \"b\"]\n\n[\"c\", \"d\"]\n", []int{2, 4}},
		"an array":                   {"[\n[\"a\", \"b\"],\n\n[\"c\", \"d\"]\n]", []int{2, 4}},
		"CSV with a prompt of lines": {"positive,negative\n\"a\na\",b\nc,d\n", []int{2, 4}},
	} {
		file, err := pairs.Read(strings.NewReader(test.text), "pairs")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !slices.Equal(file.Lines, test.want) {
			t.Errorf("%s: the lines are %v, want %v", name, file.Lines, test.want)
		}
	}
}

func TestMistakesInPairsNameTheirLine(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"empty file", "", "pairs: there are no pairs in it"},
		{"empty array", "[]", "pairs: there are no pairs in it"},
		{"missing side", "{\"positive\":\"a\",\"negative\":\"b\"}\n{\"positive\":\"a\"}", "line 2"},
		{"empty prompt", `{"positive":"","negative":"b"}`, "line 1"},
		{"misspelt field", `{"postive":"a","negative":"b"}`, `is "positive" meant?`},
		{"reading of nothing", `{"positive":"a","negative":"b","read_positive":"last"}`, `field "read_positive": "last" says nothing that can be read`},
		{"list of three", `["a","b","c"]`, "this one has 3 items"},
		{"number for a text", `{"positive":1,"negative":"b"}`, "where a text is expected"},
		{"negative id", `{"positive_ids":[-1],"negative_ids":[1]}`, "which is negative"},
		{"two kinds", "{\"positive\":\"a\",\"negative\":\"b\"}\n[\"a\",\"b\"]", "a file has one kind only"},
		{"open array", `[["a","b"]`, "the array is not closed"},
		{"broken JSON", "[\"a\",\"b\"]\n{\"positive\":", "line 2"},
		{"not UTF-8", "[\"a\",\"\xff\"]", "not valid UTF-8"},
		{"no header", "happy,sad\na,b\n", "neither JSON nor the header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := pairs.Read(strings.NewReader(test.content), "pairs")
			if err == nil {
				t.Fatalf("it was read as %+v", got)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
}

// The last token of CAA's answers is a bracket, the same on both sides: files of
// that kind are read at the letter before it, and say so.
func TestTheKindOfFileSaysWhatIsRead(t *testing.T) {
	for _, test := range []struct {
		name, content string
		read          steer.Reading
		noted         bool
	}{
		{"prompts", `["a","b"]`, nil, false},
		{"CAA", `{"question":"Is it?","answer_matching_behavior":"(A)","answer_not_matching_behavior":"(B)"}`, steer.ReadAt(-2), true},
	} {
		file, err := pairs.Read(strings.NewReader(test.content), "pairs")
		if err != nil || file.Read != test.read || (file.Note != "") != test.noted {
			t.Errorf("%s: read at %v, note %q (%v); want %v", test.name, file.Read, file.Note, err, test.read)
		}
	}
}

// The data sets that people have are read whole.
func TestPublishedPairsAreRead(t *testing.T) {
	files, err := filepath.Glob("../../shared/data/caa/generate/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("the CAA data sets are not beside the project")
	}
	for _, path := range files {
		file, err := pairs.Open(path)
		if err != nil || len(file.Samples) < 10 {
			t.Errorf("%s: %d samples, %v", path, len(file.Samples), err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"positive":"a","negative":"b","read_positive":-1}`, `[["a","b"],["c","d"]]`, "positive,negative\na,\"b,c\"\n",
		`{"positive_ids":[1,2],"negative_ids":[3]}`, `[{"question":"q","answer_matching_behavior":"(A)","answer_not_matching_behavior":"(B)"}]`,
		"positive_ids,negative_ids\n1 2,3\n", `[`, `{"positive":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := pairs.Read(strings.NewReader(string(data)), "pairs")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "pairs: ") {
				t.Fatalf("error %q does not name the file", err)
			}
			return
		}
		if len(file.Samples) == 0 {
			t.Fatal("no samples and no error")
		}
		for i, s := range file.Samples {
			if (s.Positive == "" || s.Negative == "") && (len(s.PositiveIDs) == 0 || len(s.NegativeIDs) == 0) {
				t.Fatalf("sample %d has a side without prompt: %+v", i, s)
			}
		}
	})
}
