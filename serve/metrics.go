package serve

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/steervec/steer/lm"
)

// metrics have vLLM's names, with the prefix steer_ in place of its own.
type metrics struct {
	registry *prometheus.Registry
	factory  promauto.Factory
	writing  atomic.Int64

	running                              prometheus.Gauge
	used                                 prometheus.Gauge
	queries, hits, promptTokens, written prometheus.Counter
	computed, broken                     prometheus.Counter
	finishes                             *prometheus.CounterVec
	first, between, whole, queued        prometheus.Histogram
}

func newMetrics(model string) *metrics {
	registry := prometheus.NewRegistry()
	f := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"model_name": model}, prometheus.WrapRegistererWithPrefix("steer_", registry)))
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	short := []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
	long := []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	return &metrics{
		registry: registry, factory: f,
		running:      f.NewGauge(prometheus.GaugeOpts{Name: "num_requests_running", Help: "Texts that are written."}),
		used:         f.NewGauge(prometheus.GaugeOpts{Name: "kv_cache_usage_perc", Help: "Share of the cache in use, 1 is all of it."}),
		queries:      counter("prefix_cache_queries_total", "Tokens of prompts that were looked for in the prefix cache."),
		hits:         counter("prefix_cache_hits_total", "Tokens of prompts that were found there."),
		promptTokens: counter("prompt_tokens_total", "Tokens of prompts."),
		written:      counter("generation_tokens_total", "Tokens that were written."),
		computed:     counter("computed_tokens_total", "Tokens that were computed, of prompts and of texts."),
		broken:       counter("cache_contradictions_total", "Checks in idle moments that found the cache's memory to contradict itself."),
		finishes:     f.NewCounterVec(prometheus.CounterOpts{Name: "request_success_total", Help: "Texts that have ended, by reason."}, []string{"finished_reason"}),
		first:        histogram("time_to_first_token_seconds", "From a request's coming to the first token.", short...),
		between:      histogram("inter_token_latency_seconds", "From one token to the next.", short...),
		whole:        histogram("e2e_request_latency_seconds", "From a request's coming to the end of the text.", long...),
		queued:       histogram("request_queue_time_seconds", "From a request's coming to its place in the batch.", long...),
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// waits says who knows how many wait.
func (m *metrics) waits(now func() int) {
	m.factory.NewGaugeFunc(prometheus.GaugeOpts{Name: "num_requests_waiting", Help: "Texts that wait for a place in the batch."}, func() float64 { return float64(now()) })
}

func (m *metrics) runningNow() int64 { return m.writing.Load() }

// admitted notes that a choice has its place in the batch.
func (m *metrics) admitted(c *choice) {
	m.queued.Observe(time.Since(c.arrived).Seconds())
	m.running.Set(float64(m.writing.Add(1)))
}

// wrote notes new tokens of a choice.
func (m *metrics) wrote(c *choice, n int) {
	now := time.Now()
	if c.last.IsZero() {
		m.first.Observe(now.Sub(c.arrived).Seconds())
	} else {
		m.between.Observe(now.Sub(c.last).Seconds())
	}
	c.last = now
	m.written.Add(float64(n))
}

// ended notes that a choice has left the batch with what it has written.
func (m *metrics) ended(c *choice, g lm.Generation) {
	m.running.Set(float64(m.writing.Add(-1)))
	m.promptTokens.Add(float64(len(g.Prompt)))
	m.queries.Add(float64(len(g.Prompt)))
	m.hits.Add(float64(g.Cached))
	if g.Finish == lm.FinishEnd {
		m.written.Inc()
	}
	m.finished(g.Finish, time.Since(c.arrived))
}

// finished notes why a text ended.
func (m *metrics) finished(why lm.Finish, after time.Duration) {
	m.finishes.WithLabelValues(finishReason(why)).Inc()
	m.whole.Observe(after.Seconds())
}

// stepped notes what a step did to the batch.
func (m *metrics) stepped(b *lm.Batch, cached *lm.Model, slots int, before lm.Usage) {
	m.computed.Add(float64(b.Usage().Computed - before.Computed))
	_, used := cached.CacheUse()
	m.used.Set(float64(used) / float64(slots))
}

// finishReason is OpenAI's word for why a text ended; those for texts that have no
// reader are vLLM's.
func finishReason(why lm.Finish) string {
	switch why {
	case lm.FinishEnd, lm.FinishStop:
		return "stop"
	case lm.FinishLength:
		return "length"
	case lm.FinishError:
		return "error"
	}
	return "abort"
}
