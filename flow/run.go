// Package flow runs jobs: it reads a specification, checks it before anything
// moves, and carries out its steps, one session a step. It knows the federated
// algorithms, but no transport: whoever calls [Run] opens the sessions.
//
// The job file is described in docs/jobs.md.
package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kontor/fed/boost"
	"kontor/fed/metric"
	"kontor/internal/fault"
	"kontor/session"
)

// Kinds of events.
const (
	EventStart    = "start"    // a step begins
	EventProgress = "progress" // a step has done Done of Total
	EventDone     = "done"     // a step has ended well; Report is set
	EventNote     = "note"     // something the user should know
)

// Event tells an observer how a job goes on. Events of one party come in order.
type Event struct {
	Kind   string      `json:"event"`
	Party  string      `json:"party,omitempty"`
	Step   string      `json:"step,omitempty"`
	Index  int         `json:"index,omitempty"` // of the step, from 1
	Of     int         `json:"of,omitempty"`
	Done   int64       `json:"done,omitempty"`
	Total  int64       `json:"total,omitempty"`
	Unit   string      `json:"unit,omitempty"`
	Text   string      `json:"text,omitempty"`
	Report *StepReport `json:"report,omitempty"`
}

// StepReport is what one step cost, as measured by one party.
type StepReport struct {
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Seconds float64           `json:"seconds"`
	Rounds  int               `json:"rounds"`
	Sent    int64             `json:"bytes_sent"` // by this party
	Traffic []session.Traffic `json:"traffic,omitempty"`
}

// Learned is what a party learned in a step, in sentences.
type Learned struct {
	Step  string   `json:"step"`
	Facts []string `json:"facts"`
}

// Result is what a party has when its job is done.
type Result struct {
	Job        string                    `json:"job"`
	Party      string                    `json:"party"`
	Role       string                    `json:"role"`
	Rows       int                       `json:"rows"` // of this party's table
	Joint      int                       `json:"joint_rows"`
	Columns    int                       `json:"columns"` // features used
	Steps      []StepReport              `json:"steps"`
	Metrics    map[string]metric.Summary `json:"metrics,omitempty"` // by set: train, valid, test; the guest's alone
	Learned    []Learned                 `json:"learned"`
	Security   []string                  `json:"security"`
	Warnings   []string                  `json:"warnings,omitempty"`
	Importance []boost.Importance        `json:"importance,omitempty"`

	Sets    []Set          `json:"-"` // curves behind Metrics
	History *boost.History `json:"-"`
	Files   []File         `json:"-"` // what the job leaves at this party
}

// Set is the evaluation of one part of the rows.
type Set struct {
	Name string
	Eval *metric.Evaluation
}

// File is a file that a job leaves.
type File struct {
	Name  string
	Write func(io.Writer) error
}

// Options is what a run needs.
type Options struct {
	Spec  *Spec
	Self  string // this party's name
	Input *Input
	// Open opens the session of a step. done is called once when the step has
	// ended, with its error or nil.
	Open    func(ctx context.Context, step string, progress func(done, total int64, unit string)) (s *session.Session, done func(error), err error)
	Rand    io.Reader   // secrets come from here: crypto/rand.Reader but in tests
	Observe func(Event) // may be nil
}

// Run carries out the steps of a job at one party. It returns when all have
// ended or at the first error, which then is a [fault.Error] that names the step.
func Run(ctx context.Context, o Options) (*Result, error) {
	self, err := o.Spec.Party(o.Self)
	if err != nil {
		return nil, err
	}
	observe := func(ev Event) {
		if o.Observe != nil {
			ev.Party = o.Self
			o.Observe(ev)
		}
	}
	res := &Result{Job: o.Spec.Job, Party: self.Name, Role: self.Role, Rows: len(o.Input.IDs),
		Columns: len(o.Input.Columns), Metrics: map[string]metric.Summary{}}
	res.Warnings = append(res.Warnings, o.Input.Notes...)
	st := &state{input: o.Input}
	for i, step := range o.Spec.Steps {
		observe(Event{Kind: EventStart, Step: step.Name, Index: i + 1, Of: len(o.Spec.Steps)})
		e := &env{spec: o.Spec, self: self, step: step, rand: o.Rand, state: st, result: res, observe: observe}
		rep, err := runStep(ctx, o, e)
		if err != nil {
			return nil, blame(ctx, err, self.Name, step.Name)
		}
		res.Steps = append(res.Steps, *rep)
		observe(Event{Kind: EventDone, Step: step.Name, Index: i + 1, Of: len(o.Spec.Steps), Report: rep})
	}
	return res, nil
}

// blame names party and step of err. Where the run was cancelled for a reason
// (a peer was lost), that reason is the error, not its echo in the step.
func blame(ctx context.Context, err error, party, step string) error {
	if errors.Is(err, context.Canceled) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
	}
	return fault.At(err, party, step)
}

func runStep(ctx context.Context, o Options, e *env) (rep *StepReport, err error) {
	start := time.Now()
	comp := components[e.step.Kind]
	rep = &StepReport{Name: e.step.Name, Kind: e.step.Kind}
	e.report = rep
	if !comp.Local {
		s, done, openErr := o.Open(ctx, e.step.Name, e.progress)
		if openErr != nil {
			return nil, fmt.Errorf("opening the session: %w", openErr)
		}
		e.session = s
		// The peers must hear whether the step failed, so done gets the error returned.
		defer func() { done(err) }()
	}
	if err = comp.Run(ctx, e); err != nil {
		return nil, err
	}
	rep.Seconds = time.Since(start).Seconds()
	if e.session != nil {
		st := e.session.Stats()
		rep.Rounds, rep.Sent, rep.Traffic = st.Rounds, st.BytesSent, st.Traffic
	}
	return rep, nil
}
