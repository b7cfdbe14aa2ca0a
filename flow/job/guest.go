package job

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"kontor/internal/fault"
	"kontor/store"
)

// driver carries one job of ours from proposal to result.
type driver struct {
	m   *Manager
	id  string
	ctx context.Context
}

// ended is the error of a job that ends without a result.
type ended struct {
	state   State
	problem *Problem
	actor   string
}

func (e *ended) Error() string { return "the job is " + string(e.state) }

// drive starts a job's driver, once.
func (m *Manager) drive(id string) {
	ctx, cancel := context.WithCancelCause(context.Background())
	m.mu.Lock()
	if _, there := m.cancels[id]; there {
		m.mu.Unlock()
		cancel(nil)
		return
	}
	m.cancels[id] = cancel
	m.mu.Unlock()
	forget := func() {
		m.mu.Lock()
		delete(m.cancels, id)
		m.mu.Unlock()
		cancel(nil)
	}
	ok := m.spawn(func(run context.Context) {
		defer forget()
		stop := context.AfterFunc(run, func() { cancel(errStopping) })
		defer stop()
		(&driver{m, id, ctx}).run(run)
	})
	if !ok {
		forget()
	}
}

// run drives the job to its end and tells the hosts. node ends when the node
// stops; then the journal stays as it is, for the next run.
func (d *driver) run(node context.Context) {
	r, err := d.m.get(d.ctx, d.id)
	if err != nil {
		d.m.o.Log.Error("a job cannot be read", "job", d.id, "error", err)
		return
	}
	hosts := r.proposal.hosts()
	for _, h := range hosts {
		d.m.follow(h, d.id)
		defer d.m.unfollow(h, d.id)
	}
	for !r.State.Final() {
		err := d.whole(d.ctx)
		if node.Err() != nil {
			return
		}
		if err != nil {
			d.conclude(err)
		}
		if r, err = d.m.get(node, d.id); err != nil || node.Err() != nil {
			return
		}
		if !r.State.Final() && !pause(node, time.Second) { // the end could not be journalled
			return
		}
	}
	d.ctx = node
	d.m.drop(d.id)
	d.tellEnd(node)
}

// conclude journals why a job ended.
func (d *driver) conclude(err error) {
	e := &ended{}
	if !errors.As(err, &e) {
		f := fault.At(err, d.m.self, "")
		e = &ended{Failed, problemOf(f), "node"}
		if fault.KindOf(f) == fault.Cancelled {
			e.state = Cancelled
		}
	}
	_, err = d.m.update(context.WithoutCancel(d.ctx), d.id, func(r *Record, c *change) error {
		if r.State.Final() {
			return errUnchanged
		}
		for i := range r.Steps {
			if s := &r.Steps[i]; !s.committed() && s.State != StepPending && s.State != StepFailed {
				s.State = StepLost
			}
		}
		r.close(c, e.state, e.problem, e.actor)
		return nil
	})
	if err != nil {
		d.m.o.Log.Error("the end of a job could not be journalled, trying again", "job", d.id, "error", err)
	}
}

// tellEnd tells every host how the job ended, as long as patience lasts.
func (d *driver) tellEnd(ctx context.Context) {
	r, err := d.m.get(ctx, d.id)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	for _, h := range r.untold(r.Told) {
		wg.Go(func() {
			var receipt *Receipt
			err := d.insist(ctx, h, func(ctx context.Context) (err error) {
				if r.State == Done {
					receipt, err = d.closeAt(ctx, r, h)
					return err
				}
				_, err = ask[status](ctx, d.m, h, methodEnd, endMsg{r.ID, r.State, public(r.Error)})
				if fault.KindOf(err) == fault.Consent {
					return nil // it never knew the job
				}
				return err
			})
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				d.m.o.Log.Warn("a party could not be told how a job ended", "job", d.id, "party", h, "error", err)
			}
			d.m.update(ctx, d.id, func(r *Record, c *change) error {
				if slices.Contains(r.Told, h) {
					return errUnchanged
				}
				r.Told = append(r.Told, h)
				if receipt != nil {
					c.also = func(tx *store.Tx) error { return d.m.witness(ctx, tx, r, h, receipt) }
				}
				return nil
			})
		})
	}
	wg.Wait()
}

// closeAt has a host complete the job; it returns its receipt for our audit head.
func (d *driver) closeAt(ctx context.Context, r *Record, host string) (*Receipt, error) {
	mine, err := d.m.o.Audit.Countersign(host, r.proposal.key(host), r.Heads[host])
	if err != nil {
		return nil, malformed(host, methodManifest, err)
	}
	closed, err := ask[closedMsg](ctx, d.m, host, methodClose, closeMsg{r.ID, r.Signatures, r.Heads, mine})
	if err != nil {
		return nil, err
	}
	return &closed.Receipt, nil
}

// whole carries the job from wherever the journal has it to its result.
func (d *driver) whole(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop(nil)
	r, err := d.m.get(ctx, d.id)
	if err != nil {
		return err
	}
	for _, h := range r.proposal.hosts() {
		watchers.Go(func() { d.monitor(ctx, stop, h) })
	}
	for _, phase := range []func(context.Context) error{d.gather, d.consents, d.queued, d.finish} {
		if err := phase(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
	}
	return nil
}

// monitor ends the job when a host says that it has ended there.
func (d *driver) monitor(ctx context.Context, stop context.CancelCauseFunc, host string) {
	for {
		s, changed := d.m.known(host, d.id)
		if s != nil && s.State.Final() && s.State != Done {
			p := s.Problem
			if p == nil {
				p = &Problem{Kind: fault.Cancelled.String(), What: "the job is " + string(s.State) + " there", Cure: "look at its node's log"}
			}
			p = &Problem{Kind: kindNamed(p.Kind).String(), Party: host, Step: clean(p.Step, 64), What: clean(p.What, 500), Cure: clean(p.Cure, 300)}
			if s.State == Rejected {
				p.Kind, p.Step = fault.Consent.String(), "consent"
				p.What = "it does not take part: " + clean(denialText(s.Ruling), 500)
				p.Cure = "talk to its data owner about its policy, or change the job"
				if c := clean(s.Ruling.Cure, 300); c != "" {
					p.Cure = c
				}
			}
			stop(&ended{s.State, p, "peer " + host})
			return
		}
		if err := d.m.brokenAt(host, d.id); err != nil {
			stop(err)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// gather proposes the job to all hosts and waits for every consent.
func (d *driver) gather(ctx context.Context) error {
	if err := d.ownConsent(ctx); err != nil {
		return err
	}
	r, err := d.m.get(ctx, d.id)
	if err != nil || r.State == Running {
		return err
	}
	return d.each(ctx, r.proposal.hosts(), func(ctx context.Context, host string) error {
		if r.consent(host) != nil {
			return nil
		}
		err := d.insist(ctx, host, func(ctx context.Context) error {
			return d.stand(ctx, host, methodPropose, proposeMsg{r.Proposal, *r.consent(d.m.self)})
		})
		if err != nil {
			return err
		}
		return d.hearConsent(ctx, host)
	})
}

// ownConsent waits for the approval of a person of our own, where the policy wants one.
func (d *driver) ownConsent(ctx context.Context) error {
	for {
		next := d.m.signal(d.id)
		r, err := d.m.get(ctx, d.id)
		if err != nil {
			return err
		}
		if r.consent(d.m.self) != nil {
			return nil
		}
		if r.State.Final() {
			return &ended{state: r.State}
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hearConsent waits for a host's consent and journals it.
func (d *driver) hearConsent(ctx context.Context, host string) error {
	for {
		s, changed := d.m.known(host, d.id)
		if s != nil {
			if err := d.noteRuling(ctx, host, s); err != nil {
				return err
			}
			if s.Consent != nil {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *driver) noteRuling(ctx context.Context, host string, s *status) error {
	_, err := d.m.update(ctx, d.id, func(r *Record, c *change) error {
		ruling := Ruling{Verdict: clean(s.Ruling.Verdict, 20), Rule: clean(s.Ruling.Rule, 200), Reason: clean(s.Ruling.Reason, 500), Cure: clean(s.Ruling.Cure, 300)}
		if r.State.Final() || r.Rulings[host] == ruling && (s.Consent == nil || r.consent(host) != nil) {
			return errUnchanged
		}
		r.Rulings[host] = ruling
		if s.Consent != nil {
			if s.Consent.Party != host {
				return malformed(host, methodPropose, errors.New("it signed as somebody else"))
			}
			if err := verifyConsent(r.proposal, r.Proposal, *s.Consent); err != nil {
				return err
			}
			r.Consents = append(r.Consents, *s.Consent)
			c.record("peer "+host, "job.approved", r.ID, map[string]any{"party": host, "by": ruling.Verdict})
		}
		r.State, r.Waits = Waiting, ""
		var missing []string
		for _, h := range r.proposal.hosts() {
			if r.consent(h) == nil {
				missing = append(missing, h)
			}
		}
		if len(missing) == 0 {
			r.State = Approved
		} else {
			r.Waits = "the consent of " + join(missing)
		}
		c.event(EventState, map[string]any{"state": r.State, "party": host, "consent": ruling.Verdict})
		return nil
	})
	return err
}

func join(names []string) string {
	out := ""
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			out += " and "
		default:
			out += ", "
		}
		out += n
	}
	return out
}

// consents gives every host all consents; each verifies them.
func (d *driver) consents(ctx context.Context) error {
	r, err := d.m.get(ctx, d.id)
	if err != nil {
		return err
	}
	if r.State != Running {
		r, err = d.m.update(ctx, d.id, func(r *Record, c *change) error {
			if r.State == Running {
				return errUnchanged
			}
			var all []Signed
			for _, pp := range r.proposal.Parties {
				if s := r.consent(pp.Name); s != nil {
					all = append(all, *s)
				}
			}
			run, err := runID(r.proposal, r.Proposal, all)
			if err != nil {
				return err
			}
			if r.State.Final() {
				return &ended{state: r.State}
			}
			r.Consents, r.Run, r.State = all, hex.EncodeToString(run[:]), Running
			c.event(EventState, map[string]any{"state": r.State, "run": r.Run})
			c.record("node", "job.consented", r.ID, map[string]any{"run": r.Run})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return d.each(ctx, r.proposal.hosts(), func(ctx context.Context, host string) error {
		return d.tell(ctx, host, methodConsents, consentsMsg{r.ID, r.Consents})
	})
}

// tell sends what a host answers with its status, until it has.
func (d *driver) tell(ctx context.Context, host, method string, msg any) error {
	return d.insist(ctx, host, func(ctx context.Context) error { return d.stand(ctx, host, method, msg) })
}

// each runs f for all names at once and returns the first error, when all have ended.
func (d *driver) each(ctx context.Context, names []string, f func(ctx context.Context, name string) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for _, n := range names {
		wg.Go(func() {
			if err := f(ctx, n); err != nil {
				once.Do(func() { first = err; stop(err) })
			}
		})
	}
	wg.Wait()
	return first
}

// queued waits for a place and runs the steps.
func (d *driver) queued(ctx context.Context) error {
	r, err := d.m.get(ctx, d.id)
	if err != nil {
		return err
	}
	leave, err := d.m.slots.enter(ctx, r.spec.Priority, r.Created)
	if err != nil {
		return err
	}
	defer leave()
	return d.steps(ctx)
}
