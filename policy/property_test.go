package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world draws policies and requests from few words, so that they often meet.
type world struct{ *rand.Rand }

func (w world) some(words ...string) []string {
	out := []string{}
	for _, x := range words {
		if w.IntN(2) == 0 {
			out = append(out, x)
		}
	}
	return out
}

func (w world) one(words ...string) string { return words[w.IntN(len(words))] }

var day = time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)

func (w world) rule(name string) rule {
	ru := rule{name: name, line: 1, peers: w.some("p", "q", "*", "self"), with: w.some("p", "q", "*"), withSet: w.IntN(2) == 0, purposes: w.some("x", "y", "*"),
		components: w.some("c", "d", "*"), reveal: w.some(revealKinds...), minRows: w.IntN(3), intersection: w.IntN(3), standing: w.IntN(2) == 0}
	if !ru.withSet {
		ru.with = nil
	}
	for _, pattern := range w.some("k", "a", "ab", "a*", "*b", "*") {
		ru.columns = append(ru.columns, column{pattern, w.some(columnUses...)})
	}
	if w.IntN(3) == 0 {
		ru.jobs = budget{1 + w.IntN(3), 24 * time.Hour, "1d"}
	}
	if w.IntN(3) == 0 {
		ru.until = time.Date(2030, 1, 14+w.IntN(3), 0, 0, 0, 0, time.UTC)
	}
	return ru
}

func (w world) policy() *Policy {
	s := &section{line: 1, never: w.some("z")}
	for i := range 1 + w.IntN(3) {
		s.rules = append(s.rules, w.rule(fmt.Sprint("r", i)))
	}
	p := &Policy{file: "p.yaml", datasets: map[string]*section{"s": s}}
	if w.IntN(4) == 0 {
		p.deny = []denial{{name: "n", purposes: []string{"y"}, columns: []string{"a*"}}}
	}
	return p
}

func (w world) request() Request {
	r := Request{Initiator: w.one("p", "p", "q", "me"), Self: "me", Purpose: w.one("x", "y"), Now: day, Dataset: "s", Components: []string{w.one("c", "d")}, MinIntersection: w.IntN(3)}
	r.Parties = append(w.some("p", "q"), "me")
	for _, c := range w.some("k", "a", "ab") {
		r.Uses = append(r.Uses, Use{Column: c, As: w.one(columnUses...)})
	}
	for _, k := range w.some(Size, Aggregate) {
		r.Discloses = append(r.Discloses, Disclosure{Step: "s", Kind: k, To: "p", MinRows: w.IntN(3)})
	}
	n := w.IntN(4)
	r.Used = func(string, time.Time) (int, error) { return n, nil }
	return r
}

// widen returns a copy of ru that allows more in one clause. with is left out of
// jobs of the node's own, where stating it narrows.
func (w world) widen(ru rule) rule {
	switch w.IntN(10) {
	case 0:
		ru.peers = append(slices.Clone(ru.peers), w.one("p", "q", "*"))
	case 1:
		if ru.withSet {
			ru.with = append(slices.Clone(ru.with), w.one("p", "q", "*"))
		}
	case 2:
		ru.purposes = append(slices.Clone(ru.purposes), w.one("x", "y", "*"))
	case 3:
		ru.components = append(slices.Clone(ru.components), w.one("c", "d", "*"))
	case 4:
		ru.reveal = append(slices.Clone(ru.reveal), w.one(revealKinds...))
	case 5:
		ru.minRows = max(0, ru.minRows-1)
	case 6:
		ru.intersection = max(0, ru.intersection-1)
	case 7:
		ru.jobs = budget{}
	case 8:
		ru.until = time.Time{}
	case 9:
		ru.columns = slices.Clone(ru.columns)
		for i := range ru.columns {
			ru.columns[i].uses = append(slices.Clone(ru.columns[i].uses), w.one(columnUses...))
		}
	}
	return ru
}

func verdict(t *testing.T, p *Policy, r Request) Verdict {
	t.Helper()
	d, err := p.Decide(r)
	if err != nil {
		t.Fatal(err)
	}
	return d.Verdict
}

func (p *Policy) replaced(rules []rule) *Policy {
	q := *p
	s := *p.datasets["s"]
	s.rules = rules
	q.datasets = map[string]*section{"s": &s}
	return &q
}

func TestWiderRulesAllowNoLess(t *testing.T) {
	t.Parallel()
	w := world{rand.New(rand.NewPCG(1, 2))}
	open, changed := 0, 0
	for range 40_000 {
		p, r := w.policy(), w.request()
		rules := slices.Clone(p.datasets["s"].rules)
		i := w.IntN(len(rules))
		rules[i] = w.widen(rules[i])
		before, after := verdict(t, p, r), verdict(t, p.replaced(rules), r)
		if before != Deny {
			open++
		} else if after != Deny {
			changed++
		}
		if before != Deny && after == Deny {
			t.Fatalf("widened %+v\nto %+v\nrequest %+v", p.datasets["s"].rules[i], rules[i], r)
		}
	}
	if open < 500 || changed < 50 {
		t.Errorf("only %d jobs were allowed and %d became so: the test says little", open, changed)
	}
}

func TestFewerRulesAllowNoMore(t *testing.T) {
	t.Parallel()
	w := world{rand.New(rand.NewPCG(3, 4))}
	closed, changed := 0, 0
	for range 40_000 {
		p, r := w.policy(), w.request()
		rules := slices.Clone(p.datasets["s"].rules)
		i := w.IntN(len(rules))
		if r.own() && rules[i].forOwn("me") {
			continue // the last rule that names self is what binds the node's own jobs
		}
		before, after := verdict(t, p, r), verdict(t, p.replaced(slices.Delete(rules, i, i+1)), r)
		if before == Deny {
			closed++
		} else if after == Deny {
			changed++
		}
		if before == Deny && after != Deny {
			t.Fatalf("without rule %d of %+v\nrequest %+v", i, p.datasets["s"].rules, r)
		}
	}
	if closed < 500 || changed < 50 {
		t.Errorf("only %d jobs were denied and %d became so: the test says little", closed, changed)
	}
}

func TestDenyRulesAllowNoMore(t *testing.T) {
	t.Parallel()
	w := world{rand.New(rand.NewPCG(5, 6))}
	changed := 0
	for range 30_000 {
		p, r := w.policy(), w.request()
		q := *p
		q.deny = append(slices.Clone(p.deny), denial{name: "m", peers: w.some("p", "self"), components: []string{w.one("c", "*")}})
		if len(q.deny[len(q.deny)-1].peers) == 0 {
			q.deny[len(q.deny)-1].peers = nil
		}
		before, after := verdict(t, p, r), verdict(t, &q, r)
		if before != after {
			changed++
			if after != Deny {
				t.Fatalf("a deny rule turned %v into %v: %+v", before, after, r)
			}
		}
	}
	if changed < 50 {
		t.Errorf("only %d verdicts changed", changed)
	}
}

// What Serves picks, the same rule must cover: a job without columns that a rule
// covers stays covered with the columns that Serves allows.
func TestServedColumnsAreCovered(t *testing.T) {
	t.Parallel()
	w := world{rand.New(rand.NewPCG(7, 8))}
	tried := 0
	for range 40_000 {
		p, r := w.policy(), w.request()
		for i := range p.datasets["s"].rules { // budgets are no matter of columns
			p.datasets["s"].rules[i].jobs = budget{}
		}
		r.Uses = nil
		before := verdict(t, p, r)
		if before == Deny {
			continue
		}
		may := p.Serves(r)
		for _, c := range []string{"k", "a", "ab", "z"} {
			if as := w.one(columnUses...); may(c, as) {
				r.Uses = append(r.Uses, Use{Column: c, As: as})
			}
		}
		if len(r.Uses) == 0 {
			continue
		}
		tried++
		if verdict(t, p, r) == Deny {
			t.Fatalf("%+v\n%+v", p.datasets["s"].rules, r)
		}
	}
	if tried < 500 {
		t.Errorf("only %d jobs had columns", tried)
	}
}
