package job

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/session"
	"kontor/store"
)

// acceptPatience is how long a host waits for the guest to open a step's session.
const acceptPatience = time.Minute

// attempt is a step that runs here for a guest.
type attempt struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

// loading is a party's table, read once for all steps of a job.
type loading struct {
	once sync.Once
	in   *flow.Input
	err  error
}

// transient reports whether time may heal err, so that a new attempt makes sense.
func transient(err error) bool {
	if errors.Is(err, flow.ErrLimit) {
		return false
	}
	k := fault.KindOf(err)
	return k == fault.Peer || k == fault.Local
}

// input returns this party's table for a job.
func (m *Manager) input(r *Record) func(context.Context) (*flow.Input, error) {
	return func(ctx context.Context) (*flow.Input, error) {
		m.mu.Lock()
		l := m.inputs[r.ID]
		if l == nil {
			l = &loading{}
			m.inputs[r.ID] = l
		}
		m.mu.Unlock()
		l.once.Do(func() { l.in, l.err = m.o.Site.Input(ctx, r) })
		if l.err != nil {
			m.mu.Lock()
			if m.inputs[r.ID] == l {
				delete(m.inputs, r.ID) // the next attempt reads again
			}
			m.mu.Unlock()
		}
		return l.in, l.err
	}
}

// DataDir is the folder of a job in which a site may hold a copy of its rows. It
// goes when the job ends.
const DataDir = "data"

// drop frees what a job that has ended holds in memory and on disk.
func (m *Manager) drop(id string) {
	defer m.sweepEnded(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.inputs, id)
	delete(m.progress, id)
	delete(m.logged, id)
	for k, a := range m.attempts {
		if k[:len(id)] == id {
			a.cancel(fault.New(fault.Cancelled, "the job has ended", "run it again"))
		}
	}
}

// artifacts returns the folders that a step reads, by port, and their names by step.
func (m *Manager) artifacts(r *Record, step flow.Step) (dirs, ids map[string]string, err error) {
	dirs, ids = map[string]string{}, map[string]string{}
	for port, from := range step.From {
		s := r.step(from)
		if s == nil || !s.committed() {
			return nil, nil, tell(fault.Consent, step.Name, "it has not completed step "+from, "submit the job again")
		}
		dirs[port], ids[from] = m.path(s.Dir), s.Artifact
	}
	return dirs, ids, nil
}

func (r *Record) flowStep(name string) (flow.Step, bool) {
	i := slices.IndexFunc(r.spec.Steps, func(s flow.Step) bool { return s.Name == name })
	if i < 0 {
		return flow.Step{}, false
	}
	return r.spec.Steps[i], true
}

// perform runs one attempt of a step here. conns are its sessions, by peer; none
// for a local step. The artifact is complete and fsynced when it returns.
func (m *Manager) perform(ctx context.Context, r *Record, name string, number int, id session.ID, conns map[string]Conn) (*flow.StepResult, string, error) {
	st, _ := r.flowStep(name)
	from, _, err := m.artifacts(r, st)
	if err != nil {
		return nil, "", err
	}
	if m.o.Room != nil {
		if err := m.o.Room(); err != nil {
			return nil, "", err
		}
	}
	rel := path.Join(r.ID, attemptDir(name, number))
	if err := freshDir(m.path(rel)); err != nil {
		return nil, "", err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var s *session.Session
	if len(conns) > 0 {
		links := map[string]session.Conn{}
		for p, c := range conns {
			links[p] = c
		}
		s, err = session.New(session.Config{ID: id, Step: name, Self: m.self, Parties: r.spec.SessionParties(), Conns: links,
			Progress: func(done, total int64, unit string) {
				m.advance(r.ID, flow.Event{Step: name, Done: done, Total: total, Unit: unit})
			}})
		if err != nil {
			return nil, "", err
		}
		defer watchConns(ctx, stop, conns)()
	}
	limits, err := m.left(r)
	if err != nil {
		return nil, "", err
	}
	res, err := flow.Execute(flow.WithCores(ctx, limits.Cores), flow.Execution{Spec: r.spec, Self: m.self, Step: name, Input: m.input(r), From: from, Dir: m.path(rel),
		Model:   func(id string) (string, error) { return m.o.Site.Model(ctx, id) },
		Session: s, Rand: m.o.Rand, Observe: func(ev flow.Event) { m.observe(r.ID, id, ev) }, Disk: limits.Disk, Memory: limits.Memory})
	m.forgetProgress(r.ID, name)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			err = cause
		}
		return nil, "", err
	}
	return res, rel, nil
}

// left is what the job's limits leave for one more step.
func (m *Manager) left(r *Record) (flow.Limits, error) {
	l := r.limits(m.o.Limits)
	if l.Disk == 0 {
		return l, nil
	}
	var used int64
	err := filepath.WalkDir(m.path(r.ID), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			used += info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a step beside this one may be cleaning up
		return l, fault.Wrap(fault.Local, err, "the job's folder cannot be read", "look at the disk")
	}
	l.Disk = max(1, l.Disk-used)
	return l, nil
}

// limits are those of the job, and at most those of the node.
func (r *Record) limits(node flow.Limits) flow.Limits {
	return flow.Limits{Cores: least(r.spec.Limits.Cores, node.Cores), Memory: least(r.spec.Limits.Memory, node.Memory), Disk: least(r.spec.Limits.Disk, node.Disk)}
}

// least returns the smaller of two limits, of which zero is none.
func least[N int | int64](a, b N) N {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// watchConns cancels a step when one of its connections fails, also while it
// computes or waits for another party.
func watchConns(ctx context.Context, stop context.CancelCauseFunc, conns map[string]Conn) (wait func()) {
	ctx, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			select {
			case <-c.Done():
				if err := c.Err(); err != nil {
					stop(err)
				}
			case <-ctx.Done():
			}
		})
	}
	return func() { end(); wg.Wait() }
}

func freshDir(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fault.Wrap(fault.Local, err, "the jobs folder cannot be written", "check free space and permissions of the node's folder")
	}
	return nil
}

// observe passes a step's events on: progress to watchers, notes to the log.
func (m *Manager) observe(job string, id session.ID, ev flow.Event) {
	switch ev.Kind {
	case flow.EventProgress:
		m.advance(job, ev)
	case flow.EventNote:
		m.o.Log.Info(ev.Text, "job", job, "step", ev.Step, "session", short(id))
		m.log(job, map[string]any{"level": "info", "step": ev.Step, "session": short(id), "text": ev.Text})
	}
}

func short(id session.ID) string { return hex.EncodeToString(id[:8]) }

// key is what a step's result depends on at this party: PROTOCOL.md, Reuse.
func (m *Manager) key(r *Record, st flow.Step) string {
	comp := flow.Describe(st.Kind)
	params, _ := json.Marshal(st.Params)
	texts, _ := json.Marshal(st.Texts)
	parts := []string{"kontor step v1", st.Kind, fmt.Sprint(comp.Version), string(params), string(texts), m.self}
	for _, p := range r.spec.Parties {
		parts = append(parts, p.Name, p.Role)
	}
	var ports []string
	for port := range st.From {
		ports = append(ports, port)
	}
	slices.Sort(ports)
	for _, port := range ports {
		parts = append(parts, port, r.step(st.From[port]).Artifact)
	}
	if !comp.NoData {
		view, _ := json.Marshal(r.spec.PartyView(m.self))
		features, _ := json.Marshal(r.Features)
		parts = append(parts, string(view), string(features), r.Print)
		if r.Live {
			parts = append(parts, r.ID)
		}
	}
	return digest(parts...)
}

// reusable returns the artifact that this party holds under a key.
func (m *Manager) reusable(ctx context.Context, key string) (artifact, job, step string, err error) {
	err = m.o.DB.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT artifact, job, step FROM reusable WHERE key = ?`, key).Scan(&artifact, &job, &step)
	})
	if store.None(err) || err == nil && !m.intact(ctx, artifact, job, step) {
		return "", "", "", nil
	}
	return artifact, job, step, err
}

// intact reports whether an artifact is where the journal says that it is. One
// that somebody has removed, or that no backup held, is computed anew.
func (m *Manager) intact(ctx context.Context, artifact, job, step string) bool {
	r, err := m.get(ctx, job)
	if err != nil {
		return false
	}
	s := r.step(step)
	if s == nil || !s.committed() || s.Artifact != artifact {
		return false
	}
	if _, err := flow.ReadStep(m.path(s.Dir)); err != nil {
		m.o.Log.Warn("the result of a step is not there to be reused", "job", job, "step", step, "error", err)
		return false
	}
	return true
}

// commitStep makes an attempt the step's result.
func (m *Manager) commitStep(r *Record, c *change, s *StepRecord, reused bool) {
	s.State, s.Error, s.Ended = StepDone, nil, m.o.Now().UTC()
	action := "step.done"
	if reused {
		s.State, action = StepReused, "step.reused"
	}
	c.event(EventStep, map[string]any{"step": s.Name, "state": s.State, "attempt": s.Attempt})
	c.record("node", action, r.ID, map[string]any{"step": s.Name, "attempt": s.Attempt, "artifact": s.Artifact})
	if reused {
		return
	}
	key, artifact, job, step := s.Key, s.Artifact, r.ID, s.Name
	c.also = func(tx *store.Tx) error {
		_, err := tx.Exec(context.Background(), `INSERT OR REPLACE INTO reusable (key, artifact, job, step) VALUES (?, ?, ?, ?)`, key, artifact, job, step)
		return err
	}
}

// adopt points a step at an artifact of an earlier job.
func (m *Manager) adopt(ctx context.Context, s *StepRecord, artifact string) error {
	found, job, step, err := m.reusable(ctx, s.Key)
	if err != nil {
		return err
	}
	if found == "" || found != artifact {
		return tell(fault.Consent, s.Name, "it does not hold the artifact to reuse", "submit the job again without reuse")
	}
	old, err := m.get(ctx, job)
	if err != nil {
		return err
	}
	from := old.step(step)
	if from == nil || !from.committed() || from.Artifact != artifact {
		return tell(fault.Consent, s.Name, "it does not hold the artifact to reuse", "submit the job again without reuse")
	}
	s.Artifact, s.Dir, s.Result, s.From = artifact, from.Dir, from.Result, job
	return nil
}
