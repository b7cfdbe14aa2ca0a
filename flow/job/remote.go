package job

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"kontor/internal/fault"
)

// remote is what the guest's node knows of its jobs at one host.
type remote struct {
	jobs    map[string]*status // what is followed; nil before anything was heard
	changed chan struct{}      // closed and replaced when anything is heard
	running bool               // a watcher is under way
	broken  map[string]error   // by job: why what the host says cannot be used; the job ends with that
	reset   context.CancelFunc // ends its present request
}

// follow has news of a job at a host arrive until unfollow.
func (m *Manager) follow(host, job string) {
	m.mu.Lock()
	rm := m.remote[host]
	if rm == nil {
		rm = &remote{jobs: map[string]*status{}, broken: map[string]error{}, changed: make(chan struct{})}
		m.remote[host] = rm
	}
	if _, ok := rm.jobs[job]; !ok {
		rm.jobs[job] = nil
	}
	start := !rm.running
	rm.running = true
	m.mu.Unlock()
	if start && !m.spawn(func(ctx context.Context) { m.watchHost(ctx, host, rm) }) {
		m.mu.Lock()
		rm.running = false
		m.mu.Unlock()
	}
}

func (m *Manager) unfollow(host, job string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rm := m.remote[host]
	if rm == nil {
		return
	}
	delete(rm.jobs, job)
	delete(rm.broken, job)
	if len(rm.jobs) == 0 && rm.reset != nil {
		rm.reset()
	}
}

// heard takes in a host's status of a job.
func (m *Manager) heard(host string, s *status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rm := m.remote[host]
	if rm == nil {
		return
	}
	old, followed := rm.jobs[s.Job]
	if !followed || old != nil && old.Version > s.Version {
		return
	}
	rm.jobs[s.Job] = s
	close(rm.changed)
	rm.changed = make(chan struct{})
}

// known returns the last status heard, nil if none, and a channel that is closed
// when something new is heard.
func (m *Manager) known(host, job string) (*status, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rm := m.remote[host]
	if rm == nil {
		return nil, nil
	}
	return rm.jobs[job], rm.changed
}

// watchHost keeps one long request to a host open while any job is followed there.
func (m *Manager) watchHost(ctx context.Context, host string, rm *remote) {
	var at watchMsg
	var quick pacer
	failures := 0
	for {
		m.mu.Lock()
		at.Jobs = at.Jobs[:0]
		for id := range rm.jobs {
			at.Jobs = append(at.Jobs, id)
		}
		if len(at.Jobs) == 0 || ctx.Err() != nil {
			rm.running, rm.reset = false, nil
			m.mu.Unlock()
			return
		}
		call, stop := context.WithTimeout(ctx, 2*m.o.Silence+10*time.Second)
		rm.reset = stop
		m.mu.Unlock()
		slices.Sort(at.Jobs)
		news, err := ask[newsMsg](call, m, host, methodWatch, at)
		stop()
		if err != nil {
			failures++
			if !transient(err) && failures > mostNoise && ctx.Err() == nil {
				m.breaks(host, rm, err)
			}
			pause(ctx, backoff(failures, m.o.Pause))
			continue
		}
		failures = 0
		at.Epoch, at.Cursor = news.Epoch, news.Cursor
		for _, s := range news.Jobs {
			m.heard(host, &s)
		}
		if d := quick.next(time.Now()); d > 0 {
			pause(ctx, d)
		}
	}
}

// mostNoise is how many answers in a row may be none before a host's jobs end.
const mostNoise = 2

// breaks ends the jobs that are followed at a host.
func (m *Manager) breaks(host string, rm *remote, err error) {
	m.o.Log.Error("a party's news cannot be used", "party", host, "error", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range rm.jobs {
		rm.broken[id] = fault.At(err, host, methodWatch)
	}
	close(rm.changed)
	rm.changed = make(chan struct{})
}

// brokenAt returns why a job must end because of a host, nil if it need not.
func (m *Manager) brokenAt(host, job string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rm := m.remote[host]; rm != nil {
		return rm.broken[job]
	}
	return nil
}

// pacer keeps a host that answers at once, again and again, from keeping us busy.
type pacer struct {
	since time.Time
	n     int
}

const (
	mostNews = 100 // answers a second without a pause; then there are as many again with pauses
	breath   = 10 * time.Millisecond
)

// next notes an answer and returns how long to wait before the next question.
// What changes meanwhile comes with the next answer.
func (p *pacer) next(now time.Time) time.Duration {
	if now.Sub(p.since) > time.Second {
		p.since, p.n = now, 0
	}
	if p.n++; p.n < mostNews {
		return 0
	}
	return breath
}

// backoff returns how long to wait after so many failures, from 50 ms to most, with jitter.
func backoff(failures int, most time.Duration) time.Duration {
	d := min(most, 50*time.Millisecond<<min(failures-1, 20))
	return d/2 + rand.N(d/2+1)
}

// insist repeats f until it succeeds, fails for good, or the patience ends.
func (d *driver) insist(ctx context.Context, host string, f func(ctx context.Context) error) error {
	var since time.Time
	for failures := 1; ; failures++ {
		call, stop := context.WithTimeout(ctx, d.m.o.Silence)
		err := f(call)
		stop()
		if err == nil {
			if failures > 1 {
				d.waits("")
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !transient(err) {
			return fault.At(err, host, "")
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > d.m.o.Patience {
			return fault.At(err, host, "")
		}
		if failures == 3 {
			d.waits(host + ": " + fault.At(err, host, "").Error())
		}
		if !pause(ctx, backoff(failures, d.m.o.Pause)) {
			return context.Cause(ctx)
		}
	}
}

// stand sends what a host answers with how the job stands there.
func (d *driver) stand(ctx context.Context, host, method string, msg any) error {
	s, err := ask[status](ctx, d.m, host, method, msg)
	if err == nil && s.Job != d.id {
		err = malformed(host, method, errors.New("it speaks of another job"))
	}
	if err == nil {
		d.m.heard(host, s)
	}
	return err
}

// waits notes what a job waits for; "" for nothing.
func (d *driver) waits(text string) {
	_, err := d.m.update(context.WithoutCancel(d.ctx), d.id, func(r *Record, c *change) error {
		if r.Waits == text || r.State.Final() {
			return errUnchanged
		}
		r.Waits = text
		c.event(EventState, map[string]any{"state": r.State, "waits": text})
		return nil
	})
	if err != nil {
		d.m.show(d.id, text)
	}
}

// show has a job wait for something as long as the process lives: a journal on a
// full disk cannot be written, and just then people need to know.
func (m *Manager) show(id, waits string) {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.live[id]; r != nil && !r.State.Final() {
		r = r.clone()
		r.Waits = waits
		m.live[id] = r
	}
}
