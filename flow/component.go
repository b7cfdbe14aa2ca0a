package flow

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"kontor/session"
)

// Params are a step's parameters by name, defaults filled in.
type Params map[string]float64

// Int returns a whole-number parameter.
func (p Params) Int(name string) int { return int(p[name]) }

// ParamDoc documents one parameter and bounds it.
type ParamDoc struct {
	Name     string
	Default  float64
	Min, Max float64
	Whole    bool // takes whole numbers only
	Doc      string
}

// check returns what is wrong with x, or "".
func (d ParamDoc) check(x float64) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "not a number"
	case x < d.Min:
		return "the least is " + Number(d.Min)
	case x > d.Max:
		return "the most is " + Number(d.Max)
	case d.Whole && x != math.Trunc(x):
		return "it takes whole numbers"
	}
	return ""
}

func (d ParamDoc) cure() string {
	kind := "a number"
	if d.Whole {
		kind = "a whole number"
	}
	return fmt.Sprintf("give %s from %s to %s (default %s)", kind, Number(d.Min), Number(d.Max), Number(d.Default))
}

// Number writes x without an exponent.
func Number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// Component is one kind of step.
type Component struct {
	Kind   string
	Doc    string
	Params []ParamDoc
	Needs  []string // what earlier steps must have made
	Gives  []string // what later steps may use
	Check  func(Params) error
	// Local says that the step exchanges nothing, so no session is opened for it.
	Local bool
	Run   func(ctx context.Context, e *env) error
}

func (c *Component) defaults() Params {
	p := Params{}
	for _, d := range c.Params {
		p[d.Name] = d.Default
	}
	return p
}

// components is the catalogue of steps. A new kind of step is a new entry.
var components = map[string]*Component{
	"align":    alignComponent,
	"split":    splitComponent,
	"boost":    boostComponent,
	"evaluate": evaluateComponent,
}

// Kinds returns the kinds of steps, sorted.
func Kinds() []string {
	var ks []string
	for k := range components {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// Describe returns the component of a kind, for documentation; nil if there is none.
func Describe(kind string) *Component { return components[kind] }

func makers(what string) []string {
	var ks []string
	for _, k := range Kinds() {
		if slices.Contains(components[k].Gives, what) {
			ks = append(ks, k)
		}
	}
	return ks
}

// Capabilities returns what a node needs to understand to take part in s, one
// string a kind of step with its protocol version.
func (s *Spec) Capabilities() []string {
	var cs []string
	for _, st := range s.Steps {
		if !components[st.Kind].Local {
			cs = append(cs, st.Kind+"/1")
		}
	}
	slices.Sort(cs)
	return slices.Compact(cs)
}

// AllCapabilities returns what this version of Kontor can take part in.
func AllCapabilities() []string {
	var cs []string
	for _, k := range Kinds() {
		if !components[k].Local {
			cs = append(cs, k+"/1")
		}
	}
	return cs
}

// env is what a running step sees.
type env struct {
	spec    *Spec
	self    Party
	step    Step
	session *session.Session // nil for a local step
	rand    io.Reader
	state   *state
	result  *Result
	report  *StepReport
	observe func(Event)
}

// learned puts sentences into the account of what this party learned.
func (e *env) learned(facts ...string) {
	e.result.Learned = append(e.result.Learned, Learned{Step: e.step.Name, Facts: facts})
}

func (e *env) warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	e.result.Warnings = append(e.result.Warnings, w)
	e.observe(Event{Kind: EventNote, Step: e.step.Name, Text: w})
}

// note tells the user something that need not be kept.
func (e *env) note(format string, args ...any) {
	e.observe(Event{Kind: EventNote, Step: e.step.Name, Text: fmt.Sprintf(format, args...)})
}

func (e *env) progress(done, total int64, unit string) {
	e.observe(Event{Kind: EventProgress, Step: e.step.Name, Done: done, Total: total, Unit: unit})
}

func list(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
