package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"kontor/internal/fault"
	"kontor/internal/suggest"
)

var (
	nameRE    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)         // peers and rules
	datasetRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`) // data sets
	everyRE   = regexp.MustCompile(`^([1-9][0-9]{0,3})\s*(h|d|w)$`)     // spans of time
	units     = map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	topKeys   = []string{"version", "defaults", "deny", "without_data", "datasets"}
	denyKeys  = []string{"name", "peers", "datasets", "purposes", "components", "columns"}
	shareKeys = []string{"peers", "with", "purposes", "components", "reveal", "min_rows", "min_intersection", "jobs", "until", "approve"}
)

const (
	maxCount  = 1_000_000_000
	withoutID = "without_data"
	reference = "see docs/policy.md"
)

// Parse reads and checks a policy. Every error names file and line and is of kind
// [fault.Spec].
func Parse(file string, b []byte) (*Policy, error) {
	if len(b) > maxBytes {
		return nil, fault.New(fault.Spec, fmt.Sprintf("%s is larger than %d bytes", file, maxBytes), "name the policy's YAML file")
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, fault.New(fault.Spec, file+" is empty", `write "version: 1" to deny everything, `+reference)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Spec, err, file, `correct the YAML; a * is written in quotes, "*"`)
	}
	// A second document would be rules that look valid and are not.
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Spec, file+" has a second document or text after its end", "remove it and what follows, or the line ---")
	}
	r := &reader{file: file}
	p := &Policy{file: base(file), source: bytes.Clone(b), datasets: map[string]*section{}}
	r.top(p, doc.Content[0])
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// reader keeps the first error; after it, everything else is skipped.
type reader struct {
	file     string
	err      error
	nodes    int
	defaults rule
}

func (r *reader) fail(n *yaml.Node, cure, format string, args ...any) {
	if r.err == nil {
		r.err = fault.New(fault.Spec, fmt.Sprintf("%s line %d: %s", r.file, max(n.Line, 1), fmt.Sprintf(format, args...)), cure)
	}
}

// enter counts a value; an alias counts anew each time, so that a small file
// cannot stand for an enormous policy.
func (r *reader) enter(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if r.nodes++; r.nodes > maxNodes {
		r.fail(n, "use patterns such as \"amount_*\" instead of long lists", "the policy has more than %d values", maxNodes)
	}
	return n
}

func (r *reader) top(p *Policy, root *yaml.Node) {
	r.defaults = rule{minRows: -1}
	var deny, without, sets *yaml.Node
	versioned := false
	r.mapping(root, "the policy", topKeys, func(key string, _, v *yaml.Node) {
		switch key {
		case "version":
			versioned = true
			if n := r.count(v, key, 1, maxCount); r.err == nil && n != version {
				r.fail(v, fmt.Sprintf("write version: %d, or use a newer Kontor", version), "version %d is not known here", n)
			}
		case "defaults":
			r.mapping(v, "defaults", shareKeys, func(key string, k, v *yaml.Node) { r.clause(&r.defaults, key, k, v) })
		case "deny":
			deny = v
		case "without_data":
			without = v
		case "datasets":
			sets = v
		}
	})
	if r.err == nil && !versioned {
		r.fail(root, fmt.Sprintf("write version: %d as its first line", version), "the policy has no version")
	}
	// The rest comes last because rules need the defaults wherever these stand.
	if deny != nil {
		p.deny = r.denials(deny)
	}
	if without != nil {
		p.without = section{line: without.Line, rules: r.rules(without, withoutID, false)}
	}
	if sets != nil {
		r.mapping(sets, "datasets", nil, func(name string, k, v *yaml.Node) {
			if !datasetRE.MatchString(name) || name == withoutID {
				r.fail(k, "use the name that the data set has in kontor data ls", "%.80q cannot be a data set's name", name)
				return
			}
			p.datasets[name] = r.section(name, k, v)
			p.names = append(p.names, name)
		})
	}
	if r.err == nil && len(p.names) > maxSets {
		r.fail(sets, "remove data sets that are gone", "%d data sets, at most %d are possible", len(p.names), maxSets)
	}
}

func (r *reader) section(name string, k, v *yaml.Node) *section {
	s := &section{line: k.Line}
	r.mapping(v, "data set "+name, []string{"never", "rules"}, func(key string, _, v *yaml.Node) {
		switch key {
		case "never":
			s.never = r.texts(v, key)
		case "rules":
			s.rules = r.rules(v, name, true)
		}
	})
	return s
}

func (r *reader) rules(n *yaml.Node, of string, data bool) []rule {
	var out []rule
	r.each(n, "the rules of "+of, func(c *yaml.Node) {
		ru := r.rule(c, data)
		if i := slices.IndexFunc(out, func(o rule) bool { return o.name == ru.name }); i >= 0 {
			r.fail(c, "give one of them another name", "the rules of %s on lines %d and %d are both named %q", of, out[i].line, ru.line, ru.name)
		}
		out = append(out, ru)
	})
	return out
}

func (r *reader) rule(n *yaml.Node, data bool) rule {
	ru := r.defaults
	ru.line, ru.lines = n.Line, map[string]int{}
	for k, v := range r.defaults.lines {
		ru.lines[k] = v
	}
	keys := append([]string{"name"}, shareKeys...)
	if data {
		keys = append(keys, "columns")
	}
	r.mapping(n, "the rule", keys, func(key string, k, v *yaml.Node) {
		switch key {
		case "name":
			ru.name = r.word(v, key)
		case "columns":
			ru.columns = r.columns(v)
			ru.lines[key] = k.Line
		default:
			r.clause(&ru, key, k, v)
		}
	})
	if r.err == nil {
		r.whole(n, &ru, data)
	}
	return ru
}

// whole checks that a rule says everything that it must: what it leaves out it
// would otherwise allow or deny without anybody having written so.
func (r *reader) whole(n *yaml.Node, ru *rule, data bool) {
	if ru.name == "" {
		r.fail(n, "add name: with up to 32 of a-z, 0-9 and -; denials and the account name the rule by it", "the rule has no name")
	}
	for _, need := range []struct{ key, cure string }{
		{"peers", `name the peers that may ask, "*" for all, self for this node`},
		{"purposes", `name the purposes, "*" for any`},
		{"components", `name the components that may run, "*" for any`},
	} {
		if _, ok := ru.lines[need.key]; !ok {
			r.fail(n, need.cure, "rule %s has no %s", ru.name, need.key)
		}
	}
	if !data {
		return
	}
	if _, ok := ru.lines["columns"]; !ok {
		r.fail(n, "write columns: {customer_id: [join], \"*\": [feature]}", "rule %s has no columns", ru.name)
	}
	if _, ok := ru.lines["reveal"]; !ok {
		r.fail(n, "list what may be revealed, reveal: [] for nothing; there are: "+strings.Join(revealKinds, ", "), "rule %s has no reveal", ru.name)
	}
	if slices.Contains(ru.reveal, Aggregate) && ru.minRows < 0 {
		r.fail(n, "add min_rows: 20", "rule %s reveals aggregates and does not say over how many rows at least", ru.name)
	}
}

// clause reads a setting that rules and defaults share.
func (r *reader) clause(ru *rule, key string, k, v *yaml.Node) {
	if ru.lines == nil {
		ru.lines = map[string]int{}
	}
	ru.lines[key] = k.Line
	switch key {
	case "peers":
		ru.peers = r.peers(v, key)
	case "with":
		ru.with, ru.withSet = r.peers(v, key), true
	case "purposes":
		ru.purposes = r.words(v, key)
	case "components":
		ru.components = r.words(v, key)
	case "reveal":
		ru.reveal = r.oneOf(v, key, revealKinds)
	case "min_rows":
		ru.minRows = r.count(v, key, 0, maxCount)
	case "min_intersection":
		ru.intersection = r.count(v, key, 0, maxCount)
	case "jobs":
		ru.jobs = r.budget(v)
	case "until":
		t, err := time.Parse(time.DateOnly, v.Value)
		if v.Kind != yaml.ScalarNode || err != nil {
			r.fail(v, "write until: 2030-12-31", "until must be a date, the last day on which the rule holds")
		}
		ru.until = t
	case "approve":
		words := []string{"person", "standing"}
		w := r.text(v, key)
		if r.err == nil && !slices.Contains(words, w) {
			r.fail(v, suggest.For(w, words), "approve is %.80q", w)
		}
		ru.standing = w == "standing"
	}
}

func (r *reader) budget(n *yaml.Node) budget {
	var b budget
	r.mapping(n, "jobs", []string{"at_most", "every"}, func(key string, _, v *yaml.Node) {
		switch key {
		case "at_most":
			b.atMost = r.count(v, key, 1, maxCount)
		case "every":
			b.text = r.text(v, key)
			m := everyRE.FindStringSubmatch(b.text)
			if m == nil {
				r.fail(v, "write a number of hours, days or weeks: 12h, 30d, 4w", "every is %.80q", b.text)
				return
			}
			count, _ := strconv.Atoi(m[1]) // the pattern has at most four digits
			b.every = time.Duration(count) * units[m[2]]
		}
	})
	if r.err == nil && (b.atMost == 0 || b.every == 0) {
		r.fail(n, "write jobs: {at_most: 10, every: 30d}", "jobs needs both at_most and every")
	}
	return b
}

func (r *reader) columns(n *yaml.Node) []column {
	var out []column
	r.mapping(n, "columns", nil, func(name string, k, v *yaml.Node) {
		if r.plain(k, name, "a column") {
			out = append(out, column{pattern: name, uses: r.oneOf(v, "column "+name, columnUses)})
		}
	})
	return out
}

func (r *reader) denials(n *yaml.Node) []denial {
	var out []denial
	r.each(n, "deny", func(c *yaml.Node) {
		d, clauses := denial{line: c.Line}, 0
		r.mapping(c, "the deny rule", denyKeys, func(key string, _, v *yaml.Node) {
			clauses++
			switch key {
			case "name":
				clauses--
				d.name = r.word(v, key)
			case "peers":
				d.peers = r.peers(v, key)
			case "datasets":
				d.datasets = r.words(v, key)
			case "purposes":
				d.purposes = r.words(v, key)
			case "components":
				d.components = r.words(v, key)
			case "columns":
				d.columns = r.texts(v, key)
			}
			if key == "columns" && len(d.columns) == 0 {
				r.fail(v, "name a column or remove the line", "columns is empty")
			}
		})
		if d.name == "" {
			r.fail(c, "add name: with up to 32 of a-z, 0-9 and -; denials name the rule by it", "the deny rule has no name")
		}
		if clauses == 0 {
			r.fail(c, "add one of: "+strings.Join(denyKeys[1:], ", "), "deny rule %s does not say what it denies", d.name)
		}
		if slices.ContainsFunc(out, func(o denial) bool { return o.name == d.name }) {
			r.fail(c, "give one of them another name", "two deny rules are named %q", d.name)
		}
		out = append(out, d)
	})
	return out
}
