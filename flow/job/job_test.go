package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"kontor/flow/job"
	"kontor/internal/fault"
)

const spec = `job: sample
purpose: credit
parties:
  bank:    {role: guest, data: customers, id: id, label: y}
  telecom: {role: host, data: subs, id: id}
  insurer: {role: host, data: policies, id: id}
steps:
  - align:
  - split: {test: 0.3}
  - boost: {as: one, trees: 2, depth: 2}
  - boost: {as: two, trees: 3, depth: 2}
  - evaluate: {model: two}
`

var three = []string{"bank", "telecom", "insurer"}

func (n *network) submit(text string) string {
	n.t.Helper()
	r, err := n.nodes["bank"].Submit(n.t.Context(), job.Submission{Spec: []byte(text), Actor: "ann", Note: "please"})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.ID
}

// agree checks that all parties hold the same signed account of a job.
func (n *network) agree(id string) *job.Record {
	n.t.Helper()
	guest := n.await("bank", id, job.Done)
	for _, name := range three {
		r := n.await(name, id, job.Done)
		if !bytes.Equal(r.Manifest, guest.Manifest) || len(r.Manifest) == 0 {
			n.t.Errorf("%s holds another manifest", name)
		}
		if err := r.VerifyResult(); err != nil {
			n.t.Errorf("%s: %v", name, err)
		}
		for i, s := range r.Steps {
			if s.Artifact != guest.Steps[i].Artifact || s.Artifact == "" {
				n.t.Errorf("%s: step %s is another artifact", name, s.Name)
			}
		}
		if rep, err := n.nodes[name].log.Verify(context.Background()); err != nil || !rep.OK() {
			n.t.Errorf("%s: audit log: %v %+v", name, err, rep)
		}
	}
	return guest
}

func TestAJobOfThreeParties(t *testing.T) {
	n := newNetwork(t, three...)
	r := n.agree(n.submit(spec))
	var m job.Manifest
	if err := json.Unmarshal(r.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Learned["telecom"]) == 0 || len(m.Learned["bank"]) == 0 || m.Steps[2].Sent["telecom"] == 0 || m.Steps[2].Rounds == 0 || len(m.Steps[0].Security["bank"]) == 0 || len(m.Discloses) == 0 {
		t.Errorf("the manifest leaves out what it is for: %s", r.Manifest)
	}
	if b, _ := json.Marshal(m.Learned); strings.Contains(string(b), "240") {
		t.Errorf("the manifest, which all read, has a count of rows or ids: %s", b)
	}
	if own := r.Steps[0].Result.Learned; len(own) == 0 || !strings.Contains(strings.Join(own, " "), "240") {
		t.Errorf("the guest's own account has no counts: %v", own)
	}
	for _, p := range m.Parties {
		if want := map[string]string{"bank": job.ByOwner}[p.Name]; p.Consent != want && p.Consent != job.ByStanding {
			t.Errorf("party %+v", p)
		}
	}
	if res := r.Steps[4].Result; res == nil || res.Metrics["test"].AUC < 0.6 {
		t.Errorf("no model: %+v", res)
	}
	// The peers have witnessed the logs.
	rep, err := n.nodes["telecom"].log.Verify(t.Context())
	if err != nil || len(rep.Testimonies) == 0 {
		t.Errorf("no peer has witnessed the log: %v", err)
	}
}

func TestNothingRunsWithoutEveryConsent(t *testing.T) {
	n := newNetwork(t, three...)
	n.nodes["telecom"].site.verdict = job.ByWaiting
	id := n.submit(spec)
	n.await("insurer", id, job.Approved)
	r := n.await("telecom", id, job.Waiting)
	for _, s := range r.Steps {
		if s.State != job.StepPending {
			t.Errorf("step %s is %s before the consent", s.Name, s.State)
		}
	}
	if _, err := n.nodes["insurer"].Approve(t.Context(), id, "eve", ""); fault.KindOf(err) != fault.Usage {
		t.Errorf("an approval where none is due: %v", err)
	}
	if _, err := n.nodes["telecom"].Approve(t.Context(), id[:6], "bob", "looked at"); err != nil {
		t.Fatal(err)
	}
	r = n.agree(id)
	if r.Rulings["telecom"].Verdict != job.ByPerson || r.Rulings["insurer"].Verdict != job.ByStanding || r.Rulings["telecom"].By != "" {
		t.Errorf("rulings as the guest knows them: %+v", r.Rulings)
	}
}

func TestADenialNamesTheRule(t *testing.T) {
	n := newNetwork(t, three...)
	n.nodes["insurer"].site.verdict = job.Denied
	id := n.submit(spec)
	r := n.await("bank", id, job.Rejected)
	if r.Error == nil || r.Error.Party != "insurer" || !strings.Contains(r.Error.What, "policy.yaml line 7") || r.Error.Kind != "consent" {
		t.Errorf("the guest is told %+v", r.Error)
	}
	n.await("insurer", id, job.Rejected)
	n.told(id)
	// The end may have overtaken the proposal; then there is no such job, for good.
	if r, err := n.nodes["telecom"].Get(t.Context(), id); err == nil && r.State != job.Rejected {
		t.Errorf("at telecom the job is %s", r.State)
	}
	if len(n.nodes["telecom"].site.published) > 0 {
		t.Error("a result of a rejected job")
	}
}

// TestAnEndOvertakesItsProposal: a host that is told that a job has ended before
// it hears of it takes no part in it later.
func TestAnEndOvertakesItsProposal(t *testing.T) {
	n := newNetwork(t, three...)
	n.ask = func(_, to, method string, body []byte) ([]byte, error) {
		var msg struct{ Proposal []byte }
		var p job.Proposal
		if to != "telecom" || method != "job/propose" || json.Unmarshal(body, &msg) != nil || json.Unmarshal(msg.Proposal, &p) != nil {
			return nil, nil
		}
		end := []byte(`{"job":"` + p.Job + `","state":"failed"}`)
		if _, err := n.nodes["telecom"].Answer(context.Background(), "insurer", "job/end", end); err == nil {
			t.Error("the end of an unknown job was taken from a stranger")
		}
		if _, err := n.nodes["telecom"].Answer(context.Background(), "bank", "job/end", end); err == nil {
			t.Error("the end of an unknown job was answered with its state")
		}
		return nil, nil
	}
	id := n.submit(spec)
	if r := n.await("bank", id, job.Failed); r.Error == nil || r.Error.Party != "telecom" || r.Error.Kind != "consent" {
		t.Errorf("the guest is told %+v", r.Error)
	}
	n.told(id)
	if r, err := n.nodes["telecom"].Get(t.Context(), id); err == nil {
		t.Errorf("at telecom the job is %s", r.State)
	}
}

func TestAPersonRejects(t *testing.T) {
	n := newNetwork(t, three...)
	n.nodes["telecom"].site.verdict = job.ByWaiting
	id := n.submit(spec)
	n.await("telecom", id, job.Waiting)
	if _, err := n.nodes["telecom"].Reject(t.Context(), id, "bob", "not this month"); err != nil {
		t.Fatal(err)
	}
	if r := n.await("bank", id, job.Rejected); !strings.Contains(r.Error.What, "not this month") {
		t.Errorf("%+v", r.Error)
	}
	n.await("insurer", id, job.Rejected)
}

func TestOwnPolicyMayWantASecondPerson(t *testing.T) {
	n := newNetwork(t, three...)
	n.nodes["bank"].site.verdict = job.ByWaiting
	id := n.submit(spec)
	n.await("bank", id, job.Waiting)
	if _, err := n.nodes["telecom"].Get(t.Context(), id); err == nil {
		t.Error("the job was proposed before the own approval")
	}
	if _, err := n.nodes["bank"].Approve(t.Context(), id, "second", ""); err != nil {
		t.Fatal(err)
	}
	n.agree(id)
}

func TestUnchangedStepsAreReused(t *testing.T) {
	n := newNetwork(t, three...)
	first := n.agree(n.submit(spec))
	again := n.agree(n.submit(spec))
	for i, s := range again.Steps {
		if s.State != job.StepReused || s.From != first.ID || s.Artifact != first.Steps[i].Artifact {
			t.Errorf("step %s is %s of %s", s.Name, s.State, s.From)
		}
	}
	changed := n.agree(n.submit(strings.Replace(spec, "trees: 3", "trees: 4", 1)))
	want := map[string]string{"align": job.StepReused, "split": job.StepReused, "one": job.StepReused, "two": job.StepDone, "evaluate": job.StepDone}
	for _, s := range changed.Steps {
		if s.State != want[s.Name] {
			t.Errorf("after a change step %s is %s, want %s", s.Name, s.State, want[s.Name])
		}
	}
	r, err := n.nodes["bank"].Submit(t.Context(), job.Submission{Spec: []byte(spec), Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range n.agree(r.ID).Steps {
		if s.State != job.StepDone {
			t.Errorf("without reuse step %s is %s", s.Name, s.State)
		}
	}
}

func TestCancelReachesAll(t *testing.T) {
	for _, by := range three {
		t.Run(by, func(t *testing.T) {
			n := newNetwork(t, three...)
			n.nodes["insurer"].site.verdict = job.ByWaiting // holds the job up
			id := n.submit(spec)
			n.await("insurer", id, job.Waiting)
			n.await("telecom", id, job.Approved)
			if _, err := n.nodes[by].Cancel(t.Context(), id, "ann", "a mistake"); err != nil {
				t.Fatal(err)
			}
			for _, name := range three {
				n.await(name, id, job.Cancelled)
			}
		})
	}
}

func TestARestartedNodeGoesOn(t *testing.T) {
	for _, victim := range three {
		t.Run(victim, func(t *testing.T) {
			n := newNetwork(t, three...)
			var begins atomic.Int32
			held := make(chan struct{})
			reached := make(chan struct{})
			n.ask = func(_, _, method string, body []byte) ([]byte, error) {
				if method == "job/start" && bytes.Contains(body, []byte(`"two"`)) && begins.Add(1) == 1 {
					close(reached)
					<-held
				}
				return nil, nil
			}
			id := n.submit(spec)
			<-reached
			go close(held)
			n.halt(victim)
			n.start(victim)
			r := n.agree(id)
			for _, s := range r.Steps {
				if s.State != job.StepDone {
					t.Errorf("step %s is %s", s.Name, s.State)
				}
			}
		})
	}
}

func TestUnfitDataEndsTheJobEverywhere(t *testing.T) {
	n := newNetwork(t, three...)
	n.nodes["telecom"].site.inputErr = fault.New(fault.Data, "secret-cell in line 3", "correct the cell")
	id := n.submit(spec)
	r := n.await("bank", id, job.Failed)
	if r.Error.Kind != "data" || r.Error.Party != "telecom" || r.Error.Step != "align" {
		t.Errorf("%+v", r.Error)
	}
	own := n.await("telecom", id, job.Failed)
	if b, _ := json.Marshal(r); bytes.Contains(b, []byte("secret-cell")) {
		t.Error("the guest has learned the text of a host's error")
	}
	if s := own.Steps[0]; s.Error == nil || !strings.Contains(s.Error.What, "secret-cell") {
		t.Errorf("the host does not say what is wrong: %+v", s)
	}
	n.await("insurer", id, job.Failed)
}

func TestAnOlderPeer(t *testing.T) {
	n := newNetwork(t, three...)
	n.halt("insurer")
	n.nodes["insurer"].can = []string{"align/1", job.Capability}
	n.start("insurer")
	r := n.await("bank", n.submit(spec), job.Failed)
	if r.Error.Kind != "version" || r.Error.Party != "insurer" || !strings.Contains(r.Error.What, "boost/1") {
		t.Errorf("%+v", r.Error)
	}
}

func TestAForgedConsentIsRefused(t *testing.T) {
	n := newNetwork(t, three...)
	n.nodes["insurer"].site.verdict = job.ByWaiting
	id := n.submit(spec)
	n.await("insurer", id, job.Waiting)
	n.await("telecom", id, job.Approved)
	r, err := n.nodes["bank"].Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]job.Signed{}, r.Consents...)
	forged = append(forged, job.Signed{Party: "insurer", Nonce: forged[0].Nonce, Signature: forged[0].Signature})
	body, _ := json.Marshal(map[string]any{"job": id, "consents": forged})
	_, err = n.nodes["telecom"].Answer(t.Context(), "bank", "job/consents", body)
	if fault.KindOf(err) != fault.Consent {
		t.Errorf("consents with a forged signature: %v", err)
	}
	for _, method := range []string{"job/begin", "job/start", "job/commit"} {
		body := []byte(`{"job":"` + id + `","step":"align","attempt":1}`)
		if _, err := n.nodes["telecom"].Answer(t.Context(), "bank", method, body); fault.KindOf(err) != fault.Consent && fault.KindOf(err) != fault.Protocol {
			t.Errorf("%s before all have consented: %v", method, err)
		}
	}
	if got, _ := n.nodes["telecom"].Get(t.Context(), id); got.State != job.Approved || got.Steps[0].State != job.StepPending {
		t.Errorf("the job is %s, its first step %s", got.State, got.Steps[0].State)
	}
	if _, err := n.nodes["telecom"].Answer(t.Context(), "insurer", "job/end", []byte(`{"job":"`+id+`","state":"cancelled"}`)); fault.KindOf(err) != fault.Consent {
		t.Errorf("a party that is not the initiator ends a job: %v", err)
	}
}

func TestAnAlteredManifestIsNotSigned(t *testing.T) {
	n := newNetwork(t, three...)
	n.ask = func(from, to, method string, body []byte) ([]byte, error) {
		if method != "job/manifest" || to != "telecom" || !bytes.Contains(body, []byte(`"manifest"`)) {
			return nil, nil
		}
		var msg struct {
			Job      string `json:"job"`
			Manifest []byte `json:"manifest"`
		}
		if json.Unmarshal(body, &msg) != nil {
			return nil, errors.New("unexpected body")
		}
		msg.Manifest = bytes.Replace(msg.Manifest, []byte(`"bytes_sent":{`), []byte(`"bytes_sent":{"nobody":1,`), 1)
		msg.Manifest = bytes.Replace(msg.Manifest, []byte(`"learned":{`), []byte(`"learned":{"telecom":[],"x":null,`), 1)
		altered, _ := json.Marshal(msg)
		n.mu.Lock()
		m := n.nodes["telecom"].Manager
		n.mu.Unlock()
		_, err := m.Answer(context.Background(), from, method, altered)
		if err == nil {
			t.Error("the host signed an altered manifest")
		}
		return nil, nil
	}
	n.agree(n.submit(spec))
}

func TestEventsTellTheWholeJob(t *testing.T) {
	n := newNetwork(t, three...)
	id := n.submit(spec)
	var seqs []int64
	kinds := map[string]int{}
	if err := n.nodes["bank"].Watch(t.Context(), id, 0, func(e job.Event) error {
		kinds[e.Type]++
		if e.Seq > 0 {
			seqs = append(seqs, e.Seq)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, s := range seqs {
		if s != int64(i+1) {
			t.Fatalf("events come as %v", seqs)
		}
	}
	if kinds[job.EventState] < 3 || kinds[job.EventStep] < 10 {
		t.Errorf("events by kind: %v", kinds)
	}
}

func TestSubmittedTwiceUnderOneKey(t *testing.T) {
	n := newNetwork(t, three...)
	a, errA := n.nodes["bank"].Submit(t.Context(), job.Submission{Spec: []byte(spec), Key: "k"})
	b, errB := n.nodes["bank"].Submit(t.Context(), job.Submission{Spec: []byte(spec), Key: "k"})
	if errA != nil || errB != nil || a.ID != b.ID {
		t.Errorf("%v %v %v", a, b, errors.Join(errA, errB))
	}
	n.agree(a.ID)
}

func TestDenialsWithoutEnd(t *testing.T) {
	n := newNetwork(t, "bank", "telecom")
	n.nodes["telecom"].site.verdict = job.Denied
	two := "job: sample\nparties:\n  bank: {role: guest}\n  telecom: {role: host}\nsteps: [ping]\n"
	for range denials {
		n.await("bank", n.submit(two), job.Rejected)
	}
	n.nodes["telecom"].site.verdict = job.ByStanding
	id := n.submit(two)
	n.awaitWaits("bank", id, "denied")
	if _, err := n.nodes["telecom"].Get(t.Context(), id); err == nil {
		t.Error("a proposal was kept after too many denials")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("job/propose", []byte(`{"proposal":"e30=","consent":{"party":"bank"}}`))
	f.Add("job/begin", []byte(`{"job":"00000000000000000000000000000000","step":"align","attempt":1,"inputs":{}}`))
	f.Add("job/watch", []byte(`{"epoch":"","cursor":0,"jobs":["x"]}`))
	f.Add("job/close", []byte(`{"job":"","signatures":{},"heads":{},"receipt":{}}`))
	var n *network
	f.Fuzz(func(t *testing.T, method string, body []byte) {
		if n == nil {
			n = newNetwork(t, "bank", "telecom")
		}
		ctx, stop := context.WithCancel(context.Background())
		stop() // no long answers
		if out, err := n.nodes["telecom"].Answer(ctx, "bank", method, body); err == nil && !json.Valid(out) {
			t.Errorf("%q answers %q", method, out)
		}
	})
}

// An artifact that is gone at any party, as after a restore that lacked it, is
// made anew at all, and then reused again.
func TestAnArtifactThatIsGoneIsComputedAnew(t *testing.T) {
	n := newNetwork(t, three...)
	for _, party := range []string{"bank", "insurer"} {
		last := n.agree(n.submit(spec))
		if err := os.RemoveAll(n.nodes[party].artifact(last.ID, "two")); err != nil {
			t.Fatal(err)
		}
		again := n.agree(n.submit(spec))
		for _, s := range again.Steps {
			want := job.StepReused
			if s.Name == "two" || s.Name == "evaluate" {
				want = job.StepDone
			}
			if s.State != want {
				t.Errorf("without its result at %s step %s is %s, want %s", party, s.Name, s.State, want)
			}
		}
	}
}

// artifact is the folder of a step's result at a node.
func (n *node) artifact(id, step string) string {
	r, err := n.Get(context.Background(), id)
	if err != nil {
		n.net.t.Fatal(err)
	}
	for _, s := range r.Steps {
		if s.Name == step {
			return filepath.Join(n.dir, filepath.FromSlash(s.Dir))
		}
	}
	n.net.t.Fatalf("the job has no step %s", step)
	return ""
}
