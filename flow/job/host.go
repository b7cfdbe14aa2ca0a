package job

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"kontor/internal/fault"
	"kontor/session"
)

// maxActive bounds the jobs that one initiator may have open here.
const maxActive = 1000

// ForPeer is an error whose text is meant for the peer that asked.
type ForPeer struct{ Fault *fault.Error }

// Error implements error.
func (f ForPeer) Error() string { return f.Fault.Error() }

// Unwrap returns the fault.
func (f ForPeer) Unwrap() error { return f.Fault }

func tell(k fault.Kind, step, what, cure string) error {
	return ForPeer{&fault.Error{Kind: k, Step: step, What: what, Cure: cure}}
}

func malformed(peer, method string, err error) error {
	return &fault.Error{Kind: fault.Protocol, Party: peer, Step: method, What: "it sent what cannot be read", Err: err,
		Cure: "check that it runs an unmodified Kontor of a version that fits"}
}

// Answer answers a request of a peer. Errors of type [ForPeer] may be told to it.
func (m *Manager) Answer(ctx context.Context, peer, method string, body []byte) ([]byte, error) {
	h := &host{m, peer, method}
	var out any
	var err error
	switch method {
	case methodPropose:
		out, err = answer(ctx, h, body, h.propose)
	case methodConsents:
		out, err = answer(ctx, h, body, h.consents)
	case methodBegin:
		out, err = answer(ctx, h, body, h.begin)
	case methodStart:
		out, err = answer(ctx, h, body, h.start)
	case methodCommit:
		out, err = answer(ctx, h, body, h.commit)
	case methodFinish:
		out, err = answer(ctx, h, body, h.finish)
	case methodManifest:
		out, err = answer(ctx, h, body, h.manifest)
	case methodClose:
		out, err = answer(ctx, h, body, h.close)
	case methodEnd:
		out, err = answer(ctx, h, body, h.end)
	case methodWatch:
		out, err = answer(ctx, h, body, h.watch)
	default:
		return nil, tell(fault.Version, "", fmt.Sprintf("%q is unknown to Kontor %s", method, m.o.Version), "upgrade the older of the two nodes")
	}
	if err != nil {
		return nil, err
	}
	return marshal(out)
}

// host is one request under way.
type host struct {
	m      *Manager
	peer   string
	method string
}

func answer[M, A any](ctx context.Context, h *host, body []byte, f func(context.Context, *M) (*A, error)) (any, error) {
	msg := new(M)
	if err := strict(body, msg); err != nil {
		return nil, malformed(h.peer, h.method, err)
	}
	return f(ctx, msg)
}

// job returns a job of the asking guest at which this party is a host.
func (h *host) job(ctx context.Context, id string) (*Record, error) {
	if !isHex(id, 16) {
		return nil, malformed(h.peer, h.method, errors.New("no job's identifier"))
	}
	r, err := h.m.get(ctx, id)
	if fault.KindOf(err) == fault.Usage || err == nil && (r.Initiator != h.peer || r.Role != session.Host) {
		return nil, tell(fault.Consent, "", "it knows no such job of yours", "submit the job again")
	}
	return r, err
}

func (h *host) status(r *Record, err error) (*status, error) {
	if err != nil {
		return nil, err
	}
	s := h.m.statusOf(r)
	return &s, nil
}

// statusOf is what a host tells of a job. Reasons of an own error stay here but
// for kind and step.
func (m *Manager) statusOf(r *Record) status {
	s := status{Job: r.ID, Version: r.Version, State: r.State, Ruling: r.Rulings[m.self], Consent: r.consent(m.self), Steps: map[string]stepStatus{}, Problem: public(r.Error)}
	s.Ruling.By = ""
	for _, st := range r.Steps {
		if st.State != StepPending {
			s.Steps[st.Name] = stepStatus{st.State, st.Attempt, public(st.Error)}
		}
	}
	return s
}

func public(p *Problem) *Problem {
	if p == nil {
		return nil
	}
	_, text := fault.Public(&fault.Error{Kind: kindNamed(p.Kind), Step: p.Step})
	cure := "look at its node's log for the reason"
	if kindNamed(p.Kind) == fault.Cancelled && p.Party != "" {
		text = "cancelled at " + p.Party
		cure = "run the job again"
	}
	return &Problem{Kind: p.Kind, Party: p.Party, Step: p.Step, What: text, Cure: cure}
}

func (h *host) propose(ctx context.Context, msg *proposeMsg) (*status, error) {
	p, spec, err := parseProposal(msg.Proposal)
	if err != nil {
		return nil, tell(fault.Spec, "consent", "it cannot read the job: "+err.Error(), "check that both nodes run versions that fit, then correct the job")
	}
	if known, err := h.m.get(ctx, p.Job); err == nil {
		if known.Initiator != h.peer || !bytes.Equal(known.Proposal, msg.Proposal) {
			return nil, tell(fault.Consent, "consent", "a job of that identifier exists already", "submit the job again")
		}
		return h.status(known, nil)
	} else if fault.KindOf(err) != fault.Usage {
		return nil, err
	}
	if err := h.checkKeys(p); err != nil {
		return nil, err
	}
	if msg.Consent.Party != h.peer {
		return nil, malformed(h.peer, h.method, errors.New("the initiator's consent is missing"))
	}
	if err := verifyConsent(p, msg.Proposal, msg.Consent); err != nil {
		return nil, err
	}
	if need := missing(p.Needs, h.m.o.Capabilities); need != "" {
		return nil, tell(fault.Version, "consent", fmt.Sprintf("the job needs %s, which Kontor %s there cannot", need, h.m.o.Version), "upgrade Kontor there, then submit the job again")
	}
	if h.m.activeOf(h.peer) >= maxActive {
		return nil, tell(fault.Local, "consent", "too many jobs of yours are open there", "wait for some of them to end")
	}
	h.m.deciding.Lock()
	defer h.m.deciding.Unlock()
	if !h.m.mayAsk(h.peer) {
		return nil, tell(fault.Local, "consent", "too many jobs of yours were denied there within an hour", "read the denials, change the jobs, and wait")
	}
	op, err := h.m.o.Site.Consider(ctx, spec, h.peer, h.m.used)
	if err != nil {
		return nil, err
	}
	return h.status(h.m.receive(ctx, msg, p, newRecord(msg.Proposal, p, spec, h.m.self, h.m.o.Now().UTC()), op))
}

// checkKeys compares the keys of a proposal with those that are known here.
func (h *host) checkKeys(p *Proposal) error {
	if p.Initiator != h.peer {
		return tell(fault.Consent, "consent", "the job's guest is "+p.Initiator+", not you", "submit the job at the guest's node")
	}
	for _, pp := range p.Parties {
		key, known := h.m.o.Peers.Key(pp.Name)
		if pp.Name == h.m.self {
			key, known = h.m.o.Signer.PublicKey(), true
		}
		if pp.Name == h.peer && !known {
			return tell(fault.Consent, "consent", "your key is not pinned there", "exchange invitations again")
		}
		if known && !ed25519.PublicKey(p.key(pp.Name)).Equal(key) {
			return tell(fault.Consent, "consent", "it knows "+pp.Name+" by another key than the proposal", "exchange invitations with "+pp.Name+" again and compare the fingerprints")
		}
	}
	if p.key(h.m.self) == nil {
		return tell(fault.Consent, "consent", "it is no party of the job", "correct the job's parties")
	}
	return nil
}

// maxDenials bounds the denied proposals of one initiator within an hour: each is
// kept, and nobody else pays for the disk.
const maxDenials = 200

// mayAsk reports whether an initiator's proposals are looked at.
func (m *Manager) mayAsk(initiator string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	hourAgo := m.o.Now().Add(-time.Hour)
	m.denials[initiator] = slices.DeleteFunc(m.denials[initiator], func(t time.Time) bool { return t.Before(hourAgo) })
	return len(m.denials[initiator]) < m.o.Denials
}

func (m *Manager) noteDenial(initiator string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.denials[initiator] = append(m.denials[initiator], m.o.Now())
}

func (m *Manager) activeOf(initiator string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, r := range m.live {
		if r.Initiator == initiator && !r.State.Final() {
			n++
		}
	}
	return n
}

// receive journals a proposal with what the policy says of it.
func (m *Manager) receive(ctx context.Context, msg *proposeMsg, p *Proposal, r *Record, op Opinion) (*Record, error) {
	r.Consents = []Signed{msg.Consent}
	r.Rulings[p.Initiator] = Ruling{Verdict: ByOwner}
	r.Rulings[m.self] = op.Ruling
	r.Features, r.Print, r.Live = op.Features, op.Print, op.Live
	c := &change{}
	detail := map[string]any{"job": r.Name, "initiator": r.Initiator, "proposal": r.SpecHash(), "purpose": r.spec.Purpose, "rule": op.Rule}
	c.record("peer "+r.Initiator, "job.proposed", r.ID, detail)
	switch op.Verdict {
	case Denied:
		m.noteDenial(r.Initiator)
		r.State = Rejected
		r.Error = &Problem{Kind: fault.Consent.String(), Party: m.self, Step: "consent", What: denialText(op.Ruling), Cure: op.Cure}
		c.record("policy", "job.denied", r.ID, map[string]any{"rule": op.Rule, "reason": op.Reason})
	case ByStanding:
		if err := m.agree(r, c, op, "policy"); err != nil {
			return nil, err
		}
	default:
		r.State = Waiting
		r.Rulings[m.self] = Ruling{Verdict: ByWaiting, Rule: op.Rule, Reason: op.Reason}
		r.Waits = "the approval of a person here; look at it with kontor job show " + r.ID[:8] + ", then kontor job approve or reject"
	}
	c.event(EventState, map[string]any{"state": r.State})
	m.writing.Lock()
	defer m.writing.Unlock()
	if known, err := m.get(ctx, r.ID); err == nil {
		return known, nil // the same proposal came twice at once
	}
	if slices.Contains(m.buried[r.Initiator], r.ID) { // under m.writing, as bury
		return nil, tell(fault.Consent, "consent", "you have ended the job", "submit it again")
	}
	return r, m.write(ctx, r, c, true)
}

// agree signs a job as a host.
func (m *Manager) agree(r *Record, c *change, op Opinion, actor string) error {
	own, err := consentTo(m.o.Signer, r.Proposal, m.o.Rand)
	if err != nil {
		return err
	}
	r.Consents = append(r.Consents, own)
	r.State, r.Waits = Approved, ""
	r.Features, r.Print, r.Live = op.Features, op.Print, op.Live
	c.also = m.countStart(r.spec, op, r.ID)
	c.record(actor, "job.approved", r.ID, map[string]any{"rule": op.Rule, "proposal": r.SpecHash(), "by": r.Rulings[m.self].Verdict})
	return nil
}

func (h *host) consents(ctx context.Context, msg *consentsMsg) (*status, error) {
	if _, err := h.job(ctx, msg.Job); err != nil {
		return nil, err
	}
	return h.status(h.m.update(ctx, msg.Job, func(r *Record, c *change) error {
		if r.State != Approved {
			if r.State == Running || r.State.Final() {
				return errUnchanged
			}
			return tell(fault.Consent, "consent", "it has not consented to the job", "wait for its approval")
		}
		own := *r.consent(h.m.self)
		run, err := runID(r.proposal, r.Proposal, msg.Consents)
		if err != nil {
			return err
		}
		if !slices.Contains(msg.Consents, own) {
			return tell(fault.Consent, "consent", "its own consent was changed", "submit the job again")
		}
		r.Consents, r.Run, r.State = msg.Consents, hex.EncodeToString(run[:]), Running
		c.event(EventState, map[string]any{"state": r.State})
		c.record("peer "+h.peer, "job.consented", r.ID, map[string]any{"run": r.Run})
		return nil
	}))
}

func (h *host) end(ctx context.Context, msg *endMsg) (*status, error) {
	if !msg.State.Final() || msg.State == Done {
		return nil, malformed(h.peer, h.method, errors.New("that is no end"))
	}
	if _, err := h.job(ctx, msg.Job); err != nil {
		if !isHex(msg.Job, 16) || fault.KindOf(err) != fault.Consent || h.m.bury(ctx, h.peer, msg.Job) {
			return nil, err
		}
	}
	r, err := h.m.update(ctx, msg.Job, func(r *Record, c *change) error {
		if r.State.Final() {
			return errUnchanged
		}
		p := msg.Problem
		if p != nil {
			p = &Problem{Kind: kindNamed(p.Kind).String(), Party: clean(p.Party, 64), Step: clean(p.Step, 64), What: clean(p.What, 500), Cure: clean(p.Cure, 300)}
		}
		r.close(c, msg.State, p, "peer "+h.peer)
		return nil
	})
	if err == nil {
		h.m.drop(r.ID)
	}
	return h.status(r, err)
}

// maxBuried is how many ended jobs are remembered of a guest: more than the
// proposals that can be on their way from it at once.
const maxBuried = 256

// bury has a job refused whose end overtook its proposal; false if the proposal
// was there first.
func (m *Manager) bury(ctx context.Context, guest, id string) bool {
	m.writing.Lock()
	defer m.writing.Unlock()
	if r, err := m.get(ctx, id); err == nil {
		return r.Initiator != guest || r.Role != session.Host
	}
	b := append(m.buried[guest], id)
	m.buried[guest] = b[max(0, len(b)-maxBuried):]
	return true
}

// close ends a job without a result.
func (r *Record) close(c *change, s State, p *Problem, actor string) {
	r.State, r.Error, r.Waits = s, p, ""
	data := map[string]any{"state": s}
	detail := map[string]any{}
	if p != nil {
		data["error"] = p
		detail["kind"], detail["party"], detail["step"] = p.Kind, p.Party, p.Step
	}
	c.event(EventState, data)
	c.record(actor, "job."+string(s), r.ID, detail)
}

// clean makes a peer's text fit for a log line and a terminal.
func clean(s string, most int) string {
	out := make([]rune, 0, min(len(s), most))
	for _, c := range s {
		if len(out) == most {
			break
		}
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == '\u2028' || c == '\u2029' {
			c = ' '
		}
		out = append(out, c)
	}
	return string(out)
}

func (h *host) watch(ctx context.Context, msg *watchMsg) (*newsMsg, error) {
	m := h.m
	if len(msg.Jobs) > 2*maxActive {
		return nil, malformed(h.peer, h.method, errors.New("too many jobs"))
	}
	m.mu.Lock()
	b := m.board(h.peer)
	if msg.Epoch != m.epoch || msg.Cursor < b.seq-maxNews {
		out := &newsMsg{Epoch: m.epoch, Cursor: b.seq}
		m.mu.Unlock()
		return out, m.tellAll(ctx, h.peer, msg.Jobs, out)
	}
	wake, stopped := b.wake, m.ctx
	ids, cursor := b.since(msg.Cursor), b.seq
	m.mu.Unlock()
	if len(ids) == 0 && stopped != nil {
		ctx, cancel := context.WithTimeout(ctx, m.o.Silence)
		defer cancel()
		select {
		case <-wake:
		case <-ctx.Done():
		case <-stopped.Done():
		}
		m.mu.Lock()
		ids, cursor = b.since(msg.Cursor), b.seq
		m.mu.Unlock()
	}
	out := &newsMsg{Epoch: m.epoch, Cursor: cursor}
	return out, m.tellAll(context.WithoutCancel(ctx), h.peer, ids, out)
}

func (m *Manager) tellAll(ctx context.Context, peer string, ids []string, out *newsMsg) error {
	for _, id := range ids {
		r, err := m.get(ctx, id)
		if fault.KindOf(err) == fault.Usage && err != nil {
			continue
		}
		if err != nil {
			return err
		}
		if r.Initiator == peer {
			out.Jobs = append(out.Jobs, m.statusOf(r))
		}
	}
	return nil
}
