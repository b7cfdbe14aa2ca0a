package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/session"
	"kontor/transport"
)

// tamper changes the bodies of messages of one tag on their way out.
type tamper struct {
	*transport.MemConn
	tag, old, new string
}

func (c tamper) Send(ctx context.Context, parts ...[]byte) error {
	if len(parts) == 2 && strings.HasSuffix(string(parts[0]), c.tag) {
		parts = [][]byte{parts[0], []byte(strings.Replace(string(parts[1]), c.old, c.new, 1))}
	}
	return c.MemConn.Send(ctx, parts...)
}

// agree runs the exchange between two parties and returns what each comes to.
func agree(t *testing.T, spec *flow.Spec, guest, host tamper, keyOfHost func(ed25519.PublicKey) ed25519.PublicKey) (c [2]*Consent, errs [2]error) {
	t.Helper()
	a, b := transport.MemoryPair("bank", "telecom")
	guest.MemConn, host.MemConn = a, b
	ids := [2]*identity.Identity{}
	for i, name := range []string{"bank", "telecom"} {
		id, err := identity.Ephemeral(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	side := func(i int, self, peer string, conn session.Conn, pinned ed25519.PublicKey) *consenting {
		s, err := session.New(session.Config{Step: "consent", Self: self, Parties: spec.SessionParties(), Conns: map[string]session.Conn{peer: conn}})
		if err != nil {
			t.Fatal(err)
		}
		return &consenting{s: s, spec: spec, id: ids[i], rand: rand.Reader, can: flow.AllCapabilities(),
			pinned: func(p string) (ed25519.PublicKey, bool) { return pinned, p == peer }}
	}
	pinnedHost := ids[1].PublicKey()
	if keyOfHost != nil {
		pinnedHost = keyOfHost(pinnedHost)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c[1], errs[1] = side(1, "telecom", "bank", host, ids[0].PublicKey()).run(t.Context())
		if errs[1] != nil {
			b.Abort(errs[1])
		}
	}()
	c[0], errs[0] = side(0, "bank", "telecom", guest, pinnedHost).run(t.Context())
	if errs[0] != nil {
		a.Abort(errs[0])
	}
	<-done
	return c, errs
}

func TestConsent(t *testing.T) {
	spec := parse(t, jobText)
	c, errs := agree(t, spec, tamper{}, tamper{}, nil)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	if c[0].Run != c[1].Run || c[0].Run == (session.ID{}) || len(c[0].Parties) != 2 || c[0].Parties[1] != c[1].Parties[1] {
		t.Errorf("%+v and %+v", c[0], c[1])
	}
	// What result.json keeps is enough to verify the consent, and nothing else passes.
	b, err := json.Marshal(c[0])
	if err != nil {
		t.Fatal(err)
	}
	var kept Consent
	if err := json.Unmarshal(b, &kept); err != nil || kept.Verify(c[0].Run) != nil {
		t.Errorf("%v, %v", err, kept.Verify(c[0].Run))
	}
	for what, change := range map[string]func(*Consent){
		"spec":      func(c *Consent) { c.Spec = strings.Repeat("0", 64) },
		"role":      func(c *Consent) { c.Parties[1].Role = session.Guest },
		"nonce":     func(c *Consent) { c.Parties[0].Nonce = strings.Repeat("0", 64) },
		"signature": func(c *Consent) { c.Parties[0].Signature = c.Parties[1].Signature },
		"party":     func(c *Consent) { c.Parties = c.Parties[:1] },
	} {
		var forged Consent
		if err := json.Unmarshal(b, &forged); err != nil {
			t.Fatal(err)
		}
		if change(&forged); forged.Verify(c[0].Run) == nil {
			t.Errorf("a consent with another %s verifies", what)
		}
	}
	again, _ := agree(t, spec, tamper{}, tamper{}, nil)
	if again[0].Run == c[0].Run {
		t.Error("two runs of a job have one identifier")
	}
}

// TestConsentTampered changes messages of the exchange; nobody may come to a
// consent that the other has not signed.
func TestConsentTampered(t *testing.T) {
	spec := parse(t, jobText)
	for name, c := range map[string]struct {
		guest, host tamper
		key         func(ed25519.PublicKey) ed25519.PublicKey
		who         int // whose error counts
		kind        fault.Kind
	}{
		"roster with another nonce":      {guest: tamper{tag: "roster", old: `telecom","nonce":"`, new: `telecom","nonce":"00`}, who: 1, kind: fault.Protocol},
		"roster with another party":      {guest: tamper{tag: "roster", old: `"party":"bank"`, new: `"party":"bonk"`}, who: 1, kind: fault.Protocol},
		"roster with another key":        {guest: tamper{tag: "roster", old: `"key":"`, new: `"key":"zz`}, who: 1, kind: fault.Protocol},
		"roster with a further field":    {guest: tamper{tag: "roster", old: `{"format"`, new: `{"x":1,"format"`}, who: 1, kind: fault.Protocol},
		"roster of another format":       {guest: tamper{tag: "roster", old: `"format":1`, new: `"format":2`}, who: 1, kind: fault.Protocol},
		"roster of another job":          {guest: tamper{tag: "roster", old: `"spec":"`, new: `"spec":"0`}, who: 1, kind: fault.Consent},
		"join that is no JSON":           {host: tamper{tag: "join", old: `{`, new: `[`}, who: 0, kind: fault.Protocol},
		"join with a short nonce":        {host: tamper{tag: "join", old: `"nonce":"`, new: `"nonce":"","x":"`}, who: 0, kind: fault.Protocol},
		"join with data after it":        {host: tamper{tag: "join", old: `]}`, new: `]}{}`}, who: 0, kind: fault.Protocol},
		"signature of somebody else":     {host: tamper{tag: "consent", old: `"party":"telecom"`, new: `"party":"bank"`}, who: 0, kind: fault.Protocol},
		"signature that is wrong":        {host: tamper{tag: "consent", old: `"signature":"`, new: `"signature":"00`}, who: 0, kind: fault.Consent},
		"no signature of the guest":      {guest: tamper{tag: "consents", old: `"party":"bank"`, new: `"party":"bonk"`}, who: 1, kind: fault.Consent},
		"wrong signature of the guest":   {guest: tamper{tag: "consents", old: `"signature":"`, new: `"signature":"00`}, who: 1, kind: fault.Consent},
		"signed with a key not accepted": {key: func(ed25519.PublicKey) ed25519.PublicKey { return make([]byte, 32) }, who: 0, kind: fault.Trust},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			consents, errs := agree(t, spec, c.guest, c.host, c.key)
			wantFault(t, "the party that must notice", errs[c.who], c.kind, "step consent", "party ")
			if consents[c.who] != nil {
				t.Error("there is a consent all the same")
			}
		})
	}
}

func FuzzConsentMessages(f *testing.F) {
	f.Add([]byte(`{"format":1,"spec":"00","entries":[{"party":"bank","nonce":"00","key":"00"}],"version":"0.1.0","can":["align/1"]}`))
	f.Add([]byte(`{"format":1,"spec":"00","nonce":"00","key":"00","version":"","can":null}`))
	f.Add([]byte(`[{"party":"bank","signature":"00"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{&join{}, &roster{}, &signature{}, &[]signature{}} {
			if err := (jsonMessage{v}).UnmarshalBinary(b); err != nil {
				continue
			}
			if _, err := json.Marshal(v); err != nil {
				t.Errorf("%T from %q: %v", v, b, err)
			}
		}
	})
}

func file(name, text string) flow.File {
	return flow.File{Name: name, Write: func(w io.Writer) error { _, err := io.WriteString(w, text); return err }}
}

// TestOutputIsWholeOrNothing publishes results over one another and fails in
// the middle of writing one.
func TestOutputIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "deep", "out")
	put := func(files ...flow.File) error {
		st, err := stage(out, append(files, file(marker, "{}")))
		if err != nil {
			return err
		}
		return st.publish()
	}
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(out, name))
		return string(b)
	}
	if err := put(file("a", "1"), file("b", "1")); err != nil || read("a") != "1" {
		t.Fatal(err, read("a"))
	}
	if err := put(file("a", "2")); err != nil || read("a") != "2" || read("b") != "" {
		t.Fatal("a second result must replace the first whole", err, read("a"), read("b"))
	}
	full := errors.New("no space left on device")
	err := put(file("a", "3"), flow.File{Name: "b", Write: func(io.Writer) error { return full }})
	if !errors.Is(err, full) || read("a") != "2" {
		t.Fatal("a failed result must leave the old one", err, read("a"))
	}
	wantFault(t, "a full disk", err, fault.Local, "free space")
	if entries, _ := os.ReadDir(filepath.Dir(out)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := os.Remove(filepath.Join(out, marker)); err != nil {
		t.Fatal(err)
	}
	wantFault(t, "a folder of somebody else", put(file("a", "4")), fault.Local, "--out")
	if read("a") != "2" {
		t.Error("a folder that is no result was touched")
	}
}
