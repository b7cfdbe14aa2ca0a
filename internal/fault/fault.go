// Package fault is the one error type that reaches a user: what went wrong, at
// which party, in which step, and what to do about it. Packages below the
// protocol layer return plain errors; whoever knows party and step wraps them
// here once. Not for control flow inside a package.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind classes a fault. Each has a process exit code of its own, see [Kind.ExitCode]
// and docs/errors.md.
type Kind int

// The kinds, in the order of their exit codes.
const (
	Internal  Kind = iota // a bug of ours
	Usage                 // a command line that cannot be understood
	Spec                  // a job specification that is invalid
	Data                  // an input file that is missing, malformed or unfit for the job
	Peer                  // a peer that cannot be reached, went away or fell silent
	Trust                 // an identity, invitation or certificate that is unknown, wrong or expired
	Version               // a peer whose version or capabilities do not fit ours
	Protocol              // a peer that sent something the protocol does not allow
	Consent               // parties that did not agree to the same job
	Local                 // something on this machine: a port in use, a full disk, a folder not writable
	Cancelled             // stopped by the user
)

var kinds = [...]struct {
	name string
	exit int
}{
	Internal: {"internal", 1}, Usage: {"usage", 2}, Spec: {"spec", 3}, Data: {"data", 4},
	Peer: {"peer", 5}, Trust: {"trust", 6}, Version: {"version", 7}, Protocol: {"protocol", 8},
	Consent: {"consent", 9}, Local: {"local", 10}, Cancelled: {"cancelled", 130},
}

// String returns the word used for k in JSON output and on the wire.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return kinds[k].name
}

// ExitCode returns the process exit code for k.
func (k Kind) ExitCode() int {
	if k < 0 || int(k) >= len(kinds) {
		return 1
	}
	return kinds[k].exit
}

// KindOfExit returns the kind that a process's exit code stands for.
func KindOfExit(code int) Kind {
	for k := range kinds {
		if kinds[k].exit == code {
			return Kind(k)
		}
	}
	return Internal
}

// Error is a fault. Its text is one line: "party bank, step align: what; cure".
type Error struct {
	Kind  Kind
	Party string // the party at fault or concerned; may be empty
	Step  string // the step of the job; may be empty
	What  string // what went wrong, without the cause in Err
	Cure  string // what to do next, an imperative clause
	Err   error  // the cause, may be nil
}

// New returns a fault of the given kind. what and cure are short clauses.
func New(k Kind, what, cure string) *Error { return &Error{Kind: k, What: what, Cure: cure} }

// Wrap returns a fault of the given kind caused by err.
func Wrap(k Kind, err error, what, cure string) *Error {
	return &Error{Kind: k, What: what, Cure: cure, Err: err}
}

// Error implements error: one line, without newlines even where the cause has some.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Party != "" && e.Step != "":
		fmt.Fprintf(&b, "party %s, step %s: ", e.Party, e.Step)
	case e.Party != "":
		fmt.Fprintf(&b, "party %s: ", e.Party)
	case e.Step != "":
		fmt.Fprintf(&b, "step %s: ", e.Step)
	}
	b.WriteString(e.What)
	if e.Err != nil {
		if e.What != "" {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	if e.Cure != "" {
		b.WriteString("; ")
		b.WriteString(e.Cure)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// At returns err with party and step filled in where it has none yet. An error
// that is no fault becomes one of kind [Internal], a cancelled context one of
// kind [Cancelled].
func At(err error, party, step string) error {
	if err == nil {
		return nil
	}
	var f *Error
	if errors.As(err, &f) {
		c := *f
		if c.Party == "" {
			c.Party = party
		}
		if c.Step == "" {
			c.Step = step
		}
		return &c
	}
	if errors.Is(err, context.Canceled) {
		return &Error{Kind: Cancelled, Party: party, Step: step, What: "stopped before it was done", Cure: "run the job again"}
	}
	return &Error{Kind: Internal, Party: party, Step: step, Err: err, Cure: "this is a defect of Kontor, please report it"}
}

// KindOf returns the kind of err; [Internal] for an error that is no fault.
func KindOf(err error) Kind {
	var f *Error
	if errors.As(err, &f) {
		return f.Kind
	}
	if errors.Is(err, context.Canceled) {
		return Cancelled
	}
	return Internal
}

// Public returns what a peer may be told of err: its kind and a sentence that
// holds no data of ours (no cell, no path, no row).
func Public(err error) (kind, text string) {
	k := KindOf(err)
	step := ""
	var f *Error
	if errors.As(err, &f) {
		step = f.Step
	}
	text = map[Kind]string{
		Internal: "it met a defect of its own", Usage: "it was started wrongly", Spec: "its job specification is invalid",
		Data: "its input does not fit the job", Peer: "it lost a party", Trust: "it does not trust a certificate",
		Version: "it met an unfit version", Protocol: "it received a message that the protocol does not allow",
		Consent: "it did not consent to this job", Local: "its machine failed it", Cancelled: "its user stopped the job",
	}[k]
	if step != "" {
		text += " in step " + step
	}
	return k.String(), text
}
