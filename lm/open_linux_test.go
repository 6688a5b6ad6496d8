package lm_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/lm/checkpoint/gguf"
)

// BenchmarkOpenLargeFile opens a file of 4 GB, in the page cache, that has the shape of a
// llama of seven billion weights in Q4_K, and reports the most memory that the process
// takes meanwhile, as a share of the file's size. What touching as much new memory takes by
// itself, which is up to the system, stands beside it.
func BenchmarkOpenLargeFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "large.gguf")
	size := writeLarge(b, path)
	peak, touching := 0.0, time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		runtime.GC() // the model before
		touching += touch(b, int(size))
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			b.Skip("the system does not count the most memory that a process takes")
		}
		b.StartTimer()
		m, err := lm.Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		peak = max(peak, highWater(b))
		runtime.KeepAlive(m)
		b.StartTimer()
	}
	b.ReportMetric(peak/size, "peak/file")
	b.ReportMetric(touching.Seconds()/float64(b.N), "s-touching")
}

// touch takes so many bytes of new memory and writes to all of its pages, on two cores
// as opening does.
func touch(b *testing.B, size int) time.Duration {
	b.Helper()
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Munmap(memory)
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE)
	begin := time.Now()
	var wait sync.WaitGroup
	for half := range 2 {
		wait.Go(func() {
			for i := size / 2 * half; i < size/2*(half+1); i += 4096 {
				memory[i] = 1
			}
		})
	}
	wait.Wait()
	return time.Since(begin)
}

// writeLarge writes the file, of random bits, and returns its size.
func writeLarge(b *testing.B, path string) float64 {
	b.Helper()
	const hidden, layers, heads, keys, inner, vocabulary = 4096, 32, 32, 8, 14336, 32000
	random := make([]byte, vocabulary*hidden/256*144)
	source := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= len(random); i += 8 {
		bits := source.Uint64()
		for j := range 8 {
			random[i+j] = byte(bits >> (8 * j))
		}
	}
	var file gguf.Contents
	for key, n := range map[string]int{
		"context_length": 4096, "embedding_length": hidden, "block_count": layers, "feed_forward_length": inner,
		"attention.head_count": heads, "attention.head_count_kv": keys, "rope.dimension_count": hidden / heads,
	} {
		file.Set("llama."+key, uint32(n))
	}
	file.Set("general.architecture", "llama")
	file.Set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	add := func(name string, shape ...int) {
		t := gguf.Tensor{Name: name + ".weight", Type: gguf.F32, Shape: shape, Data: make([]byte, 4*shape[0])}
		if len(shape) == 2 {
			t.Type, t.Data = gguf.Q4_K, random[:t.Len()/256*144]
		}
		file.Tensors = append(file.Tensors, t)
	}
	add("token_embd", vocabulary, hidden)
	add("output", vocabulary, hidden)
	add("output_norm", hidden)
	for layer := range layers {
		block := fmt.Sprintf("blk.%d.", layer)
		add(block+"attn_norm", hidden)
		add(block+"attn_q", hidden, hidden)
		add(block+"attn_k", hidden/heads*keys, hidden)
		add(block+"attn_v", hidden/heads*keys, hidden)
		add(block+"attn_output", hidden, hidden)
		add(block+"ffn_norm", hidden)
		add(block+"ffn_gate", inner, hidden)
		add(block+"ffn_up", inner, hidden)
		add(block+"ffn_down", hidden, inner)
	}
	target, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer target.Close()
	if err := file.Write(b.Context(), target, nil); err != nil {
		b.Fatal(err)
	}
	info, err := target.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return float64(info.Size())
}

// highWater returns the most bytes of memory that the process has held.
func highWater(b *testing.B) float64 {
	b.Helper()
	file, err := os.Open("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var kilobytes float64
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			fmt.Sscan(rest, &kilobytes)
			return kilobytes * 1024
		}
	}
	b.Fatal("the system does not say")
	return 0
}
