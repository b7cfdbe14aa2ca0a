package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"kontor/fed/boost"
	"kontor/session"
)

// wire is a channel of messages in memory between two parties.
type wire struct {
	in, out chan []byte
	gone    <-chan struct{} // closed when the other side has ended
}

func (w *wire) Send(ctx context.Context, parts ...[]byte) error {
	select {
	case w.out <- bytes.Join(parts, nil):
		return nil
	case <-w.gone:
		return errors.New("the other side has ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *wire) Recv(ctx context.Context, _ int) ([]byte, error) {
	select {
	case m := <-w.in:
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-w.gone:
		select { // what was sent before the end still counts
		case m := <-w.in:
			return m, nil
		default:
			return nil, errors.New("the other side has ended")
		}
	}
}

// seed is a deterministic source of randomness for one step at one party.
func seed(party, step string) io.Reader {
	var s [32]byte
	copy(s[:], party+"/"+step)
	return rand.NewChaCha8(s)
}

// wiring is the sessions of one step, by party; none for a local step.
type wiring struct {
	sessions map[string]*session.Session
	gone     map[string]chan struct{}
}

func wired(t testing.TB, spec *Spec, st Step) *wiring {
	t.Helper()
	w := &wiring{map[string]*session.Session{}, map[string]chan struct{}{}}
	conns := map[string]map[string]session.Conn{}
	for _, p := range spec.Parties {
		w.gone[p.Name], conns[p.Name] = make(chan struct{}), map[string]session.Conn{}
	}
	guest := spec.Guest()
	for _, p := range spec.Parties {
		if p.Name != guest {
			a, b := make(chan []byte, 4), make(chan []byte, 4)
			conns[guest][p.Name] = &wire{in: a, out: b, gone: w.gone[p.Name]}
			conns[p.Name][guest] = &wire{in: b, out: a, gone: w.gone[guest]}
		}
	}
	for _, p := range spec.Parties {
		if components[st.Kind].Local {
			continue
		}
		s, err := session.New(session.Config{ID: session.ID{1}.Derive(st.Name), Step: st.Name, Self: p.Name, Parties: spec.SessionParties(), Conns: conns[p.Name]})
		if err != nil {
			t.Fatal(err)
		}
		w.sessions[p.Name] = s
	}
	return w
}

// together calls f for every party at once and returns their errors.
func together(spec *Spec, f func(party string) error) map[string]error {
	errs := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range spec.Parties {
		wg.Go(func() {
			err := f(p.Name)
			mu.Lock()
			errs[p.Name] = err
			mu.Unlock()
		})
	}
	wg.Wait()
	return errs
}

func noErrors(t testing.TB, errs map[string]error) {
	t.Helper()
	for p, err := range errs {
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
	}
}

// inputs makes up a table for each party, of rows that mostly overlap.
func inputs(spec *Spec, rows int) map[string]*Input {
	out := map[string]*Input{}
	rng := rand.New(rand.NewPCG(7, 7))
	hidden := make([]float64, rows+40)
	for i := range hidden {
		hidden[i] = rng.NormFloat64()
	}
	for k, p := range spec.Parties {
		in := &Input{File: p.Name + ".csv"}
		for _, i := range rng.Perm(rows) {
			i += 10 * k
			in.IDs = append(in.IDs, fmt.Sprintf("c%04d", i))
			if p.Role == session.Guest && !p.NoLabel {
				in.Label = append(in.Label, map[bool]float64{true: 1}[hidden[i]+rng.NormFloat64()/2 > 0.4])
			}
		}
		for c := range 3 {
			col := boost.Column{Name: fmt.Sprintf("%s_x%d", p.Name, c)}
			for _, id := range in.IDs {
				var i int
				fmt.Sscanf(id, "c%d", &i)
				v := hidden[i]*float64(c) + rng.NormFloat64()
				if rng.IntN(20) == 0 {
					v = math.NaN()
				}
				col.Values = append(col.Values, v)
			}
			in.Columns = append(in.Columns, col)
		}
		out[p.Name] = in
	}
	return out
}

// stage is a job that runs through folders, all parties in this process.
type stage struct {
	spec   *Spec
	inputs map[string]*Input
	dirs   map[string]map[string]string // party, step, folder
	dir    string
	models map[string]string // folder of a model from elsewhere, by party
	adjust func(*Execution)
	n      int
}

func newStage(t testing.TB, spec *Spec, in map[string]*Input) *stage {
	g := &stage{spec: spec, inputs: in, dirs: map[string]map[string]string{}, dir: t.TempDir()}
	for _, p := range spec.Parties {
		g.dirs[p.Name] = map[string]string{}
	}
	return g
}

// execution is the step's, in a folder of its own.
func (g *stage) execution(party string, st Step) Execution {
	x := Execution{Spec: g.spec, Self: party, Step: st.Name, From: map[string]string{}, Rand: seed(party, st.Name),
		Dir:   filepath.Join(g.dir, fmt.Sprintf("%s-%s-%d", party, st.Name, g.n)),
		Input: func(context.Context) (*Input, error) { return g.inputs[party], nil },
		Model: func(id string) (string, error) { return g.models[party], nil }}
	for port, from := range st.From {
		x.From[port] = g.dirs[party][from]
	}
	if g.adjust != nil {
		g.adjust(&x)
	}
	return x
}

// step executes one step at all parties.
func (g *stage) step(t testing.TB, name string) map[string]error {
	t.Helper()
	st, err := g.spec.Step(name)
	if err != nil {
		t.Fatal(err)
	}
	g.n++
	xs := map[string]Execution{}
	for _, p := range g.spec.Parties {
		xs[p.Name] = g.execution(p.Name, st)
		if err := os.Mkdir(xs[p.Name].Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w := wired(t, g.spec, st)
	errs := together(g.spec, func(party string) error {
		defer close(w.gone[party])
		x := xs[party]
		x.Session = w.sessions[party]
		_, err := Execute(t.Context(), x)
		return err
	})
	for p, x := range xs {
		if errs[p] == nil {
			g.dirs[p][name] = x.Dir
		}
	}
	return errs
}

func (g *stage) all(t testing.TB) {
	t.Helper()
	for _, st := range g.spec.Steps {
		noErrors(t, g.step(t, st.Name))
	}
}

// bySteps gives each step the randomness that it has in [Execute].
type bySteps struct{ io.Reader }

// inMemory runs the job with Run and returns every party's result.
func inMemory(t testing.TB, spec *Spec, in map[string]*Input) map[string]*Result {
	t.Helper()
	wirings := map[string]*wiring{}
	for _, st := range spec.Steps {
		wirings[st.Name] = wired(t, spec, st)
	}
	out := map[string]*Result{}
	var mu sync.Mutex
	noErrors(t, together(spec, func(party string) error {
		random := &bySteps{}
		r, err := Run(t.Context(), Options{Spec: spec, Self: party, Input: in[party], Rand: random,
			Open: func(_ context.Context, step string, _ func(done, total int64, unit string)) (*session.Session, func(error), error) {
				random.Reader = seed(party, step)
				return wirings[step].sessions[party], func(error) { close(wirings[step].gone[party]) }, nil
			}})
		mu.Lock()
		defer mu.Unlock()
		out[party] = r
		return err
	}))
	return out
}
