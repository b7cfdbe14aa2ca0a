package flow

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"

	"kontor/internal/fault"
	"kontor/internal/suggest"
	"kontor/session"
	"kontor/table"
)

// Spec is a job as its YAML file says it: docs/jobs.md is the reference.
type Spec struct {
	Job      string
	Purpose  string // what the result is for; policies decide by it
	Priority int    // of 0 to 9; larger goes first where jobs wait
	Limits   Limits
	Parties  []Party
	Steps    []Step
	Bytes    []byte // the file, verbatim
}

// DefaultPriority is that of a job that does not name one.
const DefaultPriority = 5

// Limits bound what a job may take at each party; 0 leaves it to the node.
type Limits struct {
	Cores  int   `json:"cores,omitempty"`
	Memory int64 `json:"memory,omitempty"` // bytes
	Disk   int64 `json:"disk,omitempty"`   // bytes
}

// Party is an institution of the job. Name and Role are common to all parties;
// the rest says how this party reads its own table and concerns nobody else.
type Party struct {
	Name     string
	Role     string // session.Guest or session.Host
	Data     string // path or name of the table, may be given on the command line instead
	ID       string // column with the join key
	Label    string // column with the label; guest only
	Positive string // the label's value that counts as 1, where it is not 0/1
	Features []string
	Ignore   []string
	Missing  []string
	Types    map[string]table.Type

	// No step of the job reads the label, or feature columns. Parse sets these;
	// what no step reads is not loaded and need not be there.
	NoLabel, NoFeatures bool
}

// Step is a node of the job's graph.
type Step struct {
	Kind   string
	Name   string // unique in the job; the kind unless "as" says otherwise
	Params Params
	Texts  map[string]string // settings that are texts, where given
	From   map[string]string // input port to the step that it takes from
	Line   int               // of the job file
}

const (
	maxSpecBytes = 1 << 20
	maxParties   = 16
	maxSteps     = 64
)

var (
	nameRE    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	purposeRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
)

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
	s := &Spec{Priority: DefaultPriority, Bytes: bytes.Clone(b)}
	p.mapping(doc.Content[0], "the job", []string{"job", "purpose", "priority", "limits", "parties", "steps"}, func(key string, k, v *yaml.Node) {
		switch key {
		case "job":
			s.Job = p.text(v, "job")
		case "purpose":
			s.Purpose = p.text(v, "purpose")
			if p.err == nil && !purposeRE.MatchString(s.Purpose) {
				p.fail(v, "use up to 64 of a-z, 0-9 and -, such as credit-risk", "%q cannot be a purpose", s.Purpose)
			}
		case "priority":
			s.Priority = p.whole(v, "priority", 0, 9)
		case "limits":
			s.Limits = p.limits(v)
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
	s.needs()
	return s, nil
}

// Party returns the party of that name.
func (s *Spec) Party(name string) (Party, error) {
	for _, p := range s.Parties {
		if p.Name == name {
			return p, nil
		}
	}
	return Party{}, fault.New(fault.Usage, fmt.Sprintf("the job has no party %q", name), suggest.For(name, s.PartyNames()))
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

// Step returns the step of that name.
func (s *Spec) Step(name string) (Step, error) {
	if st := step(s.Steps, len(s.Steps), name); st != nil {
		return *st, nil
	}
	var names []string
	for _, st := range s.Steps {
		names = append(names, st.Name)
	}
	return Step{}, fault.New(fault.Usage, fmt.Sprintf("the job has no step %q", name), suggest.For(name, names))
}

// PartyView returns the party of that name with what this job reads of its
// table: see NoLabel and NoFeatures. There is none of another name: the zero Party.
func (s *Spec) PartyView(name string) Party {
	p, _ := s.Party(name)
	return p
}

// NeedsData says whether any step reads the parties' tables.
func (s *Spec) NeedsData() bool {
	return slices.ContainsFunc(s.Steps, func(st Step) bool { return !components[st.Kind].NoData })
}

// needs tells the parties what no step reads.
func (s *Spec) needs() {
	label, features := false, false
	for _, st := range s.Steps {
		c := components[st.Kind]
		label, features = label || c.NeedsLabel, features || c.Features
	}
	for i := range s.Parties {
		s.Parties[i].NoLabel, s.Parties[i].NoFeatures = !label, !features
	}
}
