package boost

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"

	"kontor/internal/fault"
	"kontor/matvec"
	"kontor/session"
)

// queryVectors is the most vectors in one query message; it bounds the memory
// of a level.
const queryVectors = 16

// TrainGuest is the guest's side of a training. label has a 0 or 1 for each row
// that rows names, and the length of every column; cols may be empty. rand is
// the source of secrets, crypto/rand.Reader outside tests. A session without
// hosts trains on the guest's columns alone.
func TrainGuest(ctx context.Context, s *session.Session, cols []Column, label []float64, rows Rows, p Params, rand io.Reader) (*GuestModel, *History, error) {
	t, err := newTrainer(ctx, cols, label, rows, p)
	if err != nil {
		return nil, nil, err
	}
	hosts := s.Hosts()
	switch {
	case len(hosts) == 0:
		err = t.local()
	case p.Exact:
		err = fault.New(fault.Spec, "exact gradients cannot be encrypted", "remove exact, or train without hosts")
	case rand == nil:
		err = fmt.Errorf("boost: no source of randomness")
	default:
		err = t.federate(ctx, s, hosts, rows, rand)
	}
	if err != nil {
		return nil, nil, err
	}
	m, hist, err := t.run(ctx, cols, func(done, total int) { s.Progress(int64(done), int64(total), "trees") })
	if err != nil {
		return nil, nil, err
	}
	m.ID = modelID(s)
	return m, hist, nil
}

// modelID names the model that a session trains, the same at all parties.
func modelID(s *session.Session) string {
	id := s.ID().Derive("model")
	return hex.EncodeToString(id[:])
}

// federation is the guest's view of its hosts.
type federation struct {
	s       *session.Session
	p       Params
	kernel  matvec.Params
	querier *matvec.Querier
	hosts   []*remote
	rows    int       // training and validation rows
	grown   int       // trees begun
	vectors [][]int64 // reused; all zeros between queries
}

// remote is the guest's view of one host.
type remote struct {
	name  string
	owner owner
	hint  *matvec.Hint
	asked map[ask]int // splits asked for so far, by identifier
	order []splitOf
}

type splitOf struct {
	tree, feature int
	sides         []byte
}

// federate agrees with the hosts on shapes and plan and takes their hints:
// steps 1 and 2 of PROTOCOL.md.
func (t *trainer) federate(ctx context.Context, s *session.Session, names []string, rows Rows, rand io.Reader) error {
	f := &federation{s: s, p: t.p, rows: len(t.score)}
	for _, name := range names {
		f.hosts = append(f.hosts, &remote{name: name, asked: map[ask]int{}})
	}
	digest := rowsDigest(rows)
	err := f.each(ctx, func(ctx context.Context, h *remote) error { return f.shape(ctx, h, digest) })
	if err != nil {
		return err
	}
	features, bins := 1, 1
	for _, h := range f.hosts {
		features, bins = max(features, len(h.owner.bins)), max(bins, h.owner.rows())
	}
	if f.kernel, err = matvec.Plan(t.p.spec(t.train, features, bins)); err != nil {
		return fault.Wrap(fault.Spec, err, fmt.Sprintf("%d rows, %d features and %d bins at one host do not fit the kernel", t.train, features, bins),
			"lower bins, trees, depth or mean_bits, or select columns")
	}
	if f.querier, err = matvec.NewQuerier(f.kernel, s.ID().Derive("matvec"), rand); err != nil {
		return err
	}
	note := newPlan(f.kernel)
	done := 0
	var mu sync.Mutex
	s.Progress(0, int64(len(f.hosts)), "setup")
	err = f.each(ctx, func(ctx context.Context, h *remote) error {
		if err := s.Send(ctx, h.name, tagPlan, &note); err != nil {
			return err
		}
		err := s.Recv(ctx, h.name, tagHint, f.kernel.HintSize(h.owner.rows()), decode(func(b []byte) (err error) {
			h.hint, err = matvec.ParseHint(f.kernel, h.owner.rows(), b)
			return err
		}))
		if err == nil {
			mu.Lock()
			done++
			s.Progress(int64(done), int64(len(f.hosts)), "setup")
			mu.Unlock()
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, h := range f.hosts {
		t.owners = append(t.owners, h.owner)
	}
	t.fed, t.limit = f, limit(f.kernel)
	return nil
}

func (f *federation) shape(ctx context.Context, h *remote, rows [32]byte) error {
	var m shape
	if err := f.s.Recv(ctx, h.name, tagShape, shapeLimit, &m); err != nil {
		return err
	}
	if m.rows != rows {
		return otherRows(h.name)
	}
	for _, b := range m.bins {
		if b > f.p.Bins {
			return f.s.Violation(h.name, fmt.Sprintf("it cut a column into %d bins where %d were agreed", b, f.p.Bins))
		}
	}
	h.owner = newOwner(m.bins)
	if h.owner.rows() > maxTotalBins {
		return f.s.Violation(h.name, fmt.Sprintf("it offers %d bins, at most %d are supported", h.owner.rows(), maxTotalBins))
	}
	return nil
}

func otherRows(party string) error {
	return &fault.Error{Kind: fault.Data, Party: party, What: "it trains on other rows than we do",
		Cure: "run align and split again in the same job at all parties"}
}

// each runs step for every host at once and waits for all. It returns the first
// error, which ends the others.
func (f *federation) each(ctx context.Context, step func(ctx context.Context, h *remote) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, h := range f.hosts {
		wg.Go(func() {
			if err := step(ctx, h); err != nil {
				once.Do(func() { first = err })
				cancel()
			}
		})
	}
	wg.Wait()
	return first
}

// another announces a tree: step 3.
func (f *federation) another(ctx context.Context) error {
	f.grown++
	return f.each(ctx, func(ctx context.Context, h *remote) error {
		return f.s.Send(ctx, h.name, tagTree, &treeNote{more: true})
	})
}

// histograms asks all hosts for the sums of the nodes to build: steps 4 and 5.
// It asks for n nodes whatever the tree; the vectors of nodes that do not exist
// are zero.
func (f *federation) histograms(ctx context.Context, pairs []pair, n int, gh []int64) error {
	const nodes = queryVectors / 2
	for lo := 0; lo < n; lo += nodes {
		hi := min(n, lo+nodes)
		batch := pairs[min(lo, len(pairs)):min(hi, len(pairs))]
		if err := f.query(ctx, batch, hi-lo, gh); err != nil {
			return err
		}
	}
	return nil
}

func (f *federation) query(ctx context.Context, batch []pair, nodes int, gh []int64) error {
	for len(f.vectors) < 2*nodes {
		f.vectors = append(f.vectors, make([]int64, len(gh)/2))
	}
	v := f.vectors[:2*nodes]
	for k, p := range batch {
		for _, i := range p.small.train {
			v[2*k][i], v[2*k+1][i] = gh[2*i], gh[2*i+1]
		}
	}
	q, key, err := f.querier.Encrypt(ctx, v)
	for k, p := range batch {
		for _, i := range p.small.train {
			v[2*k][i], v[2*k+1][i] = 0, 0
		}
	}
	if err != nil {
		return fmt.Errorf("encrypting gradients: %w", err)
	}
	defer key.Erase()
	msg, err := q.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encoding a query: %w", err)
	}
	sums := make([][][]int64, len(f.hosts))
	err = f.each(ctx, func(ctx context.Context, h *remote) (err error) {
		i := slices.Index(f.hosts, h)
		sums[i], err = f.exchange(ctx, h, msg, key, 2*nodes)
		return err
	})
	if err != nil {
		return err
	}
	for i, h := range f.hosts {
		if err := f.take(h, i+1, batch, sums[i]); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends one query to one host and opens its answer.
func (f *federation) exchange(ctx context.Context, h *remote, msg []byte, key *matvec.Key, vectors int) ([][]int64, error) {
	if err := f.s.Send(ctx, h.name, tagQuery, session.Bytes(msg)); err != nil {
		return nil, err
	}
	var answer *matvec.Answer
	err := f.s.Recv(ctx, h.name, tagSums, f.kernel.AnswerSize(h.owner.rows(), vectors), decode(func(b []byte) (err error) {
		answer, err = matvec.ParseAnswer(f.kernel, h.owner.rows(), vectors, b)
		return err
	}))
	if err != nil {
		return nil, err
	}
	sums, err := key.Open(ctx, h.hint, answer)
	if err != nil && ctx.Err() == nil {
		return nil, f.s.Violation(h.name, "its sums cannot be opened: "+err.Error())
	}
	return sums, err
}

// take sorts a host's sums into the histograms of the nodes they belong to. Sums
// that no table gives end the training: a second derivative is never negative,
// and no feature's bins hold more than the node does.
func (f *federation) take(h *remote, index int, batch []pair, opened [][]int64) error {
	wrong := f.s.Violation(h.name, "it sent sums that no table gives")
	rows := h.owner.rows()
	for k := 0; 2*k < len(opened); k++ {
		g, hs := opened[2*k], opened[2*k+1]
		if k >= len(batch) {
			for r := range rows {
				if g[r] != 0 || hs[r] != 0 {
					return wrong
				}
			}
			continue
		}
		b := batch[k]
		hist := make([]int64, 2*rows)
		for r := range rows {
			hist[2*r], hist[2*r+1] = g[r], hs[r]
			if hs[r] < 0 || b.large != nil && b.parent[index][2*r+1] < hs[r] {
				return wrong
			}
		}
		for c := range h.owner.bins {
			left := b.small.total.h
			for r := h.owner.offset[c]; r < h.owner.offset[c+1]; r++ {
				left -= hs[r]
			}
			if left < 0 {
				return wrong
			}
		}
		b.small.hists[index] = hist
	}
	return nil
}

// askSides asks each host for the sides of its splits at this level that are
// new to the guest: steps 6 and 7.
func (f *federation) askSides(ctx context.Context, level []*branch) error {
	lists := make([]asks, len(f.hosts))
	for _, b := range level {
		if b.best.gain > 0 && b.best.owner > 0 {
			i, a := b.best.owner-1, b.best.ask()
			if _, known := f.hosts[i].asked[a]; !known && !slices.Contains(lists[i], a) {
				lists[i] = append(lists[i], a)
			}
		}
	}
	return f.each(ctx, func(ctx context.Context, h *remote) error {
		list := lists[slices.Index(f.hosts, h)]
		slices.SortFunc(list, ask.compare)
		if err := f.s.Send(ctx, h.name, tagSplits, list); err != nil {
			return err
		}
		var sets [][]byte
		err := f.s.Recv(ctx, h.name, tagSides, len(list)*bitBytes(f.rows), decode(func(b []byte) (err error) {
			sets, err = parseSides(b, len(list), f.rows)
			return err
		}))
		if err != nil {
			return err
		}
		for k, a := range list {
			h.asked[a] = len(h.order)
			h.order = append(h.order, splitOf{f.grown - 1, a.feature, sets[k]})
		}
		return nil
	})
}

func (s split) ask() ask { return ask{s.feature, s.bin, s.defaultLeft} }

// splitID is the identifier of a host's split that has been asked for.
func (f *federation) splitID(s split) int { return f.hosts[s.owner-1].asked[s.ask()] }

// sides are the rows that a host's split sends left, by position.
func (f *federation) sides(s split) []byte { return f.hosts[s.owner-1].order[f.splitID(s)].sides }

// end tells the hosts how many trees are kept: step 8.
func (f *federation) end(ctx context.Context, kept int) error {
	return f.each(ctx, func(ctx context.Context, h *remote) error {
		return f.s.Send(ctx, h.name, tagTree, &treeNote{kept: kept})
	})
}

// keep returns what the model says of the hosts. Splits are numbered in the
// order of the trees that first used them, so those kept are the first ones.
func (f *federation) keep(trees int) []HostRef {
	refs := make([]HostRef, len(f.hosts))
	for i, h := range f.hosts {
		refs[i].Party = h.name
		for _, s := range h.order {
			if s.tree < trees {
				refs[i].Splits = append(refs[i].Splits, s.feature)
			}
		}
	}
	return refs
}
