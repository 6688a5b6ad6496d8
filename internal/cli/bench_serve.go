package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
	"github.com/steervec/steer/serve"
)

// What serve measures: texts of so many tokens after prompts of so many, and a
// conversation of so many turns.
const (
	servePrompt = 32
	serveTokens = 32
	serveTurns  = 6
)

// serve measures what a client sees of a server over loopback: all streams steered
// differently beside the same unsteered, and beside a plain call of Generate.
func (b *bench) serve(s shape) error {
	m, err := b.open(s, lm.Auto, gguf.F32)
	if err != nil {
		return err
	}
	middle := s.layers / 2
	vector := &steer.Vector{Layers: map[int][]float32{middle: make([]float32, s.hidden)}}
	for i := range vector.Layers[middle] {
		vector.Layers[middle][i] = float32(i%7-3) / 100
	}
	server, err := serve.New(m, serve.Options{Name: "bench", Vectors: map[string]*steer.Vector{"v": vector}})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		server.Close()
		return err
	}
	ctx, end := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener, nil) }()
	client := &serveClient{url: "http://" + listener.Addr().String(), ctx: b.ctx}
	err = b.streams(m, s, client)
	if err == nil {
		err = b.turns(s, client)
	}
	client.http.CloseIdleConnections()
	end()
	return errors.Join(err, <-ended)
}

// streams measures texts that are written at the same time. The three ways are taken
// in turn, so that what the machine does besides meets all of them.
func (b *bench) streams(m *lm.Model, s shape, client *serveClient) error {
	prompts := 0
	some := func(n int) (out [][]int) { // new ones each time, of which nothing is cached
		for range n {
			prompts++
			out = append(out, s.someTokens(servePrompt, prompts))
		}
		return out
	}
	for _, streams := range []int{1, 4, 16, 64} {
		var steered, onUnsteered, onPlain []float64
		var times streamTimes
		for range b.rounds {
			var inputs []lm.Input
			for _, tokens := range some(streams) {
				inputs = append(inputs, lm.Input{Tokens: tokens})
			}
			begin := time.Now()
			if _, err := m.Generate(b.ctx, inputs, lm.GenerateOptions{MaxTokens: serveTokens, IgnoreEnd: true}); err != nil {
				return err
			}
			plain := time.Since(begin).Seconds()

			begin = time.Now()
			if _, err := client.write(some(streams), false); err != nil {
				return err
			}
			unsteered := time.Since(begin).Seconds()

			begin = time.Now()
			measured, err := client.write(some(streams), true)
			if err != nil {
				return err
			}
			took := time.Since(begin).Seconds()
			steered, onUnsteered, onPlain = append(steered, took), append(onUnsteered, took/unsteered), append(onPlain, took/plain)
			times.add(measured)
		}
		f := figure{Part: "serve", Model: s.name, Case: fmt.Sprintf("%d streams", streams), Seconds: median(steered)}
		f.TokensPerSecond = float64(streams*serveTokens) / f.Seconds
		f.Ratio, f.PlainRatio = median(onUnsteered), median(onPlain)
		f.First, f.Between = quantiles(times.first), quantiles(times.between)
		b.tell(f, "%2d streams, each steered differently: %.1f tokens/s; time %+.1f %% on unsteered, %+.1f %% on Generate; first token %.0f ms (99th percentile %.0f), then %.1f ms (%.1f)",
			streams, f.TokensPerSecond, 100*(f.Ratio-1), 100*(f.PlainRatio-1), 1e3*f.First[0], 1e3*f.First[1], 1e3*f.Between[0], 1e3*f.Between[1])
	}
	return nil
}

// turns measures how much of a conversation that grows is found in the cache.
func (b *bench) turns(s shape, client *serveClient) error {
	var tokens []int
	prompts, cached := 0, 0
	begin := time.Now()
	for turn := range serveTurns {
		tokens = append(tokens, s.someTokens(servePrompt, 1<<20+turn)...)
		answer, err := client.complete(tokens)
		if err != nil {
			return err
		}
		prompts, cached = prompts+answer.Usage.Prompt, cached+answer.Usage.Details.Cached
		tokens = append(tokens, answer.Choices[0].IDs...)
	}
	f := figure{Part: "serve", Model: s.name, Case: fmt.Sprintf("%d turns", serveTurns), Seconds: time.Since(begin).Seconds(), GivenTokens: prompts, ComputedTokens: prompts - cached}
	b.tell(f, "a conversation of %d turns: %d of %d tokens of prompts are in the cache, %.1f %%", serveTurns, cached, prompts, 100*float64(cached)/float64(prompts))
	return nil
}

// streamTimes are the seconds to the first token of each text, and between tokens.
type streamTimes struct{ first, between []float64 }

func (t *streamTimes) add(other streamTimes) {
	t.first, t.between = append(t.first, other.first...), append(t.between, other.between...)
}

// quantiles returns the median and the 99th percentile.
func quantiles(values []float64) [2]float64 {
	if len(values) == 0 {
		return [2]float64{}
	}
	middle := median(values) // which sorts
	return [2]float64{middle, values[len(values)*99/100]}
}

// serveClient talks to a server as any client does.
type serveClient struct {
	url  string
	ctx  context.Context
	http http.Client
}

// served is what it reads of an answer, or of a chunk of one.
type served struct {
	Choices []struct {
		IDs []int `json:"token_ids"`
	}
	Usage struct {
		Prompt  int `json:"prompt_tokens"`
		Details struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
}

func (c *serveClient) post(body map[string]any) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.url+"/v1/completions", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return nil, errors.Join(fmt.Errorf("the server answers %d: %s", answer.StatusCode, text), err)
	}
	return answer, nil
}

func serveBody(tokens []int) map[string]any {
	return map[string]any{"prompt": tokens, "max_tokens": serveTokens, "temperature": 0, "ignore_eos": true, "return_token_ids": true}
}

func (c *serveClient) complete(tokens []int) (out served, err error) {
	answer, err := c.post(serveBody(tokens))
	if err != nil {
		return out, err
	}
	defer answer.Body.Close()
	return out, json.NewDecoder(answer.Body).Decode(&out)
}

// write has all prompts continued at the same time, each as a stream of its own.
func (c *serveClient) write(prompts [][]int, steered bool) (all streamTimes, err error) {
	var wait sync.WaitGroup
	times, errs := make([]streamTimes, len(prompts)), make([]error, len(prompts))
	for i, tokens := range prompts {
		body := serveBody(tokens)
		body["stream"] = true
		if steered {
			multiplier := 0.5 + float64(i)/float64(len(prompts))
			body["steering"] = map[string]any{"edits": []steer.Intervention{{Vector: "v", Multiplier: &multiplier}}}
		}
		wait.Go(func() { times[i], errs[i] = c.stream(body) })
	}
	wait.Wait()
	for i := range prompts {
		all.add(times[i])
	}
	return all, errors.Join(errs...)
}

// stream reads one text and notes when its tokens come.
func (c *serveClient) stream(body map[string]any) (times streamTimes, err error) {
	last := time.Now()
	answer, err := c.post(body)
	if err != nil {
		return times, err
	}
	defer answer.Body.Close()
	lines, tokens := bufio.NewScanner(answer.Body), 0
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: {")
		if !ok {
			continue
		}
		var chunk served
		if err := json.Unmarshal([]byte("{"+data), &chunk); err != nil {
			return times, err
		}
		for _, choice := range chunk.Choices {
			if len(choice.IDs) == 0 {
				continue
			}
			now := time.Now()
			took := now.Sub(last).Seconds()
			if last = now; tokens == 0 {
				times.first = append(times.first, took)
			} else {
				times.between = append(times.between, took/float64(len(choice.IDs)))
			}
			tokens += len(choice.IDs)
		}
	}
	if err := lines.Err(); err != nil || tokens != serveTokens {
		return times, errors.Join(fmt.Errorf("a stream has %d of %d tokens", tokens, serveTokens), err)
	}
	return times, nil
}
