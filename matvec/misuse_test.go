package matvec

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"kontor/ring"
)

func TestMatricesRefused(t *testing.T) {
	t.Parallel()
	p := mustPlan(t, Spec{Rows: 3, Features: 2, Bins: 4, Queries: 2, MeanBits: 4})
	col := []uint8{0, 1, Missing}
	for name, m := range map[string]OneHot{
		"empty":              {Rows: 3},
		"fewer rows":         {Rows: 2, Bins: []int{2}, Index: [][]uint8{col[:2]}},
		"a short column":     {Rows: 3, Bins: []int{2, 2}, Index: [][]uint8{col, col[:2]}},
		"a column missing":   {Rows: 3, Bins: []int{2, 2}, Index: [][]uint8{col}},
		"no bins":            {Rows: 3, Bins: []int{0}, Index: [][]uint8{col}},
		"negative bins":      {Rows: 3, Bins: []int{-1}, Index: [][]uint8{col}},
		"more than 255 bins": {Rows: 3, Bins: []int{256}, Index: [][]uint8{col}},
		"too many bins":      {Rows: 3, Bins: []int{2, 3}, Index: [][]uint8{col, col}},
		"too many features":  {Rows: 3, Bins: []int{1, 1, 1}, Index: [][]uint8{col, col, col}},
	} {
		if _, err := NewHolder(t.Context(), p, seedOf("s"), m, reader("r"), nil); !errors.Is(err, ErrMatrix) {
			t.Errorf("%s: got %v, want ErrMatrix", name, err)
		}
	}
	good := OneHot{Rows: 3, Bins: []int{2}, Index: [][]uint8{col}}
	if _, err := NewHolder(t.Context(), Params{}, seedOf("s"), good, reader("r"), nil); !errors.Is(err, ErrSpec) {
		t.Errorf("empty parameters: got %v, want ErrSpec", err)
	}
	if _, err := NewQuerier(Params{}, seedOf("s"), reader("r")); !errors.Is(err, ErrSpec) {
		t.Errorf("empty parameters: got %v, want ErrSpec", err)
	}
}

func TestVectorsRefused(t *testing.T) {
	t.Parallel()
	p := mustPlan(t, Spec{Rows: 3, Features: 1, Bins: 2, Queries: 4, MeanBits: 4})
	q, err := NewQuerier(p, seedOf("s"), reader("r"))
	if err != nil {
		t.Fatal(err)
	}
	limit := int64(1) << (p.PayloadBits() - 1)
	good := []int64{1, 2, 3}
	for name, v := range map[string][][]int64{
		"none":             {},
		"more than all":    {good, good, good, good, good},
		"a short one":      {good, good[:2]},
		"a long one":       {{1, 2, 3, 4}},
		"the first bound":  {{limit, 0, 0}},
		"its sum":          {good, {limit - 2, -1, 1}},
		"negative":         {{-limit, 0, 0}},
		"the least int64":  {{-1 << 63, 0, 0}},
		"two of them":      {{-1 << 63, -1 << 63, 0}},
		"three that wrap":  {{-1 << 63, -1 << 63, 1}},
		"the most int64":   {{1<<63 - 1, 1<<63 - 1, 2}},
		"only the second":  {good, {limit, 0, 0}},
		"cancelling terms": {{limit, -limit, 0}},
	} {
		if _, _, err := q.Encrypt(t.Context(), v); !errors.Is(err, ErrRange) {
			t.Errorf("%s: got %v, want ErrRange", name, err)
		}
	}
	if _, _, err := q.Encrypt(t.Context(), [][]int64{{limit - 1, 0, 0}, {0, 1 - limit, 0}}); err != nil {
		t.Errorf("the most that fits: %v", err)
	}
}

func TestMismatches(t *testing.T) {
	t.Parallel()
	p := mustPlan(t, Spec{Rows: 30, Features: 1, Bins: 2, Queries: 40, MeanBits: 4})
	other := mustPlan(t, Spec{Rows: 30, Features: 1, Bins: 2, Queries: 42, MeanBits: 4})
	m := randomMatrix(rand.New(rand.NewPCG(1, 1)), 30, 2)
	h, q := pair(t, p, m)
	h2, q2 := pair(t, other, m)
	v := randomVectors(rand.New(rand.NewPCG(1, 2)), p, 3)
	query, key, err := q.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := q2.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := h.Answer(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	foreignAnswer, err := h2.Answer(t.Context(), foreign)
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := q.Encrypt(t.Context(), v[:2])
	if err != nil {
		t.Fatal(err)
	}
	short, err := h.Answer(t.Context(), two)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"query of other parameters":  func() error { _, err := h.Answer(t.Context(), foreign); return err },
		"no query":                   func() error { _, err := h.Answer(t.Context(), nil); return err },
		"hint of other parameters":   func() error { _, err := key.Open(t.Context(), h2.Hint(), answer); return err },
		"answer of other parameters": func() error { _, err := key.Open(t.Context(), h.Hint(), foreignAnswer); return err },
		"no hint":                    func() error { _, err := key.Open(t.Context(), nil, answer); return err },
		"no answer":                  func() error { _, err := key.Open(t.Context(), h.Hint(), nil); return err },
		"answer to fewer vectors":    func() error { _, err := key.Open(t.Context(), h.Hint(), short); return err },
	} {
		if err := f(); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: got %v, want ErrMismatch", name, err)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	p := mustPlan(t, Spec{Rows: 5000, Features: 2, Bins: 60, Queries: 40, MeanBits: 4})
	m := randomMatrix(rng, 5000, 30, 30)
	h, q := pair(t, p, m)
	v := randomVectors(rng, p, 2)
	query, key, err := q.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := h.Answer(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("the operator stopped it")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	for name, f := range map[string]func() error{
		"hint":    func() error { _, err := NewHolder(ctx, p, seedOf("s"), m, reader("r"), nil); return err },
		"encrypt": func() error { _, _, err := q.Encrypt(ctx, v); return err },
		"answer":  func() error { _, err := h.Answer(ctx, query); return err },
		"open":    func() error { _, err := key.Open(ctx, h.Hint(), answer); return err },
	} {
		if err := f(); !errors.Is(err, reason) {
			t.Errorf("%s: got %v, want the cause of the cancellation", name, err)
		}
	}
	// In the middle of the long step.
	ctx, cancel = context.WithCancelCause(t.Context())
	most := 0
	_, err = NewHolder(ctx, p, seedOf("s"), m, reader("r"), func(done, total int) {
		if most = done; done == 3 {
			cancel(reason)
		}
	})
	if !errors.Is(err, reason) || most == 60 {
		t.Errorf("cancelled after 3 bins: got %v after %d", err, most)
	}
}

func TestProgressCountsEveryBinOnce(t *testing.T) {
	t.Parallel()
	p := mustPlan(t, Spec{Rows: 20, Features: 3, Bins: 40, Queries: 1, MeanBits: 4})
	m := randomMatrix(rand.New(rand.NewPCG(1, 1)), 20, 1, 30, 5)
	last := 0
	_, err := NewHolder(t.Context(), p, seedOf("s"), m, reader("r"), func(done, total int) {
		if done != last+1 || total != 36 {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
	})
	if err != nil || last != 36 {
		t.Errorf("%d of 36 bins, %v", last, err)
	}
}

func TestRandomnessFails(t *testing.T) {
	t.Parallel()
	p := mustPlan(t, Spec{Rows: 20, Features: 1, Bins: 2, Queries: 10, MeanBits: 4})
	m := randomMatrix(rand.New(rand.NewPCG(1, 1)), 20, 2)
	broken := errors.New("no entropy")
	if _, err := NewHolder(t.Context(), p, seedOf("s"), m, nil, nil); !errors.Is(err, ring.ErrRandom) {
		t.Errorf("holder, nil reader: got %v", err)
	}
	if _, err := NewQuerier(p, seedOf("s"), nil); !errors.Is(err, ring.ErrRandom) {
		t.Errorf("querier, nil reader: got %v", err)
	}
	if _, err := NewHolder(t.Context(), p, seedOf("s"), m, iotest.ErrReader(broken), nil); !errors.Is(err, broken) {
		t.Errorf("holder: got %v", err)
	}
	q, err := NewQuerier(p, seedOf("s"), io.MultiReader(io.LimitReader(reader("q"), ring.KeySize), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	v := randomVectors(rand.New(rand.NewPCG(1, 2)), p, 2)
	query, _, err := q.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.Encrypt(t.Context(), v); !errors.Is(err, broken) {
		t.Errorf("second query: got %v", err)
	}
	h, err := NewHolder(t.Context(), p, seedOf("s"), m, io.LimitReader(reader("h"), ring.KeySize), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Answer(t.Context(), query); !errors.Is(err, io.EOF) || !errors.Is(err, ring.ErrRandom) {
		t.Errorf("answer: got %v", err)
	}
}
