package policy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
)

const sample = `version: 1
defaults:
  approve: person
deny:
  - name: no-marketing
    purposes: [marketing]
  - name: no-shadow
    peers: [shadow]
  - name: no-ids
    columns: ["ssn*"]
  - name: no-scores-of-staff
    datasets: [staff]
    components: [predict]
without_data:
  - name: ping
    peers: ["*"]
    purposes: ["*"]
    components: [ping]
    approve: standing
datasets:
  customers:
    never: [phone]
    rules:
      - name: credit-bank
        peers: [bank]
        with: [insurer]
        purposes: [credit]
        columns:
          id: [join]
          income: [feature]
          "use_*": [feature, aggregate]
          use_voice: []
        components: [align, boost]
        reveal: [size, membership, aggregate]
        min_rows: 20
        min_intersection: 100
        jobs: {at_most: 2, every: 30d}
        until: 2030-06-30
        approve: standing
      - name: fraud
        peers: ["*"]
        purposes: [fraud]
        columns: {id: join, "*": feature}
        components: "*"
        reveal: []
  staff:
    rules:
      - name: own
        peers: [self]
        with: [bank]
        purposes: [hr]
        columns: {"*": [feature, join]}
        components: ["*"]
        reveal: [size]
  notes: {}
`

func parse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse("/etc/kontor/policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// credit is a request that the rule credit-bank covers.
func credit() Request {
	return Request{
		Initiator: "bank", Self: "telecom", Parties: []string{"bank", "telecom"}, Purpose: "credit", Dataset: "customers",
		Now:  time.Date(2030, 6, 30, 23, 59, 59, 0, time.UTC),
		Uses: []Use{{Column: "id", As: AsJoin, Explicit: true}, {Column: "income", As: AsFeature, Explicit: true}}, Components: []string{"align", "boost"},
		Discloses: []Disclosure{
			{Step: "align", Component: "align", Kind: Membership, To: "bank"}, {Step: "boost", Component: "boost", Kind: Aggregate, To: "bank", MinRows: 20},
			{Step: "boost", Component: "boost", Kind: Partition, To: "telecom"}, {Step: "boost", Component: "boost", Kind: Nothing, To: "bank"}},
		MinIntersection: 100,
		Used:            func(string, time.Time) (int, error) { return 0, nil },
	}
}

func TestDecide(t *testing.T) {
	p := parse(t, sample)
	const rule = ": rule credit-bank, policy.yaml line 24"
	use := func(column, as string) func(*Request) {
		return func(r *Request) { r.Uses = append(r.Uses, Use{Column: column, As: as, Explicit: true}) }
	}
	for name, c := range map[string]struct {
		change       func(*Request)
		verdict      Verdict
		reason, cure string
	}{
		"covered":     {func(*Request) {}, Allow, "standing rule customers/credit-bank (policy.yaml line 24)", ""},
		"second rule": {func(r *Request) { r.Purpose, r.Discloses = "fraud", nil }, Ask, "a person must approve it: rule customers/fraud (policy.yaml line 40)", ""},
		"glob":        {use("use_data", AsAggregate), Allow, "standing rule customers/credit-bank (policy.yaml line 24)", ""},
		"third party": {func(r *Request) { r.Parties = append(r.Parties, "insurer") }, Allow, "standing rule customers/credit-bank (policy.yaml line 24)", ""},

		"label": {use("income", AsLabel), Deny, "column income may not serve as label" + rule,
			"write income: [label] under columns: of the rule, or use another column"},
		"unknown use":     {use("income", "raw"), Deny, "column income may not serve as raw" + rule, "write income: [raw] under columns: of the rule, or use another column"},
		"not listed":      {use("age", AsFeature), Deny, "column age may not serve as feature" + rule, "write age: [feature] under columns: of the rule, or use another column"},
		"case counts":     {use("Income", AsFeature), Deny, "column Income may not serve as feature" + rule, "write Income: [feature] under columns: of the rule, or use another column"},
		"most specific":   {use("use_voice", AsFeature), Deny, "column use_voice may not serve as feature" + rule, "write use_voice: [feature] under columns: of the rule, or use another column"},
		"implicit counts": {func(r *Request) { r.Uses = append(r.Uses, Use{Column: "age", As: AsFeature}) }, Deny, "column age may not serve as feature" + rule, "write age: [feature] under columns: of the rule, or use another column"},
		"never":           {use("phone", AsFeature), Deny, "column phone is never used: data set customers, policy.yaml line 21", "leave the column out of the job"},
		"component": {func(r *Request) { r.Components = append(r.Components, "evaluate") }, Deny, "component evaluate is not allowed" + rule,
			"add evaluate to components: of the rule, or leave the step out"},
		"purpose":    {func(r *Request) { r.Purpose = "pricing" }, Deny, `purpose "pricing" is not allowed` + rule, "state one of the rule's purposes in the job: credit"},
		"no purpose": {func(r *Request) { r.Purpose = "" }, Deny, "the job states no purpose" + rule, "state one of the rule's purposes in the job: credit"},
		"party": {func(r *Request) { r.Parties = append(r.Parties, "broker") }, Deny, "party broker may not take part" + rule,
			"add broker to with: of the rule, or leave it out of the job"},
		"reveal": {func(r *Request) { r.Discloses[2].To = "bank" }, Deny, "step boost reveals partition" + rule,
			"add partition to reveal: of the rule, or leave the step out"},
		"unknown disclosure": {func(r *Request) { r.Discloses[0].Kind = "rows" }, Deny, `step align reveals "rows", which no policy knows` + rule,
			"bring the node up to date, or leave the step out"},
		"min rows": {func(r *Request) { r.Discloses[1].MinRows = 19 }, Deny, "step boost reveals aggregates over 19 rows, the rule asks for 20" + rule,
			"let the step aggregate at least 20 rows"},
		"intersection": {func(r *Request) { r.MinIntersection = 99 }, Deny, "the job goes on with 99 joint rows, the rule asks for 100" + rule,
			"let the job end itself below 100 joint rows (min_rows of its align step)"},
		"until": {func(r *Request) { r.Now = r.Now.Add(time.Second) }, Deny, "the rule ended on 2030-06-30" + rule, "write a later until: in the rule"},
		"until in UTC": {func(r *Request) { r.Now = time.Date(2030, 7, 1, 1, 0, 0, 0, time.FixedZone("CEST", 7200)) }, Allow,
			"standing rule customers/credit-bank (policy.yaml line 24)", ""},
		"budget": {func(r *Request) { r.Used = func(string, time.Time) (int, error) { return 2, nil } }, Deny,
			"the rule lets 2 jobs through in 30d, and there were 2" + rule, "wait, or raise at_most: in the rule"},
		"several": {func(r *Request) {
			r.Components = []string{"predict"}
			r.Uses = []Use{{Column: "a", As: AsLabel}, {Column: "b", As: AsLabel}, {Column: "c", As: AsLabel}}
		}, Deny, "component predict is not allowed; column a may not serve as label; column b may not serve as label; and 1 more" + rule,
			"add predict to components: of the rule, or leave the step out"},

		"no rule for peer": {func(r *Request) { r.Initiator, r.Dataset = "bank", "staff" }, Deny, "no rule for data set staff is for peer bank: policy.yaml line 46",
			`write a rule under datasets: staff: rules: with peers: [bank] and purposes: ["credit"]`},
		"empty section": {func(r *Request) { r.Dataset = "notes" }, Deny, "no rule for data set notes is for peer bank: policy.yaml line 55",
			`write a rule under datasets: notes: rules: with peers: [bank] and purposes: ["credit"]`},
		"no section": {func(r *Request) { r.Dataset, r.Purpose = "secret", "" }, Deny, "no rule for data set secret is for peer bank: policy.yaml",
			`write a rule under datasets: secret: rules: with peers: [bank]`},
		"a peer named self": {func(r *Request) { r.Initiator, r.Dataset = "self", "staff" }, Deny, "no rule for data set staff is for peer self: policy.yaml line 46",
			`write a rule under datasets: staff: rules: with peers: ["*"] and purposes: ["credit"]`},

		"deny purpose": {func(r *Request) { r.Purpose = "marketing" }, Deny, `purpose "marketing" is denied: rule no-marketing, policy.yaml line 5`,
			"leave it out of the job, or change the deny rule"},
		"deny peer":          {func(r *Request) { r.Initiator, r.Purpose = "shadow", "fraud" }, Deny, "party shadow is denied: rule no-shadow, policy.yaml line 7", "leave it out of the job, or change the deny rule"},
		"deny partner":       {func(r *Request) { r.Parties = append(r.Parties, "shadow") }, Deny, "party shadow is denied: rule no-shadow, policy.yaml line 7", "leave it out of the job, or change the deny rule"},
		"deny column":        {use("ssn2", AsFeature), Deny, "column ssn2 is denied: rule no-ids, policy.yaml line 9", "leave it out of the job, or change the deny rule"},
		"deny own column":    {func(r *Request) { r.Initiator = "telecom"; use("ssn", AsJoin)(r) }, Deny, "column ssn is denied: rule no-ids, policy.yaml line 9", "leave it out of the job, or change the deny rule"},
		"deny all clauses":   {func(r *Request) { r.Dataset, r.Components = "staff", []string{"predict"} }, Deny, "component predict is denied: rule no-scores-of-staff, policy.yaml line 11", "leave it out of the job, or change the deny rule"},
		"deny not elsewhere": {func(r *Request) { r.Purpose, r.Discloses, r.Components = "fraud", nil, []string{"predict"} }, Ask, "a person must approve it: rule customers/fraud (policy.yaml line 40)", ""},

		"own":            {func(r *Request) { r.Initiator = "telecom" }, Allow, "the node's own job, and no rule of data set customers names self", ""},
		"own, no rules":  {func(r *Request) { r.Initiator, r.Dataset = "telecom", "secret" }, Allow, "the node's own job, and no rule of data set secret names self", ""},
		"own, never":     {func(r *Request) { r.Initiator = "telecom"; use("phone", AsJoin)(r) }, Deny, "column phone is never used: data set customers, policy.yaml line 21", "leave the column out of the job"},
		"own, by a rule": {func(r *Request) { *r = hr(*r) }, Ask, "a person must approve it: rule staff/own (policy.yaml line 48)", ""},
		"own, not by the rule": {func(r *Request) { *r = hr(*r); r.Purpose = "x" }, Deny, `purpose "x" is not allowed: rule own, policy.yaml line 48`,
			"state one of the rule's purposes in the job: hr"},
		"own, partner": {func(r *Request) { *r = hr(*r); r.Parties = append(r.Parties, "insurer") }, Deny, `party insurer may not take part: rule own, policy.yaml line 48`,
			"add insurer to with: of the rule, or leave it out of the job"},

		"ping": {func(r *Request) { *r = ping(*r) }, Allow, "standing rule without_data/ping (policy.yaml line 15)", ""},
		"not ping": {func(r *Request) { *r = ping(*r); r.Components = []string{"pong"} }, Deny, "component pong is not allowed: rule ping, policy.yaml line 15",
			"add pong to components: of the rule, or leave the step out"},
	} {
		r := credit()
		c.change(&r)
		d, err := p.Decide(r)
		if err != nil || d.Verdict != c.verdict || d.Reason != c.reason || d.Cure != c.cure {
			t.Errorf("%s:\n %v: %s\n cure %s\nwant\n %v: %s\n cure %s\n error %v", name, d.Verdict, d.Reason, d.Cure, c.verdict, c.reason, c.cure, err)
		}
	}
}

func hr(r Request) Request {
	r.Initiator, r.Dataset, r.Purpose, r.Discloses = "telecom", "staff", "hr", nil
	return r
}

func ping(r Request) Request {
	r.Dataset, r.Uses, r.Discloses, r.MinIntersection, r.Components = "", nil, nil, 0, []string{"ping"}
	return r
}

func TestDecisionNamesItsRule(t *testing.T) {
	p := parse(t, sample)
	r := credit()
	var asked string
	var since time.Time
	r.Used = func(id string, s time.Time) (int, error) { asked, since = id, s; return 1, nil }
	d, err := p.Decide(r)
	if err != nil || d.RuleID != "customers/credit-bank" || d.Rule != "customers/credit-bank (policy.yaml line 24)" || d.MinIntersection != 100 {
		t.Errorf("%+v, %v", d, err)
	}
	if asked != d.RuleID || !since.Equal(r.Now.Add(-30*24*time.Hour)) {
		t.Errorf("counted %q since %v", asked, since)
	}
	r.Purpose = "pricing"
	if d, _ = p.Decide(r); d.RuleID != "customers/credit-bank" {
		t.Errorf("a denial names %q", d.RuleID)
	}
	r.Purpose = "marketing"
	if d, _ = p.Decide(r); d.RuleID != "deny/no-marketing" || d.Rule != "deny/no-marketing (policy.yaml line 5)" {
		t.Errorf("a denial names %q, %q", d.RuleID, d.Rule)
	}
}

func TestBudgetSpentGoesToTheNextRule(t *testing.T) {
	p := parse(t, `version: 1
defaults: {peers: [bank], purposes: ["*"], components: ["*"], reveal: []}
datasets:
  d:
    rules:
      - {name: quick, columns: {id: join}, approve: standing, jobs: {at_most: 1, every: 1h}}
      - {name: slow, columns: {id: join}}
`)
	r := Request{Initiator: "bank", Self: "me", Purpose: "p", Dataset: "d", Now: time.Unix(1e9, 0), Components: []string{"c"}, Uses: []Use{{Column: "id", As: AsJoin}}}
	for n, want := range map[int]Verdict{0: Allow, 1: Ask, 7: Ask} {
		r.Used = func(string, time.Time) (int, error) { return n, nil }
		if d, err := p.Decide(r); err != nil || d.Verdict != want {
			t.Errorf("%d jobs: %+v, %v", n, d, err)
		}
	}
}

func TestWhatCannotBeJudgedIsDenied(t *testing.T) {
	p := parse(t, sample)
	for name, change := range map[string]func(*Request){
		"no initiator":  func(r *Request) { r.Initiator = "" },
		"no self":       func(r *Request) { r.Self = "" },
		"no time":       func(r *Request) { r.Now = time.Time{} },
		"no components": func(r *Request) { r.Components = nil },
		"no data set":   func(r *Request) { r.Dataset = "" },
		"no counter":    func(r *Request) { r.Used = nil },
		"counter fails": func(r *Request) { r.Used = func(string, time.Time) (int, error) { return 0, errors.New("disk") } },
	} {
		r := credit()
		change(&r)
		if d, err := p.Decide(r); err == nil || d.Verdict != Deny {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestMayServe(t *testing.T) {
	p := parse(t, sample)
	for _, c := range []struct {
		dataset, initiator, purpose, column, as string
		want                                    bool
	}{
		{"customers", "bank", "credit", "income", AsFeature, true},
		{"customers", "bank", "credit", "income", AsLabel, false},
		{"customers", "bank", "credit", "use_voice", AsFeature, false},
		{"customers", "bank", "fraud", "use_voice", AsFeature, true},
		{"customers", "bank", "fraud", "ssn", AsFeature, false},
		{"customers", "bank", "fraud", "phone", AsFeature, false},
		{"customers", "bank", "marketing", "income", AsFeature, false},
		{"customers", "shadow", "fraud", "income", AsFeature, false},
		{"customers", "insurer", "credit", "income", AsFeature, false},
		{"customers", "", "credit", "age", AsLabel, true},
		{"customers", "", "credit", "phone", AsLabel, false},
		{"staff", "", "hr", "age", AsFeature, true},
		{"staff", "", "hr", "age", AsLabel, false},
		{"staff", "self", "hr", "age", AsFeature, false},
		{"secret", "bank", "credit", "age", AsFeature, false},
		{"", "bank", "fraud", "age", AsFeature, false},
	} {
		if got := p.MayServe(c.dataset, c.initiator, c.purpose, c.column, c.as); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// Two rules for one peer and purpose: the columns are those of the rule that fits
// the rest of the job, so that the job made from them is covered by one rule.
func TestServesFollowsOneRule(t *testing.T) {
	p := parse(t, `version: 1
defaults: {peers: [bank], purposes: [p], reveal: []}
deny:
  - {name: d, columns: [c], components: [learn]}
datasets:
  d:
    never: [e]
    rules:
      - {name: count, components: [stats], columns: {"*": aggregate, a: feature}}
      - {name: learn, components: [learn], columns: {"*": feature, a: []}}
`)
	r := Request{Initiator: "bank", Self: "me", Purpose: "p", Dataset: "d", Now: time.Unix(1e9, 0), Components: []string{"learn"}}
	all := func(r Request) string {
		f, out := p.Serves(r), ""
		for _, c := range []string{"a", "b", "c", "e"} {
			if f(c, AsFeature) {
				out += c
			}
		}
		return out
	}
	if got := all(r); got != "b" {
		t.Errorf("learn: %q", got)
	}
	for i := range 101 { // columns that the job does not insist on do not choose the rule
		r.Uses = append(r.Uses, Use{Column: fmt.Sprint("x", i), As: AsAggregate})
	}
	if got := all(r); got != "b" {
		t.Errorf("learn, with columns of no interest: %q", got)
	}
	r.Uses, r.Components = nil, []string{"stats"}
	if got := all(r); got != "a" {
		t.Errorf("stats: %q", got)
	}
	r.Components = []string{"other"} // neither: the closest, so that the denial speaks of it
	if got := all(r); got != "a" {
		t.Errorf("other: %q", got)
	}
	r.Initiator = "me"
	if got := all(r); got != "abc" {
		t.Errorf("own: %q", got)
	}
	r.Initiator = "stranger"
	if got := all(r); got != "" {
		t.Errorf("stranger: %q", got)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "x", true}, {"a*", "a", true}, {"a*", "ba", false}, {"*a", "ba", true}, {"*a", "ab", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "abc", true}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "acb", false}, {"a**b", "ab", true},
		{"*b*", "abc", true}, {"*b*", "ac", false}, {"*ab", "aab", true}, {"a*bc*c", "abc", false}, {"a?", "ab", false}, {"[a]", "a", false},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.name, got)
		}
	}
}

func TestEquallySpecificPatternsAllowWhatBothAllow(t *testing.T) {
	ru := rule{columns: []column{{"a*", []string{AsJoin, AsFeature}}, {"*b", []string{AsFeature, AsLabel}}, {"*", []string{AsAggregate}}}}
	if got := ru.uses("ab"); len(got) != 1 || got[0] != AsFeature {
		t.Errorf("%v", got)
	}
}

// uncomment takes the # from the example lines: those with no space or several
// behind it.
var uncomment = regexp.MustCompile(`(?m)^#(\S|  )`)

func TestTemplateDeniesAndItsExampleIsValid(t *testing.T) {
	text := Template("telecom")
	if !bytes.Contains(text, []byte("telecom")) || bytes.Contains(text, []byte("NODE")) {
		t.Error("the template does not name the node")
	}
	p := parse(t, string(text))
	r := credit()
	for _, dataset := range []string{"customers", ""} {
		r.Dataset = dataset
		if dataset == "" {
			r.Uses = nil
		}
		if d, err := p.Decide(r); err != nil || d.Verdict != Deny {
			t.Errorf("data set %q: %+v, %v", dataset, d, err)
		}
	}
	r = credit()
	r.Initiator = r.Self
	if d, err := p.Decide(r); err != nil || d.Verdict != Allow {
		t.Errorf("own: %+v, %v", d, err)
	}

	example := parse(t, uncomment.ReplaceAllString(string(text), "$1"))
	r = credit()
	r.Purpose, r.MinIntersection = "credit-scoring", 1000
	r.Uses = []Use{{Column: "customer_id", As: AsJoin}, {Column: "usage_data", As: AsFeature}}
	if d, err := example.Decide(r); err != nil || d.Verdict != Ask || d.RuleID != "customers/credit-bank" {
		t.Errorf("example: %+v, %v", d, err)
	}
	if d, err := example.Decide(ping(r)); err != nil || d.Verdict != Allow {
		t.Errorf("example, ping: %+v, %v", d, err)
	}
	r.Purpose = "marketing"
	if d, err := example.Decide(r); err != nil || d.RuleID != "deny/no-marketing" {
		t.Errorf("example, deny: %+v, %v", d, err)
	}
}

func TestWarnings(t *testing.T) {
	p := parse(t, sample)
	if w := p.Warnings([]string{"align", "boost", "predict", "ping"}); len(w) != 0 {
		t.Errorf("%v", w)
	}
	w := p.Warnings([]string{"align", "boosd", "ping"})
	if len(w) != 2 || w[0] != `policy.yaml line 11: there is no component "predict"; choose one of: align, boosd, ping` ||
		w[1] != `policy.yaml line 33: there is no component "boost"; did you mean "boosd"? (there are: align, boosd, ping)` {
		t.Errorf("%q", w)
	}
}

func TestLoadHashSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if q := parse(t, sample); p.Hash() != q.Hash() || len(p.Hash()) != 64 || string(p.Source()) != sample {
		t.Errorf("hash %s", p.Hash())
	}
	if q := parse(t, sample+"#"); p.Hash() == q.Hash() {
		t.Error("another text has the same hash")
	}
	if got := strings.Join(p.Datasets(), " "); got != "customers staff notes" {
		t.Errorf("data sets %s", got)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("#"), maxBytes+10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); fault.KindOf(err) != fault.Spec || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); fault.KindOf(err) != fault.Local {
		t.Errorf("no file: %v", err)
	}
}

// The rules in the document are read by people who copy them.
func TestDocumentedPoliciesAreValid(t *testing.T) {
	doc, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(doc, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d examples found", len(blocks))
	}
	for _, b := range blocks {
		text := b[1]
		if !bytes.HasPrefix(text, []byte("version")) {
			text = append([]byte("version: 1\n"), text...)
		}
		if _, err := Parse("docs/policy.md", text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	p := parse(t, string(blocks[0][1]))
	r := credit()
	r.Purpose, r.MinIntersection = "credit-scoring", 1000
	r.Uses = []Use{{Column: "customer_id", As: AsJoin}, {Column: "income", As: AsLabel}}
	d, err := p.Decide(r)
	if err != nil || !bytes.Contains(doc, []byte(d.Reason+"; "+d.Cure)) {
		t.Errorf("the document does not show %q (%v)", d.Reason+"; "+d.Cure, err)
	}
	for _, words := range [][]string{revealKinds, columnUses, topKeys, shareKeys, denyKeys} {
		for _, w := range words {
			if !bytes.Contains(doc, []byte("`"+w+"`")) {
				t.Errorf("the document does not explain %s", w)
			}
		}
	}
}
