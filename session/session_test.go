package session_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"kontor/internal/fault"
	"kontor/session"
)

// pipe is one direction of a connection: an unbounded queue is enough here.
type pipe chan []byte

type conn struct{ out, in pipe }

func (c conn) Send(ctx context.Context, parts ...[]byte) error {
	select {
	case c.out <- bytes.Join(parts, nil):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c conn) Recv(ctx context.Context, limit int) ([]byte, error) {
	select {
	case m := <-c.in:
		if len(m) > limit {
			return nil, errors.New("too long")
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var two = []session.Party{{Name: "bank", Role: session.Guest}, {Name: "telecom", Role: session.Host}}

func pair(t *testing.T) (bank, telecom *session.Session, raw pipe) {
	t.Helper()
	a, b := make(pipe, 64), make(pipe, 64)
	mk := func(self, peer string, c conn) *session.Session {
		s, err := session.New(session.Config{Step: "align", Self: self, Parties: two, Conns: map[string]session.Conn{peer: c}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return mk("bank", "telecom", conn{a, b}), mk("telecom", "bank", conn{b, a}), a
}

func recv(s *session.Session, from, tag string) (string, error) {
	var b session.Bytes
	err := s.Recv(context.Background(), from, tag, 100, &b)
	return string(b), err
}

func TestRoundsAndBytes(t *testing.T) {
	bank, telecom, _ := pair(t)
	ctx := context.Background()
	send := func(s *session.Session, to, tag string, more bool) {
		t.Helper()
		f := s.Send
		if more {
			f = s.SendMore
		}
		if err := f(ctx, to, tag, session.Bytes("12345")); err != nil {
			t.Fatal(err)
		}
	}
	get := func(s *session.Session, from, tag string) {
		t.Helper()
		if got, err := recv(s, from, tag); err != nil || got != "12345" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	send(bank, "telecom", "ask", false)
	send(bank, "telecom", "ask", true)
	get(telecom, "bank", "ask")
	send(telecom, "bank", "tell", false)
	get(bank, "telecom", "tell")
	send(bank, "telecom", "ask", true) // a further part of the first stream: no new round
	get(telecom, "bank", "ask")
	get(telecom, "bank", "ask")
	send(telecom, "bank", "tell", true)
	get(bank, "telecom", "tell")
	if r := bank.Stats().Rounds; r != 2 {
		t.Errorf("two streams that wait for one another once: %d rounds, want 2", r)
	}
	send(bank, "telecom", "next", false)
	get(telecom, "bank", "next")
	b, h := bank.Stats(), telecom.Stats()
	if b.Rounds != 3 || h.Rounds != 3 {
		t.Errorf("rounds %d and %d, want 3", b.Rounds, h.Rounds)
	}
	const ask, next, tell = 10 + 3 + 5, 10 + 4 + 5, 10 + 4 + 5
	if want := int64(3*ask + next); b.BytesSent != want || h.BytesReceived != want {
		t.Errorf("bank sent %d, telecom received %d, want %d", b.BytesSent, h.BytesReceived, want)
	}
	if want := int64(2 * tell); b.BytesReceived != want || h.BytesSent != want {
		t.Errorf("bank received %d, telecom sent %d, want %d", b.BytesReceived, h.BytesSent, want)
	}
	if len(b.Traffic) != 3 || b.Traffic[0].Tag != "ask" || b.Traffic[0].Messages != 3 {
		t.Errorf("traffic %+v", b.Traffic)
	}
}

func TestViolationsNameThePeer(t *testing.T) {
	head := func(version byte, seq byte, tag string) []byte {
		return append([]byte{version, 0, 0, 0, seq, 0, 0, 0, 1, byte(len(tag))}, tag...)
	}
	for name, c := range map[string]struct {
		msg  []byte
		want string
	}{
		"empty":          {nil, "too short"},
		"short":          {[]byte{1, 0, 0}, "too short"},
		"other format":   {head(9, 0, "ask"), "message format 9"},
		"other tag":      {head(1, 0, "tell"), `"tell" where "ask"`},
		"replayed":       {head(1, 1, "ask"), "message 1 of the session came where 0"},
		"no tag":         {head(1, 0, ""), "malformed tag"},
		"tag past end":   {[]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 60, 'a'}, "malformed tag"},
		"tag too long":   {head(1, 0, strings.Repeat("a", 65)), "malformed tag"},
		"body too large": {append(head(1, 0, "ask"), make([]byte, 101)...), "101 bytes, at most 100"},
	} {
		t.Run(name, func(t *testing.T) {
			_, telecom, raw := pair(t)
			raw <- c.msg
			_, err := recv(telecom, "bank", "ask")
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Protocol || f.Party != "bank" || f.Step != "align" || f.Cure == "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a protocol fault of bank in align about %q", err, c.want)
			}
		})
	}
}

func TestStarNeedsNoLinkBetweenHosts(t *testing.T) {
	three := append(append([]session.Party{}, two...), session.Party{Name: "insurer", Role: session.Host})
	c := conn{make(pipe, 1), make(pipe, 1)}
	if _, err := session.New(session.Config{Self: "insurer", Parties: three, Conns: map[string]session.Conn{"bank": c}}); err != nil {
		t.Errorf("a host with the guest alone: %v", err)
	}
	if _, err := session.New(session.Config{Self: "bank", Parties: three, Conns: map[string]session.Conn{"telecom": c}}); err == nil {
		t.Error("a guest without connection to a host was accepted")
	}
	if _, err := session.New(session.Config{Self: "bank", Parties: []session.Party{{Name: "bank", Role: session.Host}}}); err == nil {
		t.Error("a session without guest was accepted")
	}
}

func TestIDsDeriveApart(t *testing.T) {
	var id session.ID
	a, again := id.Derive("a"), id.Derive("a")
	if a == id.Derive("b") || a != again || a == id {
		t.Error("derived identifiers must differ by label and repeat for the same one")
	}
}

func FuzzRecv(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 3, 'a', 's', 'k', 'x'})
	f.Add([]byte{})
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, msg []byte) {
		a := make(pipe, 1)
		s, err := session.New(session.Config{Self: "telecom", Parties: two, Conns: map[string]session.Conn{"bank": conn{a, a}}})
		if err != nil {
			t.Fatal(err)
		}
		a <- msg
		if got, err := recv(s, "bank", "ask"); err == nil && !bytes.HasSuffix(msg, []byte(got)) {
			t.Errorf("%x gave body %q", msg, got)
		}
	})
}
