package workers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/container/tools"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
	"google.golang.org/grpc"
)

// startedAs is the environment variable that tells a worker process what it is.
const startedAs = "STEER_BEAM_WORKER"

// A worker ends with the process that started it, however that ends: then the pipe
// that is its standard input is closed. Beam's worker by itself would wait for ever.
func init() {
	if os.Getenv(startedAs) != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
}

// DiedError says that a worker process ended before it was told to.
type DiedError struct {
	Worker string // as the runner calls it
	State  string // how it ended, such as "signal: killed"
}

func (e *DiedError) Error() string { return fmt.Sprintf("worker %s died: %s", e.Worker, e.State) }

// pool starts this program as a worker, as often as a runner asks for one, in the way
// in which Beam's runners ask for workers that they do not start themselves.
type pool struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer
	fail     context.CancelCauseFunc // told when a worker dies
	env      []string
	listener net.Listener
	server   *grpc.Server
	serving  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	workers map[string]*worker
	died    error // the first that did
}

// worker is a process that works.
type worker struct {
	process *os.Process
	life    io.Closer // it ends when this is closed
	ended   chan struct{}

	mu   sync.Mutex
	told bool // to end
}

func startPool(fail context.CancelCauseFunc, env []string) (*pool, error) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return nil, fmt.Errorf("start a pool of workers: %w", err)
	}
	p := &pool{fail: fail, env: env, listener: listener, server: grpc.NewServer(), workers: map[string]*worker{}}
	fnpb.RegisterBeamFnExternalWorkerPoolServer(p.server, p)
	p.serving.Go(func() { _ = p.server.Serve(listener) }) // ends with close
	return p, nil
}

func (p *pool) address() string { return p.listener.Addr().String() }

// StartWorker starts a worker process. Prism would end this process if it were told of
// an error; the job is.
func (p *pool) StartWorker(ctx context.Context, request *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	// What the runner can do it tells to who asks for it, and Beam's worker reads from
	// its environment.
	id := request.GetWorkerId()
	able, err := tools.ProvisionInfo(grpcx.WriteWorkerID(ctx, id), request.GetProvisionEndpoint().GetUrl())
	if err == nil {
		err = p.start(id, strings.Join(able.GetRunnerCapabilities(), " "), "--worker", "--id="+id,
			"--logging_endpoint="+request.GetLoggingEndpoint().GetUrl(), "--control_endpoint="+request.GetControlEndpoint().GetUrl())
	}
	if err != nil {
		p.fail(fmt.Errorf("start worker %s: %w", id, err))
	}
	return &fnpb.StartWorkerResponse{}, nil
}

func (p *pool) start(id, capabilities string, arguments ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("the pool is closed")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(self, arguments...)
	command.Env = append(append(os.Environ(), p.env...), startedAs+"="+id, "RUNNER_CAPABILITIES="+capabilities)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	life, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	w := &worker{process: command.Process, life: life, ended: make(chan struct{})}
	p.workers[id] = w
	p.serving.Go(func() {
		defer close(w.ended)
		err := command.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil || !w.told {
			p.lost(&DiedError{Worker: id, State: command.ProcessState.String()})
		}
	})
	return nil
}

// lost notes that a worker died.
func (p *pool) lost(err *DiedError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.died == nil {
		p.died = err
	}
	p.fail(err)
}

// StopWorker ends a worker process and waits for that.
func (p *pool) StopWorker(_ context.Context, request *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	p.mu.Lock()
	w := p.workers[request.GetWorkerId()]
	delete(p.workers, request.GetWorkerId())
	p.mu.Unlock()
	if w != nil {
		w.stop()
	}
	return &fnpb.StopWorkerResponse{}, nil
}

// patience is how long a worker may take to end.
const patience = 10 * time.Second

// stop ends a worker.
func (w *worker) stop() {
	w.mu.Lock()
	w.told = true
	w.mu.Unlock()
	_ = w.life.Close() // of a process that is gone already
	select {
	case <-w.ended:
	case <-time.After(patience):
		_ = w.process.Kill()
		<-w.ended
	}
}

// close ends all workers, waits for them, and returns the error of one that died.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	workers := p.workers
	p.workers = nil
	p.mu.Unlock()
	var stopping sync.WaitGroup
	for _, w := range workers {
		stopping.Go(w.stop)
	}
	stopping.Wait()
	p.server.Stop()
	p.serving.Wait()
	return p.died
}
