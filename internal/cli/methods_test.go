package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/bake"
	"github.com/steervec/steer/lm/demo/stories"
)

// eventPairs are stories up to the word that says how somebody was, after something
// good and after something sad, as a file of pairs.
func eventPairs(seed uint64, n int) string {
	var text strings.Builder
	for _, p := range stories.Pairs(seed, n, "happy", "sad") {
		was := strings.TrimSuffix(p.PositiveStatement, " happy.")
		line, err := json.Marshal([2]string{p.Beginning + " " + p.Positive.Event + " " + was, p.Beginning + " " + p.Negative.Event + " " + was})
		if err != nil {
			panic(err) // two texts
		}
		fmt.Fprintf(&text, "%s\n", line)
	}
	return text.String()
}

func TestEveryAggregatorTrainsAVectorThatSteers(t *testing.T) {
	dir := t.TempDir()
	pairs := write(t, filepath.Join(dir, "pairs"), eventPairs(3, 12))
	for _, aggregator := range []string{"mean", "mean-centred", "pca", "pca:centred=differences", "pca:centred=activations", "pca:rank=2",
		"logistic", "logistic:C=0.5", "lda", "kmeans:k=2", "heads:top=5", "linear-act", "transport", "leace"} {
		args := []string{"train", "--model", "demo", "--pairs", pairs, "--aggregator", aggregator, "--out", filepath.Join(dir, "v")}
		if strings.HasPrefix(aggregator, "heads") {
			args = append(args, "--layer-type", "attn_heads")
		} else {
			args = append(args, "--layers", "3")
		}
		w := answer[work](t, args...)
		if w.Aggregator != aggregator || len(w.Layers) == 0 || (w.Heads != nil) != strings.HasPrefix(aggregator, "heads") {
			t.Errorf("%s: %+v", aggregator, w)
		}
		must(t, "generate", "--model", "demo", "--prompt", "Tom was a farmer.", "--max-tokens", "3", "--vector", filepath.Join(dir, "v"))
	}
}

func TestACorpusStandsAgainstThePositivePrompts(t *testing.T) {
	dir := t.TempDir()
	pairs := write(t, filepath.Join(dir, "pairs"), eventPairs(3, 6))
	neutral := write(t, filepath.Join(dir, "neutral"), "The sun was warm.\nThere was a river.\n")
	train := []string{"train", "--model", "demo", "--pairs", pairs, "--neutral", neutral, "--layers", "2"}
	w := answer[work](t, append(train, "--out", filepath.Join(dir, "v"))...)
	if w.Pairs != 8 || w.Prompts != 8 || w.Aggregator != "mean-centred" {
		t.Errorf("%d samples with %d prompts by %s", w.Pairs, w.Prompts, w.Aggregator)
	}
	// The same samples one by one, and in shards.
	for number := range 2 {
		must(t, append(train, "--shard", fmt.Sprintf("%d/2", number+1), "--statistics", filepath.Join(dir, fmt.Sprint(number)))...)
	}
	must(t, "merge", filepath.Join(dir, "0"), filepath.Join(dir, "1"), "--out", filepath.Join(dir, "merged"))
	if a, b := tensor(t, filepath.Join(dir, "v"), "layer.2"), tensor(t, filepath.Join(dir, "merged"), "layer.2"); !slices.Equal(a, b) {
		t.Error("shards give another vector")
	}
	code, _, diagnostics := steerWith(t.Context(), "", append(train, "--aggregator", "pca", "--out", filepath.Join(dir, "w"))...)
	if code != exitUsage || !strings.Contains(diagnostics, "gives no pairs") {
		t.Errorf("exit code %d: %s", code, diagnostics)
	}
	empty := write(t, filepath.Join(dir, "wrong"), `{"prompt_ids": [99999999]}`)
	code, _, diagnostics = steerWith(t.Context(), "", "train", "--model", "demo", "--pairs", pairs, "--neutral", empty, "--out", filepath.Join(dir, "w"))
	if code != exitFailure || !strings.Contains(diagnostics, "wrong: line 1") {
		t.Errorf("exit code %d: %s", code, diagnostics)
	}
}

func TestSystemMessagesOfEachSideAreRemembered(t *testing.T) {
	model, dir := talking(t), t.TempDir()
	pairs := write(t, filepath.Join(dir, "pairs"), `["Tell a story.", "Tell a story."]`)
	train := []string{"train", "--model", model, "--pairs", pairs, "--layers", "2", "--system-positive", "Be happy.", "--out", filepath.Join(dir, "v")}
	must(t, append(train, "--chat", "--system", "Be sad.")...)
	if p := loadVector(t, filepath.Join(dir, "v")).Provenance; p.SystemPositive != "Be happy." || p.SystemNegative != "Be sad." {
		t.Errorf("the vector comes from %+v", p)
	}
	if text := must(t, "inspect", filepath.Join(dir, "v")); !strings.Contains(text, "Be happy.") {
		t.Errorf("inspect says %s", text)
	}
	if code, _, diagnostics := steerWith(t.Context(), "", train...); code != exitUsage || !strings.Contains(diagnostics, "--chat is not given") {
		t.Errorf("exit code %d: %s", code, diagnostics)
	}
}

func TestLayerAndPositionAreSelected(t *testing.T) {
	dir := t.TempDir()
	pairs, held := write(t, filepath.Join(dir, "pairs"), eventPairs(3, 16)), write(t, filepath.Join(dir, "held"), eventPairs(4, 4))
	out := filepath.Join(dir, "v")
	choose := []string{"train", "--model", "demo", "--pairs", pairs, "--select", "refusal-style", "--select-begins", " happy", "--select-positions", "-1,-2", "--out", out}
	s := answer[selected](t, append(choose, "--select-pairs", held)...)
	if len(s.Candidates) != 6 || s.Chosen.Position != -1 || s.Computed == 0 {
		t.Errorf("selected %+v", s)
	}
	if v := loadVector(t, out); len(v.Layers) != 1 || v.Layers[s.Chosen.Layer] == nil || v.Provenance.Read != "-1" {
		t.Errorf("the vector has layers %v, read at %s", v.Layers, v.Provenance.Read)
	}
	if text := must(t, choose...); !strings.Contains(text, "chosen") || !strings.Contains(text, "written to") {
		t.Errorf("it prints %s", text)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{append(choose, "--select-kl", "0.0000001"), exitFailure, "none of 6 candidates"},
		{append(choose, "--read-token", "-1"), exitUsage, "do not go together"},
		{append(choose[:5:5], "--select", "caa", "--out", out), exitUsage, "it can be refusal-style"},
		{append(choose[:5:5], "--select", "refusal-style", "--out", out), exitUsage, "needs --select-begins"},
		{append(choose[:5:5], "--select-kl", "1", "--out", out), exitUsage, "--select is not given"},
	} {
		if code, _, diagnostics := steerWith(t.Context(), "", test.args...); code != test.code || !strings.Contains(diagnostics, test.want) {
			t.Errorf("%q: exit code %d: %s", test.args, code, diagnostics)
		}
	}
}

func TestACheckpointIsBaked(t *testing.T) {
	dir := t.TempDir()
	v, out := filepath.Join(dir, "v"), filepath.Join(dir, "baked")
	must(t, "train", "--model", "demo", "--pairs", write(t, filepath.Join(dir, "pairs"), eventPairs(3, 8)), "--layers", "2,3", "--out", v)
	r := answer[bake.Result](t, "bake", "--model", "demo", "--vector", v+":0.5", "--mode", "bias", "--out", out, "--prompt", "Tom was a farmer.")
	if r.Prompts != 1 || r.Difference > 0.1*r.Effect || len(r.Added) != 18 || !slices.Equal(r.Layers, []int{2, 3}) {
		t.Errorf("baked %+v", r)
	}
	if _, err := os.Stat(filepath.Join(out, "README.md")); err != nil {
		t.Error(err)
	}
	again := []string{"bake", "--model", "demo", "--vector", v, "--mode", "ablate", "--out"}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{append(again, out), exitFailure, "choose a layer"},
		{append(again, out, "--layers", "3"), exitFailure, "is not empty"},
		{append(again, filepath.Join(dir, "b"), "--layers", "9"), exitFailure, "no layer 9"},
		{[]string{"bake", "--model", "demo", "--vector", v + ",tokens=prompt", "--mode", "bias", "--out", out}, exitUsage, "acts on all tokens"},
		{[]string{"bake", "--model", "demo", "--vector", v + ":0", "--mode", "bias", "--out", out}, exitUsage, "multiplier is 0"},
		{[]string{"bake", "--model", "demo", "--vector", v, "--out", out}, exitUsage, "--mode is missing"},
	} {
		if code, _, diagnostics := steerWith(t.Context(), "", test.args...); code != test.code || !strings.Contains(diagnostics, test.want) {
			t.Errorf("%q: exit code %d: %s", test.args, code, diagnostics)
		}
	}
	must(t, append(again, filepath.Join(dir, "ablated"), "--layers", "-3")...)
}
