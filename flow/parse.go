package flow

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"kontor/internal/fault"
	"kontor/internal/suggest"
	"kontor/session"
	"kontor/table"
)

// parser keeps the first error; after it, everything else is skipped.
type parser struct {
	file string
	err  error
}

func (p *parser) fail(n *yaml.Node, cure, format string, args ...any) {
	if p.err == nil {
		p.err = fault.New(fault.Spec, fmt.Sprintf("%s line %d: %s", p.file, n.Line, fmt.Sprintf(format, args...)), cure)
	}
}

// mapping calls f for each entry of a mapping whose keys must be among known.
func (p *parser) mapping(n *yaml.Node, what string, known []string, f func(key string, k, v *yaml.Node)) {
	n = resolve(n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "write it as key: value lines, see docs/jobs.md", "%s must be a mapping", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && p.err == nil; i += 2 {
		k, v := n.Content[i], resolve(n.Content[i+1])
		if seen[k.Value] {
			p.fail(k, "remove one of the two", "%s has %q twice", what, k.Value)
			return
		}
		seen[k.Value] = true
		if known != nil && !slices.Contains(known, k.Value) {
			p.fail(k, suggest.For(k.Value, known), "%s has no setting %q", what, k.Value)
			return
		}
		f(k.Value, k, v)
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func (p *parser) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.fail(n, "write one word or a quoted text", "%s must be a text", what)
		return ""
	}
	return strings.TrimSpace(n.Value)
}

func (p *parser) texts(n *yaml.Node, what string) []string {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return []string{n.Value}
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "write it as [a, b]", "%s must be a list", what)
		return nil
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, p.text(resolve(c), what))
	}
	return out
}

func (p *parser) parties(n *yaml.Node) []Party {
	var out []Party
	p.mapping(n, "parties", nil, func(name string, k, v *yaml.Node) {
		if !nameRE.MatchString(name) {
			p.fail(k, "use up to 32 of a-z, 0-9 and -", "%q cannot be a party's name", name)
			return
		}
		out = append(out, p.party(name, k, v))
	})
	if p.err == nil && len(out) > maxParties {
		p.fail(n, "split the job", "%d parties, at most %d are possible", len(out), maxParties)
	}
	return out
}

func (p *parser) party(name string, k, v *yaml.Node) Party {
	pt := Party{Name: name}
	known := []string{"role", "data", "id", "label", "positive", "features", "ignore", "missing", "types"}
	p.mapping(v, "party "+name, known, func(key string, kn, v *yaml.Node) {
		switch key {
		case "role":
			pt.Role = p.text(v, key)
			if roles := []string{session.Guest, session.Host}; p.err == nil && !slices.Contains(roles, pt.Role) {
				p.fail(v, suggest.For(pt.Role, roles), "party %s has the unknown role %q", name, pt.Role)
			}
		case "data":
			pt.Data = p.text(v, key)
		case "id":
			pt.ID = p.text(v, key)
		case "label":
			pt.Label = p.text(v, key)
		case "positive":
			pt.Positive = p.text(v, key)
		case "features":
			pt.Features = p.texts(v, key)
		case "ignore":
			pt.Ignore = p.texts(v, key)
		case "missing":
			pt.Missing = p.texts(v, key)
		case "types":
			pt.Types = p.types(v, name)
		}
	})
	if p.err == nil && pt.Role == "" {
		p.fail(k, "write role: guest (has the label) or role: host", "party %s has no role", name)
	}
	if p.err == nil && pt.Role == session.Host && (pt.Label != "" || pt.Positive != "") {
		p.fail(k, "remove it, the guest alone has the label", "party %s is a host with a label", name)
	}
	return pt
}

func (p *parser) types(n *yaml.Node, party string) map[string]table.Type {
	byName := map[string]table.Type{}
	var names []string
	for _, t := range []table.Type{table.Int, table.Float, table.String, table.Bool, table.Time} {
		byName[t.String()] = t
		names = append(names, t.String())
	}
	out := map[string]table.Type{}
	p.mapping(n, "types of "+party, nil, func(col string, k, v *yaml.Node) {
		name := p.text(v, "a type")
		t, ok := byName[name]
		if p.err == nil && !ok {
			p.fail(v, suggest.For(name, names), "column %s has the unknown type %q", col, name)
		}
		out[col] = t
	})
	return out
}
