package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kontor/internal/fault"
	"kontor/internal/suggest"
)

// Decide says whether a job may run. A denial is a decision, not an error; an
// error means that the request could not be judged, and nothing may run then.
func (p *Policy) Decide(r Request) (Decision, error) {
	if err := r.check(); err != nil {
		return Decision{Verdict: Deny}, fault.Wrap(fault.Internal, err, "the policy cannot judge the job", "this is a defect of Kontor, please report it")
	}
	if d, ok := p.denied(r); ok {
		return d, nil
	}
	s := p.section(r.Dataset)
	if u := slices.IndexFunc(r.Uses, func(u Use) bool { return anyMatch(s.never, u.Column) }); u >= 0 {
		return Decision{Verdict: Deny,
			Reason: fmt.Sprintf("column %s is never used: data set %s, %s", r.Uses[u].Column, r.Dataset, p.at(s.line)),
			Cure:   "leave the column out of the job"}, nil
	}
	if r.own() && !s.namesOwn(r.Self) {
		return Decision{Verdict: Allow, Reason: "the node's own job, and no rule of " + subject(r.Dataset) + " names self"}, nil
	}
	var closest *rule
	var missed []miss
	for i := range s.rules {
		ru := &s.rules[i]
		if !ru.isFor(r) {
			continue
		}
		ms := ru.misses(r, true)
		if len(ms) == 0 {
			m, err := ru.spent(ruleID(r.Dataset, ru), r)
			if err != nil {
				return Decision{Verdict: Deny}, fault.Wrap(fault.Local, err, "the jobs of rule "+ruleID(r.Dataset, ru)+" cannot be counted", "see the node's log")
			}
			if m == nil {
				return p.grant(r.Dataset, ru), nil
			}
			ms = []miss{*m}
		}
		if closest == nil || total(ms) < total(missed) {
			closest, missed = ru, ms
		}
	}
	if closest == nil {
		return p.noRule(r, s), nil
	}
	return Decision{Verdict: Deny, RuleID: ruleID(r.Dataset, closest), Rule: p.ruleName(r.Dataset, closest),
		Reason: fmt.Sprintf("%s: rule %s, %s", list(missed), closest.name, p.at(closest.line)), Cure: missed[0].cure}, nil
}

// check finds requests that no caller should make: what is missing in them would
// read as a wish for less than the job does.
func (r Request) check() error {
	switch {
	case r.Initiator == "" || r.Self == "":
		return errors.New("the request does not say who asks whom")
	case r.Now.IsZero():
		return errors.New("the request has no time")
	case len(r.Components) == 0:
		return errors.New("the request names no components")
	case r.Dataset == "" && len(r.Uses) > 0:
		return errors.New("the request uses columns of no data set")
	}
	return nil
}

func (r Request) own() bool { return r.Initiator == r.Self }

func (p *Policy) section(dataset string) *section {
	if dataset == "" {
		return &p.without
	}
	if s, ok := p.datasets[dataset]; ok {
		return s
	}
	return &section{}
}

// namesOwn says whether some rule is meant for the node's own jobs.
func (s *section) namesOwn(name string) bool {
	return slices.ContainsFunc(s.rules, func(ru rule) bool { return ru.forOwn(name) })
}

func (ru *rule) forOwn(name string) bool {
	return slices.Contains(ru.peers, self) || slices.Contains(ru.peers, name)
}

func (ru *rule) isFor(r Request) bool {
	if r.own() {
		return ru.forOwn(r.Self)
	}
	return listed(ru.peers, r.Initiator)
}

// miss is what a rule does not allow of a job. weight says how far it puts the
// rule from the job: a rule for another purpose is not what the asker had in mind.
type miss struct {
	text, cure string
	weight     int
}

func total(ms []miss) int {
	n := 0
	for _, m := range ms {
		n += m.weight
	}
	return n
}

// list joins the first few misses.
func list(ms []miss) string {
	const show = 3
	var out []string
	for _, m := range ms[:min(len(ms), show)] {
		out = append(out, m.text)
	}
	text := strings.Join(out, "; ")
	if more := len(ms) - show; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// misses lists what the rule does not allow, the budget aside. Columns that the
// job does not name itself count only if all is set.
func (ru *rule) misses(r Request, all bool) []miss {
	var ms []miss
	seen := map[string]bool{}
	add := func(weight int, cure, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !seen[text] {
			seen[text] = true
			ms = append(ms, miss{text: text, cure: cure, weight: weight})
		}
	}
	if !ru.until.IsZero() && !r.Now.UTC().Before(ru.until.AddDate(0, 0, 1)) {
		add(100, "write a later until: in the rule", "the rule ended on %s", ru.until.Format(time.DateOnly))
	}
	if !named(ru.purposes, r.Purpose) {
		cure := "state one of the rule's purposes in the job: " + strings.Join(ru.purposes, ", ")
		if r.Purpose == "" {
			add(1000, cure, "the job states no purpose")
		} else {
			add(1000, cure, "purpose %q is not allowed", r.Purpose)
		}
	}
	for _, name := range r.Parties {
		if !ru.mayJoin(r, name) {
			add(10, fmt.Sprintf("add %s to with: of the rule, or leave it out of the job", name), "party %s may not take part", name)
		}
	}
	for _, c := range r.Components {
		if !named(ru.components, c) {
			add(100, fmt.Sprintf("add %s to components: of the rule, or leave the step out", c), "component %s is not allowed", c)
		}
	}
	for _, u := range r.Uses {
		if (all || u.Explicit) && !slices.Contains(ru.uses(u.Column), u.As) {
			add(1, fmt.Sprintf("write %s: [%s] under columns: of the rule, or use another column", u.Column, u.As), "column %s may not serve as %s", u.Column, u.As)
		}
	}
	ru.missedDisclosures(r, add)
	if r.Dataset != "" && r.MinIntersection < ru.intersection {
		add(1, fmt.Sprintf("let the job end itself below %d joint rows (min_rows of its align step)", ru.intersection),
			"the job goes on with %d joint rows, the rule asks for %d", r.MinIntersection, ru.intersection)
	}
	return ms
}

func (ru *rule) missedDisclosures(r Request, add func(weight int, cure, format string, args ...any)) {
	for _, d := range r.Discloses {
		switch {
		case d.To == r.Self || d.Kind == Nothing:
		case !slices.Contains(revealKinds, d.Kind):
			add(10, "bring the node up to date, or leave the step out", "step %s reveals %q, which no policy knows", d.Step, d.Kind)
		case !slices.Contains(ru.reveal, d.Kind):
			add(10, fmt.Sprintf("add %s to reveal: of the rule, or leave the step out", d.Kind), "step %s reveals %s", d.Step, d.Kind)
		case d.Kind == Aggregate && d.MinRows < ru.minRows:
			add(1, fmt.Sprintf("let the step aggregate at least %d rows", ru.minRows), "step %s reveals aggregates over %d rows, the rule asks for %d", d.Step, d.MinRows, ru.minRows)
		}
	}
}

// mayJoin says whether a party may be in the job besides the one that asks. What
// a job reveals to all, it reveals to this party. In a job of the node's own, the
// node has chosen its partners, so only a list in the rule limits them.
func (ru *rule) mayJoin(r Request, name string) bool {
	switch {
	case name == r.Self || name == r.Initiator:
		return true
	case r.own():
		return !ru.withSet || listed(ru.with, name)
	}
	return listed(ru.peers, name) || listed(ru.with, name)
}

// spent says whether the rule's budget of jobs is used up.
func (ru *rule) spent(id string, r Request) (*miss, error) {
	if ru.jobs.atMost == 0 {
		return nil, nil
	}
	if r.Used == nil {
		return nil, errors.New("nobody counts the jobs")
	}
	n, err := r.Used(id, r.Now.Add(-ru.jobs.every))
	if err != nil || n < ru.jobs.atMost {
		return nil, err
	}
	return &miss{text: fmt.Sprintf("the rule lets %d jobs through in %s, and there were %d", ru.jobs.atMost, ru.jobs.text, n),
		cure: "wait, or raise at_most: in the rule"}, nil
}

func (p *Policy) grant(dataset string, ru *rule) Decision {
	d := Decision{Verdict: Ask, RuleID: ruleID(dataset, ru), Rule: p.ruleName(dataset, ru)}
	d.Reason = "a person must approve it: rule " + d.Rule
	if ru.standing {
		d.Verdict, d.Reason = Allow, "standing rule "+d.Rule
	}
	if dataset != "" {
		d.MinIntersection = ru.intersection
	}
	return d
}

func (p *Policy) noRule(r Request, s *section) Decision {
	who, peers := "peer "+r.Initiator, r.Initiator
	switch {
	case r.own():
		who, peers = "this node", self
	case r.Initiator == self: // a peer of that name can only be meant by all
		peers = `"*"`
	}
	where := p.file
	if s.line > 0 {
		where = p.at(s.line)
	}
	under := "datasets: " + r.Dataset + ": rules:"
	if r.Dataset == "" {
		under = withoutID + ":"
	}
	purpose := ""
	if r.Purpose != "" {
		purpose = fmt.Sprintf(" and purposes: [%q]", r.Purpose)
	}
	return Decision{Verdict: Deny, Reason: fmt.Sprintf("no rule for %s is for %s: %s", subject(r.Dataset), who, where),
		Cure: fmt.Sprintf("write a rule under %s with peers: [%s]%s", under, peers, purpose)}
}

func subject(dataset string) string {
	if dataset == "" {
		return "jobs without data"
	}
	return "data set " + dataset
}

func ruleID(dataset string, ru *rule) string {
	if dataset == "" {
		dataset = withoutID
	}
	return dataset + "/" + ru.name
}

func (p *Policy) ruleName(dataset string, ru *rule) string {
	return fmt.Sprintf("%s (%s)", ruleID(dataset, ru), p.at(ru.line))
}

// denied finds the first deny rule that all of its clauses fit.
func (p *Policy) denied(r Request) (Decision, bool) {
	for i := range p.deny {
		d := &p.deny[i]
		what, ok := d.fits(r)
		if ok {
			return Decision{Verdict: Deny, RuleID: "deny/" + d.name, Rule: fmt.Sprintf("deny/%s (%s)", d.name, p.at(d.line)),
				Reason: fmt.Sprintf("%s is denied: rule %s, %s", what, d.name, p.at(d.line)),
				Cure:   "leave it out of the job, or change the deny rule"}, true
		}
	}
	return Decision{}, false
}

// fits says whether d denies r, and what of it: the narrowest thing it names. A
// peer is denied in whatever part it takes, not only where it asks.
func (d *denial) fits(r Request) (what string, ok bool) {
	if d.datasets != nil {
		if what = "data set " + r.Dataset; r.Dataset == "" || !named(d.datasets, r.Dataset) {
			return "", false
		}
	}
	if d.peers != nil {
		party := d.party(r)
		if what = "party " + party; party == "" {
			return "", false
		}
	}
	if d.components != nil {
		i := slices.IndexFunc(r.Components, func(c string) bool { return named(d.components, c) })
		if i < 0 {
			return "", false
		}
		what = "component " + r.Components[i]
	}
	if d.purposes != nil {
		if what = fmt.Sprintf("purpose %q", r.Purpose); !named(d.purposes, r.Purpose) {
			return "", false
		}
	}
	if d.columns != nil {
		i := slices.IndexFunc(r.Uses, func(u Use) bool { return anyMatch(d.columns, u.Column) })
		if i < 0 {
			return "", false
		}
		what = "column " + r.Uses[i].Column
	}
	return what, true
}

// party returns who of a job's parties the deny rule names.
func (d *denial) party(r Request) string {
	if r.own() && (slices.Contains(d.peers, self) || slices.Contains(d.peers, r.Self)) {
		return r.Self
	}
	for _, name := range append([]string{r.Initiator}, r.Parties...) {
		if name != r.Self && listed(d.peers, name) {
			return name
		}
	}
	return ""
}

// MayServe says whether some rule lets initiator use a column of dataset as as.
// It chooses columns where a job names none; the decision is [Policy.Decide]'s.
// initiator is empty for a job of the node's own.
func (p *Policy) MayServe(dataset, initiator, purpose, column, as string) bool {
	s := p.section(dataset)
	own := initiator == ""
	who := func(list []string) bool { return own && slices.Contains(list, self) || !own && listed(list, initiator) }
	for _, d := range p.deny {
		if d.components == nil && (d.datasets == nil || named(d.datasets, dataset)) && (d.peers == nil || who(d.peers)) &&
			(d.purposes == nil || named(d.purposes, purpose)) && (d.columns == nil || anyMatch(d.columns, column)) {
			return false
		}
	}
	switch {
	case dataset == "" || anyMatch(s.never, column):
		return false
	case own && !s.namesOwn(self):
		return true
	}
	return slices.ContainsFunc(s.rules, func(ru rule) bool {
		return who(ru.peers) && named(ru.purposes, purpose) && slices.Contains(ru.uses(column), as)
	})
}

// Serves returns what columns may serve as under the one rule that covers the rest
// of r: its explicit uses, components and disclosures. Where none does, it is the
// closest rule, so that the denial that follows speaks of that. Better than
// [Policy.MayServe] where several rules for the same peer and purpose exist, since
// one rule must cover a whole job.
func (p *Policy) Serves(r Request) func(column, as string) bool {
	s := p.section(r.Dataset)
	open := func(column string) bool {
		q := r
		q.Uses = []Use{{Column: column}}
		_, denied := p.denied(q)
		return r.Dataset != "" && !denied && !anyMatch(s.never, column)
	}
	if r.own() && !s.namesOwn(r.Self) {
		return func(column, _ string) bool { return open(column) }
	}
	var best *rule
	least := 0
	for i := range s.rules {
		if ru := &s.rules[i]; ru.isFor(r) {
			if n := total(ru.misses(r, false)); best == nil || n < least {
				best, least = ru, n
			}
		}
	}
	return func(column, as string) bool {
		return best != nil && open(column) && slices.Contains(best.uses(column), as)
	}
}

// Warnings names the components that the policy speaks of and nobody knows: a
// rule that misspells one allows less, and a deny rule denies less, than it seems.
func (p *Policy) Warnings(components []string) []string {
	var out []string
	look := func(line int, words []string) {
		for _, w := range words {
			if w != anyone && !slices.Contains(components, w) {
				out = append(out, fmt.Sprintf("%s: there is no component %q; %s", p.at(line), w, suggest.For(w, components)))
			}
		}
	}
	for _, d := range p.deny {
		look(d.line, d.components)
	}
	rules := slices.Clone(p.without.rules)
	for _, name := range p.names {
		rules = append(rules, p.datasets[name].rules...)
	}
	for _, ru := range rules {
		look(ru.lines["components"], ru.components)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
