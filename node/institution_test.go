package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/api/rest"
	"kontor/internal/fault"
	"kontor/session"
)

// live is an institution that runs in this process, with a client for its API.
type live struct {
	*rest.Client
	home string
	at   Addresses
	log  *bytes.Buffer
	stop func()
}

func startLive(t *testing.T, name string) *live {
	t.Helper()
	l := &live{home: filepath.Join(t.TempDir(), name), log: &bytes.Buffer{}}
	if _, err := CreateHome(l.home, name, "127.0.0.1:0", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l.run(t)
	return l
}

func (l *live) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan Addresses, 1), make(chan error, 1)
	go func() {
		done <- Up(ctx, InstitutionOptions{Home: l.home, Pause: 50 * time.Millisecond}, func(a Addresses) { ready <- a })
	}()
	select {
	case l.at = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(l.home, adminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	l.Client = &rest.Client{Base: l.at.API, Token: strings.TrimSpace(string(token))}
	stopped := false
	l.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(l.stop)
}

// acquaint makes every pair of institutions trust one another.
func acquaint(t *testing.T, all ...*live) {
	t.Helper()
	for _, from := range all {
		inv, err := from.Invite(t.Context(), rest.InviteRequest{Address: from.at.Peer})
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range all {
			if to == from {
				continue
			}
			if _, err := to.Accept(t.Context(), rest.AcceptRequest{Invitation: inv.Invitation, Fingerprint: inv.Words}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (l *live) policy(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(l.home, PolicyFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (l *live) add(t *testing.T, name, path string) {
	t.Helper()
	if _, err := l.AddDataset(t.Context(), rest.AddData{Name: name, Path: path, Options: rest.DataOptions{ID: "id"}}); err != nil {
		t.Fatal(err)
	}
}

// ended follows a job to its end.
func (l *live) ended(t *testing.T, id string) *rest.Job {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := l.Watch(ctx, id, 0, func(rest.Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	j, err := l.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

const nodePolicy = `version: 1
datasets:
  subs:
    rules:
      - name: credit-bank
        peers: [bank]
        purposes: [credit]
        columns: {id: [join], "*": [feature], secret: []}
        components: [align, split, boost, evaluate, predict]
        reveal: [size, membership, aggregate, partition, feature-use, model-output]
        min_rows: 1
        min_intersection: 50
        approve: APPROVE
`

const nodeJob = `job: sample
purpose: credit
parties:
  bank:    {role: guest, data: customers, label: y}
  telecom: {role: host, data: subs}
steps:
  - align:
  - split: {test: 0.3}
  - boost: {trees: 4, depth: 3}
  - evaluate:
`

func pairOfNodes(t *testing.T) (bank, telecom *live) {
	t.Helper()
	bank, telecom = startLive(t, "bank"), startLive(t, "telecom")
	acquaint(t, bank, telecom)
	files := writeTables(t, t.TempDir(), 300, "telecom")
	bank.add(t, "customers", files["bank"])
	telecom.add(t, "subs", files["telecom"])
	return bank, telecom
}

// TestTwoNodes goes through what an institution does: a job with an approval by
// hand, its result and account at both, a prediction with the model.
func TestTwoNodes(t *testing.T) {
	bank, telecom := pairOfNodes(t)
	telecom.policy(t, strings.Replace(nodePolicy, "APPROVE", "person", 1))
	ctx := t.Context()
	j, err := bank.Submit(ctx, rest.SubmitRequest{Spec: nodeJob, Note: "for the spring campaign"}, "")
	if err != nil {
		t.Fatal(err)
	}
	waiting := awaitState(t, telecom, j.ID, rest.Waiting)
	if waiting.Note != "for the spring campaign" || len(waiting.Columns["feature"]) == 0 || waiting.Columns["join"][0] != "id" || len(waiting.Discloses) == 0 {
		t.Errorf("the approver is shown %+v", waiting)
	}
	if _, err := telecom.Approve(ctx, j.ID, "fine"); err != nil {
		t.Fatal(err)
	}
	done := bank.ended(t, j.ID)
	if done.State != rest.Done || done.Metrics["evaluate.test"]["auc"] < 0.6 || len(done.Models) != 1 {
		t.Fatalf("the job is %s: %+v, metrics %v", done.State, done.Error, done.Metrics)
	}
	telecom.ended(t, j.ID)
	a, errA := bank.Manifest(ctx, j.ID)
	b, errB := telecom.Manifest(ctx, j.ID)
	if errA != nil || errB != nil || !bytes.Equal(manifestOf(t, a), manifestOf(t, b)) {
		t.Errorf("manifests differ: %v %v", errA, errB)
	}
	raw, err := bank.Result(ctx, j.ID)
	var sum Summary
	if err != nil || json.Unmarshal(raw, &sum) != nil {
		t.Fatalf("result: %v", err)
	}
	run, err := hex.DecodeString(sum.Run)
	if err != nil || len(run) != 32 {
		t.Fatalf("run %q", sum.Run)
	}
	if err := sum.Consent.Verify(session.ID(run)); err != nil {
		t.Errorf("the result's evidence of consent does not hold: %v", err)
	}
	for _, l := range []*live{bank, telecom} {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the guest has the receipt a moment after the end
			rep, err := l.VerifyAudit(ctx)
			if err != nil || !rep.OK || len(rep.Witnesses) == 0 && time.Now().After(deadline) {
				t.Fatalf("audit of %s: %v %+v", l.at.Name, err, rep)
			}
			if len(rep.Witnesses) > 0 {
				break
			}
		}
		if m, err := l.Model(ctx, done.Models[0]); err != nil || m.Job != j.ID {
			t.Errorf("model at %s: %v", l.at.Name, err)
		}
	}
	if _, err := bank.TagModel(ctx, done.Models[0], "champion"); err != nil {
		t.Fatal(err)
	}
	p, err := bank.Predict(ctx, "champion", rest.PredictRequest{Data: map[string]string{"bank": "customers", "telecom": "subs"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	awaitState(t, telecom, p.ID, rest.Waiting)
	if _, err := telecom.Approve(ctx, p.ID, ""); err != nil {
		t.Fatal(err)
	}
	if got := bank.ended(t, p.ID); got.State != rest.Done {
		t.Fatalf("prediction is %s: %+v", got.State, got.Error)
	}
	var scores bytes.Buffer
	if err := bank.File(ctx, p.ID, "predict-scores.csv", &scores); err != nil || !strings.HasPrefix(scores.String(), "id,score\n") {
		t.Errorf("scores %.40q: %v", scores.String(), err)
	}
}

func manifestOf(t *testing.T, b []byte) []byte {
	t.Helper()
	var m signedManifest
	if err := json.Unmarshal(b, &m); err != nil || len(m.Signatures) != 2 {
		t.Errorf("manifest %.80s: %v", b, err)
	}
	return m.Manifest
}

func awaitState(t *testing.T, l *live, id string, want rest.State) *rest.Job {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		j, err := l.Job(t.Context(), id)
		if err == nil && j.State == want {
			return j
		}
		if time.Now().After(deadline) {
			t.Fatalf("at %s the job did not become %s: %+v, %v", l.at.Name, want, j, err)
		}
	}
}

func TestPolicyOfANode(t *testing.T) {
	bank, telecom := pairOfNodes(t)
	ctx := t.Context()
	submit := func(spec string) *rest.Job {
		t.Helper()
		no := false
		j, err := bank.Submit(ctx, rest.SubmitRequest{Spec: spec, Reuse: &no}, "")
		if err != nil {
			t.Fatal(err)
		}
		return bank.ended(t, j.ID)
	}
	refused := func(j *rest.Job, words ...string) {
		t.Helper()
		if j.State != rest.Rejected || j.Error == nil || j.Error.Party != "telecom" || j.Error.Kind != "consent" {
			t.Fatalf("the job is %s: %+v", j.State, j.Error)
		}
		for _, w := range words {
			if !strings.Contains(j.Error.What+j.Error.Cure, w) {
				t.Errorf("%q does not say %q", j.Error.What, w)
			}
		}
	}
	refused(submit(nodeJob)) // nothing is allowed at first
	telecom.policy(t, strings.Replace(nodePolicy, "APPROVE", "standing", 1))
	if j := submit(nodeJob); j.State != rest.Done {
		t.Fatalf("a standing rule covers the job, and it is %s: %+v", j.State, j.Error)
	}
	refused(submit(strings.Replace(nodeJob, "purpose: credit", "purpose: marketing", 1)), "marketing")
	refused(submit(strings.Replace(nodeJob, "align:", "align: {min_rows: 10}", 1)), "credit-bank")
	refused(submit(strings.Replace(nodeJob, "data: subs", "data: nothing", 1)), "nothing")
	telecom.policy(t, "version: 1\nnonsense: true\n") // what was in force stays
	if j := submit(nodeJob); j.State != rest.Done {
		t.Errorf("a policy that cannot be read has replaced the one before: %s %+v", j.State, j.Error)
	}
	if p, err := telecom.Policy(ctx); err != nil || !strings.Contains(p.Error, "line 2") {
		t.Errorf("%+v %v", p, err)
	}
}

func TestANodeThatDoesNotRun(t *testing.T) {
	home := filepath.Join(t.TempDir(), "bank")
	if _, err := CreateHome(home, "bank", "127.0.0.1:0", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	h, token, done, err := Offline(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	c := &rest.Client{Base: "http://node", Token: token, HTTP: &http.Client{Transport: rest.InProcess(h)}}
	if n, err := c.Node(t.Context()); err != nil || n.Running || n.Name != "bank" {
		t.Errorf("%+v %v", n, err)
	}
	if _, err := c.Submit(t.Context(), rest.SubmitRequest{Spec: nodeJob}, ""); err == nil || !strings.Contains(err.Error(), "kontor up") {
		t.Errorf("a job was submitted at a node that does not run: %v", err)
	}
	if _, err := OpenInstitution(t.Context(), InstitutionOptions{Home: home}); fault.KindOf(err) != fault.Local {
		t.Errorf("the folder was opened twice: %v", err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
}

func TestLoginsAreOnRecord(t *testing.T) {
	bank := startLive(t, "bank")
	made, err := bank.CreateToken(t.Context(), rest.TokenRequest{Name: "ann", Role: rest.Auditor})
	if err != nil {
		t.Fatal(err)
	}
	ann := &rest.Client{Base: bank.at.API, Token: made.Secret}
	for range 3 {
		if _, err := ann.Node(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	page, err := bank.Audit(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	logins := 0
	for _, e := range page.Entries {
		if e.Action == "login" && strings.HasPrefix(e.Actor, "ann ") && e.Object == "token "+made.Token.ID {
			logins++
		}
	}
	if logins != 1 {
		t.Errorf("%d logins of ann on record, want one an hour", logins)
	}
	if b, _ := json.Marshal(page); bytes.Contains(b, []byte(made.Secret)) {
		t.Error("a secret is in the account")
	}
}

func TestPublishedDataHoldsNoValue(t *testing.T) {
	bank, telecom := pairOfNodes(t)
	if list, err := bank.PeerData(t.Context(), "telecom"); err != nil || len(list.Datasets) != 0 {
		t.Errorf("before it was published: %+v %v", list, err)
	}
	if _, err := telecom.Publish(t.Context(), "subs", []string{"bank"}); err != nil {
		t.Fatal(err)
	}
	list, err := bank.PeerData(t.Context(), "telecom")
	if err != nil || len(list.Datasets) != 1 || list.Datasets[0].Rows != 300 || len(list.Datasets[0].Columns) == 0 {
		t.Errorf("%+v %v", list, err)
	}
	if b, _ := json.Marshal(list); bytes.Contains(b, []byte(`"min"`)) || bytes.Contains(b, []byte("fingerprint")) {
		t.Errorf("published: %s", b)
	}
}
