package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// problem is an error as OpenAI's clients read it.
type problem struct {
	status  int
	kind    string // type
	code    string // "": null
	param   string // path in the body; "": null
	message string
}

func (p *problem) Error() string {
	if p.param != "" {
		return p.param + ": " + p.message
	}
	return p.message
}

// MarshalJSON writes what stands behind "error".
func (p *problem) MarshalJSON() ([]byte, error) {
	orNull := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	return json.Marshal(struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}{p.message, p.kind, orNull(p.param), orNull(p.code)})
}

// invalid is what is wrong with a request, at a path of its body.
func invalid(param, format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, kind: "invalid_request_error", param: param, message: fmt.Sprintf(format, args...)}
}

// overloaded asks a client to come again.
func overloaded(format string, args ...any) *problem {
	return &problem{status: http.StatusServiceUnavailable, kind: "server_error", code: "overloaded", message: fmt.Sprintf(format, args...)}
}

// failed is what went wrong here.
func failed(format string, args ...any) *problem {
	return &problem{status: http.StatusInternalServerError, kind: "server_error", message: fmt.Sprintf(format, args...)}
}

// envelope is the body of an answer that is an error.
type envelope struct {
	Error *problem `json:"error"`
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	if p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, p.status, envelope{p})
}

// writeJSON answers with a value. Who has gone does not read what failed.
func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
}
