package eval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
)

// SweepData is what the files that a manifest names hold.
type SweepData struct {
	Samples []steer.Sample // to train on
	Items   []pairs.Item   // to evaluate on; two-sided questions or pairs must be among them
	Text    string         // neutral text

	// Activations are those of the samples at the grid's layers, where they are computed
	// already, as by the shards of an extraction; nil: they are computed.
	Activations *steer.Activations
}

// SweepRun says where a sweep goes and how it is watched.
type SweepRun struct {
	Dir      string                // rows.jsonl, items.jsonl, sweep.json and vectors/ are written there
	Resume   bool                  // go on with the sweep that was stopped there, if there is one of the same manifest
	Shard    steer.Shard           // the part of the items, passages and prompts that is measured; see [MergeSweep]
	After    string                // of a shard: the folder of the merged grid, which it goes on from; "": it begins with the grid
	Scorers  []Scorer              // of texts, where the plan has some written
	Progress func(done, total int) // nil: nobody is told
}

// Sweep trains a vector on every layer with every aggregator of a manifest's grid,
// in one pass over the pairs, evaluates all points of the grid, chooses the best
// one on half of the items and reports on the other half, where it also compares
// the choice with the baselines. The manifest's model, grid and plan say what is
// done; the rest of it is filled in and returned. Rows are written group by group
// as they come, and a sweep that was stopped loses the group that it was at.
//
// A shard measures a part of the items in the same groups, and writes what it measured in
// place of rows. It ends where something is to be chosen by all items; once the shards are
// merged, shards of what is left go on from there.
func Sweep(ctx context.Context, m *lm.Model, manifest Manifest, data SweepData, run SweepRun) (*Manifest, error) {
	s := &sweep{model: m, manifest: manifest, data: data, run: run, begun: time.Now()}
	if err := s.check(); err != nil {
		return nil, err
	}
	if run.Shard != (steer.Shard{}) {
		return s.measure(ctx)
	}
	if run.After != "" {
		return nil, errors.New("only a shard goes on from another folder")
	}
	folder, err := openFolder[Row](run.Dir, &s.manifest, data.Items, run.Resume)
	if err != nil {
		return nil, err
	}
	defer folder.close()
	s.rows = folder.lines
	if s.manifest.Result != nil {
		return &s.manifest, nil
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	groups := s.groups()
	for i := s.manifest.Groups; i < len(groups); i++ {
		part, err := groups[i].run(ctx, s.progress(groups, i))
		if err != nil {
			return nil, err
		}
		last := i == len(groups)-1
		if last {
			s.manifest.Work = s.manifest.Work.add(s.work()) // of the shards that the grid was merged from, if it was
		}
		if err := s.sumUp(folder, part, last); err != nil {
			return nil, err
		}
	}
	return &s.manifest, nil
}

// sumUp makes the rows of a group and writes them; after the last group it says what
// was found.
func (s *sweep) sumUp(to *folder[Row], part groupPart, last bool) error {
	var measured []Row
	if part.Measured != nil {
		var err error
		if measured, err = s.summary.Rows(part.Measured); err != nil {
			return err
		}
	}
	rows := slices.Concat(part.Before, measured, part.After)
	s.rows = append(s.rows, rows...)
	s.manifest.Notes = append(s.manifest.Notes, part.Notes...)
	if last {
		if err := s.conclude(); err != nil {
			return err
		}
	}
	return to.add(rows...)
}

// sweep is a sweep under way.
type sweep struct {
	model    *lm.Model
	manifest Manifest
	data     SweepData
	run      SweepRun
	begun    time.Time
	rows     []Row // so far
	summary  *Summary

	evaluator  *Evaluator
	calibrator *calibrator // nil: multipliers are given
	vectors    map[string]*steer.Vector
	trained    *steer.Activations
	usage      lm.Usage
	toChoose   int // the first group that something is chosen for
}

// group is points that are measured together: what a stopped sweep may lose.
type group struct {
	points int // about
	run    func(ctx context.Context, progress func(done, total int)) (groupPart, error)
}

// groupPart is what came of a group, or a shard's part of it: of what was measured the
// rows are yet to be made. The rest is the same for all shards.
type groupPart struct {
	Before   []Row     `json:"before,omitempty"` // rows that come before those of what was measured
	Measured *Measured `json:"measured,omitempty"`
	After    []Row     `json:"after,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
}

// groupPoints is how many points of the grid share what is computed. More would
// save little, and a sweep that is stopped would lose more.
const groupPoints = 128

// check refuses a grid that makes no sense and resolves its layers.
func (s *sweep) check() error {
	g, p := &s.manifest.Grid, &s.manifest.Plan
	for _, part := range []struct {
		name string
		n    int
	}{{"aggregators", len(g.Aggregators)}, {"operators", len(g.Operators)}, {"scopes", len(g.Scopes)}, {"multipliers or budgets", len(g.Multipliers) + len(g.Budgets)}} {
		if part.n == 0 {
			return fmt.Errorf("the grid has no %s", part.name)
		}
	}
	if len(g.Multipliers) > 0 && len(g.Budgets) > 0 {
		return errors.New("the grid has multipliers and budgets; give one of them")
	}
	if slices.Contains(g.Budgets, 0) {
		return errors.New("a budget of 0 nats is no steering")
	}
	for _, name := range g.Operators {
		if _, err := steer.ParseOperator(name); err != nil && name != OwnOperator {
			return err
		}
	}
	for _, scope := range g.Scopes {
		if scope != everything {
			if _, err := steer.ParseTokens(scope); err != nil {
				return err
			}
		}
	}
	if !slices.ContainsFunc(s.data.Items, func(i pairs.Item) bool { return i.Kind == pairs.ABItem || i.Kind == pairs.PairItem }) {
		return errors.New("a sweep chooses by two-sided questions or pairs, and the data to evaluate on has none")
	}
	p.Site = cmp.Or(p.Site, lm.DecoderBlock)
	slices.Sort(g.Multipliers)
	slices.Sort(g.Budgets)
	return s.summarize()
}

// summarize makes the summary of the sweep's items.
func (s *sweep) summarize() (err error) {
	s.summary, err = NewSummary(s.options())
	return err
}

// options are those of the sweep's evaluation.
func (s *sweep) options() Options {
	p := &s.manifest.Plan
	return Options{Items: s.data.Items, Chat: p.Chat, Text: s.data.Text, TextTokens: p.TextTokens, Halves: true, Seed: p.Seed, Resamples: p.Resamples}
}

// everything is the name of the scope that has all tokens.
const everything = "all"

// OwnOperator, in a grid, is that of the aggregator's vector, which mostly is add.
const OwnOperator = "own"

// prepare asks without steering and trains the vectors.
func (s *sweep) prepare(ctx context.Context) (err error) {
	g, p := &s.manifest.Grid, &s.manifest.Plan
	if s.evaluator, err = NewEvaluator(ctx, s.model, s.options()); err != nil {
		return err
	}
	if len(g.Budgets) > 0 {
		if s.calibrator, err = newCalibrator(s.model, CalibrateOptions{Text: s.data.Text, TextTokens: p.TextTokens}); err != nil {
			return err
		}
	}
	if s.manifest.Vectors != nil && s.loadVectors(cmp.Or(s.run.After, s.run.Dir)) {
		return nil
	}
	read, err := steer.ParseReading(cmp.Or(p.Read, "-1"))
	if err != nil {
		return err
	}
	opts := steer.ExtractOptions{Site: p.Site, Layers: g.Layers, Read: read}
	if s.trained = s.data.Activations; s.trained != nil {
		if s.trained, err = s.trained.Of(ctx, s.model, s.data.Samples, opts); err != nil {
			return fmt.Errorf("activations: %w", err)
		}
	} else if s.trained, err = steer.Extract(ctx, s.model, s.data.Samples, opts); err != nil {
		return err
	}
	s.usage = s.trained.Usage
	return s.train()
}

// train makes the vectors and writes them. Those of a sweep that was stopped must come
// out as they were.
func (s *sweep) train() error {
	s.vectors = map[string]*steer.Vector{}
	hashes := map[string]string{}
	for _, name := range s.manifest.Grid.Aggregators {
		aggregator, err := steer.ParseAggregator(name)
		if err != nil {
			return err
		}
		if s.vectors[name], err = steer.Aggregate(s.trained, aggregator); err != nil {
			return err
		}
		path := vectorFile(s.run.Dir, name)
		if err := s.vectors[name].Save(path); err != nil {
			return err
		}
		if hashes[name], err = hashFile(path); err != nil {
			return err
		}
		if before, there := s.manifest.Vectors[name]; there && before != hashes[name] {
			return fmt.Errorf("the %s vector is another than that which the rows are of", name)
		}
	}
	s.manifest.Vectors = hashes
	return nil
}

// loadVectors reads the vectors that a sweep's folder has, and reports whether all are
// those of the manifest.
func (s *sweep) loadVectors(dir string) bool {
	vectors := map[string]*steer.Vector{}
	for _, name := range s.manifest.Grid.Aggregators {
		path := vectorFile(dir, name)
		hash, err := hashFile(path)
		if err != nil || hash != s.manifest.Vectors[name] {
			return false
		}
		if vectors[name], err = steer.LoadVector(path); err != nil {
			return false
		}
	}
	s.vectors = vectors
	return true
}

// groups returns what is to be done, in order.
func (s *sweep) groups() []group {
	g := &s.manifest.Grid
	groups := []group{{1, s.before}}
	doses := max(len(g.Multipliers), len(g.Budgets))
	layers := max(1, groupPoints/doses)
	for _, aggregator := range g.Aggregators {
		for _, operator := range g.Operators {
			for _, scope := range g.Scopes {
				for some := range slices.Chunk(g.Layers, layers) {
					groups = append(groups, group{len(some) * doses, func(ctx context.Context, progress func(done, total int)) (groupPart, error) {
						return s.grid(ctx, aggregator, operator, scope, some, progress)
					}})
				}
			}
		}
	}
	s.toChoose = len(groups)
	groups = append(groups, group{doses * (1 + s.manifest.Plan.Random), s.compare})
	if s.manifest.Plan.Generate != nil {
		groups = append(groups, group{doses, s.write})
	}
	return groups
}

// progress tells how far the sweep is, in points and parts of a thousand.
func (s *sweep) progress(groups []group, at int) func(done, total int) {
	before, all := 0, 0
	for i, g := range groups {
		if all += g.points; i < at {
			before += g.points
		}
	}
	return func(done, total int) {
		if s.run.Progress != nil && total > 0 {
			s.run.Progress(1000*before+1000*groups[at].points*done/total, 1000*all)
		}
	}
}

// before is what is known before anything is steered: what the vectors look like,
// and the baselines that need none.
func (s *sweep) before(ctx context.Context, progress func(done, total int)) (groupPart, error) {
	measured, err := s.evaluator.Measure(ctx, s.unsteered(), s.run.Shard, progress)
	return groupPart{Before: append([]Row{s.cosines()}, s.projections()...), Measured: measured}, err
}

// unsteered are the baselines that need no vector.
func (s *sweep) unsteered() []Arm {
	arms := []Arm{{Point: Point{Baseline: NoSteering}}}
	if i := s.manifest.Plan.Instructions; i != nil {
		arms = append(arms, Arm{Point: Point{Baseline: PositivePrompt}, Instruction: i[0]}, Arm{Point: Point{Baseline: NegativePrompt}, Instruction: i[1]})
	}
	return arms
}

// use is one layer of a trained vector.
func (s *sweep) use(aggregator, operator, scope string, layer int) (Use, error) {
	layers, err := steer.ParseLayers(strconv.Itoa(layer))
	if err != nil {
		return Use{}, err
	}
	tokens := scope
	if scope == everything {
		tokens = ""
	}
	if operator == OwnOperator {
		operator = ""
	}
	return Use{Vector: s.vectors[aggregator], Intervention: steer.Intervention{Operator: operator, Tokens: tokens, Layers: layers}}, nil
}

// grid measures all multipliers or budgets of some layers.
func (s *sweep) grid(ctx context.Context, aggregator, operator, scope string, layers []int, progress func(done, total int)) (part groupPart, err error) {
	var uses []Use
	for _, layer := range layers {
		use, err := s.use(aggregator, operator, scope, layer)
		if err != nil {
			return part, err
		}
		uses = append(uses, use)
	}
	var arms []Arm
	arms, part.Notes, err = s.arms(ctx, uses)
	if err != nil || len(arms) == 0 {
		return part, err
	}
	part.Measured, err = s.evaluator.Measure(ctx, arms, s.run.Shard, progress)
	return part, err
}

// arms are the points of some ways to steer, one way after the other. An operator
// that needs a direction has none at 0, and one that does not heed its length has
// one point.
func (s *sweep) arms(ctx context.Context, uses []Use) (arms []Arm, notes []string, err error) {
	if s.calibrator != nil && heeds(uses[0]) {
		return s.armsAt(ctx, uses)
	}
	for _, use := range uses {
		multipliers := s.manifest.Grid.Multipliers
		if !heeds(use) {
			multipliers = []float64{1}
		}
		some, err := Arms(s.model, []Use{use}, multipliers)
		if err != nil {
			return nil, nil, err
		}
		arms = append(arms, some...)
	}
	return arms, nil, nil
}

// armsAt are the points of some ways to steer that cost the budgets, which are
// looked for together. Where no multiplier costs one, the point is left out, and a
// note says so.
func (s *sweep) armsAt(ctx context.Context, uses []Use) (arms []Arm, notes []string, err error) {
	var doses []dose
	for _, use := range uses {
		for _, budget := range s.manifest.Grid.Budgets {
			doses = append(doses, dose{use, budget})
		}
	}
	found, err := s.calibrator.find(ctx, doses)
	if err != nil {
		return nil, nil, err
	}
	for i, f := range found {
		use, budget := doses[i].use, doses[i].budget
		if f.err != nil {
			notes = append(notes, fmt.Sprintf("%s, %s, layer %s: no point costs %v nats: %v",
				use.Vector.Provenance.Aggregator, cmp.Or(use.Operator, OwnOperator), use.Layers, budget, f.err))
			continue
		}
		arm, err := NewArm(s.model, []Use{use}, f.multiplier)
		if err != nil {
			return nil, nil, err
		}
		arm.Point.Budget = budget
		arms = append(arms, arm)
	}
	return arms, notes, nil
}

// heeds reports whether a use's operator looks at the length of the vector: an
// ablation does not, so that it has one point, whatever the multiplier.
func heeds(use Use) bool {
	operator, err := steer.ParseOperator(cmp.Or(use.Operator, use.Vector.Operator, steer.Add().Name()))
	if err != nil {
		return true
	}
	for _, vector := range use.Vector.Layers {
		width := len(vector) / max(1, use.Vector.Rank)
		activation := make([]float32, width)
		for i := range activation {
			activation[i] = float32(i%5) - 1.5
		}
		half := make([]float32, len(vector))
		for i, v := range vector {
			half[i] = v / 2
		}
		a, b := make([]float32, width), make([]float32, width)
		for _, part := range []struct{ delta, vector []float32 }{{a, slices.Clone(vector)}, {b, half}} {
			prepared, err := operator.Prepare(part.vector, width)
			if err != nil || prepared == nil {
				return true
			}
			operator.Delta(part.delta, activation, prepared)
		}
		for i := range a {
			if d := a[i] - b[i]; d > 1e-4 || d < -1e-4 {
				return true
			}
		}
		return slices.Equal(a, make([]float32, width)) // nothing can be told from an idle one
	}
	return true
}

// chosen returns the use of the chosen way to steer and its multipliers, in order.
func (s *sweep) chosen() (p Point, use Use, points []Point, err error) {
	best, ok := s.choose(Choose, s.manifest.Plan.MaxKL95)
	if !ok {
		return p, use, nil, errors.New("the grid has no point to choose")
	}
	p = best.Point
	for _, r := range s.rows {
		if r.Set == Choices && r.Half == Choose && r.Baseline == "" && r.way() == p.way() {
			points = append(points, r.Point)
		}
	}
	use, err = s.use(p.Aggregator, p.Operator, p.Scope, p.Layers[0])
	return p, use, points, err
}

// write lets the model write without steering, at all points of the chosen way to
// steer, and after instructions.
func (s *sweep) write(ctx context.Context, progress func(done, total int)) (part groupPart, err error) {
	_, use, points, err := s.chosen()
	if err != nil {
		return part, err
	}
	arms := s.unsteered()
	for _, p := range points {
		arm, err := NewArm(s.model, []Use{use}, p.Multiplier)
		if err != nil {
			return part, err
		}
		arm.Point = p
		arms = append(arms, arm)
	}
	g := s.manifest.Plan.Generate
	part.Measured, err = s.evaluator.Write(ctx, arms, s.run.Shard, WriteOptions{
		Questions: g.Questions, MaxTokens: g.MaxTokens, Temperature: g.Temperature, Seed: s.manifest.Plan.Seed, Scorers: s.run.Scorers, Progress: progress,
	})
	return part, err
}

// compare chooses the best point and measures, beside it, the same vector at 0 and
// random vectors of the same length at the same multipliers.
func (s *sweep) compare(ctx context.Context, progress func(done, total int)) (part groupPart, err error) {
	p, use, points, err := s.chosen()
	if err != nil {
		return part, err
	}
	var multipliers []float64
	for _, point := range points {
		multipliers = append(multipliers, point.Multiplier)
	}
	arms, err := Baselines{Random: s.manifest.Plan.Random, Seed: s.manifest.Plan.Seed}.Arms(s.model, []Use{use}, multipliers)
	if err != nil {
		return part, err
	}
	if arms = arms[1:]; len(arms) > 0 { // what does not steer is measured already
		if part.Measured, err = s.evaluator.Measure(ctx, arms, s.run.Shard, progress); err != nil {
			return part, err
		}
	}
	if use.Vector.Rank > 1 {
		part.Notes = []string{fmt.Sprintf("tokens are not projected: the chosen vector has %d rows and no one direction", use.Vector.Rank)}
		return part, nil
	}
	projected, err := s.tokens(ctx, use, p)
	part.After = []Row{projected}
	return part, err
}

// choice is a point with what it gains and costs.
type choice struct {
	Point
	gain, cost Estimate
}

// choose returns the point of the grid that gains most on a half of the items, of
// those that cost at most so many nats; where none costs so little, the cheapest.
func (s *sweep) choose(half Half, most float64) (best choice, ok bool) {
	for _, r := range s.rows {
		if r.Set != Choices || r.Half != half || r.Baseline != "" {
			continue
		}
		c := choice{r.Point, s.summary.gain(r), s.costOf(r.Point)}
		var better bool
		switch fits, bestFits := c.cost.Value <= most, best.cost.Value <= most; {
		case !ok:
			better = true
		case fits != bestFits:
			better = fits
		case fits:
			better = c.gain.Value > best.gain.Value
		default:
			better = c.cost.Value < best.cost.Value
		}
		if better {
			best, ok = c, true
		}
	}
	return best, ok
}

// costOf returns what a point costs.
func (s *sweep) costOf(p Point) Estimate {
	for _, r := range s.rows {
		if r.Set == Cost && r.Point.key() == p.key() {
			return r.Metrics[KL95]
		}
	}
	return Estimate{}
}

// gainOf returns what a point gains on a half.
func (s *sweep) gainOf(p Point, half Half) Estimate {
	for _, r := range s.rows {
		if r.Set == Choices && r.Half == half && r.Point.key() == p.key() {
			return s.summary.gain(r)
		}
	}
	return Estimate{}
}

// gain estimates by how much a row's examples moved from where they are without
// steering.
func (s *Summary) gain(r Row) Estimate {
	moved := make([]float64, len(r.Examples))
	for i, x := range r.Examples {
		moved[i] = x.Value - x.Unsteered
	}
	return s.bootstrap.mean(moved)
}

// conclude fills in what was found.
func (s *sweep) conclude() error {
	most := s.manifest.Plan.MaxKL95
	chosen, ok := s.choose(Choose, most)
	if !ok {
		return errors.New("the grid has no point to choose")
	}
	best, _ := s.choose(Report, most)
	r := &Result{
		Chosen: chosen.Point, KL95: chosen.cost, OnChoose: chosen.gain, OnReport: s.gainOf(chosen.Point, Report),
		Best: best.Point, OnBest: best.gain,
	}
	r.Within = r.OnReport.Low <= best.gain.Value && best.gain.Value <= r.OnReport.High
	for _, row := range s.rows {
		if row.Set == Choices && row.Half == Report && row.Baseline != "" {
			r.Baselines = append(r.Baselines, Gain{row.Point, s.summary.gain(row)})
		}
	}
	s.manifest.Result = r
	return nil
}

// work counts what was computed so far.
func (s *sweep) work() *Work {
	usage := s.usage.Add(s.evaluator.Usage())
	if s.calibrator != nil {
		usage = usage.Add(s.calibrator.usage)
	}
	return &Work{usage.GivenLayers, usage.ComputedLayers, time.Since(s.begun).Seconds()}
}
