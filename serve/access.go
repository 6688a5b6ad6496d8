package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// seen is what is known of a request before its body is read.
type seen struct {
	id   string // of the request
	salt string // that parts the prefix cache by API key; "": there are none
	note []slog.Attr
}

type seenKey struct{}

// seenOf returns what the outer handlers know of a request.
func seenOf(r *http.Request) *seen { return r.Context().Value(seenKey{}).(*seen) }

// logged gives a request its id and logs how it ended.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known := &seen{id: r.Header.Get("X-Request-Id")}
		if !nameForm.MatchString(known.id) {
			known.id = rand.Text()
		}
		w.Header().Set("X-Request-Id", known.id)
		out := &statusWriter{ResponseWriter: w, status: http.StatusOK, limit: s.opts.Write}
		begin := time.Now()
		defer func() {
			attrs := append([]slog.Attr{
				slog.String("id", known.id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
				slog.Int("status", out.status), slog.Duration("took", time.Since(begin)),
			}, known.note...)
			s.opts.Log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
		}()
		next.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), seenKey{}, known)))
	})
}

// statusWriter remembers the status that it wrote. Each write has its deadline, so
// that a client that does not read keeps nothing.
type statusWriter struct {
	http.ResponseWriter
	status int
	limit  time.Duration
}

func (w *statusWriter) Write(data []byte) (int, error) {
	// What cannot set deadlines, as a recorder in a test, has none.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.limit))
	return w.ResponseWriter.Write(data)
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// addressed refuses requests to other hosts. A page of another site can have its
// own name resolve to this machine (DNS rebinding), and its requests then count as
// being of one origin with the server; they come with that name, never with an address.
func (s *Server) addressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && host != "localhost" && !slices.ContainsFunc(s.opts.Hosts, func(name string) bool { return strings.EqualFold(name, host) }) {
			(&problem{status: http.StatusForbidden, kind: "invalid_request_error", code: "host_not_allowed",
				message: "the server does not answer to this Host; it can be started with others"}).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// corsHeaders are what a page of an allowed origin may send, beside X-Stainless-*,
// which OpenAI's own client sends.
var corsHeaders = []string{"authorization", "content-type", "accept", "x-steering", "x-request-id", "openai-organization", "openai-project"}

// shared lets pages of some origins use the server, and no others.
func (s *Server) shared(next http.Handler) (http.Handler, error) {
	protection := http.NewCrossOriginProtection()
	for _, origin := range s.opts.Origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		(&problem{status: http.StatusForbidden, kind: "invalid_request_error", code: "origin_not_allowed",
			message: "pages of other origins may not use the server; it can be started with some allowed"}).write(w)
	}))
	protected := protection.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !slices.Contains(s.opts.Origins, origin) {
			protected.ServeHTTP(w, r)
			return
		}
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", "X-Request-Id, X-Steer-Ignored, Retry-After")
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			protected.ServeHTTP(w, r)
			return
		}
		var allowed []string
		for name := range strings.SplitSeq(r.Header.Get("Access-Control-Request-Headers"), ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if slices.Contains(corsHeaders, name) || strings.HasPrefix(name, "x-stainless-") {
				allowed = append(allowed, name)
			}
		}
		header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		header.Set("Access-Control-Allow-Headers", strings.Join(allowed, ", "))
		header.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	}), nil
}

// keys are digests of API keys.
type keys [][sha256.Size]byte

func newKeys(texts []string) (k keys) {
	for _, text := range texts {
		k = append(k, sha256.Sum256([]byte(text)))
	}
	return k
}

// check compares a key with all, in a time that does not depend on them.
func (k keys) check(key string) (known bool) {
	digest, equal := sha256.Sum256([]byte(key)), 0
	for i := range k {
		equal |= subtle.ConstantTimeCompare(k[i][:], digest[:])
	}
	return equal == 1
}

// keyed asks for an API key where the server has some.
func (s *Server) keyed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if len(s.keys) > 0 {
			key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !bearer || !s.keys.check(key) {
				(&problem{status: http.StatusUnauthorized, kind: "invalid_request_error", code: "invalid_api_key",
					message: "the request has no API key that is known, as in Authorization: Bearer KEY"}).write(w)
				return
			}
			digest := sha256.Sum256([]byte(key))
			seenOf(r).salt = hex.EncodeToString(digest[:])
		}
		next(w, r)
	}
}

// nameForm is what names look like: of vectors, presets and requests.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
