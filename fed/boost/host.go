package boost

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"

	"kontor/internal/fault"
	"kontor/matvec"
	"kontor/session"
)

// TrainHost is a host's side of a training: it answers the guest's queries over
// the bins of its columns. rand is the source of secrets, crypto/rand.Reader
// outside tests.
func TrainHost(ctx context.Context, s *session.Session, cols []Column, rows Rows, p Params, rand io.Reader) (*HostModel, error) {
	h, err := newHolder(ctx, s, cols, rows, p, rand)
	if err != nil {
		return nil, err
	}
	if err := h.offer(ctx, rows, rand); err != nil {
		return nil, err
	}
	for {
		var note treeNote
		if err := s.Recv(ctx, h.guest, tagTree, treeSize, &note); err != nil {
			return nil, err
		}
		if !note.more {
			if note.kept > h.grown {
				return nil, s.Violation(h.guest, fmt.Sprintf("it keeps %d of %d trees", note.kept, h.grown))
			}
			return h.model(note.kept), nil
		}
		if h.grown == p.Trees {
			return nil, s.Violation(h.guest, fmt.Sprintf("it asked for more than the %d trees agreed", p.Trees))
		}
		h.grown++
		for depth := range p.Depth {
			if err := h.histograms(ctx, slots(depth)); err != nil {
				return nil, err
			}
			if err := h.sides(ctx, 1<<depth); err != nil {
				return nil, err
			}
		}
		s.Progress(int64(h.grown), int64(p.Trees), "trees")
	}
}

// holder is a host's state.
type holder struct {
	s        *session.Session
	guest    string
	p        Params
	train    int
	rows     int        // training and validation rows
	features []*feature // by anonymous number
	kernel   matvec.Params
	matrix   *matvec.Holder
	grown    int
	asked    map[ask]bool
	order    []hostSplit
}

type hostSplit struct {
	tree int
	ask
}

func newHolder(ctx context.Context, s *session.Session, cols []Column, rows Rows, p Params, rand io.Reader) (*holder, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	switch {
	case p.Exact:
		return nil, fault.New(fault.Spec, "exact gradients cannot be encrypted", "remove exact, or train without hosts")
	case len(cols) == 0:
		return nil, fault.New(fault.Data, "the table of this party has no columns to train on", "give at least one feature column")
	case rand == nil:
		return nil, errors.New("boost: no source of randomness")
	}
	if err := checkInput(cols, len(cols[0].Values), rows, p); err != nil {
		return nil, err
	}
	features, err := binColumns(ctx, cols, rows, p.Bins)
	if err != nil {
		return nil, err
	}
	h := &holder{s: s, guest: s.Guest(), p: p, train: len(rows.Train), rows: len(rows.Train) + len(rows.Valid),
		features: features, asked: map[ask]bool{}}
	bins := 0
	for _, f := range features {
		bins += len(f.edges)
	}
	if bins > maxTotalBins {
		return nil, fault.New(fault.Data, fmt.Sprintf("the columns of this party have %d bins in all, at most %d are supported", bins, maxTotalBins),
			"lower bins or select columns")
	}
	if len(features) == 0 {
		h.features = []*feature{h.blank()}
	}
	return h, shuffle(h.features, rand)
}

// blank is a feature that is missing everywhere. A host whose columns cannot be
// split offers it, so that the protocol needs no second course.
func (h *holder) blank() *feature {
	f := &feature{column: -1, edges: []float64{0}, index: make([]uint8, h.rows)}
	for i := range f.index {
		f.index[i] = 1
	}
	return f
}

// shuffle orders features at random: their numbers then say nothing about the
// order of the columns.
func shuffle(features []*feature, rand io.Reader) error {
	for i := len(features) - 1; i > 0; i-- {
		j, err := crand.Int(rand, big.NewInt(int64(i+1)))
		if err != nil {
			return fmt.Errorf("drawing an order of features: %w", err)
		}
		k := int(j.Int64())
		features[i], features[k] = features[k], features[i]
	}
	return nil
}

// offer agrees on shape and plan and sends the hint: steps 1 and 2.
func (h *holder) offer(ctx context.Context, rows Rows, rand io.Reader) error {
	m := matvec.OneHot{Rows: h.train}
	total := 0
	for _, f := range h.features {
		m.Bins = append(m.Bins, len(f.edges))
		m.Index = append(m.Index, f.index[:h.train])
		total += len(f.edges)
	}
	if err := h.s.Send(ctx, h.guest, tagShape, &shape{rowsDigest(rows), m.Bins}); err != nil {
		return err
	}
	var got plan
	if err := h.s.Recv(ctx, h.guest, tagPlan, planSize, &got); err != nil {
		return err
	}
	if err := h.accept(got, total); err != nil {
		return err
	}
	var err error
	h.matrix, err = matvec.NewHolder(ctx, h.kernel, h.s.ID().Derive("matvec"), m, rand,
		func(done, total int) { h.s.Progress(int64(done), int64(total), "setup") })
	if err != nil {
		return fmt.Errorf("preparing the hint: %w", err)
	}
	return h.s.Send(ctx, h.guest, tagHint, h.matrix.Hint())
}

// accept checks the guest's plan against the job and this host's columns, and
// plans for itself.
func (h *holder) accept(got plan, bins int) error {
	sp := got.spec
	want := h.p.spec(h.train, sp.Features, sp.Bins)
	switch {
	case sp != want:
		return h.s.Violation(h.guest, fmt.Sprintf("it plans %+v where the job gives %+v", sp, want))
	case sp.Features < len(h.features) || sp.Bins < bins:
		return h.s.Violation(h.guest, "its plan does not cover the features offered")
	case sp.Features > maxFeatures || sp.Bins > sp.Features*h.p.Bins:
		return h.s.Violation(h.guest, fmt.Sprintf("it plans for %d features with %d bins", sp.Features, sp.Bins))
	}
	var err error
	if h.kernel, err = matvec.Plan(sp); err != nil {
		return h.s.Violation(h.guest, "its plan does not fit the kernel: "+err.Error())
	}
	if own := newPlan(h.kernel); own != got {
		return &fault.Error{Kind: fault.Version, Party: h.guest, What: "its kernel has other parameters for the same plan",
			Cure: "run the same version of Kontor at all parties"}
	}
	return nil
}

// histograms answers the queries of a level: steps 4 and 5.
func (h *holder) histograms(ctx context.Context, nodes int) error {
	for left := 2 * nodes; left > 0; left -= queryVectors {
		n := min(left, queryVectors)
		var q *matvec.Query
		err := h.s.Recv(ctx, h.guest, tagQuery, h.kernel.QuerySize(n), decode(func(b []byte) (err error) {
			q, err = matvec.ParseQuery(h.kernel, n, b)
			return err
		}))
		if err != nil {
			return err
		}
		answer, err := h.matrix.Answer(ctx, q)
		switch {
		case errors.Is(err, matvec.ErrBudget):
			return h.s.Violation(h.guest, "it asked for more sums than were agreed")
		case err != nil:
			return fmt.Errorf("answering a query: %w", err)
		}
		if err := h.s.Send(ctx, h.guest, tagSums, answer); err != nil {
			return err
		}
	}
	return nil
}

// sides tells for the splits of a level which rows go left: steps 6 and 7. It
// tells it for all rows, so that it need not know which of them are in a node.
func (h *holder) sides(ctx context.Context, nodes int) error {
	var list asks
	if err := h.s.Recv(ctx, h.guest, tagSplits, asksLimit(nodes), &list); err != nil {
		return err
	}
	for _, a := range list {
		switch {
		case a.feature >= len(h.features) || a.bin >= len(h.features[a.feature].edges):
			return h.s.Violation(h.guest, fmt.Sprintf("it asked for bin %d of feature %d, which does not exist", a.bin, a.feature))
		case a.defaultLeft && a.bin == len(h.features[a.feature].edges)-1:
			return h.s.Violation(h.guest, "it asked for a split that sends every row to one side")
		case h.asked[a]:
			return h.s.Violation(h.guest, "it asked twice for the same split")
		}
		h.asked[a] = true
		h.order = append(h.order, hostSplit{h.grown - 1, a})
	}
	size := bitBytes(h.rows)
	out := make([]byte, len(list)*size)
	for k, a := range list {
		set, f := out[k*size:], h.features[a.feature]
		for i := range int32(h.rows) {
			if f.goesLeft(i, a.bin, a.defaultLeft) {
				set[i>>3] |= 1 << (i & 7)
			}
		}
	}
	return h.s.Send(ctx, h.guest, tagSides, session.Bytes(out))
}

// model returns the splits of the kept trees: step 8.
func (h *holder) model(kept int) *HostModel {
	m := &HostModel{Format: Format, ID: modelID(h.s), Party: h.s.Self().Name, Features: []string{}, Splits: []HostSplit{}, Kernel: h.kernel.String()}
	number := map[int]int{}
	for _, sp := range h.order {
		if sp.tree >= kept {
			break
		}
		f := h.features[sp.feature]
		k, ok := number[sp.feature]
		if !ok {
			k = len(m.Features)
			number[sp.feature] = k
			m.Features = append(m.Features, f.name)
		}
		m.Splits = append(m.Splits, HostSplit{Feature: k, Threshold: f.edges[sp.bin], DefaultLeft: sp.defaultLeft})
	}
	return m
}
