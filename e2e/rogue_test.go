package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/api/rest"
	"kontor/audit"
	"kontor/fed/ping"
	"kontor/flow"
	"kontor/flow/job"
	"kontor/identity"
	"kontor/session"
	"kontor/store"
	"kontor/transport"
)

// rogue is an institution whose key was accepted in good order and whose node
// says what the test likes. It speaks the protocol of flow/job/PROTOCOL.md from
// its text alone, so a conversation that goes well also holds the text to the code.
type rogue struct {
	t     *testing.T
	name  string
	id    *identity.Identity
	peers *identity.Peers
	wire  *transport.Node
	log   *audit.Log

	mu    sync.Mutex
	heard []string // every answer and every error that it got, to be searched for what must not leak
}

type answerFunc func(ctx context.Context, peer, method string, body []byte) ([]byte, error)

func newRogue(t *testing.T, name string, answer answerFunc) *rogue {
	t.Helper()
	id, err := identity.Ephemeral(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{t: t, name: name, id: id, peers: identity.MemoryPeers()}
	if r.log, err = audit.Open(db, id); err != nil {
		t.Fatal(err)
	}
	r.wire, err = transport.Listen(transport.Options{Identity: id, Peers: r.peers, Listen: "127.0.0.1:0", OnAsk: answer, DialPatience: -1, Linger: time.Second,
		Version: transport.VersionInfo{Software: "0.1.0-rogue", Capabilities: append(flow.AllCapabilities(), job.Capability)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.wire.Close(); db.Close() })
	return r
}

// meet makes the rogue and a node each other's peers.
func (r *rogue) meet(ctx context.Context, n *Node) {
	r.t.Helper()
	c := n.Client(rest.Admin)
	if _, err := c.Accept(ctx, rest.AcceptRequest{Invitation: r.invite(), Fingerprint: r.id.Fingerprint()}); err != nil {
		r.t.Fatal(err)
	}
	theirs, err := c.Invite(ctx, rest.InviteRequest{Address: n.Peer})
	if err != nil {
		r.t.Fatal(err)
	}
	r.pin(theirs.Invitation)
}

func (r *rogue) invite() string {
	r.t.Helper()
	text, err := r.id.Invite(r.wire.Addr(), time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *rogue) pin(invitation string) {
	r.t.Helper()
	inv, err := identity.ParseInvitation(invitation)
	if err == nil {
		err = r.peers.Add(inv, time.Now())
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rogue) key(name string) string {
	if name == r.name {
		return hex.EncodeToString(r.id.PublicKey())
	}
	p, err := r.peers.Get(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return hex.EncodeToString(p.Key)
}

// ask puts a question; a body that is no []byte goes as JSON.
func (r *rogue) ask(ctx context.Context, host, method string, msg any) (map[string]any, error) {
	r.t.Helper()
	body, raw := msg.([]byte)
	if !raw {
		var err error
		if body, err = json.Marshal(msg); err != nil {
			r.t.Fatal(err)
		}
	}
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	out, err := r.wire.Ask(ctx, host, "", method, body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, string(out))
	if err != nil {
		r.heard = append(r.heard, err.Error())
		return nil, err
	}
	var v map[string]any
	if err := json.Unmarshal(out, &v); err != nil {
		r.t.Fatalf("%s answered %q", method, out)
	}
	return v, nil
}

func (r *rogue) mustAsk(ctx context.Context, host, method string, msg any) map[string]any {
	r.t.Helper()
	v, err := r.ask(ctx, host, method, msg)
	if err != nil {
		r.t.Fatalf("%s: %v", method, err)
	}
	return v
}

func freshNonce() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// consent signs a proposal as somebody says that it is to be signed.
func (r *rogue) consent(raw []byte, party string) job.Signed {
	n := freshNonce()
	return job.Signed{Party: party, Nonce: n, Signature: hex.EncodeToString(r.id.Sign("kontor consent v2", consentMessage(raw, n)))}
}

func consentMessage(raw []byte, nonce string) []byte {
	h := sha256.Sum256(append([]byte("kontor proposal v1\x00"), raw...))
	n, _ := hex.DecodeString(nonce)
	return append(h[:], n...)
}

// affair is a job of which a rogue is the guest.
type affair struct {
	*rogue
	host     string
	spec     *flow.Spec
	proposal job.Proposal
	raw      []byte
	own      job.Signed
	consents []job.Signed
	run      session.ID
	nonces   map[string][]string // by step, of the last attempt
}

// plot writes a proposal for a job file with the rogue as its guest.
func (r *rogue) plot(host, text string, change func(*job.Proposal)) *affair {
	r.t.Helper()
	spec, err := flow.Parse("job", []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	id := make([]byte, 16)
	rand.Read(id)
	a := &affair{rogue: r, host: host, spec: spec, nonces: map[string][]string{}}
	a.proposal = job.Proposal{Format: 1, Job: hex.EncodeToString(id), Initiator: r.name, Spec: text, Needs: spec.Capabilities(), Submitted: time.Now().UTC()}
	for _, p := range spec.Parties {
		a.proposal.Parties = append(a.proposal.Parties, job.ProposedParty{Name: p.Name, Role: p.Role, Key: r.key(p.Name)})
	}
	if change != nil {
		change(&a.proposal)
	}
	if a.raw, err = json.Marshal(a.proposal); err != nil {
		r.t.Fatal(err)
	}
	a.own = r.consent(a.raw, r.name)
	return a
}

func (a *affair) proposeMsg() map[string]any {
	return map[string]any{"proposal": a.raw, "consent": a.own}
}

// propose sends the proposal and keeps the host's consent, if it gave one.
func (a *affair) propose(ctx context.Context) map[string]any {
	a.t.Helper()
	s := a.mustAsk(ctx, a.host, "job/propose", a.proposeMsg())
	a.consents = []job.Signed{a.own}
	if c, ok := s["consent"].(map[string]any); ok {
		a.consents = append(a.consents, job.Signed{Party: c["party"].(string), Nonce: c["nonce"].(string), Signature: c["signature"].(string)})
	}
	return s
}

func (a *affair) consentsMsg(consents ...job.Signed) map[string]any {
	return map[string]any{"job": a.proposal.Job, "consents": consents}
}

// agree brings a two-party job to where its steps can begin.
func (a *affair) agree(ctx context.Context) {
	a.t.Helper()
	s := a.propose(ctx)
	run, err := job.VerifyConsents(a.raw, a.consents)
	if err != nil {
		a.t.Fatalf("%v: %v", s, err)
	}
	a.run = run
	if s := a.mustAsk(ctx, a.host, "job/consents", a.consentsMsg(a.consents...)); s["state"] != "running" {
		a.t.Fatalf("after all consents: %v", s)
	}
}

func (a *affair) beginMsg(step string, attempt int, inputs map[string]string) map[string]any {
	if inputs == nil {
		inputs = map[string]string{}
	}
	return map[string]any{"job": a.proposal.Job, "step": step, "attempt": attempt, "inputs": inputs}
}

func (a *affair) begin(ctx context.Context, step string, attempt int) {
	a.t.Helper()
	b := a.mustAsk(ctx, a.host, "job/begin", a.beginMsg(step, attempt, nil))
	a.nonces[step] = []string{freshNonce(), b["nonce"].(string)}
}

func (a *affair) startMsg(step string, attempt int, nonces []string) map[string]any {
	return map[string]any{"job": a.proposal.Job, "step": step, "attempt": attempt, "nonces": nonces}
}

// session is the identifier of an attempt: PROTOCOL.md, steps and attempts.
func (a *affair) session(step string, attempt int) session.ID {
	return a.run.Derive(fmt.Sprintf("attempt\x00%s\x00%d\x00%s", step, attempt, strings.Join(a.nonces[step], "\x00")))
}

func (a *affair) artifact(step string, attempt int) string {
	id := a.session(step, attempt)
	return hex.EncodeToString(id[:])
}

// perform runs a ping step with the host and returns once the host is prepared.
func (a *affair) perform(ctx context.Context, step string, attempt int) {
	a.t.Helper()
	a.mustAsk(ctx, a.host, "job/start", a.startMsg(step, attempt, a.nonces[step]))
	id := a.session(step, attempt)
	c, err := a.wire.Dial(ctx, a.host, "", id, step)
	if err != nil {
		a.t.Fatal(err)
	}
	s, err := session.New(session.Config{ID: id, Step: step, Self: a.name, Parties: a.spec.SessionParties(), Conns: map[string]session.Conn{a.host: c}})
	if err == nil {
		err = ping.Guest(ctx, s, rand.Reader)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	c.Close()
	a.await(ctx, step, "prepared")
}

// await asks, as start may be repeated, until a step is in a state at the host.
func (a *affair) await(ctx context.Context, step, state string) {
	a.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	watch := map[string]any{"epoch": "", "cursor": 0, "jobs": []string{a.proposal.Job}}
	for time.Now().Before(deadline) {
		news := a.mustAsk(ctx, a.host, "job/watch", watch)
		for _, s := range asList(news["jobs"]) {
			if st, _ := dig(s, "steps", step).(map[string]any); st["state"] == state {
				return
			}
		}
		watch = map[string]any{"epoch": news["epoch"], "cursor": news["cursor"]}
	}
	a.t.Fatalf("step %s never was %s", step, state)
}

func (a *affair) commitMsg(step string, attempt int, artifact string) map[string]any {
	return map[string]any{"job": a.proposal.Job, "step": step, "attempt": attempt, "artifact": artifact}
}

// manifest is the true account of a job whose steps are all committed.
func (a *affair) manifest(ctx context.Context) *job.Manifest {
	a.t.Helper()
	part := a.mustAsk(ctx, a.host, "job/finish", map[string]any{"job": a.proposal.Job})
	proposal := sha256.Sum256(append([]byte("kontor proposal v1\x00"), a.raw...))
	m := &job.Manifest{Format: 1, Job: a.proposal.Job, Name: a.spec.Job, Run: hex.EncodeToString(a.run[:]), Proposal: hex.EncodeToString(proposal[:]), Purpose: a.spec.Purpose,
		Submitted: a.proposal.Submitted, Finished: time.Now().UTC(), Learned: job.Learned(a.spec), Discloses: a.spec.Disclosures()}
	for _, p := range a.proposal.Parties {
		key, _ := hex.DecodeString(p.Key)
		mp := job.ManifestParty{Name: p.Name, Role: p.Role, Fingerprint: identity.Fingerprint(key), Consent: job.ByOwner, Software: "0.1.0-rogue"}
		if p.Name == a.host {
			mp.Consent, mp.Software = job.ByStanding, part["software"].(string)
			into(a.t, part["data"], &mp.Data)
		}
		m.Parties = append(m.Parties, mp)
	}
	for _, s := range a.spec.Steps {
		ms := job.ManifestStep{Name: s.Name, Kind: s.Kind, Artifact: a.artifact(s.Name, 1), Attempts: 1, Sent: map[string]int64{}, Security: map[string][]string{}}
		if n, ok := dig(part, "sent", s.Name).(float64); ok {
			ms.Sent[a.host] = int64(n)
		}
		var sec []string
		if into(a.t, dig(part, "security", s.Name), &sec); sec != nil {
			ms.Security[a.host] = sec
		}
		m.Steps = append(m.Steps, ms)
	}
	return m
}

func (a *affair) manifestMsg(m *job.Manifest) (map[string]any, []byte) {
	raw, err := json.Marshal(m)
	if err != nil {
		a.t.Fatal(err)
	}
	return map[string]any{"job": a.proposal.Job, "manifest": raw}, raw
}

func (r *rogue) signManifest(raw []byte) string {
	h := sha256.Sum256(raw)
	return hex.EncodeToString(r.id.Sign("kontor result v1", h[:]))
}

// closeMsg ends a job in order.
func (a *affair) closeMsg(ctx context.Context, raw []byte, signed map[string]any) map[string]any {
	a.t.Helper()
	own, err := a.log.Head(ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	var theirs audit.Head
	into(a.t, signed["head"], &theirs)
	p, err := a.peers.Get(a.host)
	if err != nil {
		a.t.Fatal(err)
	}
	receipt, err := a.log.Countersign(a.host, p.Key, theirs)
	if err != nil {
		a.t.Fatal(err)
	}
	return map[string]any{"job": a.proposal.Job, "signatures": map[string]string{a.name: a.signManifest(raw), a.host: signed["signature"].(string)},
		"heads": map[string]any{a.name: own, a.host: theirs}, "receipt": receipt}
}

// into decodes what JSON made of a value into another.
func into(t *testing.T, from, to any) {
	t.Helper()
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func asList(v any) []any { l, _ := v.([]any); return l }

// dig returns a value within nested objects, nil if there is none.
func dig(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// manifestLies are what a guest may claim of a job against better knowledge.
func manifestLies() map[string]func(*job.Manifest) {
	zero := strings.Repeat("0", 64)
	return map[string]func(*job.Manifest){
		"another job":                  func(m *job.Manifest) { m.Job = zero[:32] },
		"another run":                  func(m *job.Manifest) { m.Run = zero },
		"another proposal":             func(m *job.Manifest) { m.Proposal = zero },
		"another purpose":              func(m *job.Manifest) { m.Purpose = "marketing" },
		"another artifact":             func(m *job.Manifest) { m.Steps[1].Artifact = zero },
		"a step is missing":            func(m *job.Manifest) { m.Steps = m.Steps[:1] },
		"reused":                       func(m *job.Manifest) { m.Steps[0].Reused = true },
		"what the host learned":        func(m *job.Manifest) { m.Learned["telecom"] = m.Learned["telecom"][:1] },
		"what the host sent":           func(m *job.Manifest) { m.Steps[0].Sent["telecom"]++ },
		"that the host sent nothing":   func(m *job.Manifest) { delete(m.Steps[0].Sent, "telecom") },
		"the host's level of security": func(m *job.Manifest) { m.Steps[0].Security["telecom"] = []string{"none"} },
		"the host's software":          func(m *job.Manifest) { m.Parties[1].Software = "9" },
		"that a person agreed":         func(m *job.Manifest) { m.Parties[1].Consent = job.ByPerson },
		"the host's data": func(m *job.Manifest) {
			m.Parties[1].Data = job.DataUse{Name: "subscribers", Fingerprint: hex.EncodeToString(make([]byte, 32))}
		},
		"another key of the guest":       func(m *job.Manifest) { m.Parties[0].Fingerprint = m.Parties[1].Fingerprint },
		"that nothing is disclosed":      func(m *job.Manifest) { m.Discloses = nil },
		"a party that was not there":     func(m *job.Manifest) { m.Parties = append(m.Parties, m.Parties[0]) },
		"a format that nobody can check": func(m *job.Manifest) { m.Format = 9 },
	}
}
