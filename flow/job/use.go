package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"kontor/internal/fault"
	"kontor/session"
	"kontor/store"
)

// Filter chooses jobs for [Manager.List]; zero fields choose all.
type Filter struct {
	State  State
	Role   string
	Limit  int       // 0 is 100
	Before time.Time // created before

	Active    bool // not ended
	Attention bool // a person here has to decide
}

// List returns jobs, the newest first.
func (m *Manager) List(ctx context.Context, f Filter) ([]*Record, error) {
	if f.Limit <= 0 || f.Limit > 1000 {
		f.Limit = 100
	}
	before := int64(1<<63 - 1)
	if !f.Before.IsZero() {
		before = f.Before.UnixNano()
	}
	if f.Active || f.Attention {
		return m.active(f), nil
	}
	return m.query(ctx, `SELECT doc FROM jobs WHERE (? = '' OR state = ?) AND (? = '' OR role = ?) AND created < ? ORDER BY created DESC, id LIMIT ?`,
		string(f.State), string(f.State), f.Role, f.Role, before, f.Limit)
}

// active returns jobs that have not ended, the newest first.
func (m *Manager) active(f Filter) []*Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*Record
	for _, r := range m.live {
		waits := r.Rulings[m.self].Verdict == ByWaiting
		if r.State.Final() || f.Attention && !waits || f.Role != "" && r.Role != f.Role || !f.Before.IsZero() && !r.Created.Before(f.Before) {
			continue
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *Record) int { return b.Created.Compare(a.Created) })
	return out[:min(len(out), f.Limit)]
}

// unsettled returns the jobs that have not ended, or whose end is not known to all.
func (m *Manager) unsettled(ctx context.Context) ([]*Record, error) {
	open, err := m.query(ctx, `SELECT doc FROM jobs WHERE state NOT IN ('done', 'failed', 'rejected', 'cancelled') ORDER BY created`)
	if err != nil {
		return nil, err
	}
	// A guest's ended jobs of the last days: some host may not have been told.
	ended, err := m.query(ctx, `SELECT doc FROM jobs WHERE state IN ('done', 'failed', 'rejected', 'cancelled') AND role = ? AND created > ? ORDER BY created`,
		session.Guest, m.o.Now().Add(-2*m.o.Patience).UnixNano())
	for _, r := range ended {
		if !r.settled() {
			open = append(open, r)
		}
	}
	return open, err
}

func (m *Manager) query(ctx context.Context, q string, args ...any) ([]*Record, error) {
	var out []*Record
	err := m.o.DB.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, q, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var doc []byte
			if err := rows.Scan(&doc); err != nil {
				return err
			}
			r, err := decodeRecord(doc)
			if err != nil {
				return err
			}
			out = append(out, r)
		}
		return rows.Err()
	})
	return out, err
}

// Get returns a job by its identifier or a prefix of it that no other has. The
// caller must not change it.
func (m *Manager) Get(ctx context.Context, id string) (*Record, error) {
	if isHex(id, 16) {
		return m.get(ctx, id)
	}
	if len(id) < 4 || strings.Trim(id, "0123456789abcdef") != "" {
		return nil, fault.New(fault.Usage, fmt.Sprintf("there is no job %q", id), "give its identifier or the first four or more digits of it, see kontor job ls")
	}
	found, err := m.query(ctx, `SELECT doc FROM jobs WHERE id >= ? AND id < ? LIMIT 2`, id, id+"g")
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fault.New(fault.Usage, fmt.Sprintf("there is no job %q", id), "see kontor job ls")
	case len(found) > 1:
		return nil, fault.New(fault.Usage, fmt.Sprintf("several jobs begin with %q", id), "give more digits")
	}
	return m.get(ctx, found[0].ID)
}

// Approve consents to a job that waits for a person here. The policy is asked
// again: it may have changed.
func (m *Manager) Approve(ctx context.Context, id, actor, note string) (*Record, error) {
	r, err := m.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Rulings[m.self].Verdict != ByWaiting || r.State.Final() {
		return nil, fault.New(fault.Usage, fmt.Sprintf("the job does not wait for an approval here: it is %s", r.State), "see kontor job show "+r.ID[:8])
	}
	m.deciding.Lock()
	defer m.deciding.Unlock()
	op, err := m.o.Site.Consider(ctx, r.spec, r.Initiator, m.used)
	if err != nil {
		return nil, err
	}
	if op.Verdict == Denied {
		return nil, &fault.Error{Kind: fault.Consent, Party: m.self, What: "the policy denies the job now: " + denialText(op.Ruling), Cure: op.Cure}
	}
	return m.update(ctx, r.ID, func(r *Record, c *change) error {
		if r.Rulings[m.self].Verdict != ByWaiting || r.State.Final() {
			return errUnchanged
		}
		state := r.State
		r.Rulings[m.self] = Ruling{Verdict: ByPerson, Rule: op.Rule, By: actor, Reason: note}
		if err := m.agree(r, c, op, actor); err != nil {
			return err
		}
		if r.Role == session.Guest {
			r.State = state // the hosts' consents are still to come
		}
		c.event(EventState, map[string]any{"state": r.State, "consent": ByPerson})
		return nil
	})
}

// Reject refuses a job that waits for a person here.
func (m *Manager) Reject(ctx context.Context, id, actor, reason string) (*Record, error) {
	r, err := m.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return m.update(ctx, r.ID, func(r *Record, c *change) error {
		if r.Rulings[m.self].Verdict != ByWaiting || r.State.Final() {
			return fault.New(fault.Usage, fmt.Sprintf("the job does not wait for an approval here: it is %s", r.State), "to stop a job that runs, use kontor job cancel")
		}
		r.Rulings[m.self] = Ruling{Verdict: Denied, Rule: r.Rulings[m.self].Rule, Reason: "a person has rejected it: " + clean(reason, 400), By: actor}
		r.close(c, Rejected, &Problem{Kind: fault.Consent.String(), Party: m.self, Step: "consent", What: "a person has rejected it: " + clean(reason, 400), Cure: "talk to the data owner"}, actor)
		return nil
	})
}

// Cancel ends a job at all parties.
func (m *Manager) Cancel(ctx context.Context, id, actor, reason string) (*Record, error) {
	r, err := m.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err = m.update(ctx, r.ID, func(r *Record, c *change) error {
		if r.State.Final() {
			return fault.New(fault.Usage, "the job has ended already: it is "+string(r.State), "see kontor job show "+r.ID[:8])
		}
		if r.Manifest != nil && len(r.Signatures) > 0 {
			return fault.New(fault.Usage, "the job is being completed at all parties and can no longer be cancelled", "wait for it")
		}
		what := "cancelled"
		if reason != "" {
			what += ": " + clean(reason, 400)
		}
		for i := range r.Steps {
			if s := &r.Steps[i]; s.State == StepBegun || s.State == StepRunning || s.State == StepPrepared {
				s.State = StepLost
			}
		}
		r.close(c, Cancelled, &Problem{Kind: fault.Cancelled.String(), Party: m.self, What: what, Cure: "run the job again"}, actor)
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	stop := m.cancels[r.ID]
	m.mu.Unlock()
	if stop != nil {
		stop(&ended{state: Cancelled})
	}
	m.drop(r.ID)
	return r, nil
}

// Rerun submits a job of ours once more: a new job with new consents.
func (m *Manager) Rerun(ctx context.Context, id, actor, key string) (*Record, error) {
	r, err := m.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Role != session.Guest {
		return nil, fault.New(fault.Usage, "the job was submitted by "+r.Initiator, "ask there for it to be run again")
	}
	return m.Submit(ctx, Submission{Spec: []byte(r.proposal.Spec), Note: r.proposal.Note, Actor: actor, Fresh: !r.Reuse, Replay: r.ID, Key: key})
}

// LastEvent returns the number of a job's latest kept event.
func (m *Manager) LastEvent(ctx context.Context, id string) (seq int64, err error) {
	err = m.o.DB.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT events FROM jobs WHERE id = ?`, id).Scan(&seq)
	})
	return seq, err
}

// Counts says how many jobs are in each state, for metrics.
func (m *Manager) Counts(ctx context.Context) (map[State]int, error) {
	out := map[State]int{}
	err := m.o.DB.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `SELECT state, count(*) FROM jobs GROUP BY state`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s string
			var n int
			if err := rows.Scan(&s, &n); err != nil {
				return err
			}
			out[State(s)] = n
		}
		return rows.Err()
	})
	return out, err
}

// Load says how many jobs wait for a place and how many steps run for others.
func (m *Manager) Load() (queued, hosting int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.slots.waiting(), m.hosting
}
