package align

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"kontor/internal/fault"
	"kontor/session"
)

// frame is a message as a test sees it on the wire.
type frame struct {
	from, to, tag string
	body          []byte
}

// network joins parties by channels that hold one message, so that a party that
// relies on more room stands still.
type network struct {
	mu     sync.Mutex
	frames []frame
	// tamper may replace a body, or return several bodies that go as messages of
	// the same tag, or none. It is called for one message at a time.
	tamper func(f frame) [][]byte
}

type conn struct {
	n        *network
	from, to string
	in, out  chan []byte
	sent     uint32
}

func (n *network) connect(a, b string) (atA, atB *conn) {
	ab, ba := make(chan []byte, 1), make(chan []byte, 1)
	return &conn{n: n, from: a, to: b, in: ba, out: ab}, &conn{n: n, from: b, to: a, in: ab, out: ba}
}

// Send takes the two parts that package session sends, header and body.
func (c *conn) Send(ctx context.Context, parts ...[]byte) error {
	head, body := slices.Clone(parts[0]), slices.Concat(parts[1:]...)
	bodies := [][]byte{body}
	c.n.mu.Lock()
	f := frame{c.from, c.to, string(head[10:]), body}
	if c.n.tamper != nil {
		bodies = c.n.tamper(f)
	}
	c.n.frames = append(c.n.frames, f)
	c.n.mu.Unlock()
	for _, b := range bodies {
		head[1], head[2], head[3], head[4] = byte(c.sent>>24), byte(c.sent>>16), byte(c.sent>>8), byte(c.sent)
		select {
		case c.out <- slices.Concat(head, b):
			c.sent++
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *conn) Recv(ctx context.Context, limit int) ([]byte, error) {
	select {
	case m := <-c.in:
		if len(m) > limit {
			return nil, fault.New(fault.Protocol, fmt.Sprintf("a message of %d bytes, at most %d are allowed", len(m), limit), "")
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// member is one party of a test: the guest first, then the hosts.
type member struct {
	ids      []string
	opt      Options
	progress func(done, total int64, unit string)
}

// outcome is what one party's call returned.
type outcome struct {
	res   *Result
	err   error
	stats session.Stats
}

func parties(n int) []session.Party {
	ps := []session.Party{{Name: "bank", Role: session.Guest}}
	for i := 1; i < n; i++ {
		ps = append(ps, session.Party{Name: fmt.Sprint("host", i), Role: session.Host})
	}
	return ps
}

// play runs all parties and returns their outcomes in order. Like a node, it ends
// the others when one party fails for any reason but the data, of which all hear
// in the protocol.
func play(t testing.TB, ctx context.Context, n *network, members []member) []outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ps := parties(len(members))
	conns := make([]map[string]session.Conn, len(ps))
	for i := range ps {
		conns[i] = map[string]session.Conn{}
	}
	for i := range ps {
		for j := i + 1; j < len(ps); j++ {
			a, b := n.connect(ps[i].Name, ps[j].Name)
			conns[i][ps[j].Name], conns[j][ps[i].Name] = a, b
		}
	}
	out := make([]outcome, len(ps))
	var wg sync.WaitGroup
	for i, p := range ps {
		s, err := session.New(session.Config{ID: sha256.Sum256([]byte(t.Name())), Step: "align", Self: p.Name,
			Parties: ps, Conns: conns[i], Progress: members[i].progress})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			run := Host
			if p.Role == session.Guest {
				run = Guest
			}
			random := rand.NewChaCha8(sha256.Sum256([]byte(t.Name() + p.Name)))
			out[i].res, out[i].err = run(ctx, s, members[i].ids, members[i].opt, random)
			out[i].stats = s.Stats()
			if out[i].err != nil && fault.KindOf(out[i].err) != fault.Data {
				cancel()
			}
		})
	}
	wg.Wait()
	return out
}

func numbers(prefix string, lo, hi int) []string {
	var s []string
	for i := lo; i < hi; i++ {
		s = append(s, fmt.Sprint(prefix, i))
	}
	return s
}

// members returns parties with the given ids that all agree to a single joint row.
func members(ids ...[]string) []member {
	var ms []member
	for _, x := range ids {
		ms = append(ms, member{ids: x, opt: Options{MinRows: 1}})
	}
	return ms
}
