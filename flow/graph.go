package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"kontor/internal/suggest"
)

// Graph returns for each step the steps that it takes something from, each
// once, in the order of the job. All of them stand before it, so the order of
// the job is one in which the steps can run.
func (s *Spec) Graph() map[string][]string {
	g := map[string][]string{}
	for i, st := range s.Steps {
		g[st.Name] = nil
		for _, before := range s.Steps[:i] {
			if slices.Contains(slices.Collect(maps.Values(st.From)), before.Name) {
				g[st.Name] = append(g[st.Name], before.Name)
			}
		}
	}
	return g
}

// step returns the step of that name among the first n.
func step(steps []Step, n int, name string) *Step {
	if i := slices.IndexFunc(steps[:n], func(st Step) bool { return st.Name == name }); i >= 0 {
		return &steps[i]
	}
	return nil
}

// usual returns the step that a port of step i takes from where the job does not
// say: the nearest before it that fits. Parts must be parts of the step's rows.
func usual(steps []Step, i int, port Port, from map[string]string) string {
	for k := i - 1; k >= 0; k-- {
		if components[steps[k].Kind].Output != port.Type {
			continue
		}
		if port.Type == TypeParts && steps[k].From[TypeRows] != from[TypeRows] {
			continue
		}
		return steps[k].Name
	}
	return ""
}

// chosen returns the inputs of step i that are not the usual ones.
func chosen(steps []Step, i int) map[string]string {
	st, out := steps[i], map[string]string{}
	for _, port := range components[st.Kind].Inputs {
		if name, ok := st.From[port.Name]; ok && name != usual(steps, i, port, st.From) {
			out[port.Name] = name
		}
	}
	return out
}

// link finds the step that each input of step i comes from. refs are the
// inputs that the job names.
func (p *parser) link(steps []Step, i int, refs map[string]*yaml.Node) {
	st := &steps[i]
	line := &yaml.Node{Line: st.Line}
	for _, port := range components[st.Kind].Inputs {
		if n := refs[port.Name]; n != nil {
			p.named(steps, i, port, n)
			continue
		}
		if standsIn(st, port.Name) {
			continue
		}
		name := usual(steps, i, port, st.From)
		if name != "" {
			st.From[port.Name] = name
		} else if !port.Optional {
			p.fail(line, "put a step before it that makes it: "+strings.Join(makers(port.Type), " or "), "step %s needs %s", st.Name, typeText[port.Type])
		}
	}
	if p.err == nil {
		p.coherent(steps, i, line)
	}
}

// standsIn says whether a text of the step takes the place of an input.
func standsIn(st *Step, port string) bool {
	return slices.ContainsFunc(components[st.Kind].Texts, func(d TextDoc) bool { return d.Port == port && st.Texts[d.Name] != "" })
}

// named takes an input from the step that the job names, or from the text that
// may stand there instead.
func (p *parser) named(steps []Step, i int, port Port, n *yaml.Node) {
	st, name := &steps[i], n.Value
	var fitting []string
	for _, before := range steps[:i] {
		if components[before.Kind].Output == port.Type {
			fitting = append(fitting, before.Name)
		}
	}
	texts := components[st.Kind].Texts
	k := slices.IndexFunc(texts, func(d TextDoc) bool { return d.Port == port.Name })
	from := step(steps, i, name)
	switch {
	case from != nil && components[from.Kind].Output == port.Type:
		st.From[port.Name] = name
	case from != nil:
		p.fail(n, suggestOr(name, fitting, makers(port.Type)), "step %s: %s must be %s, but step %s makes %s", st.Name, port.Name, typeText[port.Type], name, made(from))
	case step(steps, len(steps), name) != nil:
		p.fail(n, "move it up, or name a step before this one", "step %s cannot take its %s from %s, which does not stand before it: steps take from earlier steps only, so that none waits for itself", st.Name, port.Name, name)
	case k >= 0 && texts[k].fits(name):
		st.Texts[texts[k].Name] = name
	default:
		p.fail(n, suggestOr(name, fitting, makers(port.Type)), "step %s: no earlier step is named %q", st.Name, name)
	}
}

func made(st *Step) string {
	if t := typeText[components[st.Kind].Output]; t != "" {
		return t
	}
	return "nothing"
}

func suggestOr(word string, known, kinds []string) string {
	if len(known) == 0 {
		return "put a step before it that makes it: " + strings.Join(kinds, " or ")
	}
	return suggest.For(word, known)
}

// coherent refuses inputs that do not fit each other.
func (p *parser) coherent(steps []Step, i int, at *yaml.Node) {
	st := steps[i]
	parts := step(steps, i, st.From[TypeParts])
	if parts != nil && parts.From[TypeRows] != st.From[TypeRows] {
		p.fail(at, fmt.Sprintf("write rows: %s, or name a split of %s", parts.From[TypeRows], st.From[TypeRows]),
			"step %s takes the rows of %s but the parts of %s, which divides %s", st.Name, st.From[TypeRows], parts.Name, parts.From[TypeRows])
	}
	if st.Kind == "boost" && st.Params["early_stopping"] > 0 && (parts == nil || parts.Params["valid"] == 0) {
		p.fail(at, "add valid: 0.1 to a split step before it", "step %s stops early by the log-loss on valid rows, and there are none", st.Name)
	}
}
