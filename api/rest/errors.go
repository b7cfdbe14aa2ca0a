package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"kontor/internal/fault"
)

// Problem is the body of every answer that is an error: RFC 9457 with the fields
// of a fault.
type Problem struct {
	Type     string          `json:"type" doc:"Always about:blank: the kind says more"`
	Title    string          `json:"title" doc:"Name of the HTTP status"`
	Status   int             `json:"status"`
	Detail   string          `json:"detail" doc:"The whole error in one line"`
	Kind     string          `json:"kind" doc:"Kind of fault, as in docs/errors.md"`
	ExitCode int             `json:"exit_code" doc:"What the command line ends with"`
	Party    string          `json:"party,omitempty" doc:"The party at fault or concerned"`
	Step     string          `json:"step,omitempty"`
	What     string          `json:"what" doc:"What went wrong"`
	Cure     string          `json:"cure,omitempty" doc:"What to do"`
	Errors   []ProblemDetail `json:"errors,omitempty" doc:"Each fault of the request by itself"`
}

// ProblemDetail is one fault of a request with its place.
type ProblemDetail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" doc:"Such as body.name or query.limit"`
	Line     int    `json:"line,omitempty" doc:"Line in a specification or policy"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of a problem.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// Sentinels for what a fault's kind does not tell. [NotFound], [Conflict] and
// [Denied] make errors with them; errors of the client have them too.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
	ErrDenied   = errors.New("denied")
)

// NotFound returns a usage fault for something that does not exist: status 404.
func NotFound(what, cure string) error {
	return &marked{fault.New(fault.Usage, what, cure), ErrNotFound}
}

// Conflict returns a usage fault for what cannot be done in the present state,
// such as cancelling a job that has ended: status 409.
func Conflict(what, cure string) error {
	return &marked{fault.New(fault.Usage, what, cure), ErrConflict}
}

// Denied returns a trust fault for what the caller's role or token does not
// allow: status 403.
func Denied(what, cure string) error {
	return &marked{fault.New(fault.Trust, what, cure), ErrDenied}
}

// marked is a fault that is also one of the sentinels, without its text.
type marked struct {
	fault *fault.Error
	is    error
}

func (m *marked) Error() string   { return m.fault.Error() }
func (m *marked) Unwrap() []error { return []error{m.fault, m.is} }

// statuses maps kinds of faults to HTTP statuses; docs/api.md has the table.
var statuses = map[fault.Kind]int{
	fault.Internal: http.StatusInternalServerError, fault.Usage: http.StatusBadRequest,
	fault.Spec: http.StatusUnprocessableEntity, fault.Data: http.StatusUnprocessableEntity,
	fault.Peer: http.StatusBadGateway, fault.Trust: http.StatusUnprocessableEntity,
	fault.Version: http.StatusConflict, fault.Protocol: http.StatusBadGateway,
	fault.Consent: http.StatusConflict, fault.Local: http.StatusServiceUnavailable,
	fault.Cancelled: http.StatusConflict,
}

// problemOf returns what a user is told of err.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			f = fault.New(fault.Cancelled, "the request ended before it was answered", "repeat it")
		} else {
			f = fault.Wrap(fault.Internal, err, "", "this is a defect of Kontor, please report it")
		}
	}
	status := statuses[f.Kind]
	switch {
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, ErrDenied):
		status = http.StatusForbidden
	}
	return newProblem(status, f)
}

func newProblem(status int, f *fault.Error) *Problem {
	bare := *f // what and cause, without party, step and cure, which have fields of their own
	bare.Party, bare.Step, bare.Cure = "", "", ""
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: f.Error(),
		Kind: f.Kind.String(), ExitCode: f.Kind.ExitCode(), Party: f.Party, Step: f.Step, What: bare.Error(), Cure: f.Cure}
}

// Fault returns the error as the node had it: a *fault.Error, with a sentinel where
// the status stands for one.
func (p *Problem) Fault() error {
	f := &fault.Error{Kind: kindNamed(p.Kind, p.Status), Party: p.Party, Step: p.Step, What: p.What, Cure: p.Cure}
	if f.What == "" {
		f.What = p.Detail
	}
	if f.What == "" {
		f.What = fmt.Sprintf("the node answered %d %s", p.Status, http.StatusText(p.Status))
	}
	for _, e := range p.Errors {
		f.What += ", " + strings.TrimPrefix(e.Location+": ", ": ") + e.Message
	}
	is := map[int]error{http.StatusNotFound: ErrNotFound, http.StatusConflict: ErrConflict, http.StatusForbidden: ErrDenied}[p.Status]
	if is == nil {
		return f
	}
	return &marked{f, is}
}

// kindNamed returns the kind called name; where there is none, as from a proxy
// in the middle, one that fits the status.
func kindNamed(name string, status int) fault.Kind {
	for k := fault.Internal; k <= fault.Cancelled; k++ {
		if k.String() == name {
			return k
		}
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fault.Trust
	case status >= 400 && status < 500:
		return fault.Usage
	case status == http.StatusServiceUnavailable || status == http.StatusBadGateway || status == http.StatusGatewayTimeout:
		return fault.Local
	}
	return fault.Internal
}
