package cli

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The measurements run from end to end on a model that is hardly there.
func TestBenchMeasuresEveryPart(t *testing.T) {
	before, patience := shapes, peakTime
	defer func() { shapes, peakTime = before, patience }()
	peakTime = time.Millisecond
	shapes = []shape{{"tiny", 32, 2, 4, 2, 48, 2500}}
	answered := answer[measurements](t, "bench", "--parts", "prefill,decode,quantised,batch,train,steer,sweep,serve", "--tokens", "16", "--rounds", "1")
	cases := map[string]int{}
	for _, f := range answered.Figures {
		cases[f.Part]++
		if f.Seconds <= 0 {
			t.Errorf("%s, %s took %v seconds", f.Part, f.Case, f.Seconds)
		}
		if f.Part == "train" && strings.HasPrefix(f.Case, "16 pairs") && (f.GivenTokens != 3200 || f.ComputedTokens != 16*(98+4)) {
			t.Errorf("%d of %d tokens are computed, want %d of 3200", f.ComputedTokens, f.GivenTokens, 16*(98+4))
		}
	}
	for part, want := range map[string]int{"prefill": 2, "decode": 4, "quantised": 12, "batch": 4, "train": 2, "steer": 6, "sweep": 2, "serve": 5} {
		if cases[part] != want {
			t.Errorf("%d figures of %s, want %d", cases[part], part, want)
		}
	}
	if whole, blocks := answered.Figures, answer[measurements](t, "bench", "--parts", "decode,steer", "--rounds", "1", "--quantize", "q8_0").Figures; len(blocks) != 10 {
		t.Errorf("%d figures of decode and steer with weights in blocks, want 10", len(blocks))
	} else if at := slices.IndexFunc(whole, func(f figure) bool { return f.Part == "decode" }); blocks[0].Rate*blocks[0].Seconds >= 0.6*whole[at].Rate*whole[at].Seconds {
		t.Errorf("a step reads %.0f bytes of blocks, and %.0f of bfloat16", blocks[0].Rate*blocks[0].Seconds, whole[at].Rate*whole[at].Seconds)
	}
	if lines := must(t, "bench", "--parts", "prefill", "--tokens", "16", "--rounds", "1"); !strings.Contains(lines, "of the peak") {
		t.Errorf("the lines do not compare with the peak:\n%s", lines)
	}
}
