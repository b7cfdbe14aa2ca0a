package flow

import (
	"context"
	"fmt"
	"io"
	"math"
	"regexp"
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
	Name    string  `json:"name"`
	Doc     string  `json:"doc"`
	Default float64 `json:"default"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Whole   bool    `json:"whole"` // takes whole numbers only
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

// TextDoc documents a setting that is a text.
type TextDoc struct {
	Name    string `json:"name"`
	Doc     string `json:"doc"`
	Pattern string `json:"pattern"` // regular expression that the whole text matches
	// Port is the input that the text stands in for, so that one key of the job
	// names either an earlier step or something else; "" if there is none.
	Port string `json:"port,omitempty"`
}

func (d TextDoc) fits(s string) bool {
	return regexp.MustCompile("^(?:" + d.Pattern + ")$").MatchString(s)
}

// Types of what a step leaves for others.
const (
	TypeRows    = "rows"    // the joint rows in their common order
	TypeParts   = "parts"   // a division of joint rows
	TypeModel   = "model"   // this party's part of a model
	TypeMetrics = "metrics" // figures and curves, empty at hosts
	TypeScores  = "scores"  // predictions, empty at hosts
)

// typeText says in an error what a type is.
var typeText = map[string]string{TypeRows: "joint rows", TypeParts: "a split", TypeModel: "a model", TypeMetrics: "metrics", TypeScores: "scores"}

// Port is an input of a step. In a job it is a key of the step whose value is
// the name of an earlier step; left out, it is the nearest that fits.
type Port struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Optional bool   `json:"optional"`
}

// Component is one kind of step.
type Component struct {
	Kind    string
	Version int // of its protocol: peers must have the same
	Doc     string
	Params  []ParamDoc
	Texts   []TextDoc
	Inputs  []Port
	Output  string // the type of what it leaves, "" for nothing

	Local      bool // exchanges nothing, so no session is opened for it
	NoData     bool // does not read the party's table
	NeedsLabel bool // reads the guest's label
	Features   bool // reads feature columns

	Discloses []Disclosure
	Check     func(Params) error                   // of parameters against each other; may be nil
	Memory    func(rows, cols int, p Params) int64 // estimate in bytes from the party's own table, which it includes
	Run       func(context.Context, *env) (artifact, error)
}

func (c *Component) defaults() Params {
	p := Params{}
	for _, d := range c.Params {
		p[d.Name] = d.Default
	}
	return p
}

// capability is what a node needs to understand to take part.
func (c *Component) capability() string { return fmt.Sprintf("%s/%d", c.Kind, c.Version) }

// components is the catalogue of steps. A new kind of step is a new entry.
var components = map[string]*Component{
	"align":    alignComponent,
	"split":    splitComponent,
	"boost":    boostComponent,
	"evaluate": evaluateComponent,
	"predict":  predictComponent,
	"ping":     pingComponent,
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

// ComponentDoc is a component as programs are told of it.
type ComponentDoc struct {
	Kind       string       `json:"kind"`
	Version    int          `json:"version"`
	Doc        string       `json:"doc"`
	Params     []ParamDoc   `json:"params"`
	Texts      []TextDoc    `json:"texts"`
	Inputs     []Port       `json:"inputs"`
	Output     string       `json:"output,omitempty"`
	Local      bool         `json:"local"`
	NeedsData  bool         `json:"needs_data"`
	NeedsLabel bool         `json:"needs_label"`
	Discloses  []Disclosure `json:"discloses"`
}

// Components describes all kinds of steps, sorted by kind.
func Components() []ComponentDoc {
	var out []ComponentDoc
	for _, k := range Kinds() {
		c := components[k]
		out = append(out, ComponentDoc{Kind: c.Kind, Version: c.Version, Doc: c.Doc, Params: orEmpty(c.Params), Texts: orEmpty(c.Texts),
			Inputs: orEmpty(c.Inputs), Output: c.Output, Local: c.Local, NeedsData: !c.NoData, NeedsLabel: c.NeedsLabel, Discloses: orEmpty(c.Discloses)})
	}
	return out
}

// orEmpty makes a list that JSON writes as [] where there is nothing.
func orEmpty[T any](s []T) []T { return append([]T{}, s...) }

func makers(typ string) []string {
	var ks []string
	for _, k := range Kinds() {
		if components[k].Output == typ {
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
		if c := components[st.Kind]; !c.Local {
			cs = append(cs, c.capability())
		}
	}
	slices.Sort(cs)
	return slices.Compact(cs)
}

// AllCapabilities returns what this version of Kontor can take part in.
func AllCapabilities() []string {
	var cs []string
	for _, k := range Kinds() {
		if c := components[k]; !c.Local {
			cs = append(cs, c.capability())
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
	input   *Input              // nil where the component has NoData
	from    map[string]artifact // by port
	result  *StepResult
	observe func(Event)
}

// learned puts sentences into the account of what this party learned.
func (e *env) learned(facts ...string) { e.result.Learned = append(e.result.Learned, facts...) }

func (e *env) secured(format string, args ...any) {
	e.result.Security = append(e.result.Security, e.step.Name+": "+fmt.Sprintf(format, args...))
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
