package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kontor/api/rest"
	"kontor/flow/job"
	"kontor/internal/fault"
	"kontor/transport"
)

const rogueJob = `job: tricks
purpose: trust
parties:
  bank: {role: guest}
  telecom: {role: host}
steps:
  - ping: {as: one}
  - ping: {as: two}
`

const roguePolicy = `version: 1
without_data:
  - name: pings
    peers: [bank, shop]
    with: [bank, shop, insurer]
    purposes: [trust]
    components: [ping]
    approve: standing
  - name: looked-at
    peers: [bank]
    purposes: [slow]
    components: [ping]
    approve: person
datasets:
  subscribers:
    rules:
      - name: joins
        peers: [bank]
        purposes: [trust]
        columns: {id: [join], "*": [feature]}
        components: [align, split]
        reveal: [size, membership, partition]
        approve: standing
`

const dataJob = `job: tables
purpose: PURPOSE
parties:
  bank: {role: guest, data: mine, id: id, label: y}
  telecom: {role: host, data: subscribers, id: id}
steps:
  - align:
  - split:
`

// methods of the protocol, and some that are not of it.
var methods = []string{"job/propose", "job/consents", "job/begin", "job/start", "job/commit", "job/finish", "job/manifest", "job/close", "job/end", "job/watch", "data/list", "job/delete", "", "../../etc"}

// victim is an honest host with two rogues for guests.
type victim struct {
	*Node
	bank, shop, insurer *rogue
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	ctx := t.Context()
	v := &victim{Node: NewNet(t, "telecom").Node("telecom")}
	v.Start()
	v.Policy(roguePolicy)
	v.AddData("subscribers", column(200, "u"))
	v.bank, v.shop, v.insurer = newRogue(t, "bank", nil), newRogue(t, "shop", nil), newRogue(t, "insurer", nil)
	for _, r := range []*rogue{v.bank, v.shop, v.insurer} {
		r.meet(ctx, v.Node)
	}
	v.bank.pin(v.insurer.invite())
	return v
}

// column is a table with one column of numbers.
func column(rows int, name string) string {
	s := "id," + name + "\n"
	for i := range rows {
		s += fmt.Sprintf("%s,%d\n", rowID(i), i*i%97)
	}
	return s
}

// TestHostileGuest: an accepted peer that leads jobs says everything but what it
// should. The host refuses each, runs nothing that not everybody consented to,
// tells nothing of its data, and goes on.
func TestHostileGuest(t *testing.T) {
	ctx := t.Context()
	v := newVictim(t)
	// In this order: each leaves the node as it was for the next.
	t.Run("garbage", func(t *testing.T) { garbage(t, v) })
	t.Run("proposals", func(t *testing.T) { falseProposals(t, v) })
	t.Run("consents", func(t *testing.T) { falseConsents(t, v) })
	if n := v.actions(); n["step.started"] != 0 || n["job.consented"] != 0 {
		t.Errorf("something ran without the consent of everybody: %v", n)
	}
	t.Run("steps", func(t *testing.T) { falseSteps(t, v) })
	t.Run("strangers", func(t *testing.T) { stranger(t, v) })
	t.Run("a whole job", func(t *testing.T) { replaysAndLies(t, v) })

	n := v.actions()
	if n["step.started"] != 3 || n["job.done"] != 1 { // one, and two of the whole job
		t.Errorf("the node's account says %v", n)
	}
	for _, r := range []*rogue{v.bank, v.shop} {
		for _, h := range r.heard {
			for _, secret := range []string{"cust-", ".csv", v.Home, "admin"} {
				if strings.Contains(h, secret) {
					t.Errorf("%s was told %q: %.300s", r.name, secret, h)
				}
			}
		}
	}
	report, err := v.Client(rest.Admin).VerifyAudit(ctx)
	if err != nil || !report.OK {
		t.Errorf("the account does not hold: %+v, %v", report, err)
	}
	for _, says := range []string{"a peer's request failed", `"method":"job/begin"`, `"peer":"bank"`} {
		if !bytes.Contains(v.Log(), []byte(says)) {
			t.Errorf("the node's log does not say %q", says)
		}
	}
}

// refused fails unless the host answers with an error that is not a defect of its own.
func refused(t *testing.T, r *rogue, method string, msg any, kinds ...fault.Kind) {
	t.Helper()
	got, err := r.ask(t.Context(), "telecom", method, msg)
	var remote *transport.Remote
	switch {
	case err == nil:
		t.Errorf("%s was answered with %v", method, got)
	case !errors.As(err, &remote):
		t.Errorf("%s: no answer but %v", method, err)
	case remote.Kind == fault.Internal || len(kinds) > 0 && !slices.Contains(kinds, remote.Kind):
		t.Errorf("%s: refused as %v (%v), want %v", method, remote.Kind, err, kinds)
	}
}

func garbage(t *testing.T, v *victim) {
	noise := rand.NewChaCha8([32]byte{7})
	big := make([]byte, transport.MaxAsk)
	noise.Read(big)
	deep := bytes.Repeat([]byte("["), transport.MaxAsk)
	long := []byte(`{"job": "` + strings.Repeat("a", transport.MaxAsk-100) + `"}`)
	for _, method := range methods {
		for _, size := range []int{0, 1, 100, 5000} {
			b := make([]byte, size)
			noise.Read(b)
			if method != "data/list" { // it takes no body and so does not look at it
				refused(t, v.bank, method, b)
			}
		}
		if method == "data/list" || method == "job/watch" {
			continue
		}
		for _, b := range []string{"null", "{}", "[]", "1", `""`, `{"job":null}`, `{"job":"","x":1}`, `{"job":"` + strings.Repeat("0", 32) + `"}`, `{} {}`} {
			refused(t, v.bank, method, []byte(b))
		}
	}
	for _, b := range [][]byte{big, deep, long} {
		refused(t, v.bank, "job/propose", b)
		refused(t, v.bank, "job/consents", b)
	}
	if _, err := v.bank.wire.Ask(t.Context(), "telecom", "", "job/propose", append(big, 0)); err == nil {
		t.Error("a question over the bound was taken")
	}
}

func falseProposals(t *testing.T, v *victim) {
	ctx := t.Context()
	before := len(v.jobs(t))
	three := strings.Replace(rogueJob, "steps:", "  insurer: {role: host}\nsteps:", 1)
	other := func(key string) func(*job.Proposal) {
		return func(p *job.Proposal) { p.Parties[1].Key = key }
	}
	plots := map[string]struct {
		spec   string
		change func(*job.Proposal)
	}{
		"another key of the host":   {rogueJob, other(v.bank.key("bank"))},
		"another key of a third":    {three, func(p *job.Proposal) { p.Parties[2].Key = v.bank.key("bank") }},
		"another initiator":         {rogueJob, func(p *job.Proposal) { p.Initiator = "shop" }},
		"a role that is another":    {rogueJob, func(p *job.Proposal) { p.Parties[1].Role = "guest" }},
		"no identifier":             {rogueJob, func(p *job.Proposal) { p.Job = "../../x" }},
		"a format of the future":    {rogueJob, func(p *job.Proposal) { p.Format = 2 }},
		"a specification of noise":  {rogueJob, func(p *job.Proposal) { p.Spec = "\x00\x01" }},
		"a very long specification": {rogueJob, func(p *job.Proposal) { p.Spec += strings.Repeat("#", 1<<20) }},
		"a very long note":          {rogueJob, func(p *job.Proposal) { p.Note = strings.Repeat("n", 1<<16) }},
		"needs without end":         {rogueJob, func(p *job.Proposal) { p.Needs = slices.Repeat([]string{"ping/1"}, 1<<17) }},
		"unknown needs":             {rogueJob, func(p *job.Proposal) { p.Needs = []string{"rows/1"} }},
	}
	for name, c := range plots {
		t.Run(name, func(t *testing.T) {
			refused(t, v.bank, "job/propose", v.bank.plot("telecom", c.spec, c.change).proposeMsg())
		})
	}
	a := v.bank.plot("telecom", rogueJob, nil)
	for name, msg := range map[string]map[string]any{
		"another specification under the signature": {"proposal": bytes.Replace(a.raw, []byte("as: two"), []byte("as: six"), 1), "consent": a.own},
		"the signature of another key":              {"proposal": a.raw, "consent": v.shop.consent(a.raw, "bank")},
		"the consent of the host itself":            {"proposal": a.raw, "consent": v.bank.consent(a.raw, "telecom")},
		"no consent":                                {"proposal": a.raw},
		"half of it":                                {"proposal": a.raw[:len(a.raw)/2], "consent": a.own},
		"more than it":                              {"proposal": append(slices.Clone(a.raw), '1'), "consent": a.own},
	} {
		t.Run(name, func(t *testing.T) { refused(t, v.bank, "job/propose", msg) })
	}
	// Somebody who is a peer too, but not the guest.
	refused(t, v.shop, "job/propose", a.proposeMsg(), fault.Consent)
	if after := len(v.jobs(t)); after != before {
		t.Errorf("%d proposals were kept that are none", after-before)
	}

	denied := v.bank.plot("telecom", strings.Replace(dataJob, "PURPOSE", "curiosity", 1), nil).propose(ctx)
	if denied["state"] != "rejected" || dig(denied, "ruling", "verdict") != "denied" || denied["consent"] != nil {
		t.Errorf("a job for no purpose of the policy: %v", denied)
	}
	// An identifier that is taken, with another specification.
	again := v.bank.plot("telecom", strings.Replace(rogueJob, "two", "six", 1), func(p *job.Proposal) { p.Job = denied["job"].(string) })
	refused(t, v.bank, "job/propose", again.proposeMsg(), fault.Consent)
}

func falseConsents(t *testing.T, v *victim) {
	ctx := t.Context()
	waiting := v.bank.plot("telecom", strings.Replace(rogueJob, "trust", "slow", 1), nil)
	if s := waiting.propose(ctx); s["state"] != "waiting" || len(waiting.consents) != 1 {
		t.Fatalf("a job that a person has to look at: %v", s)
	}
	forged := v.bank.consent(waiting.raw, "telecom")
	refused(t, v.bank, "job/consents", waiting.consentsMsg(waiting.own, forged), fault.Consent)
	refused(t, v.bank, "job/begin", waiting.beginMsg("one", 1, nil), fault.Consent)

	three := v.bank.plot("telecom", strings.Replace(rogueJob, "steps:", "  insurer: {role: host}\nsteps:", 1), nil)
	three.propose(ctx)
	other := v.bank.plot("telecom", rogueJob, nil)
	other.propose(ctx)
	if len(three.consents) != 2 || len(other.consents) != 2 {
		t.Fatal("the host has not consented to what its policy allows")
	}
	own, theirs := three.consents[0], three.consents[1]
	changed := theirs
	changed.Nonce = freshNonce()
	for name, list := range map[string][]job.Signed{
		"none":                          {},
		"a third party's is missing":    {own, theirs},
		"a third party's is forged":     {own, theirs, v.bank.consent(three.raw, "insurer")},
		"a third party's is empty":      {own, theirs, {Party: "insurer"}},
		"a third party's of another":    {own, theirs, v.insurer.consent(other.raw, "insurer")},
		"two of one party":              {own, theirs, theirs},
		"not in order":                  {theirs, own, v.insurer.consent(three.raw, "insurer")},
		"the host's with another nonce": {own, changed, v.insurer.consent(three.raw, "insurer")},
		"the host's of another job":     {own, other.consents[1], v.insurer.consent(three.raw, "insurer")},
		"one too many":                  {own, theirs, v.insurer.consent(three.raw, "insurer"), own},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, v.bank, "job/consents", three.consentsMsg(list...), fault.Consent)
		})
	}
	for _, a := range []*affair{three, other} {
		refused(t, v.bank, "job/begin", a.beginMsg("one", 1, nil), fault.Consent)
		refused(t, v.bank, "job/start", a.startMsg("one", 1, []string{freshNonce(), freshNonce()}), fault.Consent)
		refused(t, v.bank, "job/commit", a.commitMsg("one", 1, freshNonce()), fault.Consent)
		refused(t, v.bank, "job/finish", map[string]any{"job": a.proposal.Job}, fault.Consent)
	}
}

func falseSteps(t *testing.T, v *victim) {
	ctx := t.Context()
	a := v.bank.plot("telecom", rogueJob, nil)
	a.agree(ctx)
	for name, msg := range map[string]map[string]any{
		"no such step":      a.beginMsg("three", 1, nil),
		"attempt 0":         a.beginMsg("one", 0, nil),
		"attempt -1":        a.beginMsg("one", -1, nil),
		"a path for a step": a.beginMsg("../one", 1, nil),
	} {
		t.Run(name, func(t *testing.T) { refused(t, v.bank, "job/begin", msg) })
	}
	if s := a.mustAsk(ctx, "telecom", "job/start", a.startMsg("one", 1, []string{freshNonce(), freshNonce()})); dig(s, "steps", "one") != nil {
		t.Errorf("a step that was never begun: %v", s)
	}
	a.begin(ctx, "one", 1)
	mine, theirs := a.nonces["one"][0], a.nonces["one"][1]
	for name, nonces := range map[string][]string{
		"another nonce of the host": {mine, freshNonce()},
		"in another order":          {theirs, mine},
		"too few":                   {theirs},
		"too many":                  {mine, theirs, mine},
		"none":                      nil,
		"no nonce":                  {"", theirs},
		"a long one":                {strings.Repeat("00", 1000), theirs},
	} {
		t.Run(name, func(t *testing.T) { refused(t, v.bank, "job/start", a.startMsg("one", 1, nonces)) })
	}
	for name, msg := range map[string]map[string]any{
		"never prepared":           a.commitMsg("one", 1, a.artifact("one", 1)),
		"reused but not held":      {"job": a.proposal.Job, "step": "one", "attempt": 1, "artifact": freshNonce(), "reused": true},
		"reused, with no artifact": {"job": a.proposal.Job, "step": "one", "attempt": 1, "artifact": "", "reused": true},
		"never begun":              a.commitMsg("two", 1, freshNonce()),
		"never begun, no artifact": a.commitMsg("two", 0, ""),
		"no such step":             a.commitMsg("three", 1, freshNonce()),
	} {
		t.Run(name, func(t *testing.T) { refused(t, v.bank, "job/commit", msg) })
	}
	refused(t, v.bank, "job/finish", map[string]any{"job": a.proposal.Job}, fault.Consent)
	refused(t, v.bank, "job/manifest", map[string]any{"job": a.proposal.Job, "manifest": []byte("{}")}, fault.Consent)
	refused(t, v.bank, "job/close", map[string]any{"job": a.proposal.Job}, fault.Consent)
	refused(t, v.bank, "job/end", map[string]any{"job": a.proposal.Job, "state": "done"})
	refused(t, v.bank, "job/end", map[string]any{"job": a.proposal.Job, "state": "running"})

	// A session with noise in it: the attempt ends, the node does not.
	a.mustAsk(ctx, "telecom", "job/start", a.startMsg("one", 1, a.nonces["one"]))
	c, err := v.bank.wire.Dial(ctx, "telecom", "", a.session("one", 1), "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, bytes.Repeat([]byte{0xff}, 1<<16)); err != nil {
		t.Fatal(err)
	}
	a.await(ctx, "one", "failed")
	c.Abort(fault.New(fault.Cancelled, "enough", ""))

	b := v.bank.plot("telecom", strings.Replace(dataJob, "PURPOSE", "trust", 1), nil)
	b.agree(ctx)
	refused(t, v.bank, "job/begin", b.beginMsg("split", 1, nil), fault.Consent)
	refused(t, v.bank, "job/begin", b.beginMsg("split", 1, map[string]string{"align": freshNonce()}), fault.Consent)
}

// stranger: a peer asks about a job of another guest.
func stranger(t *testing.T, v *victim) {
	ctx := t.Context()
	a := v.bank.plot("telecom", rogueJob, nil)
	a.agree(ctx)
	a.begin(ctx, "one", 1)
	for method, msg := range map[string]map[string]any{
		"job/propose":  a.proposeMsg(),
		"job/consents": a.consentsMsg(a.consents...),
		"job/begin":    a.beginMsg("two", 1, nil),
		"job/start":    a.startMsg("one", 1, a.nonces["one"]),
		"job/commit":   a.commitMsg("one", 1, a.artifact("one", 1)),
		"job/finish":   {"job": a.proposal.Job},
		"job/manifest": {"job": a.proposal.Job, "manifest": []byte("{}")},
		"job/close":    {"job": a.proposal.Job},
		"job/end":      {"job": a.proposal.Job, "state": "cancelled"},
	} {
		t.Run(method, func(t *testing.T) { refused(t, v.shop, method, msg, fault.Consent) })
	}
	news, err := v.shop.ask(ctx, "telecom", "job/watch", map[string]any{"epoch": "", "cursor": 0, "jobs": []string{a.proposal.Job}})
	if err != nil || len(asList(news["jobs"])) != 0 {
		t.Errorf("a stranger hears %v, %v", news, err)
	}
	if got := v.job(t, a.proposal.Job); got.State.Final() {
		t.Errorf("a stranger ended the job: %v", got.State)
	}
	a.mustAsk(ctx, "telecom", "job/end", map[string]any{"job": a.proposal.Job, "state": "cancelled"})
}

// replaysAndLies leads one job to its end, and says again and otherwise what
// was said on the way.
func replaysAndLies(t *testing.T, v *victim) {
	ctx := t.Context()
	a := v.bank.plot("telecom", rogueJob, nil)
	a.agree(ctx)
	for _, step := range []string{"one", "two"} {
		a.begin(ctx, step, 1)
		a.perform(ctx, step, 1)
		refused(t, v.bank, "job/commit", a.commitMsg(step, 1, freshNonce()), fault.Consent)
		refused(t, v.bank, "job/commit", a.commitMsg(step, 2, a.artifact(step, 1)), fault.Consent)
		refused(t, v.bank, "job/finish", map[string]any{"job": a.proposal.Job}, fault.Consent)
		refused(t, v.bank, "job/begin", a.beginMsg(step, 1, nil), fault.Consent)
		a.mustAsk(ctx, "telecom", "job/commit", a.commitMsg(step, 1, a.artifact(step, 1)))
	}
	// Everything again: it changes nothing.
	for method, msg := range map[string]map[string]any{
		"job/propose":  a.proposeMsg(),
		"job/consents": a.consentsMsg(a.consents...),
		"job/start":    a.startMsg("one", 1, a.nonces["one"]),
		"job/commit":   a.commitMsg("one", 1, a.artifact("one", 1)),
	} {
		if s := a.mustAsk(ctx, "telecom", method, msg); s["state"] != "running" || dig(s, "steps", "one", "state") != "done" {
			t.Errorf("%s again: %v", method, s)
		}
	}
	refused(t, v.bank, "job/begin", a.beginMsg("one", 1, nil), fault.Consent)
	refused(t, v.bank, "job/begin", a.beginMsg("one", 2, nil), fault.Consent)
	refused(t, v.bank, "job/commit", a.commitMsg("one", 1, a.artifact("two", 1)), fault.Consent)
	if _, err := v.bank.wire.Dial(ctx, "telecom", "", a.session("one", 1), "one"); err == nil {
		t.Error("a session could be opened again")
	}

	for name, lie := range manifestLies() {
		t.Run(name, func(t *testing.T) {
			m := a.manifest(ctx)
			lie(m)
			msg, _ := a.manifestMsg(m)
			refused(t, v.bank, "job/manifest", msg, fault.Consent)
		})
	}
	msg, raw := a.manifestMsg(a.manifest(ctx))
	refused(t, v.bank, "job/manifest", map[string]any{"job": a.proposal.Job, "manifest": append(slices.Clone(raw), "{}"...)}, fault.Consent)
	signed := a.mustAsk(ctx, "telecom", "job/manifest", msg)
	end := a.closeMsg(ctx, raw, signed)
	for name, sigs := range map[string]map[string]string{
		"no signature": {}, "the host's alone": {"telecom": signed["signature"].(string)},
		"forged": {"bank": v.shop.signManifest(raw), "telecom": signed["signature"].(string)},
	} {
		t.Run(name, func(t *testing.T) {
			bad := maps.Clone(end)
			bad["signatures"] = sigs
			refused(t, v.bank, "job/close", bad, fault.Consent)
		})
	}
	if s := a.mustAsk(ctx, "telecom", "job/close", end); dig(s, "status", "state") != "done" {
		t.Fatalf("the true account was not taken: %v", s)
	}
	m := a.manifest(ctx)
	m.Steps[0].Seconds = 1e9
	msg, _ = a.manifestMsg(m)
	refused(t, v.bank, "job/manifest", msg, fault.Consent)
	a.mustAsk(ctx, "telecom", "job/end", map[string]any{"job": a.proposal.Job, "state": "cancelled"})
	if got := v.job(t, a.proposal.Job); got.State != rest.Done {
		t.Errorf("a job that was done is %v", got.State)
	}
}

func (v *victim) jobs(t *testing.T) []rest.Job {
	t.Helper()
	list, err := v.Client(rest.Admin).Jobs(t.Context(), rest.JobFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Jobs
}

func (v *victim) job(t *testing.T, id string) *rest.Job {
	t.Helper()
	j, err := v.Client(rest.Admin).Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
