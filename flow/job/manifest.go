package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kontor/audit"
	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/store"
)

// Manifest is the account of a job, the same bytes at all parties, signed by
// all: docs/formats/manifest.md.
type Manifest struct {
	Format    int                       `json:"format"`
	Job       string                    `json:"job"`
	Name      string                    `json:"name"`
	Run       string                    `json:"run"`
	Proposal  string                    `json:"proposal"` // hash that the parties consented to
	Purpose   string                    `json:"purpose,omitempty"`
	Submitted time.Time                 `json:"submitted"`
	Finished  time.Time                 `json:"finished"` // by the guest's clock
	Parties   []ManifestParty           `json:"parties"`
	Steps     []ManifestStep            `json:"steps"`
	Learned   map[string][]flow.Learned `json:"learned"` // by party
	Discloses []flow.StepDisclosure     `json:"discloses"`
}

// ManifestParty is a party of a job.
type ManifestParty struct {
	Name        string  `json:"name"`
	Role        string  `json:"role"`
	Fingerprint string  `json:"fingerprint"`
	Consent     string  `json:"consent"` // initiator, standing or person
	Software    string  `json:"software"`
	Data        DataUse `json:"data"`
}

// ManifestStep is what a step was and cost.
type ManifestStep struct {
	Name     string              `json:"name"`
	Kind     string              `json:"kind"`
	Artifact string              `json:"artifact"`
	Attempts int                 `json:"attempts"`
	Reused   bool                `json:"reused,omitempty"`
	Seconds  float64             `json:"seconds"` // at the guest
	Rounds   int                 `json:"rounds"`
	Sent     map[string]int64    `json:"bytes_sent"`
	Security map[string][]string `json:"security"` // protocol, parameters and level, by party that states them
}

// ownPart is this party's share of the manifest.
func (m *Manager) ownPart(r *Record) part {
	p := part{Security: map[string][]string{}, Sent: map[string]int64{}, Software: m.o.Version}
	for _, s := range r.Steps {
		if s.Result == nil {
			continue
		}
		if len(s.Result.Security) > 0 {
			p.Security[s.Name] = s.Result.Security
		}
		if s.State == StepDone {
			p.Sent[s.Name] = s.Result.Report.Sent
		}
	}
	view := r.spec.PartyView(m.self)
	if r.Print != "" {
		h := sha256.Sum256([]byte("kontor data v1\x00" + r.Run + r.Print))
		p.Data = DataUse{view.Data, hex.EncodeToString(h[:])}
	}
	return p
}

// Learned is what the parties of a job have learned, as the steps declare it. How many rows
// or ids it was stays with the party that learned it: the manifest is read by all.
func Learned(spec *flow.Spec) map[string][]flow.Learned {
	out := map[string][]flow.Learned{}
	for _, p := range spec.Parties {
		out[p.Name] = []flow.Learned{}
		for _, d := range spec.Disclosures() {
			if d.To != flow.ToAll && d.To != p.Role {
				continue
			}
			fact := d.Kind + ": " + d.Text
			if l := out[p.Name]; len(l) > 0 && l[len(l)-1].Step == d.Step {
				l[len(l)-1].Facts = append(l[len(l)-1].Facts, fact)
			} else {
				out[p.Name] = append(l, flow.Learned{Step: d.Step, Facts: []string{fact}})
			}
		}
	}
	return out
}

func (m *Manager) compose(r *Record, parts map[string]part) *Manifest {
	out := &Manifest{Format: 1, Job: r.ID, Name: r.Name, Run: r.Run, Proposal: r.SpecHash(), Purpose: r.spec.Purpose,
		Submitted: r.proposal.Submitted, Finished: m.o.Now().UTC(), Learned: Learned(r.spec), Discloses: r.spec.Disclosures()}
	for _, pp := range r.proposal.Parties {
		p := parts[pp.Name]
		out.Parties = append(out.Parties, ManifestParty{pp.Name, pp.Role, identity.Fingerprint(r.proposal.key(pp.Name)), r.Rulings[pp.Name].Verdict, p.Software, p.Data})
	}
	for _, s := range r.Steps {
		ms := ManifestStep{Name: s.Name, Kind: s.Kind, Artifact: s.Artifact, Attempts: s.Attempt, Reused: s.State == StepReused, Sent: map[string]int64{}, Security: map[string][]string{}}
		if s.Result != nil && !ms.Reused {
			ms.Seconds, ms.Rounds = s.Result.Report.Seconds, s.Result.Report.Rounds
		}
		for name, p := range parts {
			if n, ok := p.Sent[s.Name]; ok {
				ms.Sent[name] = n
			}
			if sec, ok := p.Security[s.Name]; ok {
				ms.Security[name] = sec
			}
		}
		out.Steps = append(out.Steps, ms)
	}
	return out
}

// agrees checks that a manifest says of this party and of the job what is so here.
func (m *Manager) agrees(r *Record, raw []byte) error {
	var got Manifest
	if err := strict(raw, &got); err != nil {
		return err
	}
	if canonical, err := marshal(got); err != nil || !bytes.Equal(canonical, raw) {
		return errors.New("it is not written in the one way that has one reading")
	}
	own := m.ownPart(r)
	switch {
	case got.Format != 1 || got.Job != r.ID || got.Run != r.Run || got.Proposal != r.SpecHash() || got.Name != r.Name || got.Purpose != r.spec.Purpose:
		return errors.New("it is of another job")
	case len(got.Steps) != len(r.Steps) || len(got.Parties) != len(r.proposal.Parties):
		return errors.New("its steps or parties are others")
	case !same(got.Learned, Learned(r.spec)) || !same(got.Discloses, r.spec.Disclosures()):
		return errors.New("what it says was learned is not what the steps declare")
	}
	for i, s := range r.Steps {
		g := got.Steps[i]
		if !s.committed() || g.Name != s.Name || g.Artifact != s.Artifact || g.Reused != (s.State == StepReused) {
			return fmt.Errorf("its step %s is not what was committed here", s.Name)
		}
		for party := range g.Sent {
			if r.proposal.key(party) == nil {
				return fmt.Errorf("%s sent nothing, it is no party", clean(party, 64))
			}
		}
		if g.Sent[m.self] != own.Sent[s.Name] || !same(g.Security[m.self], own.Security[s.Name]) {
			return fmt.Errorf("what it says of step %s here is not so", s.Name)
		}
	}
	for i, p := range r.proposal.Parties {
		g := got.Parties[i]
		if g.Name != p.Name || g.Role != p.Role || g.Fingerprint != identity.Fingerprint(r.proposal.key(p.Name)) {
			return errors.New("its parties are others")
		}
		if p.Name == m.self && (g.Data != own.Data || g.Software != own.Software || g.Consent != r.Rulings[m.self].Verdict) {
			return errors.New("what it says of this party is not so")
		}
	}
	return nil
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	if string(x) == "null" || string(x) == "[]" {
		x = nil
	}
	if string(y) == "null" || string(y) == "[]" {
		y = nil
	}
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func (m *Manager) signManifest(raw []byte) string {
	h := sha256.Sum256(raw)
	return hex.EncodeToString(m.o.Signer.Sign(resultContext, h[:]))
}

// VerifyResult returns an error unless every party of the job has signed the
// manifest and consented to the proposal.
func (r *Record) VerifyResult() error {
	run, err := runID(r.proposal, r.Proposal, r.Consents)
	if err != nil {
		return err
	}
	if hex.EncodeToString(run[:]) != r.Run {
		return fault.New(fault.Consent, "the run is not that of the consents", "restore the node's folder from a backup")
	}
	return verifySignatures(r.proposal, r.Manifest, r.Signatures)
}

func verifySignatures(p *Proposal, raw []byte, sigs map[string]string) error {
	h := sha256.Sum256(raw)
	for _, pp := range p.Parties {
		sig, err := hex.DecodeString(sigs[pp.Name])
		if err != nil || !identity.Verify(p.key(pp.Name), resultContext, h[:], sig) {
			return &fault.Error{Kind: fault.Consent, Party: pp.Name, Step: "finish", What: "its signature under the result is missing or wrong",
				Cure: "check that it runs an unmodified Kontor, then run the job again"}
		}
	}
	return nil
}

func (h *host) finish(ctx context.Context, msg *jobMsg) (*part, error) {
	r, err := h.job(ctx, msg.Job)
	if err != nil {
		return nil, err
	}
	for _, s := range r.Steps {
		if !s.committed() {
			return nil, tell(fault.Consent, s.Name, "the step is "+s.State+" there, so the job cannot finish", "submit the job again")
		}
	}
	p := h.m.ownPart(r)
	return &p, nil
}

func (h *host) manifest(ctx context.Context, msg *manifestMsg) (*signedMsg, error) {
	r, err := h.job(ctx, msg.Job)
	if err != nil {
		return nil, err
	}
	if r.State == Done && !bytes.Equal(r.Manifest, msg.Manifest) || r.State != Done && r.State != Running {
		return nil, tell(fault.Consent, "finish", "the job is "+string(r.State)+" there", "see the job there")
	}
	if err := h.m.agrees(r, msg.Manifest); err != nil {
		return nil, tell(fault.Consent, "finish", "it does not sign the manifest: "+err.Error(), "run the job again; if it happens again, compare the two nodes' versions")
	}
	if r.State == Running {
		if _, err = h.m.update(ctx, r.ID, func(r *Record, c *change) error {
			if r.State != Running {
				return errUnchanged
			}
			r.Manifest, r.Signatures = msg.Manifest, map[string]string{h.m.self: h.m.signManifest(msg.Manifest)}
			c.record("node", "job.signed", r.ID, map[string]any{"manifest": sha(msg.Manifest)})
			return nil
		}); err != nil {
			return nil, err
		}
	}
	head, err := h.m.o.Audit.Head(ctx)
	if err != nil {
		return nil, err
	}
	return &signedMsg{h.m.signManifest(msg.Manifest), head}, nil
}

func sha(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }

func (h *host) close(ctx context.Context, msg *closeMsg) (*closedMsg, error) {
	r, err := h.job(ctx, msg.Job)
	if err != nil {
		return nil, err
	}
	if r.State != Done {
		if r, err = h.complete(ctx, r, msg); err != nil {
			return nil, err
		}
	}
	receipt, err := h.m.o.Audit.Countersign(h.peer, r.proposal.key(h.peer), r.Heads[h.peer])
	if err != nil {
		return nil, malformed(h.peer, h.method, err)
	}
	return &closedMsg{h.m.statusOf(r), receipt}, nil
}

func (h *host) complete(ctx context.Context, r *Record, msg *closeMsg) (*Record, error) {
	if r.State != Running || r.Manifest == nil {
		return nil, tell(fault.Consent, "finish", "the job is "+string(r.State)+" there", "see the job there")
	}
	if err := verifySignatures(r.proposal, r.Manifest, msg.Signatures); err != nil {
		return nil, err
	}
	r = r.clone()
	r.Signatures, r.Heads = map[string]string{}, map[string]Head{}
	for _, pp := range r.proposal.Parties { // and nobody else's
		r.Signatures[pp.Name], r.Heads[pp.Name] = msg.Signatures[pp.Name], msg.Heads[pp.Name]
	}
	return h.m.conclude(context.WithoutCancel(ctx), r, map[string]*Receipt{h.peer: &msg.Receipt})
}

// conclude publishes the result of a job here and journals that it is done.
func (m *Manager) conclude(ctx context.Context, r *Record, receipts map[string]*Receipt) (*Record, error) {
	m.closing.Lock()
	defer m.closing.Unlock()
	if now, err := m.get(ctx, r.ID); err != nil || now.State == Done {
		return now, err
	}
	dirs := m.stepDirs(r)
	register, err := m.o.Site.Publish(ctx, r, dirs)
	if err != nil {
		return nil, err
	}
	sigs, heads := r.Signatures, r.Heads
	out, err := m.update(ctx, r.ID, func(r *Record, c *change) error {
		if r.State == Done {
			return errUnchanged
		}
		if r.State != Running {
			return tell(fault.Consent, "finish", "the job is "+string(r.State)+" there", "see the job there")
		}
		r.Signatures, r.Heads, r.State, r.Waits = sigs, heads, Done, ""
		c.event(EventState, map[string]any{"state": r.State})
		c.record("node", "job.done", r.ID, map[string]any{"manifest": sha(r.Manifest), "run": r.Run})
		c.also = func(tx *store.Tx) error {
			for _, pp := range r.proposal.Parties {
				if pp.Name != m.self {
					if err := m.witness(ctx, tx, r, pp.Name, receipts[pp.Name]); err != nil {
						return err
					}
				}
			}
			return register(tx)
		}
		return nil
	})
	if err == nil {
		m.drop(r.ID)
	}
	return out, err
}

// witness records a peer's audit head and receipt. One that does not hold is an
// alarm, not an end of the job: the alarm goes on record.
func (m *Manager) witness(ctx context.Context, tx *store.Tx, r *Record, peer string, receipt *Receipt) error {
	err := m.o.Audit.Witness(ctx, tx, peer, r.proposal.key(peer), r.Heads[peer], receipt)
	if k := fault.KindOf(err); err != nil && (k == fault.Trust || k == fault.Protocol) {
		m.o.Log.Error("a peer's audit head does not hold", "job", r.ID, "party", peer, "error", err)
		return m.o.Audit.Append(tx, audit.Event{Time: m.o.Now().UTC(), Actor: "node", Action: "witness.refused", Object: r.ID, Detail: map[string]any{"peer": peer, "reason": err.Error()}})
	}
	return err
}

// stepDirs returns the folders of a job's artifacts here, by step.
func (m *Manager) stepDirs(r *Record) map[string]string {
	dirs := map[string]string{}
	for _, s := range r.Steps {
		if s.committed() {
			dirs[s.Name] = m.path(s.Dir)
		}
	}
	return dirs
}

// hostsOf returns the hosts that are not in told.
func (r *Record) untold(told []string) []string {
	return slices.DeleteFunc(r.proposal.hosts(), func(h string) bool { return slices.Contains(told, h) })
}
