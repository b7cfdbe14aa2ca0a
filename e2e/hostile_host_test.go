package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/api/rest"
	"kontor/fed/ping"
	"kontor/flow/job"
	"kontor/internal/fault"
	"kontor/session"
)

// rogueHost is a rogue that takes part in jobs of others as it should, but for
// the methods that a test takes over.
type rogueHost struct {
	*rogue

	mu      sync.Mutex
	changed chan struct{}
	instead map[string]answerFunc
	tamper  func(id session.ID, c session.Conn) error // instead of the step's protocol
	raw     []byte                                    // proposal
	status  map[string]any
	steps   map[string]any
	run     session.ID
	version int64
	watches int
}

func newRogueHost(t *testing.T, n *Node) *rogueHost {
	t.Helper()
	h := &rogueHost{changed: make(chan struct{})}
	h.rogue = newRogue(t, "telecom", h.answer)
	h.meet(t.Context(), n)
	return h
}

// begin makes the host honest again, for a new job, but for the answers to one
// method; an empty method is none.
func (h *rogueHost) begin(method string, instead answerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.instead, h.tamper, h.steps, h.status, h.watches = map[string]answerFunc{method: instead}, nil, map[string]any{}, nil, 0
}

func (h *rogueHost) answer(ctx context.Context, peer, method string, body []byte) ([]byte, error) {
	h.mu.Lock()
	f := h.instead[method]
	if method == "job/watch" {
		h.watches++
	}
	h.mu.Unlock()
	if f != nil {
		return f(ctx, peer, method, body)
	}
	var msg map[string]any
	if err := json.Unmarshal(body, &msg); err != nil {
		return nil, err
	}
	switch method {
	case "job/watch":
		return h.news(ctx, msg)
	case "job/begin":
		return json.Marshal(map[string]any{"nonce": freshNonce()})
	case "job/finish":
		return []byte(`{"security":{},"sent":{},"software":"0.1.0-rogue","data":{}}`), nil
	case "job/manifest":
		return h.signs(ctx, body, h.signManifest)
	case "job/close":
		return h.closed(ctx, body)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch method {
	case "job/propose":
		var p struct{ Proposal []byte }
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		var prop job.Proposal
		if err := json.Unmarshal(p.Proposal, &prop); err != nil {
			return nil, err
		}
		h.raw = p.Proposal
		h.say(prop.Job, "approved")
		h.status["consent"] = h.consent(h.raw, h.name)
	case "job/consents":
		var all struct{ Consents []job.Signed }
		if err := json.Unmarshal(body, &all); err != nil {
			return nil, err
		}
		var err error
		if h.run, err = job.VerifyConsents(h.raw, all.Consents); err != nil {
			return nil, err
		}
		h.say("", "running")
	case "job/start":
		h.started(peer, msg)
	case "job/commit":
		h.step(msg["step"].(string), map[string]any{"state": "done", "attempt": msg["attempt"]})
	case "job/end":
		h.say("", msg["state"].(string))
	}
	return json.Marshal(h.status)
}

// say changes what the host's status is; h.mu is held.
func (h *rogueHost) say(id, state string) {
	h.version++
	if id != "" {
		h.status = map[string]any{"job": id, "ruling": map[string]any{"verdict": "standing"}}
	}
	next := map[string]any{}
	for k, v := range h.status {
		next[k] = v
	}
	next["version"], next["state"], next["steps"] = h.version, state, h.steps
	h.status = next
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *rogueHost) step(name string, status map[string]any) {
	steps := map[string]any{}
	for k, v := range h.steps {
		steps[k] = v
	}
	steps[name] = status
	h.steps = steps
	h.say("", h.status["state"].(string))
}

// started runs the step as a host; h.mu is held.
func (h *rogueHost) started(guest string, msg map[string]any) {
	name, attempt := msg["step"].(string), msg["attempt"]
	var nonces []string
	into(h.t, msg["nonces"], &nonces)
	id := h.run.Derive(fmt.Sprintf("attempt\x00%s\x00%v\x00%s", name, attempt, strings.Join(nonces, "\x00")))
	h.step(name, map[string]any{"state": "running", "attempt": attempt})
	tamper := h.tamper
	parties := []session.Party{{Name: guest, Role: session.Guest}, {Name: h.name, Role: session.Host}}
	go func() {
		ctx, stop := within(20 * time.Second)
		defer stop()
		c, err := h.wire.Accept(ctx, guest, id)
		if err != nil {
			return
		}
		defer c.Close()
		if tamper != nil {
			tamper(id, c)
			<-c.Done()
			return
		}
		s, err := session.New(session.Config{ID: id, Step: name, Self: h.name, Parties: parties, Conns: map[string]session.Conn{guest: c}})
		if err == nil {
			err = ping.Host(ctx, s, rand.Reader)
		}
		if err != nil {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.step(name, map[string]any{"state": "prepared", "attempt": attempt})
	}()
}

func (h *rogueHost) news(ctx context.Context, msg map[string]any) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for cursor, _ := msg["cursor"].(float64); int64(cursor) == h.version && ctx.Err() == nil; {
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		h.mu.Lock()
	}
	out := map[string]any{"epoch": "e", "cursor": h.version}
	if h.status != nil {
		out["jobs"] = []any{h.status}
	}
	return json.Marshal(out)
}

func (h *rogueHost) signs(ctx context.Context, body []byte, sign func([]byte) string) ([]byte, error) {
	var m struct{ Manifest []byte }
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	head, err := h.log.Head(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"signature": sign(m.Manifest), "head": head})
}

func (h *rogueHost) closed(ctx context.Context, body []byte) ([]byte, error) {
	var m struct{ Heads map[string]job.Head }
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	p, err := h.peers.Get("bank")
	if err != nil {
		return nil, err
	}
	receipt, err := h.rogue.log.Countersign("bank", p.Key, m.Heads["bank"])
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.say("", "done")
	return json.Marshal(map[string]any{"status": h.status, "receipt": receipt})
}

func says(text string) answerFunc {
	return func(context.Context, string, string, []byte) ([]byte, error) { return []byte(text), nil }
}

// TestHostileHost: an accepted peer that takes part in jobs answers everything
// but what it should. The guest ends the job with an error that names it, and
// goes on; neither its table nor its disk is given away.
func TestHostileHost(t *testing.T) {
	ctx := t.Context()
	bank := NewNet(t, "bank").Node("bank")
	bank.Start()
	h := newRogueHost(t, bank)
	forged := strings.Repeat("00", 64)
	ill := "\x1b[31m" + strings.Repeat("x", 5000) + "\u2028\n"
	for _, c := range []struct {
		name   string
		method string // that the host answers otherwise
		answer answerFunc
		tamper func(session.ID, session.Conn) error

		state rest.State
		kind  fault.Kind
	}{
		{name: "nothing", state: rest.Done},
		{name: "noise for a status", method: "job/propose", answer: says("\x00\xff{"), state: rest.Failed, kind: fault.Protocol},
		{name: "a status with more in it", method: "job/propose", answer: says(`{"rows":[1]}`), state: rest.Failed, kind: fault.Protocol},
		{name: "as much as fits", method: "job/propose", answer: says(`{"job":"` + strings.Repeat("a", 4<<20-20) + `"}`), state: rest.Failed, kind: fault.Protocol},
		{name: "more than fits", method: "job/propose", answer: says(strings.Repeat(" ", 4<<20+1)), state: rest.Failed, kind: fault.Internal},
		{name: "a consent under another key", method: "job/propose", answer: h.consents(func(raw []byte) job.Signed {
			return job.Signed{Party: "telecom", Nonce: freshNonce(), Signature: forged}
		}), state: rest.Failed, kind: fault.Consent},
		{name: "a consent of somebody else", method: "job/propose", answer: h.consents(func(raw []byte) job.Signed { return h.consent(raw, "bank") }), state: rest.Failed, kind: fault.Protocol},
		{name: "a consent to something else", method: "job/propose", answer: h.consents(func(raw []byte) job.Signed { return h.consent(append(raw, ' '), "telecom") }), state: rest.Failed, kind: fault.Consent},
		{name: "no nonce", method: "job/begin", answer: says(`{"nonce":"00"}`), state: rest.Failed, kind: fault.Protocol},
		{name: "noise for a nonce", method: "job/begin", answer: says(`[]`), state: rest.Failed, kind: fault.Protocol},
		{name: "noise in the session", tamper: func(_ session.ID, c session.Conn) error { return c.Send(ctx, make([]byte, 100)) }, state: rest.Failed, kind: fault.Protocol},
		{name: "too much in the session", tamper: func(_ session.ID, c session.Conn) error { return c.Send(ctx, make([]byte, 1<<20)) }, state: rest.Failed, kind: fault.Protocol},
		{name: "that its data is unfit", method: "job/start", answer: h.failed(ill), state: rest.Failed, kind: fault.Data},
		{name: "noise for its part", method: "job/finish", answer: says(`{"sent":7}`), state: rest.Failed, kind: fault.Protocol},
		{name: "a part without end", method: "job/finish", answer: says(`{"security":{"one":["` + strings.Repeat("y", 3<<20) + `"]},"sent":{},"software":"","data":{}}`),
			state: rest.Failed, kind: fault.Protocol},
		{name: "no signature", method: "job/manifest", answer: func(ctx context.Context, _, _ string, body []byte) ([]byte, error) {
			return h.signs(ctx, body, func([]byte) string { return forged })
		}, state: rest.Failed, kind: fault.Consent},
		{name: "a signature under something else", method: "job/manifest", answer: func(ctx context.Context, _, _ string, body []byte) ([]byte, error) {
			return h.signs(ctx, body, func([]byte) string { return h.signManifest([]byte("{}")) })
		}, state: rest.Failed, kind: fault.Consent},
		{name: "nothing again", state: rest.Done},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.begin(c.method, c.answer)
			h.mu.Lock()
			h.tamper = c.tamper
			h.mu.Unlock()
			id := submitTo(t, bank, rogueJob)
			var got *rest.Job
			eventually(t, 40*time.Second, func() error {
				var err error
				if got, err = bank.Job(id); err == nil && !got.State.Final() {
					err = fmt.Errorf("the job is %s, waiting for %q: %s", got.State, got.WaitingFor, pretty(got.Steps))
				}
				return err
			})
			if got.State != c.state {
				t.Fatalf("the job is %s: %s", got.State, pretty(got.Error))
			}
			if e := got.Error; e != nil && (e.Kind != c.kind.String() || e.Party != "telecom" || e.Cure == "" || len(e.What) > 600 || strings.ContainsAny(e.What, "\x1b\u2028\n")) {
				t.Errorf("the error is %s", pretty(e))
			}
		})
	}
	bank.accounted()
}

// consents answers a proposal with some consent.
func (h *rogueHost) consents(sign func(raw []byte) job.Signed) answerFunc {
	return func(_ context.Context, _, _ string, body []byte) ([]byte, error) {
		var p struct{ Proposal []byte }
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		var prop job.Proposal
		if err := json.Unmarshal(p.Proposal, &prop); err != nil {
			return nil, err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.say(prop.Job, "approved")
		h.status["consent"] = sign(p.Proposal)
		return json.Marshal(h.status)
	}
}

// failed answers that a step has failed for good, and why.
func (h *rogueHost) failed(why string) answerFunc {
	return func(_ context.Context, _, _ string, body []byte) ([]byte, error) {
		var msg map[string]any
		if err := json.Unmarshal(body, &msg); err != nil {
			return nil, err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		problem := map[string]any{"kind": "data", "party": "bank", "step": "two", "what": why, "cure": why}
		h.step(msg["step"].(string), map[string]any{"state": "failed", "attempt": msg["attempt"], "problem": problem})
		return json.Marshal(h.status)
	}
}

// TestForgedHead: a host whose audit head is not signed by it cannot stop a job
// that all have signed, but goes on record.
func TestForgedHead(t *testing.T) {
	bank := NewNet(t, "bank").Node("bank")
	bank.Start()
	h := newRogueHost(t, bank)
	h.begin("job/manifest", func(ctx context.Context, _, _ string, body []byte) ([]byte, error) {
		out, err := h.signs(ctx, body, h.signManifest)
		if err != nil {
			return nil, err
		}
		var v map[string]any
		into(t, json.RawMessage(out), &v)
		v["head"].(map[string]any)["hash"] = hex.EncodeToString(make([]byte, 32))
		v["head"].(map[string]any)["seq"] = 9
		return json.Marshal(v)
	})
	bank.Await(submitTo(t, bank, rogueJob), rest.Done)
	page, err := bank.Client(rest.Admin).Audit(t.Context(), 0, 500)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range page.Entries {
		found = found || e.Action == "witness.refused"
	}
	if !found {
		t.Error("the forged head is not on record")
	}
}

// TestNoiseForNews: a host whose news cannot be read ends its jobs, rather than
// have them wait for ever.
func TestNoiseForNews(t *testing.T) {
	bank := NewNet(t, "bank").Node("bank")
	bank.Start()
	h := newRogueHost(t, bank)
	h.begin("job/watch", says("noise"))
	one := strings.Replace(rogueJob, "  - ping: {as: two}\n", "", 1) // of two steps, one would bring news of the other
	j := bank.Await(submitTo(t, bank, one), rest.Failed)
	if e := j.Error; e == nil || e.Kind != "protocol" || e.Party != "telecom" {
		t.Errorf("the error is %s", pretty(e))
	}
	h.begin("", nil)
	bank.Await(submitTo(t, bank, rogueJob), rest.Done)
}

// TestChatteringHost: a host that has news all the time, and none, does not keep
// the guest busy.
func TestChatteringHost(t *testing.T) {
	bank := NewNet(t, "bank").Node("bank")
	bank.Start()
	h := newRogueHost(t, bank)
	h.begin("job/watch", says(`{"epoch":"e","cursor":1,"jobs":[]}`))
	undecided := func(_ context.Context, _, _ string, body []byte) ([]byte, error) { // it never decides
		var p struct{ Proposal []byte }
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		var prop job.Proposal
		if err := json.Unmarshal(p.Proposal, &prop); err != nil {
			return nil, err
		}
		return json.Marshal(map[string]any{"job": prop.Job, "version": 1, "state": "waiting", "ruling": map[string]any{"verdict": "waiting"}})
	}
	h.mu.Lock()
	h.instead["job/propose"] = undecided
	h.mu.Unlock()
	began := time.Now()
	id := submitTo(t, bank, rogueJob)
	bank.Await(id, rest.Waiting)
	eventually(t, 20*time.Second, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if time.Since(began) < 3*time.Second || h.watches < 3 {
			return fmt.Errorf("%d questions", h.watches)
		}
		return nil
	})
	h.mu.Lock()
	watches, took := h.watches, time.Since(began)
	h.mu.Unlock()
	if most := 200 * (1 + took.Seconds()); float64(watches) > most {
		t.Errorf("%d questions within %v", watches, took)
	}
	if _, err := bank.Client(rest.Admin).Cancel(t.Context(), id, "enough"); err != nil {
		t.Fatal(err)
	}
	bank.Await(id, rest.Cancelled)
}

func submitTo(t *testing.T, n *Node, spec string) string {
	t.Helper()
	reuse := false
	j, err := n.Client(rest.Admin).Submit(t.Context(), rest.SubmitRequest{Spec: spec, Reuse: &reuse}, "")
	if err != nil {
		t.Fatal(err)
	}
	return j.ID
}
