package serve

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
)

// unsteered is the name of the preset that every server has, which does nothing.
const unsteered = "none"

var errReserved = errors.New("the name is that of the preset that does nothing")

// steering is what acts in one choice. It is immutable; nil does nothing.
type steering struct {
	edits []edit
	made  *lm.Steering
}

// edit is one vector at work.
type edit struct {
	path   string // in the request
	made   lm.Edit
	report appliedEdit
}

// appliedEdit is an edit as answers tell of it.
type appliedEdit struct {
	Vector     string   `json:"vector"` // "": inline
	Hash       string   `json:"hash"`
	Multiplier float64  `json:"multiplier"`
	Strength   *float64 `json:"strength,omitempty"`
	Operator   string   `json:"operator"`
	LayerType  lm.Site  `json:"layer_type"`
	Layers     []int    `json:"layers"`
	Tokens     string   `json:"tokens"`
	Prompt     int      `json:"prompt_tokens"`   // on which it acted
	Response   int      `json:"response_tokens"` // likewise
	Positions  [][2]int `json:"positions"`       // of these tokens: from one to another, which is not among them
	Notes      []string `json:"notes,omitempty"`
}

// steeringOf returns what acts in each choice of a request: what the body says, or
// the header, or the model's name, or else the server's default. all is whether the
// body says it for each choice.
func (s *Server) steeringOf(r *request, preset, header string) (each []*steering, all bool, p *problem) {
	given := 0
	for _, is := range []bool{r.has("steering"), r.has("steering_choices"), preset != "", header != ""} {
		if is {
			given++
		}
	}
	if given > 1 {
		return nil, false, invalid("steering", "steering is given more than once: by steering, by steering_choices, by the model's name or by the header X-Steering; give one of them")
	}
	one := func(st *steering, p *problem) ([]*steering, bool, *problem) {
		return slices.Repeat([]*steering{st}, r.choices()), false, p
	}
	switch {
	case r.has("steering"):
		return one(s.parse(r.Steering, "steering"))
	case preset != "":
		return one(s.preset(preset, "model"))
	case header != "":
		return one(s.preset(header, "X-Steering"))
	case !r.has("steering_choices"):
		return one(s.presets[s.opts.Default], nil)
	}
	if len(r.SteeringChoices) != r.choices() {
		return nil, false, invalid("steering_choices", "there are %d for %d choices (n)", len(r.SteeringChoices), r.choices())
	}
	for i, raw := range r.SteeringChoices {
		st, p := s.parse(raw, at("steering_choices", i))
		if p != nil {
			return nil, false, p
		}
		each = append(each, st)
	}
	return each, true, nil
}

// preset returns the steering of a name.
func (s *Server) preset(name, path string) (*steering, *problem) {
	st, ok := s.presets[name]
	if !ok {
		p := invalid(path, "there is no preset %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(s.presets)), ", "))
		p.code = "preset_not_found"
		return nil, p
	}
	return st, nil
}

// parse reads a steering object: null or false, {"preset": NAME} or {"edits": […]}.
func (s *Server) parse(data json.RawMessage, path string) (*steering, *problem) {
	if isNull(data) || string(data) == "false" {
		return nil, nil
	}
	var object struct {
		Preset *string           `json:"preset"`
		Edits  []json.RawMessage `json:"edits"`
	}
	if p := decodeObject(data, &object, path); p != nil {
		return nil, p
	}
	switch {
	case object.Preset != nil && object.Edits != nil:
		return nil, invalid(path, "it has a preset and edits; give one of them")
	case object.Preset != nil:
		return s.preset(*object.Preset, join(path, "preset"))
	case object.Edits == nil:
		return nil, invalid(path, "it has neither a preset nor edits; null does not steer")
	case len(object.Edits) > maxEdits:
		return nil, invalid(join(path, "edits"), "there are %d, and at most %d can be", len(object.Edits), maxEdits)
	}
	st := &steering{}
	var made []lm.Edit
	for i, raw := range object.Edits {
		e, p := s.parseEdit(raw, at(join(path, "edits"), i))
		if p != nil {
			return nil, p
		}
		st.edits = append(st.edits, e)
		made = append(made, e.made)
	}
	var err error
	if st.made, err = s.model.Steering(made...); err != nil {
		return nil, invalid(join(path, "edits"), "%v", err)
	}
	return st, nil
}

// parseEdit reads what one vector does.
func (s *Server) parseEdit(data json.RawMessage, path string) (edit, *problem) {
	var object struct {
		steer.Intervention
		Inline json.RawMessage `json:"inline"`
		Layers json.RawMessage `json:"layers"` // read below, so that a mistake has its place
	}
	if p := decodeObject(data, &object, path); p != nil {
		return edit{}, p
	}
	how := object.Intervention
	layers, p := parseLayers(object.Layers, join(path, "layers"))
	if p != nil {
		return edit{}, p
	}
	how.Layers = layers
	var vector *steer.Vector
	var hash string
	switch {
	case how.Vector != "" && object.Inline != nil:
		return edit{}, invalid(path, "it has a vector's name and an inline vector; give one of them")
	case object.Inline != nil:
		if vector, p = parseInline(object.Inline, join(path, "inline")); p != nil {
			return edit{}, p
		}
		hash = vectorHash(vector)
	case how.Vector == "":
		return edit{}, invalid(path, "it names no vector")
	default:
		found, p := s.registry.find(how.Vector, join(path, "vector"))
		if p != nil {
			return edit{}, p
		}
		vector, hash = found.vector, found.hash
	}
	if how.When != nil {
		when, err := how.When.Embed(vector, func(name string) (*steer.Vector, error) {
			found, p := s.registry.find(name, join(path, "when"))
			if p != nil {
				return nil, p
			}
			return found.vector, nil
		})
		if p := (*problem)(nil); errors.As(err, &p) {
			return edit{}, p
		}
		if err != nil {
			return edit{}, invalid(join(path, "when"), "%v", err)
		}
		how.When = when
	}
	made, err := how.Edit(s.model, vector)
	if err != nil {
		return edit{}, s.misfit(how, vector, object.Layers, path, err)
	}
	notes, err := vector.Check(s.model, made)
	if err != nil {
		return edit{}, invalid(path, "%v", err)
	}
	factor, err := how.Factor(vector)
	if err != nil {
		return edit{}, invalid(join(path, "strength"), "%v", err)
	}
	report := appliedEdit{
		Vector: how.Vector, Hash: hash, Multiplier: factor, Strength: how.Strength, Operator: made.Operator.Name(), LayerType: made.Site, Tokens: "all", Notes: notes,
	}
	if made.Tokens != nil {
		report.Tokens = fmt.Sprint(made.Tokens)
	}
	for n := range made.Layers {
		layer, err := s.model.Layer(n)
		if err != nil {
			return edit{}, invalid(path, "%v", err)
		}
		report.Layers = append(report.Layers, layer)
	}
	slices.Sort(report.Layers)
	return edit{path: path, made: made, report: report}, nil
}

// parseLayers reads layers; a mistake in a list has the element's path.
func parseLayers(data json.RawMessage, path string) (*steer.Layers, *problem) {
	if isNull(data) {
		return nil, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(data, &list) == nil {
		for i, raw := range list {
			var n int
			if json.Unmarshal(raw, &n) != nil {
				return nil, invalid(at(path, i), "it is not a whole number")
			}
		}
		if len(list) == 0 {
			return nil, invalid(path, "it is empty: no layer would be steered")
		}
	}
	layers := &steer.Layers{}
	if err := json.Unmarshal(data, layers); err != nil {
		return nil, invalid(path, "%v", err)
	}
	return layers, nil
}

// misfit says where in an edit what is wrong stands.
func (s *Server) misfit(how steer.Intervention, vector *steer.Vector, layers json.RawMessage, path string, err error) *problem {
	var numbers []int
	if json.Unmarshal(layers, &numbers) == nil {
		for i, n := range numbers {
			one, mistake := steer.ParseLayers(strconv.Itoa(n))
			if mistake == nil {
				how.Layers = one
				_, mistake = how.Edit(s.model, vector)
			}
			if wrong := (*steer.InterventionError)(nil); mistake != nil && (!errors.As(mistake, &wrong) || wrong.Key == "layers") && mistake.Error() != "" {
				if errors.As(mistake, &wrong) {
					mistake = wrong.Err
				}
				return invalid(at(join(path, "layers"), i), "%v", mistake)
			}
		}
	}
	if wrong := (*steer.InterventionError)(nil); errors.As(err, &wrong) {
		return invalid(join(path, wrong.Key), "%v", wrong.Err)
	}
	return invalid(path, "%v", err)
}

// parseInline reads a vector that a request brings along: its layers as base64 of
// little-endian float32 values.
func parseInline(data json.RawMessage, path string) (*steer.Vector, *problem) {
	var object struct {
		LayerType lm.Site           `json:"layer_type"`
		Layers    map[string]string `json:"layers"`
	}
	if p := decodeObject(data, &object, path); p != nil {
		return nil, p
	}
	if len(object.Layers) == 0 {
		return nil, invalid(join(path, "layers"), "an inline vector needs layers, such as {\"3\": \"base64 of float32 values\"}")
	}
	v := &steer.Vector{Site: object.LayerType, Layers: map[int][]float32{}}
	left := maxInline
	for _, key := range slices.Sorted(maps.Keys(object.Layers)) {
		where := join(join(path, "layers"), key)
		layer, err := strconv.Atoi(key)
		if err != nil {
			return nil, invalid(where, "%q is not the number of a layer", key)
		}
		if left -= base64.StdEncoding.DecodedLen(len(object.Layers[key])); left < 0 {
			return nil, invalid(where, "the vector has more than %d bytes", maxInline)
		}
		if v.Layers[layer], err = decodeFloats(object.Layers[key]); err != nil {
			return nil, invalid(where, "%v", err)
		}
	}
	return v, nil
}

func decodeFloats(text string) ([]float32, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("it is not base64: %w", err)
	}
	if len(data)%4 != 0 || len(data) == 0 {
		return nil, fmt.Errorf("%d bytes are no float32 values", len(data))
	}
	values := make([]float32, len(data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values, nil
}

// lm returns what the batch takes.
func (st *steering) lm() *lm.Steering {
	if st == nil {
		return nil
	}
	return st.made
}

// check refuses selections of tokens that a prompt lacks.
func (st *steering) check(prompt int) *problem {
	if st == nil {
		return nil
	}
	for _, e := range st.edits {
		if e.made.Tokens != nil {
			if err := e.made.Tokens.Check(prompt); err != nil {
				return invalid(join(e.path, "tokens"), "%v", err)
			}
		}
	}
	return nil
}

// applied tells what acted on a text, and on which of its tokens.
func (st *steering) applied(g lm.Generation) []appliedEdit {
	out := []appliedEdit{}
	if st == nil {
		return out
	}
	for i, e := range st.edits {
		report := e.report
		report.Positions = [][2]int{}
		if i < len(g.Acted) { // else it would change nothing, or nothing was computed
			for _, span := range g.Acted[i] {
				inPrompt := max(0, min(span.To, len(g.Prompt))-span.From)
				report.Prompt += inPrompt
				report.Response += span.To - span.From - inPrompt
				report.Positions = append(report.Positions, [2]int{span.From, span.To})
			}
		}
		out = append(out, report)
	}
	return out
}
