package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
)

// inRule is a policy whose only rule, on line 6, has some settings replaced.
func inRule(change ...string) string {
	settings := []string{"name: r", "peers: [bank]", "purposes: [p]", "columns: {id: join}", "components: [align]", "reveal: [size]"}
	for _, c := range change {
		key, _, _ := strings.Cut(c, ":")
		kept := settings[:0:0]
		for _, s := range settings {
			if k, _, _ := strings.Cut(s, ":"); k != strings.TrimPrefix(key, "-") {
				kept = append(kept, s)
			}
		}
		if settings = kept; !strings.HasPrefix(c, "-") {
			settings = append(settings, c)
		}
	}
	return "version: 1\ndatasets:\n  d:\n    rules:\n\n      - {" + strings.Join(settings, ", ") + "}\n"
}

func TestParseErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", `p.yaml is empty; write "version: 1" to deny everything, see docs/policy.md`},
		"comments":          {"# nothing\n", `p.yaml is empty; write "version: 1" to deny everything, see docs/policy.md`},
		"no version":        {"datasets:\n", "p.yaml line 1: the policy has no version; write version: 1 as its first line"},
		"version":           {"version: 2\n", "p.yaml line 1: version 2 is not known here; write version: 1, or use a newer Kontor"},
		"not a mapping":     {"- a\n", "p.yaml line 1: the policy must be a mapping; write it as key: value lines, see docs/policy.md"},
		"unknown":           {"version: 1\ndataset: {}\n", `p.yaml line 2: the policy has no setting "dataset"; did you mean "datasets"? (there are: version, defaults, deny, without_data, datasets)`},
		"twice":             {"version: 1\nversion: 1\n", `p.yaml line 2: the policy has "version" twice; remove one of the two`},
		"star":              {inRule("peers: [*]"), "p.yaml: yaml: "},
		"two documents":     {"version: 1\n---\nversion: 1\n", "p.yaml has a second document or text after its end; remove it and what follows, or the line ---"},
		"text after end":    {"version: 1\n...\n]", "p.yaml has a second document or text after its end; remove it and what follows, or the line ---"},
		"merge":             {"version: 1\ndatasets:\n  d: &d {never: [a]}\n  e:\n    <<: *d\n", `p.yaml line 5: data set e has no setting "<<"; choose one of: never, rules`},
		"data set":          {"version: 1\ndatasets:\n  a/b: {}\n", `p.yaml line 3: "a/b" cannot be a data set's name; use the name that the data set has in kontor data ls`},
		"reserved":          {"version: 1\ndatasets:\n  without_data: {}\n", `p.yaml line 3: "without_data" cannot be a data set's name; use the name that the data set has in kontor data ls`},
		"rules":             {"version: 1\ndatasets:\n  d:\n    rules: {name: a}\n", "p.yaml line 4: the rules of d must be a list; begin each entry with a dash, see docs/policy.md"},
		"rule twice":        {inRule() + strings.SplitAfter(inRule(), "\n\n")[1], `p.yaml line 7: the rules of d on lines 6 and 7 are both named "r"; give one of them another name`},
		"rule unknown":      {inRule("colunms: {}"), `p.yaml line 6: the rule has no setting "colunms"; did you mean "columns"? (there are: name, peers, with, purposes, components, reveal, min_rows, min_intersection, jobs, until, approve, columns)`},
		"no name":           {inRule("-name"), "p.yaml line 6: the rule has no name; add name: with up to 32 of a-z, 0-9 and -; denials and the account name the rule by it"},
		"name":              {inRule("name: A b"), `p.yaml line 6: "A b" cannot be a rule's name; use up to 32 of a-z, 0-9 and -`},
		"no peers":          {inRule("-peers"), `p.yaml line 6: rule r has no peers; name the peers that may ask, "*" for all, self for this node`},
		"no purposes":       {inRule("-purposes"), `p.yaml line 6: rule r has no purposes; name the purposes, "*" for any`},
		"no columns":        {inRule("-columns"), `p.yaml line 6: rule r has no columns; write columns: {customer_id: [join], "*": [feature]}`},
		"no components":     {inRule("-components"), `p.yaml line 6: rule r has no components; name the components that may run, "*" for any`},
		"no reveal":         {inRule("-reveal"), "p.yaml line 6: rule r has no reveal; list what may be revealed, reveal: [] for nothing; there are: size, membership, aggregate, partition, feature-use, model-output, nothing"},
		"peers empty":       {inRule("peers: []"), `p.yaml line 6: peers is empty; name at least one, or "*" for any`},
		"peers null":        {inRule("peers: null"), `p.yaml line 6: peers must be a list; write it as [a, b]`},
		"peer":              {inRule("peers: [Bank]"), `p.yaml line 6: peers: "Bank" cannot be a peer's name; use the name in kontor peer ls, "*" for all`},
		"peer pattern":      {inRule(`peers: ["b*"]`), `p.yaml line 6: peers has the pattern "b*", only columns may have patterns; write each one out, or "*" for any`},
		"component pattern": {inRule(`components: ["b*"]`), `p.yaml line 6: components has the pattern "b*", only columns may have patterns; write each one out, or "*" for any`},
		"with self":         {inRule("with: [self]"), `p.yaml line 6: with names self; remove it, this node takes part in every job that asks it`},
		"purpose white":     {inRule(`purposes: ["p "]`), `p.yaml line 6: purposes has an entry that is empty, too long, has white space around it or invisible characters: "p "; write 1 to 200 bytes of visible text`},
		"purpose invisible": {inRule("purposes: [\"p\\u200b\"]"), `p.yaml line 6: purposes has an entry that is empty, too long, has white space around it or invisible characters: "p\u200b"; write 1 to 200 bytes of visible text`},
		"column use":        {inRule("columns: {a: [features]}"), `p.yaml line 6: column a: there is no "features"; did you mean "feature"? (there are: join, feature, label, aggregate)`},
		"column null":       {inRule("columns: {a: }"), `p.yaml line 6: column a must be a list; write it as [a, b]`},
		"column twice":      {inRule("columns: {a: join, a: label}"), `p.yaml line 6: columns has "a" twice; remove one of the two`},
		"reveal":            {inRule("reveal: [agregate]"), `p.yaml line 6: reveal: there is no "agregate"; did you mean "aggregate"? (there are: size, membership, aggregate, partition, feature-use, model-output, nothing)`},
		"reveal all":        {inRule(`reveal: "*"`), `p.yaml line 6: reveal: there is no "*"; choose one of: size, membership, aggregate, partition, feature-use, model-output, nothing`},
		"no min_rows":       {inRule("reveal: [aggregate]"), `p.yaml line 6: rule r reveals aggregates and does not say over how many rows at least; add min_rows: 20`},
		"min_rows":          {inRule("min_rows: -1"), `p.yaml line 6: min_rows must be a whole number from 0 to 1000000000; write digits alone`},
		"min_rows text":     {inRule("min_rows: 1e3"), `p.yaml line 6: min_rows must be a whole number from 0 to 1000000000; write digits alone`},
		"min_intersection":  {inRule("min_intersection: [1]"), `p.yaml line 6: min_intersection must be a whole number from 0 to 1000000000; write digits alone`},
		"jobs half":         {inRule("jobs: {at_most: 3}"), "p.yaml line 6: jobs needs both at_most and every; write jobs: {at_most: 10, every: 30d}"},
		"jobs none":         {inRule("jobs: {at_most: 0, every: 1d}"), "p.yaml line 6: at_most must be a whole number from 1 to 1000000000; write digits alone"},
		"jobs every":        {inRule("jobs: {at_most: 1, every: 1m}"), `p.yaml line 6: every is "1m"; write a number of hours, days or weeks: 12h, 30d, 4w`},
		"until":             {inRule("until: 31.12.2030"), "p.yaml line 6: until must be a date, the last day on which the rule holds; write until: 2030-12-31"},
		"until impossible":  {inRule("until: 2030-02-30"), "p.yaml line 6: until must be a date, the last day on which the rule holds; write until: 2030-12-31"},
		"approve":           {inRule("approve: standin"), `p.yaml line 6: approve is "standin"; did you mean "standing"? (there are: person, standing)`},
		"default columns":   {"version: 1\ndefaults:\n  columns: {}\n", `p.yaml line 3: defaults has no setting "columns"; choose one of: peers, with, purposes, components, reveal, min_rows, min_intersection, jobs, until, approve`},
		"without columns":   {"version: 1\nwithout_data:\n  - {name: a, columns: {}}\n", `p.yaml line 3: the rule has no setting "columns"; choose one of: name, peers, with, purposes, components, reveal, min_rows, min_intersection, jobs, until, approve`},
		"deny no name":      {"version: 1\ndeny:\n  - peers: [a]\n", "p.yaml line 3: the deny rule has no name; add name: with up to 32 of a-z, 0-9 and -; denials name the rule by it"},
		"deny nothing":      {"version: 1\ndeny:\n  - name: a\n", "p.yaml line 3: deny rule a does not say what it denies; add one of: peers, datasets, purposes, components, columns"},
		"deny empty":        {"version: 1\ndeny:\n  - {name: a, columns: []}\n", "p.yaml line 3: columns is empty; name a column or remove the line"},
		"deny twice":        {"version: 1\ndeny:\n  - {name: a, peers: [b]}\n  - {name: a, peers: [c]}\n", `p.yaml line 4: two deny rules are named "a"; give one of them another name`},
		"deny unknown":      {"version: 1\ndeny:\n  - {name: a, peer: [b]}\n", `p.yaml line 3: the deny rule has no setting "peer"; did you mean "peers"? (there are: name, peers, datasets, purposes, components, columns)`},
		"large":             {strings.Repeat("#", maxBytes+1), "p.yaml is larger than 1048576 bytes; name the policy's YAML file"},
	} {
		p, err := Parse("p.yaml", []byte(c.text))
		if p != nil || err == nil || fault.KindOf(err) != fault.Spec || err.Error() != c.want && (name != "star" || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%s:\n %v\nwant\n %s", name, err, c.want)
		}
	}
	if _, err := Parse("p.yaml", []byte(inRule("peers: [*]"))); err == nil || !strings.Contains(err.Error(), `a * is written in quotes, "*"`) {
		t.Errorf("star: %v", err)
	}
}

func TestDefaultsHoldWhereARuleIsSilent(t *testing.T) {
	p := parse(t, `version: 1
datasets:
  d:
    rules:
      - {name: a, columns: {}}
      - {name: b, columns: {}, peers: [self], with: [], purposes: x, components: x, reveal: nothing, min_rows: 1, min_intersection: 2, jobs: {at_most: 1, every: 12h}, until: 2031-01-01, approve: person}
without_data:
  - name: c
defaults: {peers: [bank], with: [other], purposes: [p], components: [q], reveal: [aggregate], min_rows: 5, min_intersection: 6, jobs: {at_most: 7, every: 2w}, until: 2030-01-01, approve: standing}
`)
	for _, ru := range []rule{p.datasets["d"].rules[0], p.without.rules[0]} {
		if ru.peers[0] != "bank" || ru.with[0] != "other" || ru.purposes[0] != "p" || ru.components[0] != "q" || ru.reveal[0] != Aggregate || ru.minRows != 5 ||
			ru.intersection != 6 || ru.jobs != (budget{7, 14 * 24 * time.Hour, "2w"}) || ru.until.Year() != 2030 || !ru.standing {
			t.Errorf("defaults not taken: %+v", ru)
		}
	}
	ru := p.datasets["d"].rules[1]
	if ru.peers[0] != self || len(ru.with) != 0 || !ru.withSet || ru.purposes[0] != "x" || ru.components[0] != "x" || ru.reveal[0] != Nothing || ru.minRows != 1 ||
		ru.intersection != 2 || ru.jobs != (budget{1, 12 * time.Hour, "12h"}) || ru.until.Year() != 2031 || ru.standing {
		t.Errorf("defaults won over the rule: %+v", ru)
	}
}

func TestAliasesAreFollowedAndCounted(t *testing.T) {
	p := parse(t, `version: 1
datasets:
  a:
    rules:
      - {name: r, peers: [bank], purposes: [p], columns: &c {id: [join]}, components: [x], reveal: []}
  b:
    rules:
      - {name: r, peers: [bank], purposes: [p], columns: *c, components: [x], reveal: []}
`)
	if !p.MayServe("b", "bank", "p", "id", AsJoin) {
		t.Error("the alias was not followed")
	}
	many := strings.TrimSuffix(strings.Repeat("x,", 900), ",")
	text := "version: 1\ndeny:\n  - {name: n0, columns: &l [" + many + "]}\n"
	for i := range 300 {
		text += "  - {name: n" + strings.Repeat("1", i%30) + string(rune('a'+i/30)) + ", columns: *l}\n"
	}
	var f *fault.Error
	if _, err := Parse("p.yaml", []byte(text)); !errors.As(err, &f) || !strings.Contains(f.What, "more than 200000 values") {
		t.Errorf("a small file stands for 270000 values: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add(Template("telecom"))
	f.Add(uncomment.ReplaceAll(Template("telecom"), []byte("$1")))
	f.Add([]byte(inRule("jobs: {at_most: 1, every: 1d}", "until: 2030-01-01", `columns: {"a*b*": [join]}`)))
	f.Add([]byte("version: 1\ndatasets: &a\n  x: *a\n"))
	f.Add([]byte("version: 1\ndeny:\n- {name: a, peers: ['*']}\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse("p.yaml", b)
		if err != nil {
			if fault.KindOf(err) != fault.Spec || !strings.HasPrefix(err.Error(), "p.yaml") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		for _, dataset := range append(p.Datasets(), "") {
			r := credit()
			if r.Dataset = dataset; dataset == "" {
				r.Uses = nil
			}
			d, err := p.Decide(r)
			if err != nil || d.Verdict != Deny && d.Rule == "" || d.Verdict == Deny && d.Cure == "" || d.Reason == "" || strings.Contains(d.Reason, "\n") {
				t.Errorf("%+v, %v", d, err)
			}
			p.MayServe(dataset, "bank", "credit", "income", AsFeature)
			p.Serves(r)("income", AsFeature)
		}
		p.Warnings([]string{"align"})
	})
}
