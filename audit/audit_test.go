package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"kontor/identity"
	"kontor/internal/fault"
	"kontor/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// node is an institution with its log.
type node struct {
	*Log
	id *identity.Identity
	db *store.DB
}

func newNode(t testing.TB, name string) node {
	t.Helper()
	id, err := identity.Ephemeral(name, noon)
	if err != nil {
		t.Fatal(err)
	}
	return reopen(t, id)
}

// reopen returns an empty log for an identity that may have had another.
func reopen(t testing.TB, id *identity.Identity) node {
	t.Helper()
	db, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	l, err := Open(db, id)
	if err != nil {
		t.Fatal(err)
	}
	return node{l, id, db}
}

func (n node) write(t testing.TB, events ...Event) {
	t.Helper()
	if err := n.db.Write(context.Background(), func(tx *store.Tx) error {
		for _, e := range events {
			if err := n.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func events(from, to int) []Event {
	var out []Event
	for i := from; i <= to; i++ {
		out = append(out, Event{Time: noon.Add(time.Duration(i) * time.Second), Actor: "alice", Action: "job.approve", Object: fmt.Sprintf("job %d", i), Detail: map[string]any{"n": i, "note": "<b> & \u2028 é\n"}})
	}
	return out
}

func (n node) export(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if err := n.Export(context.Background(), &b, 0, 0); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (n node) head(t testing.TB) Head {
	t.Helper()
	h, err := n.Head(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func verify(t testing.TB, export string, n node, heads ...Head) *Report {
	t.Helper()
	r, err := Verify(strings.NewReader(export), n.id.PublicKey(), heads...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsWrittenVerifies(t *testing.T) {
	t.Parallel()
	n, ctx := newNode(t, "bank"), context.Background()
	if r := verify(t, n.export(t), n, n.head(t)); !r.OK() || r.Entries != 0 || r.To != 0 || r.Heads != 1 {
		t.Errorf("an empty log: %+v", r)
	}
	early := n.head(t)
	n.write(t, events(1, 1203)...) // more than two pages
	r := verify(t, n.export(t), n, early, n.head(t))
	if !r.OK() || r.Err() != nil || r.Entries != 1203 || r.From != 1 || r.To != 1203 || r.Node != "bank" || r.Heads != 2 || !r.First.Equal(noon.Add(time.Second)) || !r.Last.Equal(noon.Add(1203*time.Second)) {
		t.Errorf("%+v", r)
	}
	if h := n.head(t); h.Hash != r.Hash || h.Seq != 1203 || !h.Verify(n.id.PublicKey()) {
		t.Errorf("%+v", h)
	}
	if r, err := n.Log.Verify(ctx, n.head(t)); err != nil || !r.OK() || r.Entries != 1203 {
		t.Errorf("in place: %+v, %v", r, err)
	}
	var part bytes.Buffer
	if err := n.Export(ctx, &part, 500, 510); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, part.String(), n, early); !r.OK() || r.From != 500 || r.To != 510 || r.Entries != 11 || len(r.Notes) != 1 {
		t.Errorf("a part: %+v", r)
	}
	if err := n.Export(ctx, &part, 2000, 0); fault.KindOf(err) != fault.Usage {
		t.Errorf("a part that is not there: %v", err)
	}
}

func TestAppendHoldsWithItsTransaction(t *testing.T) {
	t.Parallel()
	n, ctx := newNode(t, "bank"), context.Background()
	n.write(t, events(1, 2)...)
	sour := errors.New("sour")
	if err := n.db.Write(ctx, func(tx *store.Tx) error { return errors.Join(n.Append(tx, events(3, 3)[0]), sour) }); !errors.Is(err, sour) {
		t.Fatal(err)
	}
	n.write(t, events(4, 4)...)
	if r := verify(t, n.export(t), n); !r.OK() || r.To != 3 {
		t.Errorf("%+v", r)
	}
	for _, action := range []string{"", "Job Approve", "job\n", strings.Repeat("a", 65)} {
		if err := n.db.Write(ctx, func(tx *store.Tx) error { return n.Append(tx, Event{Action: action}) }); err == nil {
			t.Errorf("action %q was taken", action)
		}
	}
}

func TestEntriesAreSelected(t *testing.T) {
	t.Parallel()
	n, ctx := newNode(t, "bank"), context.Background()
	n.write(t, events(1, 5)...)
	n.write(t, Event{Action: "jobs.x", Object: "o"}, Event{Action: "data.add", Object: "job 3"})
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "7 6 5 4 3 2 1"}, {Filter{Limit: 2}, "7 6"}, {Filter{Before: 3}, "2 1"}, {Filter{Object: "job 3"}, "7 3"},
		{Filter{Action: "job."}, "5 4 3 2 1"}, {Filter{Action: "data.add"}, "7"}, {Filter{Action: "job"}, ""},
	} {
		entries, err := n.Entries(ctx, c.f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, fmt.Sprint(e.Seq))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v, want %s", c.f, got, c.want)
		}
	}
	e, err := n.Entries(ctx, Filter{Limit: 1, Before: 2})
	if err != nil || e[0].Actor != "alice" || e[0].Node != "bank" || !e[0].Time.Equal(noon.Add(time.Second)) || e[0].Detail.(map[string]any)["note"] != "<b> & \u2028 é\n" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestALogBelongsToOneIdentity(t *testing.T) {
	t.Parallel()
	n, other := newNode(t, "bank"), newNode(t, "bank")
	n.write(t, events(1, 1)...)
	if _, err := Open(n.db, other.id); fault.KindOf(err) != fault.Trust {
		t.Errorf("%v", err)
	}
	if _, err := Open(n.db, n.id); err != nil {
		t.Errorf("%v", err)
	}
}

// TestSecretsStayOut puts what must not be in a log into every place of an event.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	n := newNode(t, "bank")
	const leak = "hunter2"
	detail := map[string]any{
		"token": leak, "api_key": leak, "API-Key": leak, "dsn": leak, "DSN": []string{leak}, "password": leak, "Passphrase": leak, "client_secret": map[string]any{"x": leak},
		"private_key": []byte(leak), "session.key": leak, "credentials": leak, "Authorization": leak, "set-cookie": leak, "nested": map[string]any{"list": []any{map[string]any{"admin_token": leak}}},
		"url":    "open postgres://user:" + leak + "@db/x",
		"odd":    "postgres://user:p/w@" + leak + "@db/x",
		"mysql":  "user:" + leak + "@tcp(db:3306)/x",
		"pairs":  "host=db password=" + leak + " user=x; pwd: '" + leak + " " + leak + "'",
		"header": "Authorization: Bearer " + leak,
		"pem":    "-----BEGIN PRIVATE KEY-----\n" + leak + "\n-----END PRIVATE KEY-----\n",
		"struct": struct {
			Token string `json:"token"`
		}{leak},
		"https://a:" + leak + "@b/": 1,
	}
	n.write(t, Event{Actor: "x token=" + leak, Action: "data.add", Object: "mysql://a:" + leak + "@b", Detail: detail})
	out := n.export(t)
	if strings.Contains(out, leak) {
		t.Errorf("a secret went into the log: %s", out)
	}
	if strings.Count(out, redacted) < 20 {
		t.Errorf("what was left out is not marked: %s", out)
	}
	n.write(t, Event{Action: "data.add", Detail: map[string]any{"join_key": "id", "rows": 7, "public_key": "abc", "peer": "shop"}})
	e, err := n.Entries(context.Background(), Filter{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if m := e[0].Detail.(map[string]any); m["join_key"] != "id" || m["rows"] != int64(7) || m["public_key"] != "abc" || m["peer"] != "shop" {
		t.Errorf("%v", m)
	}
}

func TestDetailsAreBounded(t *testing.T) {
	t.Parallel()
	n, ctx := newNode(t, "bank"), context.Background()
	var deep any = "x"
	for range 100 {
		deep = []any{deep}
	}
	wide := map[string]any{}
	for i := range 10_000 {
		wide[fmt.Sprintf("member %d", i)] = i
	}
	n.write(t,
		Event{Actor: strings.Repeat("é", 1000), Action: "a", Object: strings.Repeat("o", 10_000), Detail: map[string]any{"long": strings.Repeat("x", 100_000)}},
		Event{Action: "b", Detail: wide},
		Event{Action: "c", Detail: map[string]any{"deep": deep}},
		Event{Action: "d", Detail: map[string]any{"nan": math.NaN()}},
		Event{Action: "e", Detail: map[string]any{"auc": 0.75, "tiny": 1e-300, "big": uint64(math.MaxUint64), "whole": 3.0, "bad": "\xff", "none": nil}},
	)
	if r := verify(t, n.export(t), n); !r.OK() || r.Entries != 5 {
		t.Fatalf("%+v", r)
	}
	got, err := n.Entries(ctx, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got[4].Actor) > maxActor+30 || len(got[4].Object) > maxObject+30 || len(got[4].Detail.(map[string]any)["long"].(string)) > maxText+30 {
		t.Error("a text is longer than it may be")
	}
	if m := got[3].Detail.(map[string]any); m["cut"] != true || m["bytes"].(int64) < maxDetail {
		t.Errorf("a large detail: %v", m)
	}
	if m := got[1].Detail.(map[string]any); m["unreadable"] == nil {
		t.Errorf("a detail that JSON does not know: %v", m)
	}
	if m := got[0].Detail.(map[string]any); m["auc"] != "0.75" || m["tiny"] != "1e-300" || m["big"] != "18446744073709551615" || m["whole"] != int64(3) || m["bad"] != "\uFFFD" {
		t.Errorf("numbers: %v", m)
	}
}

// TestKnownAnswer pins the format: an entry made elsewhere, as docs/formats/audit.md has it.
func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	text := canonical(map[string]any{
		"format": Format, "node": "bank", "seq": int64(1), "time": stamp(noon), "prev": strings.Repeat("0", 64), "actor": "alice", "action": "job.approve",
		"object": "job 1", "detail": clean(map[string]any{"z": 1, "a": []any{true, nil, 0.5}, "é": "\"\\\n\x01\u2028<"}),
	})
	const want = `{"action":"job.approve","actor":"alice","detail":{"a":[true,null,"0.5"],"z":1,"é":"\"\\\n\u0001` + "\u2028" + `<"},"format":"kontor-audit-v1","node":"bank","object":"job 1","prev":"0000000000000000000000000000000000000000000000000000000000000000","seq":1,"time":"2026-03-01T12:00:00.000000Z"}`
	if string(text) != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	if !json.Valid(text) {
		t.Error("not JSON")
	}
	if d, err := parseEntry(text); err != nil || string(d.text) != want {
		t.Errorf("%+v, %v", d, err)
	}
	doc, err := os.ReadFile("../docs/formats/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), want) {
		t.Error("docs/formats/audit.md does not show this entry")
	}
}

func BenchmarkAppend(b *testing.B) {
	n, e := newNode(b, "bank"), events(1, 1)[0]
	for b.Loop() {
		n.write(b, e)
	}
}
