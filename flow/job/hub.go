package job

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"kontor/flow"
)

// Progress is how far a running step is, with what follows from it.
type Progress struct {
	Step    string  `json:"step"`
	Done    int64   `json:"done"`
	Total   int64   `json:"total"`
	Unit    string  `json:"unit,omitempty"`
	Rate    float64 `json:"rate,omitempty"`        // units a second
	ETA     float64 `json:"eta_seconds,omitempty"` // at that rate
	Elapsed float64 `json:"seconds"`

	seq   int64
	since time.Time
	from  int64 // Done when since began
	told  time.Time
}

const progressEvery = 200 * time.Millisecond

// signal returns a channel that is closed at the job's next event.
func (m *Manager) signal(id string) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.signals[id]
	if ch == nil {
		ch = make(chan struct{})
		m.signals[id] = ch
	}
	return ch
}

// poke wakes whoever waits for a job's next event.
func (m *Manager) poke(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch := m.signals[id]; ch != nil {
		close(ch)
		delete(m.signals, id)
	}
}

// changed tells watchers here and at the initiator that a record has a new version.
func (m *Manager) changed(r *Record) {
	if r.Initiator != m.self {
		m.mu.Lock()
		m.board(r.Initiator).post(r.ID)
		m.mu.Unlock()
	}
	m.poke(r.ID)
}

// advance notes progress of a step.
func (m *Manager) advance(id string, ev flow.Event) {
	now := time.Now()
	m.mu.Lock()
	steps := m.progress[id]
	if steps == nil {
		steps = map[string]*Progress{}
		m.progress[id] = steps
	}
	p := steps[ev.Step]
	if p == nil || ev.Done < p.Done || ev.Unit != p.Unit {
		p = &Progress{Step: ev.Step, since: now, from: ev.Done}
		steps[ev.Step] = p
	}
	p.Done, p.Total, p.Unit = ev.Done, ev.Total, ev.Unit
	p.Elapsed = now.Sub(p.since).Seconds()
	if p.Elapsed > 0.1 && p.Done > p.from {
		p.Rate = float64(p.Done-p.from) / p.Elapsed
		p.ETA = max(0, float64(p.Total-p.Done)/p.Rate)
	}
	due := now.Sub(p.told) >= progressEvery || p.Done >= p.Total
	if due {
		p.seq++
		p.told = now
	}
	m.mu.Unlock()
	if due {
		m.poke(id)
	}
}

func (m *Manager) forgetProgress(id, step string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.progress[id], step)
}

// Progress returns how far the running steps of a job are.
func (m *Manager) Progress(id string) map[string]Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]Progress{}
	for s, p := range m.progress[id] {
		out[s] = *p
	}
	return out
}

// Watch calls f with the events of a job after seq, in order, as they happen,
// and with progress while steps run. It returns nil after the last event of a
// job that has ended, else when ctx ends or with f's error.
func (m *Manager) Watch(ctx context.Context, id string, after int64, f func(Event) error) error {
	shown := map[string]int64{}
	for {
		next := m.signal(id) // before reading, so that nothing is missed
		r, err := m.get(ctx, id)
		if err != nil {
			return err
		}
		evs, err := m.events(ctx, id, after, "")
		if err != nil {
			return err
		}
		for _, e := range evs {
			if err := f(e); err != nil {
				return err
			}
			after = e.Seq
		}
		if len(evs) > 0 {
			continue
		}
		for step, p := range m.Progress(id) {
			if p.seq == shown[step] {
				continue
			}
			shown[step] = p.seq
			b, _ := json.Marshal(p)
			if err := f(Event{Time: m.o.Now().UTC(), Type: EventProgress, Data: b}); err != nil {
				return err
			}
		}
		if r.State.Final() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Events returns up to 1000 kept events of a job after seq; kind limits them to one type.
func (m *Manager) Events(ctx context.Context, id string, after int64, kind string) ([]Event, error) {
	if _, err := m.get(ctx, id); err != nil {
		return nil, err
	}
	return m.events(ctx, id, after, kind)
}

// board is what one initiator's watcher is told: the jobs that changed, newest
// change last.
type board struct {
	seq  int64
	at   map[string]int64 // by job: the number of its last change
	wake chan struct{}
}

func (m *Manager) board(initiator string) *board {
	b := m.news[initiator]
	if b == nil {
		b = &board{at: map[string]int64{}, wake: make(chan struct{})}
		m.news[initiator] = b
	}
	return b
}

// maxNews bounds how far back a watcher can ask for changes one by one.
const maxNews = 20_000

// post notes a change. The caller holds m.mu.
func (b *board) post(id string) {
	b.seq++
	b.at[id] = b.seq
	if b.seq%1024 == 0 {
		for old, at := range b.at {
			if at < b.seq-maxNews {
				delete(b.at, old)
			}
		}
	}
	close(b.wake)
	b.wake = make(chan struct{})
}

// since returns the jobs that changed after a cursor. The caller holds m.mu.
func (b *board) since(cursor int64) []string {
	var ids []string
	for id, at := range b.at {
		if at > cursor {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y string) int { return int(b.at[x] - b.at[y]) })
	return ids
}

// queue hands out places to jobs: the highest priority first, then the oldest.
type queue struct {
	mu   sync.Mutex
	free int
	wait []*ticket
}

type ticket struct {
	priority int
	created  time.Time
	ready    chan struct{}
}

func newQueue(places int) *queue { return &queue{free: places} }

// enter waits for a place; leave gives it back.
func (q *queue) enter(ctx context.Context, priority int, created time.Time) (leave func(), err error) {
	t := &ticket{priority, created, make(chan struct{})}
	q.mu.Lock()
	i := slices.IndexFunc(q.wait, func(o *ticket) bool {
		return o.priority < priority || o.priority == priority && created.Before(o.created)
	})
	if i < 0 {
		i = len(q.wait)
	}
	q.wait = slices.Insert(q.wait, i, t)
	q.next()
	q.mu.Unlock()
	select {
	case <-t.ready:
	case <-ctx.Done():
		q.mu.Lock()
		defer q.mu.Unlock()
		if i := slices.Index(q.wait, t); i >= 0 {
			q.wait = slices.Delete(q.wait, i, i+1)
			return nil, context.Cause(ctx)
		}
		q.free++ // the place came with the end
		q.next()
		return nil, context.Cause(ctx)
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.free++
			q.next()
		})
	}, nil
}

// next gives free places to those who wait. The caller holds q.mu.
func (q *queue) next() {
	for q.free > 0 && len(q.wait) > 0 {
		t := q.wait[0]
		q.wait = q.wait[1:]
		q.free--
		close(t.ready)
	}
}

// waiting returns how many wait for a place.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.wait)
}
