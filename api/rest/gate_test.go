package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/internal/fault"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h := NewHandler(Options{Service: f, Now: func() time.Time { return now }})
	good := f.secrets[Scientist]
	_, foreign, _, err := MakeToken(bytes.NewReader(make([]byte, 64)))
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(good)
	flipped[len(flipped)-2] ^= 1
	bad := []string{"", "Bearer", "Bearer ", "Basic " + good, "Bearer " + good + "x", "Bearer " + string(flipped), "Bearer " + foreign,
		"Bearer kontor_" + strings.Repeat("a", 500), "Bearer " + strings.ToUpper(good)}
	for _, header := range bad {
		res, _ := send(t, h, "", "GET", "/v1/node", "", "Authorization", header)
		if res.StatusCode != 401 {
			t.Errorf("Authorization %q: %s", header, res.Status)
		}
	}
	if n := len(f.record()); n != len(bad) {
		t.Errorf("%d failed logins on record, want %d", n, len(bad))
	}
	for range loginBurst {
		send(t, h, foreign, "GET", "/v1/node", "")
	}
	res, b := send(t, h, foreign, "GET", "/v1/node", "")
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("after many failures: %s %s", res.Status, b)
	}
	if n := len(f.record()); n != loginBurst {
		t.Errorf("%d failed logins on record, want %d: the account must not be filled", n, loginBurst)
	}
	for _, header := range []string{"Bearer " + good, "bearer  " + good} {
		if res, b := send(t, h, "", "GET", "/v1/node", "", "Authorization", header); res.StatusCode != 200 || !bytes.Contains(b, []byte(`"the scientist"`)) {
			t.Errorf("a valid token beside failed logins: %s %s", res.Status, b)
		}
	}
	now = now.Add(loginRefill)
	if res, _ := send(t, h, foreign, "GET", "/v1/node", ""); res.StatusCode != 401 {
		t.Errorf("a failure is forgiven after %v: %s", loginRefill, res.Status)
	}
	if text := strings.Join(f.record(), "\n"); strings.Contains(text, foreign) || strings.Contains(text, string(flipped)) {
		t.Errorf("a secret is on record: %s", text)
	}
}

func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	var f failures
	now := time.Unix(0, 0)
	for i := range loginHosts + 100 {
		f.add(remoteHost(fmt.Sprintf("10.0.%d.%d:1", i/256, i%256)), now)
	}
	if len(f.hosts) > loginHosts+1 {
		t.Errorf("%d addresses remembered", len(f.hosts))
	}
	if ok, wait := f.add("new", now); ok || wait <= 0 {
		t.Error("addresses beyond the bound share a count, which is used up")
	}
	if ok, _ := f.add("new", now.Add(time.Hour)); !ok || len(f.hosts) != 1 {
		t.Errorf("what is forgiven must be forgotten: %d addresses", len(f.hosts))
	}
	for a, b := range map[string]string{"[2001:db8:1:2:3::4]:5": "[2001:db8:1:2:ffff::]:9", "1.2.3.4:5": "[::ffff:1.2.3.4]:6", "[fe80::1%eth0]:1": "[fe80::2%eth1]:1"} {
		if remoteHost(a) != remoteHost(b) {
			t.Errorf("%s and %s count apart: %s, %s", a, b, remoteHost(a), remoteHost(b))
		}
	}
	if remoteHost("1.2.3.4:5") == remoteHost("1.2.3.5:5") {
		t.Error("two addresses count together")
	}
}

func TestNothingIsDoneThatIsNotOnRecord(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.auditErr = fault.New(fault.Local, "the disk is full", "make room")
	_, err := direct(f, Admin).Submit(testContext(t), SubmitRequest{Spec: "x"}, "")
	wantKind(t, err, fault.Local, nil, "the disk is full; make room")
	if f.jobs != 0 {
		t.Error("a job was made that is not on record")
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), testContext(t)
	c := direct(f, Scientist)
	first, err := c.Submit(ctx, SubmitRequest{Spec: "x"}, "k1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := direct(f, Scientist).Submit(ctx, SubmitRequest{Spec: "x"}, "k1") // a new handler, as after a restart
	if err != nil || again.ID != first.ID || f.jobs != 1 {
		t.Errorf("repeated: %v, %v, %d jobs", again, err, f.jobs)
	}
	if f.keys[0] != Caller(ctx).ID && !strings.HasSuffix(f.keys[0], "/k1") {
		t.Errorf("the service saw the key %q", f.keys[0])
	}
	_, err = c.Submit(ctx, SubmitRequest{Spec: "y"}, "k1")
	wantKind(t, err, fault.Usage, nil, "used before for another request")
	_, err = c.Rerun(ctx, "x", "k1")
	wantKind(t, err, fault.Usage, nil, "used before for another request")
	if j, err := direct(f, Admin).Submit(ctx, SubmitRequest{Spec: "z"}, "k1"); err != nil || j.ID == first.ID {
		t.Errorf("the key of another token: %v, %v", j, err)
	}
	f.submitErr = fault.New(fault.Peer, "gone", "wait")
	if _, err := c.Submit(ctx, SubmitRequest{Spec: "x"}, "k2"); fault.KindOf(err) != fault.Peer {
		t.Errorf("%v", err)
	}
	f.submitErr = nil
	if _, err := c.Submit(ctx, SubmitRequest{Spec: "x"}, "k2"); err != nil {
		t.Errorf("a failure was kept: %v", err)
	}
	h := NewHandler(Options{Service: f})
	res, b := send(t, h, f.secrets[Admin], "POST", "/v1/tokens", bodies["create-token"], "Idempotency-Key", "k3")
	if res.StatusCode != 400 || !bytes.Contains(b, []byte("secret")) {
		t.Errorf("a token under a key: %s %s", res.Status, b)
	}
	res, a := send(t, h, f.secrets[Admin], "POST", "/v1/jobs", `{"spec":"x"}`, "Idempotency-Key", `"k4"`)
	res2, b := send(t, h, f.secrets[Admin], "POST", "/v1/jobs", `{"spec":"x"}`, "Idempotency-Key", "k4")
	if res.StatusCode != 201 || res2.StatusCode != 201 || !bytes.Equal(a, b) || res2.Header.Get("Location") != res.Header.Get("Location") ||
		res2.Header.Get("Location") == "" || res2.Header.Get("Content-Type") != res.Header.Get("Content-Type") {
		t.Errorf("the stored answer differs: %v %s, %v %s", res.Header, a, res2.Header, b)
	}
}

func TestConcurrentRequestsWithOneKeyAreCarriedOutOnce(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), testContext(t)
	f.submitting, f.entered = make(chan struct{}), make(chan struct{}, 10)
	c := direct(f, Scientist)
	ids := make(chan string, 8)
	var all sync.WaitGroup
	for range cap(ids) {
		all.Go(func() {
			j, err := c.Submit(ctx, SubmitRequest{Spec: "x"}, "same")
			if err != nil {
				t.Error(err)
				return
			}
			ids <- j.ID
		})
	}
	<-f.entered
	gone, stop := context.WithCancel(ctx)
	stop()
	if _, err := c.Submit(gone, SubmitRequest{Spec: "x"}, "same"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that went away while it waited: %v", err)
	}
	close(f.submitting)
	all.Wait()
	close(ids)
	for id := range ids {
		if id != "a" {
			t.Errorf("job %s", id)
		}
	}
	if f.jobs != 1 {
		t.Errorf("%d jobs", f.jobs)
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var log bytes.Buffer
	h := NewHandler(Options{Service: f, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	const hush = "hunter2"
	for _, c := range []struct {
		method, path, body, header, value string
		status                            int
		text                              string
	}{
		{"POST", "/v1/data", `{"name":"d","dsn":"` + hush + `","qurey":"x"}`, "", "", 422, "qurey"},
		{"POST", "/v1/data", `{"name":7,"dsn":"` + hush + `"}`, "", "", 422, "body.name"},
		{"POST", "/v1/data", `{"name":"d","dsn":"` + hush, "", "", 400, "JSON"},
		{"POST", "/v1/data", ``, "", "", 400, "body is required"},
		{"POST", "/v1/data", `dsn=` + hush, "Content-Type", "application/x-www-form-urlencoded", 415, "Content-Type: application/json"},
		{"POST", "/v1/jobs", `{"spec":"` + strings.Repeat(hush, maxBody/len(hush)) + `"}`, "", "", 413, "larger than 4 MiB"},
		{"POST", "/v1/jobs", `{"spec":null}`, "", "", 422, "body.spec"},
		{"POST", "/v1/jobs", `{"spec":"x"}`, "Idempotency-Key", strings.Repeat("k", maxKey+1), 400, "Idempotency-Key"},
		{"POST", "/v1/jobs", `{"spec":"x"}`, "Idempotency-Key", "a b", 400, "Idempotency-Key"},
		{"GET", "/v1/jobs?limit=0", "", "", "", 422, "query.limit"},
		{"GET", "/v1/jobs?stat=done", "", "", "", 422, "query.stat"},
		{"GET", "/v1/jobs?state=gone", "", "", "", 422, "query.state"},
		{"GET", "/v1/jobs/0123/events", "", "Last-Event-ID", "x", 400, "Last-Event-ID"},
		{"GET", "/v1/jobs/ffff/events", "", "", "", 404, "there is no job ffff"},
		{"GET", "/v1/data/none", "", "", "", 404, "kontor data ls"},
		{"GET", "/v1/nothing", "", "", "", 404, "/v1/nothing"},
		{"GET", "/docs", "", "", "", 404, "openapi.json"},
		{"PATCH", "/v1/jobs", "", "", "", 405, "GET"},
		{"POST", "/v1/tokens", `{"name":"a\nb","role":"admin"}`, "", "", 400, "cannot stand in the account"},
		{"POST", "/v1/tokens", `{"name":"a","role":"root"}`, "", "", 422, "body.role"},
		{"POST", "/v1/tokens", `{"name":"a","role":"admin","expires":"2001-01-01T00:00:00Z"}`, "", "", 400, "expired already"},
		{"POST", "/v1/jobs/0123/cancel", `{"reason":"late"}`, "", "", 409, "the job has ended"},
	} {
		res, b := send(t, h, f.secrets[Admin], c.method, c.path, c.body, c.header, c.value)
		var p Problem
		if err := json.Unmarshal(b, &p); err != nil || res.StatusCode != c.status || p.Status != c.status || p.Kind == "" || p.Cure == "" ||
			p.ExitCode == 0 || res.Header.Get("Content-Type") != "application/problem+json" || !bytes.Contains(b, []byte(c.text)) {
			t.Errorf("%s %s %.60s: %s, want %d with %q: %s", c.method, c.path, c.body, res.Status, c.status, c.text, b)
		}
		if bytes.Contains(b, []byte(hush)) {
			t.Errorf("%s %s gives back what was sent: %s", c.method, c.path, b)
		}
	}
	if len(f.tokens) != len(everyone) || f.jobs != 0 {
		t.Error("a bad request was carried out")
	}
	for _, secret := range []string{hush, f.secrets[Admin]} {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// panicking fails as our own bugs do.
type panicking struct{ *fake }

func (panicking) Peers(context.Context) ([]Peer, error) { panic("secret detail") }
func (panicking) Jobs(context.Context, JobFilter) (*Jobs, error) {
	return &Jobs{Jobs: []Job{{Metrics: map[string]map[string]float64{"e": {"auc": nan()}}}}}, nil
}
func (panicking) Model(context.Context, string) (*Model, error) { return nil, errors.New("odd") }

func nan() float64 { zero := 0.0; return zero / zero }

func TestOurBugsAreProblems(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := NewHandler(Options{Service: panicking{f}})
	for _, path := range []string{"/v1/peers", "/v1/jobs", "/v1/models/x"} {
		res, b := send(t, h, f.secrets[Admin], "GET", path, "")
		var p Problem
		if json.Unmarshal(b, &p) != nil || res.StatusCode != 500 || p.Kind != "internal" || bytes.Contains(b, []byte("secret detail")) {
			t.Errorf("%s: %s %s", path, res.Status, b)
		}
	}
}

func TestPublicEndpoints(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := NewHandler(Options{Service: f, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "kontor_jobs 1") })})
	if res, b := send(t, h, "", "GET", "/metrics", ""); res.StatusCode != 200 || string(b) != "kontor_jobs 1" {
		t.Errorf("metrics: %s %s", res.Status, b)
	}
	if res, b := send(t, h, "", "GET", "/healthz", ""); res.StatusCode != 200 || string(b) != "{\"ok\":true}\n" {
		t.Errorf("healthz: %s %s", res.Status, b)
	}
	f.reasons = []string{"the disk is full"}
	if res, b := send(t, h, "", "GET", "/readyz", ""); res.StatusCode != 503 || !bytes.Contains(b, f.readyJSON()) {
		t.Errorf("readyz: %s %s", res.Status, b)
	}
	if res, _ := send(t, NewHandler(Options{Service: f}), "", "GET", "/metrics", ""); res.StatusCode != 404 {
		t.Errorf("no metrics: %s", res.Status)
	}
}

func (f *fake) readyJSON() []byte { return []byte(`{"ready":false,"reasons":["the disk is full"]}`) }

func TestListsAreNeverNull(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := NewHandler(Options{Service: f})
	for _, path := range []string{"/v1/node", "/v1/doctor", "/v1/components", "/v1/peers", "/v1/data", "/v1/models", "/v1/jobs/01", "/v1/tokens", "/v1/audit/verify", "/v1/peers/x/data"} {
		if res, b := send(t, h, f.secrets[Admin], "GET", path, ""); res.StatusCode != 200 || bytes.Contains(b, []byte("null")) {
			t.Errorf("%s: %s %s", path, res.Status, b)
		}
	}
	if _, b := send(t, h, f.secrets[Admin], "GET", "/v1/jobs/01", ""); !bytes.Contains(b, []byte(`"steps":[]`)) || bytes.Contains(b, []byte("warnings")) {
		t.Errorf("%s", b)
	}
}

func TestTokensWork(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), testContext(t)
	admin := direct(f, Admin)
	made, err := admin.CreateToken(ctx, TokenRequest{Name: " ann ", Role: Approver})
	if err != nil {
		t.Fatal(err)
	}
	ann := direct(f, Admin)
	ann.Token = made.Secret
	n, err := ann.Node(ctx)
	if err != nil || n.You != (Identity{made.Token.ID, "ann", Approver}) {
		t.Errorf("%+v, %v", n, err)
	}
	if j, err := ann.Approve(ctx, "0123", "fine"); err != nil || j.By != "ann" || j.Note != "fine" {
		t.Errorf("%+v, %v", j, err)
	}
	_, err = ann.Submit(ctx, SubmitRequest{Spec: "x"}, "")
	wantKind(t, err, fault.Trust, ErrDenied, "the role approver of token "+made.Token.ID+" may not do submit-job; use a token with the role admin or scientist")
	if err := admin.RevokeToken(ctx, made.Token.ID); err != nil {
		t.Fatal(err)
	}
	_, err = ann.Node(ctx)
	wantKind(t, err, fault.Trust, nil, "no valid token")
	err = admin.RevokeToken(ctx, made.Token.ID)
	wantKind(t, err, fault.Usage, ErrNotFound, "there is no token")
	text := strings.Join(f.record(), "\n")
	for _, want := range []string{"the admin (", "api.create-token tokens", "ann (" + made.Token.ID + ") api.denied submit-job", "in-process api.login-failed " + made.Token.ID, "api.approve-job jobs/0123/approve"} {
		if !strings.Contains(text, want) {
			t.Errorf("the account lacks %q:\n%s", want, text)
		}
	}
	if n := f.logins[made.Token.ID+" in-process"]; n != 3 { // two requests that were served and one that its role forbids
		t.Errorf("ann was admitted %d times: %v", n, f.logins)
	}
}

func FuzzHeaders(f *testing.F) {
	_, secret, _, err := MakeToken(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "Bearer " + secret, "bearer " + secret + " ", `"a"`, `"`, "a b", "Bearer kontor__", "kontor_\x00", strings.Repeat("é", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if id, secret, err := parseAuthorization(header); err == nil {
			if again, err := parseToken(secret); err != nil || again != id || len(id) != tokenIDLen || !strings.HasPrefix(secret, tokenPrefix+id+"_") {
				t.Errorf("%q: id %q, secret %q", header, id, secret)
			}
		}
		if key, err := parseIdempotencyKey(header); err == nil {
			if len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) || key == "" && header != "" {
				t.Errorf("%q: key %q", header, key)
			}
			if key != "" {
				if again, err := parseIdempotencyKey(`"` + key + `"`); err != nil || again != key {
					t.Errorf("%q quoted: %q, %v", key, again, err)
				}
			}
		}
	})
}
