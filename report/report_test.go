package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/pairs"
)

// swept is the data of a small sweep: three layers, two aggregators, four
// multipliers, of which layer 1 at 1 with the mean is chosen.
func swept() *Data {
	estimate := func(v float64) eval.Estimate { return eval.Estimate{Value: v, Low: v - 0.5, High: v + 0.5, N: 4} }
	chosen := eval.Point{Layers: []int{1}, Aggregator: "mean", Operator: "add", Scope: "all", Multiplier: 1}
	d := &Data{Manifest: eval.Manifest{
		Format: eval.ManifestFormat, Version: "v1.2.3", Command: []string{"steer", "sweep", "--out", "my sweep"},
		Model: eval.ModelInfo{ID: "little", WeightsHash: "sha256:0011", Layers: 3, DType: "f32", Instructions: "avx2"},
		Pairs: eval.DataInfo{Path: "pairs.jsonl", Hash: "sha256:2233", Count: 9}, Text: eval.DataInfo{Hash: "sha256:4455", Count: 2},
		Grid: eval.Grid{Layers: []int{0, 1, 2}, Aggregators: []string{"mean", "pca"}, Operators: []string{"add"}, Scopes: []string{"all"}, Multipliers: []float64{-1, -0.5, 0.5, 1}},
		Plan: eval.Plan{MaxKL95: 1, Seed: 7, Random: 2},
		Result: &eval.Result{Chosen: chosen, KL95: estimate(0.25), OnChoose: estimate(2), OnReport: eval.Estimate{Value: 2.1, Low: 1.5, High: 2.7, N: 4}, Best: chosen, Within: true,
			Baselines: []eval.Gain{
				{Point: eval.Point{Baseline: eval.RandomVector, Seed: 7, Multiplier: 1}, Gain: estimate(0.3)},
				{Point: eval.Point{Baseline: eval.RandomVector, Seed: 8, Multiplier: 1}, Gain: estimate(-0.2)},
				{Point: eval.Point{Baseline: eval.RandomVector, Seed: 8, Multiplier: -1}, Gain: estimate(9)},
				{Point: eval.Point{Baseline: eval.PositivePrompt}, Gain: estimate(1.25)},
			}},
	}}
	for i := range 4 {
		d.Items = append(d.Items, pairs.Item{ID: fmt.Sprint("q", i), Kind: pairs.ABItem, Options: []pairs.Option{
			{Prompt: "Input: x\nResponse:", Question: fmt.Sprintf("Is %d even?", i), Answer: " (A)", Matches: true}, {Prompt: "Input: x\nResponse:", Question: "", Answer: " (B)"}}})
	}
	for _, half := range []eval.Half{eval.Choose, eval.Report} {
		d.Rows = append(d.Rows, eval.Row{Point: eval.Point{Baseline: eval.NoSteering}, Set: eval.Choices, Half: half, Metrics: map[string]eval.Estimate{eval.Propensity: estimate(-0.5), eval.Gained: {}}},
			eval.Row{Point: eval.Point{Baseline: eval.PositivePrompt}, Set: eval.Choices, Half: half, Metrics: map[string]eval.Estimate{eval.Propensity: estimate(0.75), eval.Gained: estimate(1.25)}},
			eval.Row{Point: eval.Point{Baseline: eval.RandomVector, Seed: 7, Layers: []int{1}, Aggregator: "random", Operator: "add", Scope: "all", Multiplier: 1}, Set: eval.Choices, Half: half,
				Metrics: map[string]eval.Estimate{eval.Propensity: estimate(-0.2), eval.Gained: estimate(0.3)}})
		for _, aggregator := range d.Manifest.Grid.Aggregators {
			for layer := range 3 {
				way := eval.Point{Layers: []int{layer}, Aggregator: aggregator, Operator: "add", Scope: "all"}
				d.Rows = append(d.Rows, eval.Row{Point: way, Set: eval.Steerability, Half: half, Metrics: map[string]eval.Estimate{eval.Slope: estimate(float64(layer)), eval.WrongWay: {Value: 0.25}}})
				for _, multiplier := range d.Manifest.Grid.Multipliers {
					p := way
					p.Multiplier = multiplier
					row := eval.Row{Point: p, Set: eval.Choices, Half: half, Metrics: map[string]eval.Estimate{eval.Propensity: estimate(-0.5 + multiplier*float64(layer+1)), eval.Gained: estimate(multiplier * float64(layer+1)), eval.Match: {Value: 0.5}}}
					for i := range 4 {
						row.Examples = append(row.Examples, eval.Example{ID: fmt.Sprint("q", i), Unsteered: 1, Value: 1 + multiplier*float64(i-1)})
					}
					d.Rows = append(d.Rows, row)
				}
			}
		}
	}
	for _, aggregator := range d.Manifest.Grid.Aggregators {
		for layer := range 3 {
			for _, multiplier := range d.Manifest.Grid.Multipliers {
				d.Rows = append(d.Rows, eval.Row{Point: eval.Point{Layers: []int{layer}, Aggregator: aggregator, Operator: "add", Scope: "all", Multiplier: multiplier}, Set: eval.Cost,
					Metrics: map[string]eval.Estimate{eval.KL95: {Value: multiplier * multiplier * float64(layer+1) / 8}, eval.Perplexity: {Value: 12.5}}})
			}
		}
	}
	d.Rows = append(d.Rows,
		eval.Row{Point: eval.Point{Baseline: eval.NoSteering}, Set: eval.Cost, Metrics: map[string]eval.Estimate{eval.Perplexity: {Value: 10}}},
		eval.Row{Set: eval.Vectors, Cosines: &eval.Cosines{Names: []eval.VectorName{{Layer: 0, Aggregator: "mean"}, {Layer: 1, Aggregator: "mean"}}, Values: [][]float64{{1, -0.5}, {-0.5, 1}}}},
		eval.Row{Point: eval.Point{Layers: []int{1}}, Set: eval.Activations, Projection: &eval.Projection{Positive: [][2]float64{{1, 0}}, Negative: [][2]float64{{-1, 0}}, Explained: [2]float64{0.75, 0.25}}},
		eval.Row{Point: chosen, Set: eval.Projections, Tokens: []eval.TokenRow{{Token: "<s>", Unsteered: 99}, {Token: " glad", Unsteered: 2, Steered: 3}, {Token: " wept", Unsteered: -2, Steered: -1}}},
		eval.Row{Point: eval.Point{Baseline: eval.NoSteering}, Set: eval.Generation, Texts: []eval.Text{{ID: "g", Prompt: "Once", Text: "there was"}}},
		eval.Row{Point: chosen, Set: eval.Generation, Texts: []eval.Text{{ID: "g", Prompt: "Once", Text: "gladly", Scores: map[string]float64{"distinct": 0.5}, Failed: map[string]string{"judge": "no answer"}}}})
	return d
}

func pageOf(t *testing.T, d *Data) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestThePageShowsWhatTheRowsSay(t *testing.T) {
	html := pageOf(t, swept())
	for _, want := range []string{
		"The vector steers: layer 1 at multiplier 1, mean, add, all tokens", "+2.10 nats", "+1.50 to +2.70", "25\u00a0% of them move the wrong way", "the best of 2 random vectors of the same length reaches &#43;0.30",
		`id="fig-heat-choose-0-t"`, `id="fig-heat-report-1-t"`, `id="fig-curves-t"`, `id="fig-slopes-t"`, `id="fig-trade-off-t"`, `id="fig-movements-t"`, `id="fig-cosines-t"`, `id="fig-planes-t"`,
		"Is 0 even?", "(B)", "steer sweep --out &#39;my sweep&#39;", "sha256:0011", "sha256:2233", "v1.2.3", "avx2", "judge failed: no answer", "at &#43;1.00", " glad", "from 10 to 12.5",
	} {
		if !strings.Contains(html, want) && !strings.Contains(html, strings.ReplaceAll(want, "+", "&#43;")) {
			t.Errorf("the page does not hold %q", want)
		}
	}
}

// The page works without a network: nothing in it names another place, and a policy
// forbids what would.
func TestThePageNeedsNothingElse(t *testing.T) {
	html := pageOf(t, swept())
	outside := regexp.MustCompile(`(?i)(src|href|action)\s*=\s*"[^#"]|url\(|@import|https?://`)
	for _, found := range outside.FindAllString(strings.ReplaceAll(html, `xmlns="http://www.w3.org/2000/svg"`, ""), -1) {
		t.Errorf("the page refers to another place: %q", found)
	}
	if !strings.Contains(html, `default-src 'none'`) {
		t.Error("no policy forbids what is elsewhere")
	}
	if strings.Count(html, "<script") != 1 {
		t.Errorf("%d scripts", strings.Count(html, "<script"))
	}
}

// Whatever model, files and texts are called, it is shown and never obeyed.
func TestHostileTextIsOnlyShown(t *testing.T) {
	const attack = `</title></script><script>alert(1)</script><img src=x onerror="alert(2)">'"&` + "\x1b[2J\u202e"
	d := swept()
	m := &d.Manifest
	m.Model.ID, m.Model.Revision, m.Version, m.Command, m.Pairs.Path, m.Notes = attack, attack, attack, []string{attack}, attack, []string{attack}
	m.Grid.Aggregators, m.Plan.Instructions = []string{attack}, &[2]string{attack, attack}
	m.Result.Chosen.Aggregator = attack
	for i := range d.Items {
		d.Items[i].Options[0].Question, d.Items[i].Options[0].Answer = attack, attack
	}
	for i := range d.Rows {
		row := &d.Rows[i]
		if row.Aggregator != "" {
			row.Aggregator = attack
		}
		for k := range row.Texts {
			row.Texts[k] = eval.Text{ID: attack, Prompt: attack, Text: attack, Scores: map[string]float64{attack: 1}, Failed: map[string]string{attack: attack}}
		}
		for k := range row.Tokens {
			row.Tokens[k].Token = attack
		}
		for k := range row.Examples {
			row.Examples[k].ID = attack
		}
		if row.Cosines != nil {
			row.Cosines.Names[0].Aggregator = attack
		}
	}
	html := pageOf(t, d)
	if !strings.Contains(html, "&lt;script&gt;alert(1)") {
		t.Fatal("the text is not shown at all")
	}
	if strings.Contains(html, "<script>alert") || strings.Contains(html, "<img") || strings.Count(html, "<script") != 1 {
		t.Error("the text is obeyed")
	}
	// Attributes end where they should: no element has one that handles events.
	if found := regexp.MustCompile(`<[a-z]+[^>]*\son[a-z]+=`).FindString(html); found != "" {
		t.Errorf("an element has %q", found)
	}
	var text bytes.Buffer
	if err := d.Text(&text, false); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\u202e") {
		t.Error("the terminal is given what it obeys")
	}
}

// Every figure is well-formed SVG on the page, and a picture and SVG for papers.
func TestFiguresCanBeRead(t *testing.T) {
	d := swept()
	dir := filepath.Join(t.TempDir(), "figures")
	paths, err := d.Figures(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(path))
		if strings.HasSuffix(path, ".png") {
			if picture, err := png.Decode(bytes.NewReader(data)); err != nil || picture.Bounds().Dx() < 1000 {
				t.Errorf("%s: %v", path, err)
			}
			continue
		}
		wellFormed(t, path, data)
	}
	if want := 2 * 8; len(names) != want {
		t.Errorf("the figures are %q, want %d", names, want)
	}
	for _, s := range newView(d).scenes() {
		wellFormed(t, s.name, []byte(s.svg()))
		for _, m := range s.marks {
			for _, p := range m.points {
				if math.IsNaN(p.x) || math.IsNaN(p.y) || p.x < -1 || p.x > s.width+1 || p.y < -1 || p.y > s.height+1 {
					t.Errorf("%s: a mark lies at %v, outside of %v by %v: %+v", s.name, p, s.width, s.height, m)
				}
			}
		}
	}
}

func wellFormed(t *testing.T, name string, data []byte) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(data))
	for {
		_, err := decoder.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Errorf("%s is not well formed: %v", name, err)
			return
		}
	}
}

func TestColorsAreSymmetricAboutZero(t *testing.T) {
	for _, share := range []float64{0, 0.3, 0.6, 1} {
		plus, minus := &mark{style: style{share: share}}, &mark{style: style{share: -share}}
		distance := func(m *mark, side role) float64 {
			c, full := m.colorOf(diverging), onPaper[side]
			d := func(a, b uint8) float64 { return math.Abs(float64(a) - float64(b)) }
			return (d(c.R, 255) + d(c.G, 255) + d(c.B, 255)) / (d(full.R, 255) + d(full.G, 255) + d(full.B, 255))
		}
		if p, n := distance(plus, positive), distance(minus, negative); math.Abs(p-share) > 0.01 || math.Abs(n-share) > 0.01 {
			t.Errorf("at ±%v the colors are %v and %v of full", share, p, n)
		}
	}
	center, limit := TokenScale([]float64{1000, 3, 1, -1, 5})
	if center != 2 || limit != 3 {
		t.Errorf("tokens are colored around %v up to %v, want 2 and 3, without the first", center, limit)
	}
	above, _ := terminalColor(1)
	if middle, _ := terminalColor(0); above == middle {
		t.Error("a terminal shows no difference")
	}
}

// Text on a colored cell has at least the contrast that accessibility asks for.
func TestNumbersInCellsAreLegible(t *testing.T) {
	luminance := func(c [3]uint8) float64 {
		total := 0.0
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			v := float64(c[i]) / 255
			if v <= 0.04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+0.055)/1.055, 2.4)
			}
			total += weight * v
		}
		return total
	}
	for share := -1.0; share <= 1; share += 0.05 {
		m := &mark{style: style{share: share}}
		cell, text := m.colorOf(diverging), m.colorOf(contrast)
		a, b := luminance([3]uint8{cell.R, cell.G, cell.B}), luminance([3]uint8{text.R, text.G, text.B})
		if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4 {
			t.Errorf("at %.2f the contrast is %.1f", share, ratio)
		}
	}
}

func TestTheFrontHoldsWhatNoPointBeats(t *testing.T) {
	var got [][2]float64
	for _, p := range front([]priced{{cost: 2, effect: 3}, {cost: 1, effect: 1}, {cost: 1.5, effect: 0.5}, {cost: 0.1, effect: -1}, {cost: 3, effect: 3}, {cost: 1, effect: 2}}) {
		got = append(got, [2]float64{p.cost, p.effect})
	}
	if want := [][2]float64{{1, 2}, {2, 3}}; !slices.Equal(got, want) {
		t.Errorf("the front is %v, want %v", got, want)
	}
}

func TestTheVerdictIsThatOfTheIntervals(t *testing.T) {
	for _, test := range []struct {
		name     string
		estimate eval.Estimate
		want     string
	}{
		{"above zero", eval.Estimate{Value: 1, Low: 0.1, High: 2}, "The vector steers:"},
		{"around zero", eval.Estimate{Value: 1, Low: -0.1, High: 2}, "The vector is not shown to steer:"},
		{"below zero", eval.Estimate{Value: -1, Low: -2, High: -0.1}, "The vector steers the wrong way:"},
	} {
		d := swept()
		d.Manifest.Result.OnReport = test.estimate
		verdict := d.Verdict()
		if len(verdict) != 3 || !strings.HasPrefix(verdict[0], test.want) {
			t.Errorf("%s: the verdict is %q", test.name, verdict)
		}
	}
}

// A folder is read as it was written; of a sweep that still runs, up to its last
// complete line.
func TestFoldersAreRead(t *testing.T) {
	d := swept()
	lines := func(count int, value func(i int) any) string {
		var b strings.Builder
		encoder := json.NewEncoder(&b)
		for i := range count {
			if err := encoder.Encode(value(i)); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
	rows := lines(len(d.Rows), func(i int) any { return d.Rows[i] })
	items := lines(len(d.Items), func(i int) any { return d.Items[i] })
	running := *d
	running.Manifest.Result = nil
	for _, test := range []struct {
		name     string
		manifest eval.Manifest
		rows     string
		count    int
		want     string // of the error
	}{
		{"an ended sweep", d.Manifest, rows, len(d.Rows), ""},
		{"a running sweep", running.Manifest, rows[:len(rows)-9], len(d.Rows) - 1, ""},
		{"an ended sweep whose last line is cut", d.Manifest, rows[:len(rows)-9], 0, "rows.jsonl: line"},
		{"a broken line", running.Manifest, "{}\n{\n{}\n", 0, "rows.jsonl: line 2"},
		{"cosines that are no square", d.Manifest, `{"multiplier":0,"set":"vectors","cosines":{"names":[{"layer":1}],"values":[[1,2]]}}` + "\n", 0, "no square"},
		{"another format", eval.Manifest{Format: "other"}, "", 0, `its format is "other"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			manifest := lines(1, func(int) any { return test.manifest })
			for name, content := range map[string]string{eval.ManifestFile: manifest, eval.RowsFile: test.rows, eval.ItemsFile: items} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Read(dir)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("error %v does not say %q", err, test.want)
				}
				return
			}
			if err != nil || len(got.Rows) != test.count {
				t.Fatalf("%d rows, want %d: %v", len(got.Rows), test.count, err)
			}
			if pageOf(t, got) == "" {
				t.Error("no page")
			}
		})
	}
}

// What there are no data for is left out, and nothing fails.
func TestPartsOfASweepAreShown(t *testing.T) {
	full := swept()
	for drop := range full.Rows {
		d := *full
		d.Rows = slices.Concat(full.Rows[:drop], full.Rows[drop+1:])
		pageOf(t, &d)
	}
	for count := range full.Rows {
		d := *full
		d.Rows, d.Manifest.Result, d.Items = full.Rows[:count], nil, nil
		html := pageOf(t, &d)
		if !strings.Contains(html, "The sweep has not ended") {
			t.Fatal("the page does not say that the sweep has not ended")
		}
	}
}

func FuzzRead(f *testing.F) {
	d := swept()
	for _, row := range d.Rows[len(d.Rows)-6:] {
		line, err := json.Marshal(row)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	manifest, err := json.Marshal(d.Manifest)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		dir := t.TempDir()
		for name, content := range map[string][]byte{eval.ManifestFile: manifest, eval.RowsFile: line} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Read(dir)
		if err != nil {
			return
		}
		if err := d.HTML(io.Discard); err != nil {
			t.Fatal(err)
		}
		if err := d.Text(io.Discard, true); err != nil {
			t.Fatal(err)
		}
		for _, s := range newView(d).scenes() {
			if err := s.writeSVG(io.Discard); err != nil {
				t.Fatal(err)
			}
		}
	})
}
