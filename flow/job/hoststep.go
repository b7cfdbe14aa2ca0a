package job

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/session"
)

// running returns a job that runs here for the asking guest, with a step of it.
func (h *host) running(ctx context.Context, job, step string) (*Record, flow.Step, error) {
	r, err := h.job(ctx, job)
	if err != nil {
		return nil, flow.Step{}, err
	}
	if r.State != Running {
		return nil, flow.Step{}, tell(fault.Consent, step, "the job is "+string(r.State)+" there", "see the job there")
	}
	st, ok := r.flowStep(step)
	if !ok {
		return nil, flow.Step{}, malformed(h.peer, h.method, errors.New("the job has no such step"))
	}
	return r, st, nil
}

// maxBroken bounds the attempts of one step that may be broken off from outside:
// each lets the guest see what one run shows, and the consent is to one.
const maxBroken = 200

func (h *host) begin(ctx context.Context, msg *beginMsg) (*begunMsg, error) {
	r, st, err := h.running(ctx, msg.Job, msg.Step)
	if err != nil {
		return nil, err
	}
	if s := r.step(msg.Step); s.State == StepBegun && s.Attempt == msg.Attempt {
		return h.begun(ctx, s, msg)
	} else if s.committed() || msg.Attempt <= s.Attempt {
		return nil, tell(fault.Consent, msg.Step, fmt.Sprintf("attempt %d of the step is %s there, so attempt %d cannot begin", s.Attempt, s.State, msg.Attempt),
			"submit the job again; if a node's folder was restored from a backup, both must be")
	} else if s.Broken >= maxBroken {
		return nil, tell(fault.Consent, msg.Step, fmt.Sprintf("it has consented to the step once, and %d attempts at it were broken off", s.Broken), "see why, then submit the job again")
	}
	_, ids, err := h.m.artifacts(r, st)
	if err != nil {
		return nil, err
	}
	for step, id := range ids {
		if msg.Inputs[step] != id {
			return nil, tell(fault.Consent, msg.Step, "it holds another result of step "+step, "submit the job again")
		}
	}
	if err := h.m.abandon(ctx, r.ID, msg.Step); err != nil {
		return nil, err
	}
	n, err := nonce(h.m.o.Rand)
	if err != nil {
		return nil, err
	}
	r, err = h.m.update(ctx, r.ID, func(r *Record, c *change) error {
		s := r.step(msg.Step)
		if r.State == Running && s.State == StepBegun && s.Attempt == msg.Attempt {
			return errUnchanged // the same question came twice at once
		}
		if r.State != Running || s.committed() || msg.Attempt <= s.Attempt {
			return tell(fault.Consent, msg.Step, "the job has moved on there", "see the job there")
		}
		r.Waits = ""
		*s = StepRecord{Name: s.Name, Kind: s.Kind, State: StepBegun, Attempt: msg.Attempt, Nonce: n, Key: h.m.key(r, st), Broken: s.Broken, Started: h.m.o.Now().UTC()}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h.begun(ctx, r.step(msg.Step), msg)
}

func (h *host) begun(ctx context.Context, s *StepRecord, msg *beginMsg) (*begunMsg, error) {
	out := &begunMsg{Nonce: s.Nonce}
	if msg.Reuse == "" {
		return out, nil
	}
	artifact, _, _, err := h.m.reusable(ctx, s.Key)
	if err != nil {
		return nil, err
	}
	out.Reuse = artifact == msg.Reuse
	return out, nil
}

// abandon ends an attempt that a later one replaces, and waits until it has ended.
func (m *Manager) abandon(ctx context.Context, job, step string) error {
	m.mu.Lock()
	a := m.attempts[job+"/"+step]
	m.mu.Unlock()
	if a == nil {
		return nil
	}
	a.cancel(fault.New(fault.Peer, "the guest has begun the step anew", "nothing needs to be done"))
	select {
	case <-a.ended:
		return nil
	case <-ctx.Done():
		return tell(fault.Local, step, "its earlier attempt has not ended yet", "try again")
	}
}

func (h *host) start(ctx context.Context, msg *startMsg) (*status, error) {
	r, _, err := h.running(ctx, msg.Job, msg.Step)
	if err != nil {
		return nil, err
	}
	s := r.step(msg.Step)
	if s.Attempt != msg.Attempt || s.State != StepBegun {
		return h.status(r, nil) // it runs or has ended already, as the status says
	}
	own := slices.IndexFunc(r.proposal.Parties, func(p ProposedParty) bool { return p.Name == h.m.self })
	if len(msg.Nonces) != len(r.proposal.Parties) || msg.Nonces[own] != s.Nonce {
		return nil, malformed(h.peer, h.method, errors.New("the nonces do not fit"))
	}
	run, _ := hex.DecodeString(r.Run)
	id, err := sessionID(session.ID(run), msg.Step, msg.Attempt, msg.Nonces)
	if err != nil {
		return nil, malformed(h.peer, h.method, err)
	}
	if !h.m.takePlace() {
		return nil, tell(fault.Local, msg.Step, "its node is busy with other steps", "wait, it is tried again")
	}
	began := false // by this request, not by one that came at the same time
	r, err = h.m.update(ctx, r.ID, func(r *Record, c *change) error {
		s := r.step(msg.Step)
		if r.State != Running || s.Attempt != msg.Attempt || s.State != StepBegun {
			return errUnchanged
		}
		began = true
		s.State, s.Artifact = StepRunning, hex.EncodeToString(id[:])
		c.event(EventStep, map[string]any{"step": s.Name, "state": s.State, "attempt": s.Attempt, "session": short(id)})
		c.record("peer "+h.peer, "step.started", r.ID, map[string]any{"step": s.Name, "attempt": s.Attempt, "session": s.Artifact})
		return nil
	})
	if err != nil || !began || !h.m.launch(r, msg.Step, msg.Attempt, id) {
		h.m.freePlace()
	}
	return h.status(r, err)
}

func (m *Manager) takePlace() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hosting >= m.o.Hosted {
		return false
	}
	m.hosting++
	return true
}

func (m *Manager) freePlace() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hosting--
}

// launch runs an attempt in the background; it gives the place back in the end.
func (m *Manager) launch(r *Record, step string, number int, id session.ID) bool {
	key := r.ID + "/" + step
	a := &attempt{ended: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(context.Background())
	a.cancel = cancel
	m.mu.Lock()
	now := m.live[r.ID]
	if m.attempts[key] != nil || now == nil || now.State.Final() { // the job may have ended a moment ago
		m.mu.Unlock()
		cancel(nil)
		return false
	}
	m.attempts[key] = a
	m.mu.Unlock()
	ok := m.spawn(func(context.Context) {
		defer m.freePlace()
		defer close(a.ended)
		defer func() {
			m.mu.Lock()
			delete(m.attempts, key)
			m.mu.Unlock()
			cancel(nil)
		}()
		res, dir, err := m.accept(ctx, r, step, number, id)
		m.settle(ctx, r.ID, step, number, res, dir, err)
		m.sweepAttempt(r.ID, step, number)
	})
	if !ok {
		m.mu.Lock()
		delete(m.attempts, key)
		m.mu.Unlock()
		cancel(nil)
	}
	return ok
}

// accept runs an attempt as a host.
func (m *Manager) accept(ctx context.Context, r *Record, step string, number int, id session.ID) (res *flow.StepResult, dir string, err error) {
	st, _ := r.flowStep(step)
	conns := map[string]Conn{}
	if !flow.Describe(st.Kind).Local {
		wait, stop := context.WithTimeout(ctx, acceptPatience)
		defer stop()
		c, err := m.o.Peers.Accept(wait, r.Initiator, id)
		if err != nil {
			return nil, "", err
		}
		conns[r.Initiator] = c
		defer func() { leave(c, err) }()
		return m.perform(ctx, r, step, number, id, conns)
	}
	return m.perform(ctx, r, step, number, id, conns)
}

// settle journals how an attempt ended. A journal that cannot be written now is
// tried again: the guest waits meanwhile.
func (m *Manager) settle(ctx context.Context, job, step string, number int, res *flow.StepResult, dir string, failure error) {
	for {
		_, err := m.update(context.WithoutCancel(ctx), job, func(r *Record, c *change) error {
			s := r.step(step)
			if s.Attempt != number || s.State != StepRunning {
				return errUnchanged
			}
			m.outcome(r, c, s, res, dir, failure)
			return nil
		})
		if err == nil || !transient(err) {
			if err != nil {
				m.o.Log.Error("the end of a step could not be journalled", "job", job, "step", step, "error", err)
			}
			return
		}
		m.o.Log.Warn("the journal cannot be written, trying again", "job", job, "step", step, "error", err)
		m.show(job, "step "+step+" cannot be completed here: "+err.Error())
		if !pause(ctx, time.Second) {
			return
		}
	}
}

// outcome puts the end of an attempt into its record.
func (m *Manager) outcome(r *Record, c *change, s *StepRecord, res *flow.StepResult, dir string, failure error) {
	s.Ended = m.o.Now().UTC()
	if m.o.Ended != nil {
		defer func() { m.o.Ended(*s) }()
	}
	if r.Role == session.Host { // the guest's node tells for itself what it waits for
		r.Waits = ""
		if failure != nil && fault.KindOf(failure) == fault.Local {
			r.Waits = "step " + s.Name + " cannot run here: " + failure.Error()
		}
	}
	if failure == nil {
		s.State, s.Result, s.Dir, s.Error = StepPrepared, res, dir, nil
		c.event(EventStep, map[string]any{"step": s.Name, "state": s.State, "attempt": s.Attempt})
		return
	}
	failure = fault.At(failure, m.self, s.Name)
	s.State, s.Error = StepFailed, problemOf(failure)
	if transient(failure) {
		s.State = StepLost
		if fault.KindOf(failure) == fault.Peer {
			s.Broken++
		}
		if s.Error.Party == m.self { // what a person here can do something about
			r.Waits = "step " + s.Name + " begins again: " + failure.Error()
		}
	}
	os.RemoveAll(m.path(r.ID + "/" + attemptDir(s.Name, s.Attempt)))
	c.event(EventStep, map[string]any{"step": s.Name, "state": s.State, "attempt": s.Attempt, "error": s.Error})
	c.record("node", "step."+s.State, r.ID, map[string]any{"step": s.Name, "attempt": s.Attempt, "kind": s.Error.Kind, "party": s.Error.Party})
	m.o.Log.Warn("a step's attempt ended", "job", r.ID, "step", s.Name, "attempt", s.Attempt, "session", s.Artifact, "state", s.State, "error", failure)
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func leave(c Conn, err error) {
	if err != nil {
		c.Abort(err)
	} else {
		c.Close()
	}
}

func (h *host) commit(ctx context.Context, msg *commitMsg) (*status, error) {
	r, err := h.job(ctx, msg.Job)
	if err != nil {
		return nil, err
	}
	if s := r.step(msg.Step); s != nil && s.committed() && s.Artifact == msg.Artifact {
		return h.status(r, nil)
	}
	if _, _, err := h.running(ctx, msg.Job, msg.Step); err != nil {
		return nil, err
	}
	return h.status(h.m.update(ctx, r.ID, func(r *Record, c *change) error {
		s := r.step(msg.Step)
		if s.committed() && s.Artifact == msg.Artifact {
			return errUnchanged
		}
		if msg.Reused && s.State == StepBegun && s.Attempt == msg.Attempt {
			if err := h.m.adopt(ctx, s, msg.Artifact); err != nil {
				return err
			}
		} else if s.State != StepPrepared || s.Attempt != msg.Attempt || s.Artifact != msg.Artifact {
			return tell(fault.Consent, msg.Step, fmt.Sprintf("it holds attempt %d, %s, and is to commit attempt %d", s.Attempt, s.State, msg.Attempt),
				"submit the job again; if a node's folder was restored from a backup, both must be")
		}
		h.m.commitStep(r, c, s, msg.Reused)
		return nil
	}))
}
