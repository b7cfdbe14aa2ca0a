package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
)

// TestFaultsTravel: each kind of fault reaches the caller of the client as it was.
func TestFaultsTravel(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), testContext(t)
	c := direct(f, Admin)
	for k := fault.Internal; k <= fault.Cancelled; k++ {
		f.submitErr = &fault.Error{Kind: k, Party: "telecom", Step: "align", What: "it broke", Cure: "mend it", Err: errors.New("cause")}
		_, err := c.Submit(ctx, SubmitRequest{Spec: "x"}, "")
		wantKind(t, err, k, nil, "party telecom, step align: it broke: cause; mend it")
		var got *fault.Error
		if !errors.As(err, &got) || got.Party != "telecom" || got.Step != "align" || got.What != "it broke: cause" || got.Cure != "mend it" {
			t.Errorf("%v: %+v", k, got)
		}
	}
	_, err := c.Dataset(ctx, "none")
	wantKind(t, err, fault.Usage, ErrNotFound, "there is no dataset none; see kontor data ls")
	_, err = c.Cancel(ctx, "x", "late")
	wantKind(t, err, fault.Usage, ErrConflict, "the job has ended; rerun it")
	_, err = c.AddDataset(ctx, AddData{Name: strings.Repeat("n", 65)})
	wantKind(t, err, fault.Usage, nil, "body.name: expected length <= 64")
}

func TestClientCalls(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	server := httptest.NewServer(NewHandler(Options{Service: f}))
	t.Cleanup(server.Close)
	for name, c := range map[string]*Client{"in process": direct(f, Admin), "http": {Base: server.URL + "/", Token: f.secrets[Admin]}} {
		t.Run(name, func(t *testing.T) { exercise(t, f, c) })
	}
}

func exercise(t *testing.T, f *fake, c *Client) {
	ctx := testContext(t)
	check := func(what string, ok bool, err error) {
		t.Helper()
		if !ok || err != nil {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
	}
	ready, err := c.Ready(ctx)
	check("ready", err == nil && ready.Ready, err)
	doctor, err := c.Doctor(ctx)
	check("doctor", err == nil && doctor.OK, err)
	comps, err := c.Components(ctx)
	check("components", err == nil && comps.Components[0].Kind == "align", err)
	p, err := c.Policy(ctx)
	check("policy", err == nil && p.Text == "version: 1", err)
	pc, err := c.CheckPolicy(ctx, "text")
	check("check policy", err == nil && pc.Findings[0].What == "text", err)
	peers, err := c.Peers(ctx)
	check("peers", err == nil && peers.Peers != nil, err)
	inv, err := c.Invite(ctx, InviteRequest{Address: "a:1"})
	check("invite", err == nil && inv.Address == "a:1", err)
	peer, err := c.Accept(ctx, AcceptRequest{Invitation: "i", Fingerprint: "f"})
	check("accept", err == nil && peer.Fingerprint == "f", err)
	check("remove peer", true, c.RemovePeer(ctx, "telecom"))
	pd, err := c.PeerData(ctx, "a/b %s")
	check("peer data", err == nil && pd.Peer == "a/b %s" && pd.Datasets[0].Name == "a/b %s-data", err)
	d, err := c.AddDataset(ctx, AddData{Name: "d", Options: DataOptions{Missing: []string{"NA"}}})
	check("add data", err == nil && d.Options.Missing[0] == "NA", err)
	ds, err := c.Datasets(ctx)
	check("data", err == nil && len(ds.Datasets) == 1, err)
	d, err = c.Publish(ctx, "d", nil)
	check("publish", err == nil && d.Published != nil, err)
	check("remove data", true, c.RemoveDataset(ctx, "d"))
	sc, err := c.CheckJob(ctx, "näme")
	check("check job", err == nil && sc.Name == "näme", err)
	jobs, err := c.Jobs(ctx, JobFilter{State: "active", Role: "host", Before: "b", Limit: 7})
	check("jobs", err == nil && jobs.Next == `{"State":"active","Role":"host","Limit":7,"Before":"b"}`, err)
	jobs, err = c.Jobs(ctx, JobFilter{})
	check("jobs", err == nil && strings.Contains(jobs.Next, `"Limit":50`), err)
	j, err := c.Reject(ctx, "x", "why")
	check("reject", err == nil && j.Note == "why", err)
	j, err = c.Predict(ctx, "m", PredictRequest{Data: map[string]string{"bank": "d"}}, "")
	check("predict", err == nil && j.Name == "md", err)
	lg, err := c.JobLog(ctx, "01", 5, 6)
	check("log", err == nil && lg.Next == 11, err)
	m, err := c.Manifest(ctx, "01")
	check("manifest is byte for byte", string(m) == "{\n  \"b\": 1,\n  \"a\": \"<\"\n}\n", err)
	m, err = c.Result(ctx, "01")
	check("result", string(m) == `{"x":1}`, err)
	files, err := c.Files(ctx, "01")
	check("files", err == nil && len(files.Files) == 1, err)
	for _, name := range []string{"boost/scores.csv", "piped"} {
		var b bytes.Buffer
		err = c.File(ctx, "01", name, &b)
		check(name, b.String() == "0123456789", err)
	}
	if err := c.File(ctx, "01", "cut", io.Discard); fault.KindOf(err) != fault.Local {
		t.Errorf("a file that is cut: %v", err)
	}
	err = c.File(ctx, "01", "none", io.Discard)
	wantKind(t, err, fault.Usage, ErrNotFound, "no file none")
	mo, err := c.TagModel(ctx, "m", "best")
	check("tag", err == nil && mo.Tags[0] == "best", err)
	mo, err = c.UntagModel(ctx, "m", "best")
	check("untag", err == nil && len(mo.Tags) == 0, err)
	ap, err := c.Audit(ctx, 1, 2)
	check("audit", err == nil && ap.Next == 3, err)
	exerciseExports(t, f, c)
}

func exerciseExports(t *testing.T, f *fake, c *Client) {
	ctx := testContext(t)
	for _, export := range []func(io.Writer) error{
		func(w io.Writer) error { return c.ExportAudit(ctx, w, 0, 0) },
		func(w io.Writer) error { return c.ExportModel(ctx, "m", w) },
	} {
		var b bytes.Buffer
		f.setExport("", nil)
		if err := export(&b); err != nil || b.Len() != 0 {
			t.Errorf("an empty export: %q, %v", b.String(), err)
		}
		broken := fault.New(fault.Data, "the account is broken", "restore it")
		f.setExport("", broken)
		wantKind(t, export(&b), fault.Data, nil, "the account is broken; restore it")
		f.setExport("line\n", broken)
		if err := export(&b); err == nil {
			t.Error("an export that was cut must not pass for whole")
		}
		f.setExport("line\n", nil)
		b.Reset()
		if err := export(&b); err != nil || b.String() != "line\n" {
			t.Errorf("export: %q, %v", b.String(), err)
		}
	}
	f.setExport("", nil)
}

func TestFileRanges(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := NewHandler(Options{Service: f})
	res, b := send(t, h, f.secrets[Admin], "GET", "/v1/jobs/01/files/boost%2Fscores.csv", "", "Range", "bytes=7-")
	if res.StatusCode != 206 || string(b) != "789" || res.Header.Get("Content-Disposition") != "attachment; filename=scores.csv" || res.Header.Get("ETag") != `"ab"` {
		t.Errorf("%s %v %q", res.Status, res.Header, b)
	}
	if res, b := send(t, h, f.secrets[Admin], "HEAD", "/v1/jobs/01/files/piped", ""); res.StatusCode != 200 || len(b) != 0 || res.Header.Get("Content-Length") != "10" {
		t.Errorf("%s %v %q", res.Status, res.Header, b)
	}
}

func TestClientGuardsTheToken(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for _, base := range []string{"http://10.1.2.3:1", "http://node.example", "http://[2001:db8::1]:1"} {
		_, err := (&Client{Base: base, Token: "t"}).Node(ctx)
		wantKind(t, err, fault.Trust, nil, "in clear")
	}
	for _, base := range []string{"", "localhost:1", "ftp://x", "http://", "%"} {
		_, err := (&Client{Base: base, Token: "t"}).Node(ctx)
		wantKind(t, err, fault.Usage, nil, "is no address of an API")
	}
	var asked bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(other.Close)
	redirecting := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirecting.Close)
	_, err := (&Client{Base: redirecting.URL, Token: "t"}).Node(ctx)
	if err == nil || asked {
		t.Errorf("a redirect was followed: %v", err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusGatewayTimeout) }))
	t.Cleanup(proxy.Close)
	_, err = (&Client{Base: proxy.URL, Token: "t"}).Node(ctx)
	wantKind(t, err, fault.Local, nil, "504 Gateway Timeout that is no node of ours; check the address")
	proxy.Close()
	_, err = (&Client{Base: proxy.URL, Token: "t"}).Node(ctx)
	wantKind(t, err, fault.Local, nil, "cannot be reached")
}

func TestInProcess(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	ended := make(chan error, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-A", "1")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-B", "late")
		<-step
		_, _ = io.WriteString(w, "one")
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a"); panic("x") })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	rt := InProcess(mux)
	ask := func(ctx context.Context, path string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://x"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return rt.RoundTrip(req)
	}
	ctx := testContext(t)
	res, err := ask(ctx, "/stream")
	if err != nil || res.Header.Get("X-A") != "1" || res.Header.Get("X-B") != "" {
		t.Fatalf("%v, %v", res, err)
	}
	step <- struct{}{}
	b := make([]byte, 3)
	if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	res.Body.Close()
	if err := <-ended; err == nil {
		t.Error("closing the answer must end the request")
	}
	if _, err := ask(ctx, "/panic"); !errors.Is(err, errAborted) {
		t.Errorf("a handler that broke off: %v", err)
	}
	res, err = ask(ctx, "/late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); !errors.Is(err, errAborted) {
		t.Errorf("an answer that was broken off: %v", err)
	}
	short, stop := context.WithTimeout(ctx, time.Millisecond)
	defer stop()
	if res, err := ask(short, "/hang"); err == nil {
		if _, err = io.ReadAll(res.Body); err == nil {
			t.Error("a request whose context ended went on")
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), testContext(t)
	// Each stream gives two events and breaks off; the others begin with one that was
	// sent before. Progress comes under the number of the event before it.
	f.events = func(_ context.Context, after int64, send func(Event) error) error {
		for seq := max(after, 1); seq <= after+2; seq++ {
			e := Event{Seq: seq, Type: EventStep, Data: json.RawMessage("{\n\"a\":\r\n1}")}
			if seq == 3 && after < 3 {
				if err := send(e); err != nil {
					return err
				}
				e.Type = EventProgress
			}
			if seq == 7 {
				e.Type = EventEnd
			}
			if err := send(e); err != nil || seq == 7 {
				return err
			}
		}
		return errors.New("broken")
	}
	server := httptest.NewServer(NewHandler(Options{Service: f, Heartbeat: time.Millisecond}))
	t.Cleanup(server.Close)
	for _, c := range []*Client{direct(f, Auditor), {Base: server.URL, Token: f.secrets[Auditor]}} {
		var got []int64
		retries := 0
		c.Retry = func(err error) {
			retries++
			if err == nil {
				t.Error("a stream broke without a reason")
			}
		}
		err := c.Watch(ctx, "01", 0, func(e Event) error {
			got = append(got, e.Seq)
			if string(e.Data) != `{"a":1}` {
				t.Errorf("data %s", e.Data)
			}
			return nil
		})
		if err != nil || !slices.Equal(got, []int64{1, 2, 3, 3, 4, 5, 6, 7}) || retries != 3 {
			t.Errorf("%v after %d retries: %v", got, retries, err)
		}
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), testContext(t)
	c := direct(f, Auditor)
	never := func(Event) error { t.Error("an event"); return nil }
	wantKind(t, c.Watch(ctx, "ffff", 0, never), fault.Usage, ErrNotFound, "there is no job ffff")
	f.job.State, f.job.LastEvent = Done, 9
	f.events = func(context.Context, int64, func(Event) error) error { return nil }
	if err := c.Watch(ctx, "01", 9, never); err != nil {
		t.Errorf("a job that had ended before: %v", err)
	}
	f.events = func(ctx context.Context, _ int64, send func(Event) error) error {
		if err := send(Event{Seq: 10, Type: EventLog, Data: json.RawMessage(`{}`)}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	mine := errors.New("mine")
	if err := c.Watch(ctx, "01", 9, func(Event) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("an error of the listener: %v", err)
	}
	stopped, stop := context.WithCancel(ctx)
	if err := c.Watch(stopped, "01", 9, func(Event) error { stop(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
}

func TestWatchersAreBounded(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := &server{svc: f, watchers: make(chan struct{}, 1)}
	ctx := testContext(t)
	if _, err := s.watch(ctx, &watchInput{ID: "01"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.watch(ctx, &watchInput{ID: "01"}); fault.KindOf(err) != fault.Local {
		t.Errorf("a stream too many: %v", err)
	}
}

func TestEventReader(t *testing.T) {
	t.Parallel()
	r := newEventReader(strings.NewReader(": hello\n\nid: 3\r\nevent: log\r\ndata: {\r\ndata: }\r\nretry: 5\r\n\r\nid:4\nevent:end\ndata:{}\n\nid: 5\ndata: {}"))
	for _, want := range []Event{{3, "log", json.RawMessage("{\n}")}, {4, "end", json.RawMessage("{}")}} {
		if e, err := r.next(); err != nil || e.Seq != want.Seq || e.Type != want.Type || string(e.Data) != string(want.Data) {
			t.Errorf("%+v, %v; want %+v", e, err, want)
		}
	}
	if e, err := r.next(); err != io.EOF {
		t.Errorf("an event that is not complete: %+v, %v", e, err)
	}
	for _, bad := range []string{"id: x\n\n", "id: -1\n\n", "data: {\n\n", "data: " + strings.Repeat("1", maxEvent) + "\n\n"} {
		if _, err := newEventReader(strings.NewReader(bad)).next(); !errors.Is(err, errEvent) {
			t.Errorf("%.20s: %v", bad, err)
		}
	}
}

func FuzzEventReader(f *testing.F) {
	f.Add([]byte("id: 1\nevent: log\ndata: {}\n\n"))
	f.Add([]byte(": x\r\n\r\ndata:1\r\ndata: 2\r\n\r\n"))
	f.Add(appendEvent(nil, Event{7, EventStep, json.RawMessage(`"\r\n"`)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newEventReader(bytes.NewReader(b))
		for {
			e, err := r.next()
			if err != nil {
				return
			}
			again, err := newEventReader(bytes.NewReader(appendEvent(nil, e))).next()
			if err != nil || again.Seq != e.Seq || again.Type != e.Type {
				t.Fatalf("%+v is read back as %+v, %v", e, again, err)
			}
			var a, b any
			if json.Unmarshal(e.Data, &a) != nil || json.Unmarshal(again.Data, &b) != nil {
				t.Fatalf("data %q, then %q", e.Data, again.Data)
			}
		}
	})
}

// TestLastEventID: browsers say with a header where they were, others with the query.
func TestLastEventID(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := NewHandler(Options{Service: f})
	for want, at := range map[string][2]string{"id: 8\n": {"7", "3"}, "id: 10\n": {"7", "9"}, "id: 1\n": {"", "0"}} {
		var header []string
		if at[0] != "" {
			header = []string{"Last-Event-ID", at[0]}
		}
		res, b := send(t, h, f.secrets[Auditor], "GET", "/v1/jobs/01/events?after="+at[1], "", header...)
		if !bytes.Contains(b, []byte(want)) || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("after %q: %s", at, b)
		}
	}
}
