package flow

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"kontor/internal/fault"
	"kontor/session"
	"kontor/table"
)

// Spec is a job as its YAML file says it: docs/jobs.md is the reference.
type Spec struct {
	Job     string
	Parties []Party
	Steps   []Step
}

// Party is an institution of the job. Name and Role are common to all parties;
// the rest says how this party reads its own file and concerns nobody else.
type Party struct {
	Name     string
	Role     string // session.Guest or session.Host
	Data     string // path of the file, may be given on the command line instead
	ID       string // column with the join key
	Label    string // column with the label; guest only
	Positive string // the label's value that counts as 1, where it is not 0/1
	Features []string
	Ignore   []string
	Missing  []string
	Types    map[string]table.Type
}

// Step is a node of the job's graph.
type Step struct {
	Kind   string
	Name   string // unique in the job; the kind unless "as" says otherwise
	Params Params
}

const (
	maxSpecBytes = 1 << 20
	maxParties   = 16
	maxSteps     = 64
)

var nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Load reads and checks the job file at path.
func Load(path string) (*Spec, error) {
	st, err := os.Stat(path)
	if err == nil && st.Size() > maxSpecBytes {
		return nil, fault.New(fault.Spec, fmt.Sprintf("%s has %d bytes, a job has at most %d", path, st.Size(), maxSpecBytes), "name the job's YAML file")
	}
	if err != nil {
		return nil, fault.Wrap(fault.Spec, err, "the job file cannot be read", "name an existing YAML file")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(fault.Spec, err, "the job file cannot be read", "name a readable YAML file")
	}
	return Parse(path, b)
}

// Parse reads and checks a job. Every error names file and line and is of kind
// [fault.Spec].
func Parse(file string, b []byte) (*Spec, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fault.Wrap(fault.Spec, err, file, "correct the YAML")
	}
	if len(doc.Content) == 0 {
		return nil, fault.New(fault.Spec, file+" is empty", "see docs/jobs.md for the smallest job")
	}
	p := &parser{file: file}
	s := &Spec{}
	p.mapping(doc.Content[0], "the job", []string{"job", "parties", "steps"}, func(key string, k, v *yaml.Node) {
		switch key {
		case "job":
			s.Job = p.text(v, "job")
		case "parties":
			s.Parties = p.parties(v)
		case "steps":
			s.Steps = p.steps(v)
		}
	})
	if p.err == nil {
		p.checkWhole(s, doc.Content[0])
	}
	if p.err != nil {
		return nil, p.err
	}
	return s, nil
}

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
			p.fail(k, suggest(k.Value, known), "%s has no setting %q", what, k.Value)
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
				p.fail(v, suggest(pt.Role, roles), "party %s has the unknown role %q", name, pt.Role)
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
			p.fail(v, suggest(name, names), "column %s has the unknown type %q", col, name)
		}
		out[col] = t
	})
	return out
}

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
		out = append(out, p.step(c.Content[0], resolve(c.Content[1])))
	}
	return out
}

func (p *parser) step(k, v *yaml.Node) Step {
	st := Step{Kind: k.Value, Name: k.Value}
	comp, ok := components[k.Value]
	if !ok {
		p.fail(k, suggest(k.Value, Kinds()), "there is no step %q", k.Value)
		return st
	}
	st.Params = comp.defaults()
	known := []string{"as"}
	for _, d := range comp.Params {
		known = append(known, d.Name)
	}
	p.mapping(v, "step "+k.Value, known, func(key string, kn, v *yaml.Node) {
		if key == "as" {
			st.Name = p.text(v, key)
			if p.err == nil && !nameRE.MatchString(st.Name) {
				p.fail(v, "use up to 32 of a-z, 0-9 and -", "%q cannot be a step's name", st.Name)
			}
			return
		}
		i := slices.IndexFunc(comp.Params, func(d ParamDoc) bool { return d.Name == key })
		d := comp.Params[i]
		var x float64
		if err := v.Decode(&x); err != nil || v.Kind != yaml.ScalarNode {
			p.fail(v, d.cure(), "step %s: %s must be a number", k.Value, key)
			return
		}
		if what := d.check(x); what != "" {
			p.fail(v, d.cure(), "step %s: %s is %s, %s", k.Value, key, v.Value, what)
			return
		}
		st.Params[key] = x
	})
	if p.err == nil && comp.Check != nil {
		if err := comp.Check(st.Params); err != nil {
			p.fail(k, "correct the parameters", "step %s: %v", k.Value, err)
		}
	}
	return st
}

func (p *parser) checkWhole(s *Spec, root *yaml.Node) {
	guests, names := 0, map[string]bool{}
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
	have, valid := map[string]bool{}, false
	for _, st := range s.Steps {
		if names[st.Name] {
			p.fail(root, "give one of them another name with as:", "two steps are named %q", st.Name)
		}
		names[st.Name] = true
		comp := components[st.Kind]
		if st.Kind == "split" {
			valid = st.Params["valid"] > 0
		}
		if st.Kind == "boost" && st.Params["early_stopping"] > 0 && !valid {
			p.fail(root, "add valid: 0.1 to a split step before it", "step %s stops early by the log-loss on valid rows, and there are none", st.Name)
		}
		for _, need := range comp.Needs {
			if !have[need] {
				p.fail(root, "put a step before it that makes it: "+strings.Join(makers(need), " or "), "step %s needs %s", st.Name, need)
			}
		}
		for _, g := range comp.Gives {
			have[g] = true
		}
	}
}

// Hash returns the fingerprint of what the parties agree on: the job's name, the
// parties with their roles, the steps with all their parameters (defaults
// included). How a party reads its own file is not part of it.
func (s *Spec) Hash() [32]byte {
	h := sha256.New()
	put := func(parts ...string) {
		for _, x := range parts {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(x)))
			h.Write(n[:])
			h.Write([]byte(x))
		}
	}
	put("kontor job v1", s.Job, fmt.Sprint(len(s.Parties)))
	for _, p := range s.Parties {
		put(p.Name, p.Role)
	}
	put(fmt.Sprint(len(s.Steps)))
	for _, st := range s.Steps {
		b, _ := json.Marshal(st.Params) // a map of numbers always marshals, keys sorted
		put(st.Kind, st.Name, string(b))
	}
	return [32]byte(h.Sum(nil))
}

// Party returns the party of that name.
func (s *Spec) Party(name string) (Party, error) {
	for _, p := range s.Parties {
		if p.Name == name {
			return p, nil
		}
	}
	return Party{}, fault.New(fault.Usage, fmt.Sprintf("the job has no party %q", name), suggest(name, s.PartyNames()))
}

// PartyNames returns the names of the parties in the order of the job.
func (s *Spec) PartyNames() []string {
	var ns []string
	for _, p := range s.Parties {
		ns = append(ns, p.Name)
	}
	return ns
}

// SessionParties returns the parties as sessions know them.
func (s *Spec) SessionParties() []session.Party {
	var ps []session.Party
	for _, p := range s.Parties {
		ps = append(ps, session.Party{Name: p.Name, Role: p.Role})
	}
	return ps
}

// Guest returns the guest's name.
func (s *Spec) Guest() string {
	for _, p := range s.Parties {
		if p.Role == session.Guest {
			return p.Name
		}
	}
	return ""
}
