package align

import (
	"context"
	"sync"

	"kontor/session"
)

// group runs the streams of the protocol at once. The first error ends them all
// and is the one that Wait returns.
type group struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

func newGroup(ctx context.Context) (*group, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	return &group{cancel: cancel}, ctx
}

func (g *group) Go(f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil {
			g.once.Do(func() {
				g.err = err
				g.cancel()
			})
		}
	})
}

func (g *group) Wait() error {
	g.wg.Wait()
	g.cancel()
	return g.err
}

// progress counts the ids that went through one of the streams. Its lock covers
// the report too, so that reports never go backwards.
type progress struct {
	s           *session.Session
	mu          sync.Mutex
	done, total int64
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(n)
	p.s.Progress(p.done, p.total, "masked ids")
}

// stream is a list that travels in parts of a fixed number of items, the last
// one shorter.
type stream struct{ next, n int }

func (s *stream) done() bool { return s.next == s.n }

// take returns the bounds of the next part.
func (s *stream) take() (lo, hi int) {
	lo, hi = s.next, min(s.n, s.next+chunkItems)
	s.next = hi
	return lo, hi
}
