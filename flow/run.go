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
	Metrics    map[string]metric.Summary `json:"metrics,omitempty"` // by set: train, valid, test; the guest's alone, of its last evaluation
	Learned    []Learned                 `json:"learned"`
	Security   []string                  `json:"security"`
	Warnings   []string                  `json:"warnings,omitempty"`
	Importance []boost.Importance        `json:"importance,omitempty"` // of the model evaluated last

	Sets    []Set          `json:"-"` // curves behind Metrics
	History *boost.History `json:"-"` // of the model evaluated last
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

// Run carries out the steps of a job at one party, one after the other, and
// keeps in memory what they hand on. It returns when all have ended or at the
// first error, which then is a [fault.Error] that names the step. Whoever must
// survive a crash runs step by step: [Execute].
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
	if o.Input == nil && o.Spec.NeedsData() {
		return nil, fault.At(noFile(self), self.Name, "load")
	}
	done := map[string]*outcome{}
	for i, step := range o.Spec.Steps {
		observe(Event{Kind: EventStart, Step: step.Name, Index: i + 1, Of: len(o.Spec.Steps)})
		out, err := runStep(ctx, o, self, step, observe, done)
		if err != nil {
			return nil, blame(ctx, err, self.Name, step.Name)
		}
		done[step.Name] = out
		observe(Event{Kind: EventDone, Step: step.Name, Index: i + 1, Of: len(o.Spec.Steps), Report: &out.result.Report})
	}
	return assemble(o.Spec, self, done), nil
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

// outcome is a step that has ended, at this party.
type outcome struct {
	result   *StepResult
	artifact artifact // nil where it left nothing
}

func runStep(ctx context.Context, o Options, self Party, st Step, observe func(Event), done map[string]*outcome) (_ *outcome, err error) {
	if st.Texts["model"] != "" {
		return nil, fault.New(fault.Usage, "a model of an earlier job is kept by a node, and none runs here", "submit the job to a node with kontor job submit, or train the model in this job")
	}
	e := &env{spec: o.Spec, self: self, step: st, rand: o.Rand, from: map[string]artifact{}, observe: observe}
	for port, from := range st.From {
		e.from[port] = done[from].artifact
	}
	if !components[st.Kind].NoData {
		e.input = o.Input
	}
	if !components[st.Kind].Local {
		start := time.Now()
		s, end, err := o.Open(ctx, st.Name, e.progress)
		if err != nil {
			return nil, fmt.Errorf("opening the session: %w", err)
		}
		e.session = s
		a, err := e.run(ctx)
		end(err) // the peers must hear whether the step failed
		e.result.Report.Seconds = time.Since(start).Seconds()
		return &outcome{e.result, a}, err
	}
	a, err := e.run(ctx)
	return &outcome{e.result, a}, err
}
