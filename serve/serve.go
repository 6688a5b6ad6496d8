// Package serve is an HTTP server for a language model in which every request,
// and every choice within one, carries its own steering. All are written in one
// running batch and share what they have in common; each is the same, bit for bit,
// as alone.
//
// It speaks OpenAI's API for models, chat and text completions, with steering in
// the body, in a header or in the model's name; docs/server.md has the contract.
package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/forest"
	"github.com/steervec/steer/lm/tokenizer"
)

// Options say how a model is served. The zero value serves it unsteered, to
// anybody who reaches the server by an address or by the name localhost.
type Options struct {
	Name         string                     // of the model in requests; "": its id
	Vectors      map[string]*steer.Vector   // by the names that requests use
	Presets      map[string]json.RawMessage // steering objects by name
	Default      string                     // the preset of requests that say nothing of steering; "": they are unsteered
	ChatTemplate string                     // the source of a template; "": the model's own
	AllowUpload  bool                       // requests may train and upload vectors

	Keys    []string // of which a request must have one; none: nobody is asked
	Hosts   []string // names under which the server may be addressed, beside localhost and IP addresses
	Origins []string // such as https://example.org, whose pages may use the server

	Cache     int           // tokens whose keys and values are held, by those who write and for later; 0: 65536
	Running   int           // sequences that write at the same time; 0: 64
	Waiting   int           // sequences that wait at the same time; 0: 1024
	RunTokens int           // tokens of prompts computed in a step, beside those who write; 0: 256
	MaxTokens int           // that a chat writes where the request does not say; 0: 1024
	Write     time.Duration // that one write to a client may take; 0: 30 s
	Linger    time.Duration // that a server which is told to end says so at /ready before it takes no more requests
	Drain     time.Duration // that requests may take from then on; 0: 30 s

	Log        *slog.Logger // nil: nothing is logged
	LogPrompts bool         // bodies of requests too
}

// Server serves one model. Close ends it.
type Server struct {
	model    *lm.Model            // without a cache
	tokens   *tokenizer.Tokenizer // nil: there is none
	opts     Options
	context  int // tokens that a prompt and its text may have together
	begun    time.Time
	registry *registry
	presets  map[string]*steering
	keys     keys
	loop     *loop
	metrics  *metrics
	training chan struct{} // holds one while a vector is trained
	passes   chan struct{} // holds one for each request whose projections are read
	texts    tokenTexts
	ending   <-chan struct{}    // closed once no more requests are welcome
	drain    context.CancelFunc // closes it
	lifetime context.Context
	stop     context.CancelFunc // ends it
	handler  http.Handler
}

// New returns a server for a model. Where that has no tokenizer, prompts and texts
// are token ids. Errors name the vector or preset that is wrong.
func New(model *lm.Model, opts Options) (*Server, error) {
	tokens, err := model.Tokenizer()
	if err != nil {
		tokens = nil // prompts are tokens then, and so are texts
	}
	opts.Name = cmp.Or(opts.Name, model.ID())
	opts.Cache, opts.Running, opts.Waiting = cmp.Or(opts.Cache, 1<<16), cmp.Or(opts.Running, 64), cmp.Or(opts.Waiting, 1024)
	opts.RunTokens, opts.MaxTokens = cmp.Or(opts.RunTokens, 256), cmp.Or(opts.MaxTokens, 1024)
	opts.Write, opts.Drain = cmp.Or(opts.Write, 30*time.Second), cmp.Or(opts.Drain, 30*time.Second)
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		model: model, tokens: tokens, opts: opts, begun: time.Now(),
		registry: newRegistry(), presets: map[string]*steering{}, keys: newKeys(opts.Keys), metrics: newMetrics(opts.Name), training: make(chan struct{}, 1), passes: make(chan struct{}, 2),
	}
	s.texts.tokens = tokens
	// A text sets some slots aside and may keep states, and each chunk of a prompt
	// begins a page.
	spare := 192 + 6*model.Decoder().StateWeight()
	if s.context = (opts.Cache - spare) * opts.RunTokens / (opts.RunTokens + forest.PageSlots); s.context < 1 {
		return nil, fmt.Errorf("a cache of %d tokens is too small", opts.Cache)
	}
	if most := model.Decoder().MaxPositions; most > 0 {
		s.context = min(s.context, most)
	}
	for _, name := range slices.Sorted(maps.Keys(opts.Vectors)) {
		if err := s.registry.add(name, opts.Vectors[name], false); err != nil {
			return nil, fmt.Errorf("vector %q: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(opts.Presets)) {
		if err := checkName(name); err != nil || name == unsteered {
			return nil, fmt.Errorf("preset %q: %w", name, cmp.Or(err, errReserved))
		}
		steering, err := s.parse(opts.Presets[name], "steering")
		if err != nil {
			return nil, fmt.Errorf("preset %s: %w", name, err)
		}
		s.presets[name] = steering
	}
	s.presets[unsteered] = nil
	if _, ok := s.presets[opts.Default]; opts.Default != "" && !ok {
		return nil, fmt.Errorf("there is no preset %q to be the default", opts.Default)
	}
	if s.handler, err = s.routes(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	welcome, drain := context.WithCancel(ctx)
	s.lifetime, s.stop, s.drain, s.ending = ctx, stop, drain, welcome.Done()
	if s.loop, err = newLoop(ctx, model.Cached(opts.Cache), opts, s.metrics); err != nil {
		stop()
		return nil, err
	}
	return s, nil
}

// Close ends what is running and waits for it.
func (s *Server) Close() {
	s.stop()
	<-s.loop.ended
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve answers on a listener until ctx ends. Then it is not ready, and for as long as
// [Options.Linger] says it goes on, so that a balancer has time to notice. After that it
// takes no more requests, lets those that are there finish, for as long as
// [Options.Drain] says, and closes the server. With settings it speaks TLS.
func (s *Server) Serve(ctx context.Context, listener net.Listener, settings *tls.Config) error {
	defer s.Close()
	server := &http.Server{
		Handler: s, TLSConfig: settings, ReadHeaderTimeout: readTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
	}
	if settings != nil {
		listener = tls.NewListener(listener, settings)
	}
	drained := make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		s.drain()
		s.opts.Log.Info("draining", "running", s.metrics.runningNow(), "waiting", s.loop.waitingNow())
		server.SetKeepAlivesEnabled(false) // connections end with the answer that they carry
		time.Sleep(s.opts.Linger)
		limited, cancel := context.WithTimeout(context.Background(), s.opts.Drain)
		defer cancel()
		err := server.Shutdown(limited)
		if errors.Is(err, context.DeadlineExceeded) {
			s.stop() // those who still write are told
			<-s.loop.ended
			err = fmt.Errorf("requests were cut off after %v", s.opts.Drain)
			limited, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if server.Shutdown(limited) != nil {
				err = errors.Join(err, server.Close())
			}
		}
		drained <- err
	})()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}
