package serve

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// CheckIdle waits until nobody writes or waits, and returns an error where something
// is left over then.
func (s *Server) CheckIdle() error {
	for end := time.Now().Add(10 * time.Second); s.metrics.runningNow() > 0 || s.loop.waitingNow() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d write and %d wait for ever", s.metrics.runningNow(), s.loop.waitingNow())
		}
	}
	if n := s.loop.batch.Reserved(); n != 0 {
		return fmt.Errorf("%d slots are reserved by nobody", n)
	}
	if _, used := s.loop.cached.CacheUse(); used > s.opts.Cache {
		return fmt.Errorf("%d slots of %d are in use", used, s.opts.Cache)
	}
	return errors.Join(s.loop.cached.CheckCache())
}

// RequestKeys lists the fields that a request for a text may have.
func RequestKeys() []string { return slices.Sorted(maps.Keys(requestKeys)) }
