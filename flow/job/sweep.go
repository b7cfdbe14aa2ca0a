package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// resultDir is the folder of a job in which the site publishes what users get.
const resultDir = "result"

func attemptDir(step string, number int) string { return fmt.Sprintf("%s-%d", step, number) }

// holds reports whether a step of the job holds on to an entry of its folder.
func (r *Record) holds(name string) bool {
	if name == resultDir || name == DataDir && !r.State.Final() {
		return true
	}
	for _, s := range r.Steps {
		if name == attemptDir(s.Name, s.Attempt) && (s.committed() || s.State == StepPrepared && !r.State.Final()) {
			return true
		}
	}
	return false
}

// sweep removes what is in a job's folder without use: attempts that came to
// nothing, half-written results, and, once the job has ended, its copy of rows.
// Nothing of the job may run.
func (m *Manager) sweep(r *Record) {
	entries, err := os.ReadDir(m.path(r.ID))
	if err != nil {
		return // there is none
	}
	for _, e := range entries {
		if r.holds(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(m.path(r.ID), e.Name())); err != nil {
			m.o.Log.Warn("what an attempt has left cannot be removed", "job", r.ID, "error", err)
		}
	}
}

// sweepEnded is [Manager.sweep] of a job if it has ended.
func (m *Manager) sweepEnded(id string) {
	if r, err := m.get(context.Background(), id); err == nil && r.State.Final() {
		m.sweep(r)
	}
}

// sweepAttempt removes the folder of an attempt that has ended and is not the
// step's result, and the rows that it has read for a job that has ended.
func (m *Manager) sweepAttempt(id, step string, number int) {
	r, err := m.get(context.Background(), id)
	if err != nil {
		return
	}
	if name := attemptDir(step, number); !r.holds(name) {
		os.RemoveAll(m.path(id + "/" + name)) // if this fails, the next start sweeps
	}
	if r.State.Final() {
		os.RemoveAll(m.path(id + "/" + DataDir))
	}
}

// sweepAll removes what a process that was killed has left of jobs that had ended.
func (m *Manager) sweepAll(ctx context.Context) {
	entries, err := os.ReadDir(m.o.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		if e.IsDir() && isHex(e.Name(), 16) {
			m.sweepEnded(e.Name())
		}
	}
}
