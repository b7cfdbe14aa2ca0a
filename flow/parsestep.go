package flow

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"kontor/internal/suggest"
	"kontor/session"
)

func (p *parser) steps(n *yaml.Node) []Step {
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "write each step on a line that begins with a dash", "steps must be a list")
		return nil
	}
	if len(n.Content) > maxSteps {
		p.fail(n, "split the job", "%d steps, at most %d are possible", len(n.Content), maxSteps)
		return nil
	}
	var out []Step
	var refs []map[string]*yaml.Node
	for _, c := range n.Content {
		c = resolve(c)
		if p.err != nil {
			return nil
		}
		if c.Kind == yaml.ScalarNode && c.Tag != "!!null" { // "- align"
			c = &yaml.Node{Kind: yaml.MappingNode, Line: c.Line, Content: []*yaml.Node{c, {Kind: yaml.ScalarNode, Tag: "!!null", Line: c.Line}}}
		}
		if c.Kind != yaml.MappingNode || len(c.Content) != 2 {
			p.fail(c, "write - kind: {parameter: value}", "a step must have one kind")
			return nil
		}
		st, from := p.step(c.Content[0], resolve(c.Content[1]))
		if p.err == nil && step(out, len(out), st.Name) != nil {
			p.fail(c, "give one of them another name with as:", "two steps are named %q", st.Name)
		}
		out, refs = append(out, st), append(refs, from)
	}
	for i := range out {
		if p.err == nil {
			p.link(out, i, refs[i])
		}
	}
	return out
}

// step reads one step, and returns what it says of its inputs.
func (p *parser) step(k, v *yaml.Node) (Step, map[string]*yaml.Node) {
	st := Step{Kind: k.Value, Name: k.Value, Line: k.Line, Texts: map[string]string{}, From: map[string]string{}}
	refs := map[string]*yaml.Node{}
	comp, ok := components[k.Value]
	if !ok {
		p.fail(k, suggest.For(k.Value, Kinds()), "there is no step %q", k.Value)
		return st, nil
	}
	st.Params = comp.defaults()
	p.mapping(v, "step "+k.Value, comp.settings(), func(key string, kn, v *yaml.Node) {
		isParam := slices.ContainsFunc(comp.Params, func(d ParamDoc) bool { return d.Name == key })
		switch {
		case key == "as":
			st.Name = p.text(v, key)
			if p.err == nil && !nameRE.MatchString(st.Name) {
				p.fail(v, "use up to 32 of a-z, 0-9 and -", "%q cannot be a step's name", st.Name)
			}
		case isParam:
			p.param(&st, comp, key, v)
		case slices.ContainsFunc(comp.Inputs, func(d Port) bool { return d.Name == key }):
			if p.text(v, key); p.err == nil {
				refs[key] = v
			}
		default:
			p.textSetting(&st, comp, key, v)
		}
	})
	if p.err == nil && comp.Check != nil {
		if err := comp.Check(st.Params); err != nil {
			p.fail(k, "correct the parameters", "step %s: %v", k.Value, err)
		}
	}
	return st, refs
}

// settings returns the keys that a step of this kind may have.
func (c *Component) settings() []string {
	known := []string{"as"}
	for _, d := range c.Params {
		known = append(known, d.Name)
	}
	for _, d := range c.Inputs {
		known = append(known, d.Name)
	}
	for _, d := range c.Texts {
		if !slices.Contains(known, d.Name) {
			known = append(known, d.Name)
		}
	}
	return known
}

func (p *parser) param(st *Step, comp *Component, key string, v *yaml.Node) {
	d := comp.Params[slices.IndexFunc(comp.Params, func(d ParamDoc) bool { return d.Name == key })]
	var x float64
	if err := v.Decode(&x); err != nil || v.Kind != yaml.ScalarNode {
		p.fail(v, d.cure(), "step %s: %s must be a number", st.Kind, key)
		return
	}
	if what := d.check(x); what != "" {
		p.fail(v, d.cure(), "step %s: %s is %s, %s", st.Kind, key, v.Value, what)
		return
	}
	st.Params[key] = x
}

func (p *parser) textSetting(st *Step, comp *Component, key string, v *yaml.Node) {
	d := comp.Texts[slices.IndexFunc(comp.Texts, func(d TextDoc) bool { return d.Name == key })]
	s := p.text(v, key)
	if p.err == nil && !d.fits(s) {
		p.fail(v, "write "+d.Doc, "step %s: %q cannot be its %s", st.Kind, s, key)
		return
	}
	st.Texts[key] = s
}

func (p *parser) checkWhole(s *Spec, root *yaml.Node) {
	guests := 0
	for _, pt := range s.Parties {
		if pt.Role == session.Guest {
			guests++
		}
	}
	switch {
	case s.Job == "":
		p.fail(root, "add a line job: name", "the job has no name")
	case !nameRE.MatchString(s.Job):
		p.fail(root, "use up to 32 of a-z, 0-9 and -", "%q cannot be a job's name", s.Job)
	case len(s.Parties) < 2:
		p.fail(root, "add parties: with a guest and a host", "the job has %d parties, it needs two or more", len(s.Parties))
	case guests != 1:
		p.fail(root, "give role: guest to the party that has the label, role: host to the others", "the job has %d guests, it needs one", guests)
	case len(s.Steps) == 0:
		p.fail(root, "add steps:, see docs/jobs.md for the smallest job", "the job has no steps")
	}
}

// whole reads a whole number from lo to hi.
func (p *parser) whole(n *yaml.Node, what string, lo, hi int) int {
	s := p.text(n, what)
	x, err := strconv.Atoi(s)
	if p.err == nil && (err != nil || x < lo || x > hi) {
		p.fail(n, fmt.Sprintf("give a whole number from %d to %d", lo, hi), "%s is %q", what, s)
	}
	return x
}

// Bounds of limits. Less than the least could not run any step.
const (
	maxCores  = 1024
	minMemory = 16 << 20
	minDisk   = 1 << 20
)

func (p *parser) limits(n *yaml.Node) (l Limits) {
	p.mapping(n, "limits", []string{"cores", "memory", "disk"}, func(key string, k, v *yaml.Node) {
		switch key {
		case "cores":
			l.Cores = p.whole(v, "limits.cores", 1, maxCores)
		case "memory":
			l.Memory = p.bytes(v, "limits.memory", minMemory)
		case "disk":
			l.Disk = p.bytes(v, "limits.disk", minDisk)
		}
	})
	return l
}

var byteUnits = []struct {
	name  string
	bytes float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}

// bytes reads an amount of memory or disk.
func (p *parser) bytes(n *yaml.Node, what string, least int64) int64 {
	s := p.text(n, what)
	x, ok := parseBytes(s)
	if p.err == nil && (!ok || x < least) {
		p.fail(n, fmt.Sprintf("give at least %s, written like 2GiB or 500MB", Bytes(least)), "%s is %q", what, s)
	}
	return x
}

func parseBytes(s string) (int64, bool) {
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		x, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		x *= u.bytes
		return int64(x), err == nil && x >= 0 && x < math.MaxInt64/2
	}
	return 0, false
}

// Bytes writes an amount as a job file may say it, with at most two digits
// behind the point.
func Bytes(n int64) string {
	unit, size := "B", 1.0
	for _, u := range byteUnits[:4] {
		if float64(n) >= u.bytes {
			unit, size = u.name, u.bytes
		}
	}
	return strconv.FormatFloat(math.Round(float64(n)/size*100)/100, 'f', -1, 64) + unit
}
