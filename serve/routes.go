package serve

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

//go:embed page
var page embed.FS

// routes are all that the server answers to.
func (s *Server) routes() (http.Handler, error) {
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET /v1/models":              s.listModels,
		"GET /v1/models/{name...}":    s.getModel,
		"POST /v1/chat/completions":   s.chat,
		"POST /v1/completions":        s.complete,
		"GET /v1/vectors":             s.listVectors,
		"POST /v1/vectors":            s.addVector,
		"GET /v1/vectors/{name}":      s.getVector,
		"GET /v1/vectors/{name}/file": s.vectorFile,
		"DELETE /v1/vectors/{name}":   s.removeVector,
		"POST /tokenize":              s.tokenize,
		"POST /detokenize":            s.detokenize,
		"GET /tokenizer_info":         s.tokenizerInfo,
		"GET /metrics":                s.metrics.handler().ServeHTTP,
	} {
		mux.HandleFunc(pattern, s.keyed(handle))
	}
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {})
	mux.HandleFunc("GET /ready", s.isReady)
	pages := static(http.FileServerFS(files))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/")
		info, err := fs.Stat(files, cmp.Or(path, "."))
		if err != nil || info.IsDir() && path != "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
			(&problem{status: http.StatusNotFound, kind: "invalid_request_error", code: "unknown_url", message: "nothing answers to " + r.Method + " " + r.URL.Path}).write(w)
			return
		}
		pages.ServeHTTP(w, r)
	})
	shared, err := s.shared(mux)
	if err != nil {
		return nil, err
	}
	return s.logged(s.addressed(shared)), nil
}

// static tells browsers to take the page's files for what they are, and to load
// nothing for it from elsewhere.
func static(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// isReady answers whether new requests are welcome.
func (s *Server) isReady(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-s.ending:
		overloaded("the server is ending").write(w)
	default:
	}
}

// readBody reads the body to its end, so that the request's context ends when the
// client goes.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	control := http.NewResponseController(w)
	// A server that cannot set deadlines, as one of a test, has none.
	_ = control.SetReadDeadline(time.Now().Add(readTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, &problem{status: http.StatusRequestEntityTooLarge, kind: "invalid_request_error", code: "body_too_large", message: "the body has more than 8 MiB"}
	case err != nil:
		return nil, invalid("", "read the body: %v", err)
	case !json.Valid(body):
		return nil, invalid("", "the body is not JSON")
	}
	if s.opts.LogPrompts {
		known := seenOf(r)
		known.note = append(known.note, slog.String("body", string(body)))
	}
	return body, nil
}
