package serve

import (
	"maps"
	"net/http"
	"slices"
)

// listed is a model as answers tell of it. Every preset is one: some clients can
// choose nothing else.
type listed struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Owner   string `json:"owned_by"`
	Root    string `json:"root"`
	Preset  string `json:"preset,omitempty"`
	Length  int    `json:"max_model_len"`
	Layers  int    `json:"layers"`
	Chat    bool   `json:"chat"` // it has a chat template
	Uploads bool   `json:"uploads"`
}

func (s *Server) models() []listed {
	one := listed{ID: s.opts.Name, Object: "model", Created: s.begun.Unix(), Owner: "steer", Root: s.opts.Name, Length: s.context, Layers: s.model.Layers(),
		Chat: s.template() != "", Uploads: s.opts.AllowUpload}
	list := []listed{one}
	for _, name := range slices.Sorted(maps.Keys(s.presets)) {
		one.ID, one.Preset = s.opts.Name+"@"+name, name
		list = append(list, one)
	}
	return list
}

// template returns the chat template; "": there is none.
func (s *Server) template() string {
	switch {
	case s.tokens == nil:
		return ""
	case s.opts.ChatTemplate != "":
		return s.opts.ChatTemplate
	}
	return s.tokens.ChatTemplate()
}

func (s *Server) listModels(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": s.models()})
}

func (s *Server) getModel(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	for _, m := range s.models() {
		if m.ID == name {
			writeJSON(w, http.StatusOK, m)
			return
		}
	}
	noModel().write(w)
}

func noModel() *problem {
	return &problem{status: http.StatusNotFound, kind: "invalid_request_error", param: "model", code: "model_not_found", message: "there is no such model; GET /v1/models lists those there are"}
}
