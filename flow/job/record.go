package job

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"kontor/flow"
	"kontor/internal/fault"
)

// State is where a job stands at this party.
type State string

// The states. Done, Failed, Rejected and Cancelled are final.
const (
	Proposed  State = "proposed"  // the guest has not reached all hosts yet
	Waiting   State = "waiting"   // somebody's approval is missing
	Approved  State = "approved"  // this party has consented, others or a free place are missing
	Running   State = "running"   // every party has consented
	Done      State = "done"      //
	Failed    State = "failed"    //
	Rejected  State = "rejected"  // a policy or a person said no
	Cancelled State = "cancelled" //
)

// Final reports whether nothing more happens to a job.
func (s State) Final() bool { return s == Done || s == Failed || s == Rejected || s == Cancelled }

// States of a step's attempt.
const (
	StepPending  = "pending"
	StepBegun    = "begun" // a host has given its nonce
	StepRunning  = "running"
	StepPrepared = "prepared" // complete on disk here, not yet everywhere
	StepDone     = "done"
	StepReused   = "reused" // done, with an artifact of an earlier job
	StepLost     = "lost"   // ended by a crash or a lost connection; it begins again
	StepFailed   = "failed"
)

// Verdicts on a proposal at one party.
const (
	ByNobody   = "none"
	ByWaiting  = "waiting"
	ByStanding = "standing"
	ByPerson   = "person"
	ByOwner    = "initiator"
	Denied     = "denied"
)

// Ruling is how a party stands to a proposal.
type Ruling struct {
	Verdict string `json:"verdict"`
	Rule    string `json:"rule,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Cure    string `json:"cure,omitempty"`
	By      string `json:"by,omitempty"` // the person's token name; stays at its party
}

// Problem is a fault as the journal keeps it.
type Problem struct {
	Kind  string `json:"kind"`
	Party string `json:"party,omitempty"`
	Step  string `json:"step,omitempty"`
	What  string `json:"what"`
	Cure  string `json:"cure,omitempty"`
}

// problemOf returns err as the journal keeps it.
func problemOf(err error) *Problem {
	f, ok := fault.At(err, "", "").(*fault.Error)
	if !ok {
		return nil
	}
	what := (&fault.Error{What: f.What, Err: f.Err}).Error()
	return &Problem{f.Kind.String(), f.Party, f.Step, what, f.Cure}
}

func kindNamed(s string) fault.Kind {
	for k := fault.Internal; k <= fault.Cancelled; k++ {
		if k.String() == s {
			return k
		}
	}
	return fault.Internal
}

// StepRecord is a step as the journal keeps it.
type StepRecord struct {
	Name     string           `json:"name"`
	Kind     string           `json:"kind"`
	State    string           `json:"state"`
	Attempt  int              `json:"attempt"`
	Broken   int              `json:"broken,omitempty"`   // attempts that the other side broke off, at a host
	Nonce    string           `json:"nonce,omitempty"`    // of this party, for the attempt
	Artifact string           `json:"artifact,omitempty"` // hex of the attempt's session; the step's result once it is done
	Dir      string           `json:"dir,omitempty"`      // folder of the artifact, relative to the jobs folder
	Key      string           `json:"key,omitempty"`      // for reuse
	From     string           `json:"from,omitempty"`     // the job that it was reused from
	Told     []string         `json:"told,omitempty"`     // hosts that know that it is done
	Started  time.Time        `json:"started"`
	Ended    time.Time        `json:"ended"`
	Result   *flow.StepResult `json:"result,omitempty"`
	Error    *Problem         `json:"error,omitempty"`
}

func (s *StepRecord) committed() bool { return s.State == StepDone || s.State == StepReused }

// Record is a job as the journal keeps it: one JSON document.
type Record struct {
	Format    int               `json:"format"`
	Version   int64             `json:"version"` // counts the changes
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Role      string            `json:"role"`
	Initiator string            `json:"initiator"`
	State     State             `json:"state"`
	Created   time.Time         `json:"created"`
	Updated   time.Time         `json:"updated"`
	Proposal  []byte            `json:"proposal"` // verbatim
	Rulings   map[string]Ruling `json:"rulings"`  // by party, as far as known here
	Consents  []Signed          `json:"consents,omitempty"`
	Run       string            `json:"run,omitempty"`
	Steps     []StepRecord      `json:"steps"`
	Waits     string            `json:"waits,omitempty"` // what it waits for now, with the cure
	Error     *Problem          `json:"error,omitempty"`
	Reuse     bool              `json:"reuse"`
	By        string            `json:"by,omitempty"`      // who submitted it here
	Repeats   string            `json:"repeats,omitempty"` // the job that this one repeats
	Resumed   int               `json:"resumed,omitempty"`
	Features  []string          `json:"features,omitempty"` // of this party's table, as consented
	Print     string            `json:"print,omitempty"`    // fingerprint of this party's table
	Live      bool              `json:"live,omitempty"`     // see Opinion

	Manifest   []byte            `json:"manifest,omitempty"` // verbatim
	Signatures map[string]string `json:"signatures,omitempty"`
	Heads      map[string]Head   `json:"heads,omitempty"`
	Told       []string          `json:"told,omitempty"` // hosts that know how it ended

	proposal *Proposal
	spec     *flow.Spec
}

// Spec returns the job's specification.
func (r *Record) Spec() *flow.Spec { return r.spec }

// Parsed returns the proposal.
func (r *Record) Parsed() *Proposal { return r.proposal }

// SpecHash returns the hash that the parties have signed, in hex.
func (r *Record) SpecHash() string {
	h := proposalHash(r.Proposal)
	return hex.EncodeToString(h[:])
}

func (r *Record) step(name string) *StepRecord {
	i := slices.IndexFunc(r.Steps, func(s StepRecord) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Steps[i]
}

func (r *Record) consent(party string) *Signed {
	i := slices.IndexFunc(r.Consents, func(s Signed) bool { return s.Party == party })
	if i < 0 {
		return nil
	}
	return &r.Consents[i]
}

// clone returns a copy that shares nothing that is ever changed in place.
func (r *Record) clone() *Record {
	c := *r
	c.Rulings = cloneMap(r.Rulings)
	c.Signatures = cloneMap(r.Signatures)
	c.Heads = cloneMap(r.Heads)
	c.Consents = slices.Clone(r.Consents)
	c.Steps = slices.Clone(r.Steps)
	for i := range c.Steps {
		c.Steps[i].Told = slices.Clone(c.Steps[i].Told)
	}
	c.Told = slices.Clone(r.Told)
	return &c
}

func cloneMap[V any](m map[string]V) map[string]V {
	out := make(map[string]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// hydrate fills in what is derived from the proposal.
func (r *Record) hydrate() error {
	var err error
	r.proposal, r.spec, err = parseProposal(r.Proposal)
	return err
}

func newRecord(raw []byte, p *Proposal, spec *flow.Spec, self string, now time.Time) *Record {
	r := &Record{Format: 1, ID: p.Job, Name: spec.Job, Initiator: p.Initiator, State: Proposed, Created: now, Updated: now, Proposal: raw,
		Rulings: map[string]Ruling{}, Signatures: map[string]string{}, Heads: map[string]Head{}, proposal: p, spec: spec}
	for _, pp := range p.Parties {
		r.Rulings[pp.Name] = Ruling{Verdict: ByNobody}
		if pp.Name == self {
			r.Role = pp.Role
		}
	}
	for _, s := range spec.Steps {
		r.Steps = append(r.Steps, StepRecord{Name: s.Name, Kind: s.Kind, State: StepPending})
	}
	return r
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		b := sha256.Sum256([]byte(p))
		h.Write(b[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
