package policy

import "time"

// Kinds of disclosure that a rule can allow under reveal. [Nothing] needs no
// leave; any other word is never allowed.
const (
	Size        = "size"         // how many rows or columns there are
	Membership  = "membership"   // which of the asker's own ids are in the data set too
	Aggregate   = "aggregate"    // numbers over at least min_rows rows
	Partition   = "partition"    // which rows fall on which side of a split of ours
	FeatureUse  = "feature-use"  // which of our features a model uses, and how much
	ModelOutput = "model-output" // scores or predictions of rows, made with our part of a model
	Nothing     = "nothing"      // no more than that the step has run
)

// What a column may serve as.
const (
	AsJoin      = "join"
	AsFeature   = "feature"
	AsLabel     = "label"
	AsAggregate = "aggregate"
)

var (
	revealKinds = []string{Size, Membership, Aggregate, Partition, FeatureUse, ModelOutput, Nothing}
	columnUses  = []string{AsJoin, AsFeature, AsLabel, AsAggregate}
)

// Verdict is what a policy says to a job.
type Verdict string

// The verdicts, from the closed to the open.
const (
	Deny  Verdict = "deny"  // must not run; no person can allow it without changing the policy
	Ask   Verdict = "ask"   // a rule covers it, a person must approve it
	Allow Verdict = "allow" // a standing rule covers it
)

// Request describes a job as it looks from one party's side.
type Request struct {
	Initiator string   // who asks; Self for a job of one's own
	Self      string   // whose policy this is
	Parties   []string // all that take part
	Purpose   string
	Now       time.Time
	Dataset   string // by its name in the catalogue; empty for a job that uses no data of this party
	Uses      []Use
	// Components are the kinds of all steps, Discloses what they declare to reveal.
	Components []string
	Discloses  []Disclosure
	// MinIntersection is the number of joint rows below which the job ends itself;
	// 0 where it promises nothing.
	MinIntersection int
	// Used counts the jobs that a rule (by [Decision.RuleID]) has let through since
	// a time. Needed where a rule has a budget.
	Used func(rule string, since time.Time) (int, error)
}

// Use is a column and what it serves as.
type Use struct {
	Column, As string
	// Explicit is whether the job names the column. [Policy.Serves] looks at these
	// alone; Decide holds all columns to the rules.
	Explicit bool
}

// Disclosure is what a step reveals.
type Disclosure struct {
	Step, Component string
	Kind            string // one of the kinds above
	// To is who learns it. Where it is Self, the rules do not mind; a caller that
	// knows roles writes one disclosure for each party that has the role.
	To      string
	MinRows int // aggregates: over how many rows at least
}

// Decision is a policy's answer.
type Decision struct {
	Verdict Verdict `json:"verdict"`
	RuleID  string  `json:"rule_id,omitempty"` // "customers/credit-bank": stays the same when lines move; empty where no rule decided
	Rule    string  `json:"rule,omitempty"`    // "customers/credit-bank (policy.yaml line 12)"; empty where no rule decided
	Reason  string  `json:"reason"`            // one line; of a denial: what is not allowed, and by which rule
	Cure    string  `json:"cure,omitempty"`    // of a denial: what to change
	// MinIntersection is how many joint rows the deciding rule asks for, 0 for any.
	MinIntersection int `json:"min_intersection,omitempty"`
}
