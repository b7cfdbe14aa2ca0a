package job

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/session"
)

// steps runs the graph: each step as soon as all parties hold what it reads.
func (d *driver) steps(ctx context.Context) error {
	r, err := d.m.get(ctx, d.id)
	if err != nil {
		return err
	}
	graph := r.spec.Graph()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := map[string]chan struct{}{}
	for _, s := range r.spec.Steps {
		done[s.Name] = make(chan struct{})
	}
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for _, s := range r.spec.Steps {
		wg.Go(func() {
			for _, need := range graph[s.Name] {
				select {
				case <-done[need]:
				case <-ctx.Done():
					return
				}
			}
			if err := d.step(ctx, s); err != nil {
				once.Do(func() { first = err; stop(err) })
				return
			}
			close(done[s.Name])
		})
	}
	wg.Wait()
	if first == nil && ctx.Err() != nil {
		first = context.Cause(ctx)
	}
	return first
}

// step brings one step to be done at all parties, in as many attempts as it takes.
func (d *driver) step(ctx context.Context, st flow.Step) error {
	var since time.Time
	for failures := 0; ; {
		r, err := d.m.get(ctx, d.id)
		if err != nil {
			return err
		}
		if !r.step(st.Name).committed() {
			err = d.try(ctx, st)
		}
		if err == nil {
			if failures > 0 {
				d.waits("")
			}
			return d.spread(ctx, st.Name)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !transient(err) {
			return fault.At(err, d.m.self, st.Name)
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > d.m.o.Patience {
			return fault.At(err, d.m.self, st.Name)
		}
		failures++
		if failures > 2 {
			d.waits("step " + st.Name + " begins again: " + err.Error())
		}
		if !pause(ctx, backoff(failures, d.m.o.Pause)) {
			return context.Cause(ctx)
		}
	}
}

// spread tells every host that a step is done.
func (d *driver) spread(ctx context.Context, name string) error {
	r, err := d.m.get(ctx, d.id)
	if err != nil {
		return err
	}
	s := *r.step(name)
	if len(r.untold(s.Told)) == 0 {
		return nil
	}
	err = d.each(ctx, r.untold(s.Told), func(ctx context.Context, host string) error {
		return d.tell(ctx, host, methodCommit, commitMsg{d.id, name, s.Attempt, s.Artifact, s.State == StepReused})
	})
	if err != nil {
		return err
	}
	_, err = d.m.update(ctx, d.id, func(r *Record, _ *change) error {
		r.step(name).Told = r.proposal.hosts()
		return nil
	})
	return err
}

// try makes one attempt at a step.
func (d *driver) try(ctx context.Context, st flow.Step) error {
	if d.m.o.Room != nil { // before any peer is bothered
		if err := d.m.o.Room(); err != nil {
			return err
		}
	}
	r, err := d.open(ctx, st)
	if err != nil {
		return err
	}
	s := *r.step(st.Name)
	nonces, reuse, err := d.begin(ctx, r, st, s)
	if err != nil {
		return err
	}
	if reuse != "" {
		_, err := d.m.update(ctx, d.id, func(r *Record, c *change) error {
			if r.State.Final() {
				return &ended{state: r.State}
			}
			s := r.step(st.Name)
			if err := d.m.adopt(ctx, s, reuse); err != nil {
				return err
			}
			d.m.commitStep(r, c, s, true)
			return nil
		})
		return err
	}
	run, _ := hex.DecodeString(r.Run)
	id, err := sessionID(session.ID(run), st.Name, s.Attempt, nonces)
	if err != nil {
		return err
	}
	if r, err = d.running(ctx, st.Name, s.Attempt, id); err != nil {
		return err
	}
	res, dir, failure := d.perform(ctx, r, st, s.Attempt, id, nonces)
	if failure != nil {
		failure = d.blame(ctx, st.Name, s.Attempt, failure)
	}
	if ctx.Err() != nil && failure == nil {
		failure = context.Cause(ctx)
	}
	if _, err := d.m.update(context.WithoutCancel(ctx), d.id, func(r *Record, c *change) error {
		if r.State.Final() { // cancelled meanwhile: nothing follows the end
			return &ended{state: r.State}
		}
		s := r.step(st.Name)
		d.m.outcome(r, c, s, res, dir, failure)
		if failure == nil {
			d.m.commitStep(r, c, s, false)
		}
		return nil
	}); err != nil {
		return err
	}
	return failure
}

// open journals the number of a new attempt.
func (d *driver) open(ctx context.Context, st flow.Step) (*Record, error) {
	n, err := nonce(d.m.o.Rand)
	if err != nil {
		return nil, err
	}
	return d.m.update(ctx, d.id, func(r *Record, c *change) error {
		if r.State.Final() {
			return &ended{state: r.State}
		}
		s := r.step(st.Name)
		*s = StepRecord{Name: s.Name, Kind: s.Kind, State: StepBegun, Attempt: s.Attempt + 1, Nonce: n, Key: d.m.key(r, st), Started: d.m.o.Now().UTC()}
		return nil
	})
}

// begin gets a nonce from every host, in the order of the parties, and the
// artifact to reuse where all hold it.
func (d *driver) begin(ctx context.Context, r *Record, st flow.Step, s StepRecord) (nonces []string, reuse string, err error) {
	_, inputs, err := d.m.artifacts(r, st)
	if err != nil {
		return nil, "", err
	}
	msg := beginMsg{Job: d.id, Step: st.Name, Attempt: s.Attempt, Inputs: inputs}
	if r.Reuse {
		if msg.Reuse, _, _, err = d.m.reusable(ctx, s.Key); err != nil {
			return nil, "", err
		}
	}
	var mu sync.Mutex
	got := map[string]string{d.m.self: s.Nonce}
	all := msg.Reuse != ""
	err = d.each(ctx, r.proposal.hosts(), func(ctx context.Context, host string) error {
		return d.insist(ctx, host, func(ctx context.Context) error {
			b, err := ask[begunMsg](ctx, d.m, host, methodBegin, msg)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			got[host], all = b.Nonce, all && b.Reuse
			return nil
		})
	})
	if err != nil {
		return nil, "", err
	}
	for _, pp := range r.proposal.Parties {
		if !isHex(got[pp.Name], 32) {
			return nil, "", malformed(pp.Name, methodBegin, errors.New("its nonce is malformed"))
		}
		nonces = append(nonces, got[pp.Name])
	}
	if !all {
		msg.Reuse = ""
	}
	return nonces, msg.Reuse, nil
}

func (d *driver) running(ctx context.Context, step string, attempt int, id session.ID) (*Record, error) {
	return d.m.update(ctx, d.id, func(r *Record, c *change) error {
		if r.State.Final() { // cancelled meanwhile: nothing follows the end
			return &ended{state: r.State}
		}
		s := r.step(step)
		s.State, s.Artifact = StepRunning, hex.EncodeToString(id[:])
		c.event(EventStep, map[string]any{"step": step, "state": s.State, "attempt": attempt, "session": short(id)})
		c.record("node", "step.started", r.ID, map[string]any{"step": step, "attempt": attempt, "session": s.Artifact})
		return nil
	})
}

// perform has all parties run an attempt and returns when all are prepared.
func (d *driver) perform(ctx context.Context, r *Record, st flow.Step, attempt int, id session.ID, nonces []string) (res *flow.StepResult, dir string, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop(nil)
	hosts := r.proposal.hosts()
	err = d.each(ctx, hosts, func(ctx context.Context, host string) error {
		call, end := context.WithTimeout(ctx, d.m.o.Silence)
		defer end()
		return d.stand(call, host, methodStart, startMsg{d.id, st.Name, attempt, nonces})
	})
	if err != nil {
		return nil, "", err
	}
	conns := map[string]Conn{}
	defer func() {
		for _, c := range conns {
			leave(c, err)
		}
	}()
	if !flow.Describe(st.Kind).Local {
		if conns, err = d.dial(ctx, hosts, id, st.Name); err != nil {
			return nil, "", err
		}
	}
	failed := make(chan error, len(hosts))
	prepared := make(chan string, len(hosts))
	for _, h := range hosts {
		watchers.Go(func() {
			if err := d.attemptAt(ctx, h, st.Name, attempt); err != nil {
				failed <- err
				stop(err)
				return
			}
			prepared <- h
		})
	}
	if res, dir, err = d.m.perform(ctx, r, st.Name, attempt, id, conns); err != nil {
		return nil, "", err
	}
	for range hosts {
		select {
		case <-prepared:
		case err := <-failed:
			return nil, "", err
		case <-ctx.Done():
			return nil, "", context.Cause(ctx)
		}
	}
	return res, dir, nil
}

func (d *driver) dial(ctx context.Context, hosts []string, id session.ID, label string) (map[string]Conn, error) {
	var mu sync.Mutex
	conns := map[string]Conn{}
	err := d.each(ctx, hosts, func(ctx context.Context, host string) error {
		call, end := context.WithTimeout(ctx, d.m.o.Silence)
		defer end()
		c, err := d.m.o.Peers.Dial(call, host, id, label)
		if err != nil {
			return fault.At(err, host, label)
		}
		mu.Lock()
		defer mu.Unlock()
		conns[host] = c
		return nil
	})
	if err != nil {
		for _, c := range conns {
			c.Abort(err)
		}
		return map[string]Conn{}, err
	}
	return conns, nil
}

// attemptAt waits until a host has prepared an attempt, or returns how it failed there.
func (d *driver) attemptAt(ctx context.Context, host, step string, attempt int) error {
	for {
		s, changed := d.m.known(host, d.id)
		if s != nil {
			st := s.Steps[step]
			switch {
			case st.Attempt != attempt:
			case st.State == StepPrepared:
				return nil
			case st.State == StepFailed || st.State == StepLost:
				return hostProblem(host, step, st)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hostProblem is a host's failure as an error here. Why it happened stays there.
func hostProblem(host, step string, st stepStatus) error {
	f := &fault.Error{Kind: fault.Peer, Party: host, Step: step, What: "its attempt ended", Cure: "look at its node's log"}
	if p := st.Problem; p != nil {
		f.What, f.Cure = clean(p.What, 300), clean(p.Cure, 300)
		if st.State == StepFailed {
			f.Kind = kindNamed(p.Kind)
		}
	}
	if st.State == StepFailed && transient(f) {
		f.Kind = fault.Protocol // it says that it failed for good
	}
	return f
}

// blame finds out whether an attempt failed here because it failed at a host,
// whose reason then counts.
func (d *driver) blame(ctx context.Context, step string, attempt int, err error) error {
	if f := new(fault.Error); !errors.As(err, &f) || f.Kind != fault.Peer || f.Party == "" || f.Party == d.m.self || ctx.Err() != nil {
		return err
	} else if r, getErr := d.m.get(ctx, d.id); getErr == nil && slices.Contains(r.proposal.hosts(), f.Party) {
		ctx, stop := context.WithTimeout(ctx, blameTime)
		defer stop()
		if told := d.attemptAt(ctx, f.Party, step, attempt); told != nil && ctx.Err() == nil {
			return told
		}
	}
	return err
}

// blameTime is how long a host's account of a failure is waited for.
const blameTime = 2 * time.Second

// finish collects what every party has to say, has all sign it, and publishes.
func (d *driver) finish(ctx context.Context) error {
	r, err := d.m.get(ctx, d.id)
	if err != nil {
		return err
	}
	if r.Manifest == nil {
		if r, err = d.draft(ctx, r); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	sigs, heads := map[string]string{d.m.self: d.m.signManifest(r.Manifest)}, map[string]Head{}
	err = d.each(ctx, r.proposal.hosts(), func(ctx context.Context, host string) error {
		return d.insist(ctx, host, func(ctx context.Context) error {
			s, err := ask[signedMsg](ctx, d.m, host, methodManifest, manifestMsg{d.id, r.Manifest})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			sigs[host], heads[host] = s.Signature, s.Head
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := verifySignatures(r.proposal, r.Manifest, sigs); err != nil {
		return err
	}
	if heads[d.m.self], err = d.m.o.Audit.Head(ctx); err != nil {
		return err
	}
	r = r.clone()
	r.Signatures, r.Heads = sigs, heads
	return d.insist(ctx, d.m.self, func(context.Context) error {
		_, err := d.m.conclude(context.WithoutCancel(ctx), r, nil)
		return err
	})
}

// draft writes the manifest.
func (d *driver) draft(ctx context.Context, r *Record) (*Record, error) {
	var mu sync.Mutex
	parts := map[string]part{d.m.self: d.m.ownPart(r)}
	err := d.each(ctx, r.proposal.hosts(), func(ctx context.Context, host string) error {
		return d.insist(ctx, host, func(ctx context.Context) error {
			p, err := ask[part](ctx, d.m, host, methodFinish, jobMsg{d.id})
			if err != nil {
				return err
			}
			if b, err := marshal(p); err != nil || len(b) > maxPart {
				return malformed(host, methodFinish, fmt.Errorf("its part has more than %d bytes", maxPart))
			}
			mu.Lock()
			defer mu.Unlock()
			parts[host] = *p
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	raw, err := marshal(d.m.compose(r, parts))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxManifest {
		return nil, fault.New(fault.Internal, fmt.Sprintf("the manifest has %d bytes", len(raw)), "split the job")
	}
	return d.m.update(ctx, d.id, func(r *Record, c *change) error {
		r.Manifest = raw
		return nil
	})
}

const (
	maxManifest = 2 << 20
	maxPart     = 256 << 10 // of it, of one host
)
