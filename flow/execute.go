package flow

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"kontor/fed/boost"
	"kontor/fed/metric"
	"kontor/internal/fault"
	"kontor/internal/parallel"
	"kontor/session"
)

// StepResult is what one party has of one step, without the artifact.
type StepResult struct {
	Report     StepReport                `json:"report"`
	Learned    []string                  `json:"learned,omitempty"`
	Security   []string                  `json:"security,omitempty"`
	Warnings   []string                  `json:"warnings,omitempty"`
	Rows       int                       `json:"rows,omitempty"`       // of this party's table; 0 if the step does not read it
	Columns    int                       `json:"columns,omitempty"`    // features of this party's table
	Table      string                    `json:"table,omitempty"`      // hex fingerprint of what was read of the table
	Joint      int                       `json:"joint_rows,omitempty"` // rows that the step worked on
	Metrics    map[string]metric.Summary `json:"metrics,omitempty"`    // by set; the guest's alone
	Importance []boost.Importance        `json:"importance,omitempty"`
	Files      []string                  `json:"files,omitempty"`    // in the folder, for people
	Model      bool                      `json:"model,omitempty"`    // the artifact is a model
	ModelID    string                    `json:"model_id,omitempty"` // of the model made or used, the same at all parties
}

// Execution is what one step needs at one party.
type Execution struct {
	Spec *Spec
	Self string // this party's name
	Step string
	// Input returns this party's table; the caller keeps it between steps. It is
	// not called for a step that reads none.
	Input func(context.Context) (*Input, error)
	From  map[string]string // folder of the step that each input comes from, by port
	Dir   string            // where to write: an empty folder
	// Model returns the folder with this party's part of a model of an earlier job,
	// by identifier or tag. It may be nil.
	Model   func(id string) (dir string, err error)
	Session *session.Session // nil for a local step; the caller closes it
	Rand    io.Reader        // secrets come from here: crypto/rand.Reader but in tests
	Observe func(Event)      // may be nil; progress of sessions goes where the caller opened them
	Disk    int64            // the most that the step may write, in bytes; 0 for no bound
	Memory  int64            // the most that it may need by estimate, in bytes; 0 for no bound
}

// WithCores returns a context under which steps use at most n cores for their
// computations, all together. 0 is no bound.
func WithCores(ctx context.Context, n int) context.Context { return parallel.WithLimit(ctx, n) }

// Execute carries out one step at one party. It reads what the step takes from
// the folders of others and leaves its own in x.Dir, complete and synced when it
// returns without an error, else empty; it touches nothing else. The error is a
// [fault.Error] that names party and step, and holds [ErrLimit] where a limit of
// the job ends the step. docs/formats/artifacts.md has the files.
func Execute(ctx context.Context, x Execution) (*StepResult, error) {
	r, err := x.execute(ctx)
	if err != nil {
		return nil, blame(ctx, err, x.Self, x.Step)
	}
	return r, nil
}

func (x Execution) execute(ctx context.Context) (*StepResult, error) {
	self, err := x.Spec.Party(x.Self)
	if err != nil {
		return nil, err
	}
	st, err := x.Spec.Step(x.Step)
	if err != nil {
		return nil, err
	}
	comp := components[st.Kind]
	if comp.Local != (x.Session == nil) {
		return nil, fmt.Errorf("flow: step %s, local %t, has session %t", st.Name, comp.Local, x.Session != nil)
	}
	out, err := newFolder(x.Dir, x.Disk)
	if err != nil {
		return nil, err
	}
	defer out.close()
	e := &env{spec: x.Spec, self: self, step: st, session: x.Session, rand: x.Rand, from: map[string]artifact{}, observe: func(ev Event) {
		if x.Observe != nil {
			ev.Party = x.Self
			x.Observe(ev)
		}
	}}
	if err := x.prepare(ctx, e, comp); err != nil {
		return nil, err
	}
	a, err := e.run(ctx)
	if err == nil {
		err = out.write(a, e.result)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		out.discard()
		return nil, err
	}
	return e.result, nil
}

// prepare loads what the step takes.
func (x Execution) prepare(ctx context.Context, e *env, comp *Component) (err error) {
	if !comp.NoData {
		if e.input, err = x.Input(ctx); err != nil {
			return err
		}
		if err := e.fits(x.Memory, comp); err != nil {
			return err
		}
	}
	for _, port := range comp.Inputs {
		if e.from[port.Name], err = x.take(e.step, port); err != nil {
			return err
		}
		if e.from[port.Name] == nil {
			delete(e.from, port.Name)
		}
	}
	return nil
}

// take loads the artifact of a port, nil if it has none and needs none.
func (x Execution) take(st Step, port Port) (artifact, error) {
	from, given := st.From[port.Name]
	dir := x.From[port.Name]
	switch {
	case port.Type == TypeModel && !given && st.Texts["model"] != "":
		if x.Model == nil {
			return nil, fault.New(fault.Usage, "there is no store of models here", "train the model in the same job")
		}
		dir, err := x.Model(st.Texts["model"])
		if err != nil {
			return nil, err
		}
		return loadModel(dir)
	case !given:
		return nil, nil
	case dir == "":
		return nil, fmt.Errorf("flow: no folder of step %s for the input %s", from, port.Name)
	}
	s, err := openStep(dir)
	if err != nil {
		return nil, err
	}
	if s.Report.Name != from {
		return nil, damaged(dir, stepFile, fmt.Errorf("%w: it is of step %s where %s was expected", errArtifact, s.Report.Name, from))
	}
	return s.load(port.Type)
}

// fits refuses a step that would need more memory than it may have.
func (e *env) fits(most int64, comp *Component) error {
	if most <= 0 || comp.Memory == nil {
		return nil
	}
	need := comp.Memory(len(e.input.IDs), len(e.input.Columns), e.step.Params)
	if need <= most {
		return nil
	}
	return &fault.Error{Kind: fault.Local, Err: ErrLimit,
		What: fmt.Sprintf("the step needs about %s of memory for %d rows and %d columns, the job may take %s", Bytes(need), len(e.input.IDs), len(e.input.Columns), Bytes(most)),
		Cure: "raise limits.memory in the job, or bring fewer rows or columns"}
}

// run carries the step out with everything that it takes, and accounts for it.
func (e *env) run(ctx context.Context) (artifact, error) {
	start, comp := time.Now(), components[e.step.Kind]
	e.result = &StepResult{Report: StepReport{Name: e.step.Name, Kind: e.step.Kind}}
	if e.input != nil {
		print := e.input.Fingerprint()
		e.result.Rows, e.result.Columns, e.result.Table = len(e.input.IDs), len(e.input.Columns), hex.EncodeToString(print[:])
		e.result.Warnings = append(e.result.Warnings, e.input.Notes...)
	}
	if err := e.matches(comp); err != nil {
		return nil, err
	}
	a, err := comp.Run(ctx, e)
	if err != nil {
		return nil, err
	}
	rep := &e.result.Report
	rep.Seconds = time.Since(start).Seconds()
	if e.session != nil {
		st := e.session.Stats()
		rep.Rounds, rep.Sent, rep.Traffic = st.Rounds, st.BytesSent, st.Traffic
	}
	return a, nil
}

// matches refuses artifacts that are not of this table, of each other, or of
// this party's role.
func (e *env) matches(comp *Component) error {
	for _, port := range comp.Inputs {
		a := e.from[port.Name]
		if a == nil && !port.Optional {
			return fmt.Errorf("flow: step %s lacks its input %s", e.step.Name, port.Name)
		}
	}
	if s, ok := e.from[TypeRows].(*rowSet); ok {
		if s.of != len(e.input.IDs) || s.table != e.input.Fingerprint() {
			return fault.New(fault.Data, fmt.Sprintf("%s is no longer the table that step %s read", e.input.File, e.step.From[TypeRows]),
				"put the table back as it was, or run the job again from its beginning")
		}
		if d, ok := e.from[TypeParts].(*division); ok && (d.of != s.digest() || d.n != len(s.rows)) {
			return fault.New(fault.Local, fmt.Sprintf("the parts of step %s are not of the rows of step %s", e.step.From[TypeParts], e.step.From[TypeRows]), "run the job again from its beginning")
		}
	}
	if m, ok := e.from[TypeModel].(*trained); ok && (m.guest != nil) != (e.self.Role == session.Guest) {
		return fault.New(fault.Data, fmt.Sprintf("what %s keeps of the model is not the part of a %s", e.self.Name, e.self.Role), "give the parties the roles that they had in the training")
	}
	if m, ok := e.from[TypeModel].(*trained); ok && m.host != nil && m.host.Party != e.self.Name {
		return fault.New(fault.Data, fmt.Sprintf("the part of the model is that of %s", m.host.Party), "name the model that this party has a part of")
	}
	return nil
}
