package boost

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"kontor/session"
)

// pipe is one end of an in-memory connection. tamper may change what it sends.
type pipe struct {
	out    chan<- []byte
	in     <-chan []byte
	closed <-chan struct{} // the peer has gone
	tamper func(msg []byte) [][]byte
}

var errGone = errors.New("the peer went away")

func (p *pipe) Send(ctx context.Context, parts ...[]byte) error {
	msgs := [][]byte{slices.Concat(parts...)}
	if p.tamper != nil {
		msgs = p.tamper(msgs[0])
	}
	for _, m := range msgs {
		select {
		case p.out <- m:
		case <-p.closed:
			return errGone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *pipe) Recv(ctx context.Context, limit int) ([]byte, error) {
	take := func(m []byte) ([]byte, error) {
		if len(m) > limit {
			return nil, fmt.Errorf("a message of %d bytes is longer than %d", len(m), limit)
		}
		return m, nil
	}
	select {
	case m := <-p.in:
		return take(m)
	default:
	}
	select {
	case m := <-p.in:
		return take(m)
	case <-p.closed:
		select { // what was sent before the peer went is still there
		case m := <-p.in:
			return take(m)
		default:
			return nil, errGone
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// network is a session between a guest "bank" and hosts "h0", "h1", ...
type network struct {
	ids    session.ID
	names  []string
	pipes  map[[2]string]*pipe // by owner and peer
	gone   map[string]chan struct{}
	onProg func(self string, done int64, unit string)
}

func newNetwork(hosts int, seed byte) *network {
	n := &network{names: []string{"bank"}, pipes: map[[2]string]*pipe{}, gone: map[string]chan struct{}{"bank": make(chan struct{})}}
	n.ids[0] = seed
	for k := range hosts {
		h := fmt.Sprintf("h%d", k)
		n.names = append(n.names, h)
		n.gone[h] = make(chan struct{})
		a, b := make(chan []byte, 2), make(chan []byte, 2)
		n.pipes[[2]string{"bank", h}] = &pipe{out: a, in: b, closed: n.gone[h]}
		n.pipes[[2]string{h, "bank"}] = &pipe{out: b, in: a, closed: n.gone["bank"]}
	}
	return n
}

func (n *network) session(t testing.TB, self string) *session.Session {
	t.Helper()
	c := session.Config{ID: n.ids, Step: "boost", Self: self, Conns: map[string]session.Conn{}}
	for i, name := range n.names {
		role := session.Host
		if i == 0 {
			role = session.Guest
		}
		c.Parties = append(c.Parties, session.Party{Name: name, Role: role})
		if p := n.pipes[[2]string{self, name}]; p != nil {
			c.Conns[name] = p
		}
	}
	if n.onProg != nil {
		c.Progress = func(done, _ int64, unit string) { n.onProg(self, done, unit) }
	}
	s, err := session.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs one function a party at once and returns their errors by party.
func (n *network) run(t testing.TB, party func(self string, s *session.Session) error) map[string]error {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	errs := map[string]error{}
	for _, name := range n.names {
		s := n.session(t, name)
		wg.Go(func() {
			err := party(name, s)
			close(n.gone[name])
			mu.Lock()
			errs[name] = err
			mu.Unlock()
		})
	}
	wg.Wait()
	return errs
}

// random is a deterministic source of randomness.
func random(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// world is a table divided between parties.
type world struct {
	guest []Column
	hosts [][]Column
	label []float64
	rows  Rows
}

// outcome is what a federated training left at the parties.
type outcome struct {
	guest *GuestModel
	hist  *History
	hosts []*HostModel
	stats map[string]session.Stats
}

func (w *world) train(t testing.TB, n *network, p Params) (*outcome, map[string]error) {
	t.Helper()
	return w.trainContext(t, context.Background(), n, p)
}

func (w *world) trainContext(t testing.TB, ctx context.Context, n *network, p Params) (*outcome, map[string]error) {
	t.Helper()
	o := &outcome{hosts: make([]*HostModel, len(w.hosts)), stats: map[string]session.Stats{}}
	var mu sync.Mutex
	errs := n.run(t, func(self string, s *session.Session) (err error) {
		if self == "bank" {
			o.guest, o.hist, err = TrainGuest(ctx, s, w.guest, w.label, w.rows, p, random(1))
		} else {
			k := int(self[1] - '0')
			o.hosts[k], err = TrainHost(ctx, s, w.hosts[k], w.rows, p, random(byte(10+k)))
		}
		mu.Lock()
		o.stats[self] = s.Stats()
		mu.Unlock()
		return err
	})
	return o, errs
}

func (w *world) mustTrain(t testing.TB, p Params) *outcome {
	t.Helper()
	o, errs := w.train(t, newNetwork(len(w.hosts), 1), p)
	noErrors(t, errs)
	return o
}

func noErrors(t testing.TB, errs map[string]error) {
	t.Helper()
	for name, err := range errs {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// predict runs the prediction protocol over the columns of w.
func (w *world) predict(t testing.TB, o *outcome) []float64 {
	t.Helper()
	var out []float64
	noErrors(t, newNetwork(len(w.hosts), 2).run(t, func(self string, s *session.Session) (err error) {
		if self == "bank" {
			out, err = PredictGuest(context.Background(), s, o.guest, w.guest)
			return err
		}
		k := int(self[1] - '0')
		return PredictHost(context.Background(), s, o.hosts[k], w.hosts[k])
	}))
	return out
}

// pooled returns all columns as one table, each host's in the order of its
// anonymous numbers, which the test can know because it chose the randomness.
func (w *world) pooled(t testing.TB, p Params) []Column {
	t.Helper()
	out := slices.Clone(w.guest)
	for k, cols := range w.hosts {
		features, err := binColumns(context.Background(), cols, w.rows, p.Bins)
		if err != nil {
			t.Fatal(err)
		}
		if err := shuffle(features, random(byte(10+k))); err != nil {
			t.Fatal(err)
		}
		for _, f := range features {
			c := cols[f.column]
			out = append(out, Column{fmt.Sprintf("h%d/%s", k, c.Name), c.Values})
		}
	}
	return out
}

// table draws columns with a label that depends on some of them.
func table(seed uint64, rows, cols int) (out []Column, label []float64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	label = make([]float64, rows)
	logit := make([]float64, rows)
	for c := range cols {
		v := make([]float64, rows)
		for i := range v {
			v[i] = rng.NormFloat64()
			if c%3 == 1 { // few distinct values
				v[i] = math.Round(v[i] * 2)
			}
			if c%2 == 0 {
				logit[i] += v[i] * float64(1+c%3) / 2
			}
			if c%4 == 3 && rng.Float64() < 0.3 {
				if logit[i] += 0.8; true {
					v[i] = math.NaN()
				}
			}
		}
		out = append(out, Column{fmt.Sprintf("x%d", c), v})
	}
	for i := range label {
		if rng.Float64() < sigmoid(logit[i]-0.5) {
			label[i] = 1
		}
	}
	return out, label
}

func span(lo, hi int) []int {
	s := make([]int, 0, hi-lo)
	for i := lo; i < hi; i++ {
		s = append(s, i)
	}
	return s
}

func constant(name string, rows int, x float64) Column {
	v := make([]float64, rows)
	for i := range v {
		v[i] = x
	}
	return Column{name, v}
}

// auc is the probability that a positive scores above a negative.
func auc(score, label []float64) float64 {
	order := span(0, len(score))
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case score[a] < score[b]:
			return -1
		case score[a] > score[b]:
			return 1
		}
		return 0
	})
	var sum, pos float64
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && score[order[j]] == score[order[i]] {
			j++
		}
		for _, r := range order[i:j] {
			if label[r] == 1 {
				sum += float64(i+j-1)/2 + 1
				pos++
			}
		}
		i = j
	}
	neg := float64(len(score)) - pos
	return (sum - pos*(pos+1)/2) / (pos * neg)
}

// frame splits a session message into its tag and body.
func frame(msg []byte) (tag string, body []byte) {
	n := int(msg[9])
	return string(msg[10 : 10+n]), msg[10+n:]
}

// reframe returns msg with another body.
func reframe(msg, body []byte) []byte {
	n := 10 + int(msg[9])
	return append(slices.Clone(msg[:n:n]), body...)
}

func be32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
