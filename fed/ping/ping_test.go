package ping

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"

	"kontor/internal/fault"
	"kontor/session"
)

// pipe is one direction each way, with a change to what is received.
type pipe struct {
	in, out chan []byte
	change  func([]byte) []byte
}

func (p *pipe) Send(ctx context.Context, parts ...[]byte) error {
	select {
	case p.out <- bytes.Join(parts, nil):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pipe) Recv(ctx context.Context, _ int) ([]byte, error) {
	select {
	case m := <-p.in:
		if p.change != nil {
			m = p.change(bytes.Clone(m))
		}
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// play runs the protocol between a guest and two hosts; change alters what the
// named party receives.
func play(t *testing.T, at string, change func([]byte) []byte) map[string]error {
	t.Helper()
	parties := []session.Party{{Name: "bank", Role: session.Guest}, {Name: "telecom", Role: session.Host}, {Name: "insurer", Role: session.Host}}
	conns := map[string]map[string]session.Conn{"bank": {}, "telecom": {}, "insurer": {}}
	for _, h := range []string{"telecom", "insurer"} {
		a, b := make(chan []byte, 1), make(chan []byte, 1)
		g, o := &pipe{in: a, out: b}, &pipe{in: b, out: a}
		if at == h {
			o.change = change
		}
		if at == "bank" && h == "telecom" {
			g.change = change
		}
		conns["bank"][h], conns[h]["bank"] = g, o
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	errs := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range parties {
		s, err := session.New(session.Config{ID: session.ID{7}, Step: "ping", Self: p.Name, Parties: parties, Conns: conns[p.Name]})
		if err != nil {
			t.Fatal(err)
		}
		side := Host
		if p.Role == session.Guest {
			side = Guest
		}
		wg.Go(func() {
			err := side(ctx, s, rand.Reader)
			if err != nil {
				cancel(errors.New("another party stopped"))
			}
			mu.Lock()
			errs[p.Name] = err
			mu.Unlock()
		})
	}
	wg.Wait()
	return errs
}

func TestPing(t *testing.T) {
	for p, err := range play(t, "", nil) {
		if err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestAWrongMessageNamesItsSender(t *testing.T) {
	flip := func(m []byte) []byte { m[len(m)-1] ^= 1; return m }
	cut := func(m []byte) []byte { return m[:len(m)-1] }
	long := func(m []byte) []byte { return append(m, 0) }
	for name, c := range map[string]struct {
		at, blamed string
		change     func([]byte) []byte
	}{
		"another answer":      {"telecom", "bank", flip},
		"a short answer":      {"insurer", "bank", cut},
		"a short challenge":   {"bank", "telecom", cut},
		"a long challenge":    {"bank", "telecom", long},
		"a changed challenge": {"bank", "", flip}, // the host notices
	} {
		errs := play(t, c.at, c.change)
		at := c.at
		if c.blamed == "" {
			at, c.blamed = "telecom", "bank"
		}
		if err := errs[at]; fault.KindOf(err) != fault.Protocol || !strings.Contains(err.Error(), "party "+c.blamed) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}
