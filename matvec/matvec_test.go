package matvec

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"kontor/ring"
)

// reader is a deterministic source of randomness.
func reader(seed string) io.Reader { return rand.NewChaCha8(sha256.Sum256([]byte(seed))) }

func seedOf(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func mustPlan(t testing.TB, s Spec) Params {
	t.Helper()
	p, err := Plan(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// randomMatrix puts a tenth of the rows in no bin.
func randomMatrix(rng *rand.Rand, rows int, bins ...int) OneHot {
	m := OneHot{Rows: rows, Bins: bins, Index: make([][]uint8, len(bins))}
	for f, b := range bins {
		m.Index[f] = make([]uint8, rows)
		for i := range m.Index[f] {
			m.Index[f][i] = uint8(rng.IntN(b))
			if rng.IntN(10) == 0 {
				m.Index[f][i] = Missing
			}
		}
	}
	return m
}

// product is v·M by its definition.
func product(m OneHot, v []int64) []int64 {
	var out []int64
	for f, bins := range m.Bins {
		sums := make([]int64, bins)
		for i, b := range m.Index[f] {
			if int(b) < bins {
				sums[b] += v[i]
			}
		}
		out = append(out, sums...)
	}
	return out
}

func randomVectors(rng *rand.Rand, p Params, n int) [][]int64 {
	max := int64(1) << p.Spec().MeanBits
	v := make([][]int64, n)
	for t := range v {
		v[t] = make([]int64, p.Spec().Rows)
		for i := range v[t] {
			v[t][i] = rng.Int64N(2*max+1) - max
		}
	}
	return v
}

// pair is a holder and a querier who share a seed.
func pair(t testing.TB, p Params, m OneHot) (*Holder, *Querier) {
	t.Helper()
	h, err := NewHolder(t.Context(), p, seedOf("shared"), m, reader("holder"), nil)
	if err != nil {
		t.Fatal(err)
	}
	q, err := NewQuerier(p, seedOf("shared"), reader("querier"))
	if err != nil {
		t.Fatal(err)
	}
	return h, q
}

// run sends vectors through the whole protocol and its encodings.
func run(t testing.TB, h *Holder, q *Querier, v [][]int64) [][]int64 {
	t.Helper()
	sums, err := tryRun(t.Context(), h, q, v)
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func tryRun(ctx context.Context, h *Holder, q *Querier, v [][]int64) ([][]int64, error) {
	query, key, err := q.Encrypt(ctx, v)
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	b, err := query.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if query, err = ParseQuery(h.p, len(v), b); err != nil {
		return nil, err
	}
	a, err := h.Answer(ctx, query)
	if err != nil {
		return nil, err
	}
	if b, err = a.MarshalBinary(); err != nil {
		return nil, err
	}
	if a, err = ParseAnswer(q.p, h.hint.bins, len(v), b); err != nil {
		return nil, err
	}
	if b, err = h.Hint().MarshalBinary(); err != nil {
		return nil, err
	}
	hint, err := ParseHint(q.p, h.hint.bins, b)
	if err != nil {
		return nil, err
	}
	return key.Open(ctx, hint, a)
}

func TestSumsEqualThePlaintext(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{1, 2, 4095, 4096, 4097, 10000} {
		for _, meanBits := range []int{4, 16} {
			t.Run(fmt.Sprintf("%d rows of %d bits", rows, meanBits), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(rows), uint64(meanBits)))
				m := randomMatrix(rng, rows, 5, 1, 17)
				p := mustPlan(t, Spec{Rows: rows, Features: 3, Bins: 23, Queries: 60, MeanBits: meanBits})
				h, q := pair(t, p, m)
				for n := 1; n <= 9; n++ {
					v := randomVectors(rng, p, n)
					for i, got := range run(t, h, q, v) {
						if want := product(m, v[i]); !slices.Equal(got, want) {
							t.Fatalf("%s: vector %d of %d: got %v, want %v", p, i, n, got, want)
						}
					}
				}
			})
		}
	}
}

// Matrices and vectors at the edges: what each row of M adds up is extreme, or
// nothing.
func TestExtremes(t *testing.T) {
	t.Parallel()
	const rows = 5000
	fill := func(v uint8) []uint8 { return bytes.Repeat([]byte{v}, rows) }
	last := fill(Missing)
	last[rows-1] = 1
	m := OneHot{
		Rows: rows,
		Bins: []int{3, 4, 1, 2, 255, 3},
		Index: [][]uint8{
			fill(2),       // all rows in one bin, the others empty
			fill(Missing), // none in any
			fill(0),       // one bin for all
			last,          // only the last row
			fill(254),     // the last bin there can be
			fill(200),     // an index that is no bin, other than Missing
		},
	}
	for _, meanBits := range []int{3, 20} {
		p := mustPlan(t, Spec{Rows: rows, Features: 6, Bins: 268, Queries: 100, MeanBits: meanBits})
		h, q := pair(t, p, m)
		most := int64(1)<<(p.PayloadBits()-1) - 1
		at := func(i int, v int64) []int64 {
			x := make([]int64, rows)
			x[i] = v
			return x
		}
		all := make([]int64, rows)
		for i := range all {
			all[i] = most / rows
			if i&1 == 1 {
				all[i] = -all[i]
			}
		}
		for _, v := range [][][]int64{
			{at(rows-1, most), at(rows-1, most)},
			{at(rows-1, -most), at(rows-1, -most)},
			{at(0, most), at(0, -most)},
			{at(4096, -most), at(4095, most)},
			{all, make([]int64, rows)},
			{make([]int64, rows), at(rows-1, -most), all},
			{at(rows-1, most)},
		} {
			for i, got := range run(t, h, q, v) {
				if want := product(m, v[i]); !slices.Equal(got, want) {
					t.Fatalf("%s: vector %d of %d: got %v, want %v", p, i, len(v), got, want)
				}
			}
		}
	}
}

// A small table keeps every core busy with one feature, a large one cuts rows.
func TestHistogramHoweverItIsCut(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	mod := [2]ring.Modulus{loadKernels().ntt[0].Modulus, loadKernels().ntt[1].Modulus}
	for _, rows := range []int{1, foldRows, foldRows + 1, 40_000} {
		for _, bins := range [][]int{{7}, {255, 1}, {3, 4, 5, 6, 7}} {
			m := randomMatrix(rng, rows, bins...)
			x, err := m.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			for _, lanes := range []int{1, 2, 3, 6, 8, 14, 31, 32} {
				v := make([][]int64, lanes)
				words := make([]uint64, rows*lanes)
				for l := range v {
					v[l] = make([]int64, rows)
					for i := range v[l] {
						v[l][i] = int64(rng.Uint64N(mod[l&1].Q()))
						words[i*lanes+l] = uint64(v[l][i])
					}
				}
				got, err := x.Histogram(t.Context(), lanes, words)
				if err != nil {
					t.Fatal(err)
				}
				for l := range v {
					for b, want := range product(m, v[l]) {
						if got[b*lanes+l] != uint64(want) {
							t.Fatalf("%d rows, %v bins, %d lanes: bin %d lane %d is %d, want %d", rows, bins, lanes, b, l, got[b*lanes+l], uint64(want))
						}
					}
				}
				if lanes&1 == 1 {
					continue
				}
				// Modulo the primes, with residues as large as they get.
				for i := range words {
					words[i] = mod[i&1].Q() - 1
				}
				got, err = histogram(t.Context(), x, lanes, words, &mod)
				if err != nil {
					t.Fatal(err)
				}
				ones := make([]int64, rows)
				for i := range ones {
					ones[i] = 1
				}
				for b, count := range product(m, ones) {
					for l := range lanes {
						if want := mod[l&1].Sub(0, uint64(count)); got[b*lanes+l] != want {
							t.Fatalf("%d rows, %v bins, %d lanes: %d times -1 in bin %d lane %d is %d, want %d", rows, bins, lanes, count, b, l, got[b*lanes+l], want)
						}
					}
				}
			}
		}
	}
}

func TestHistogramRefuses(t *testing.T) {
	t.Parallel()
	m := OneHot{Rows: 2, Bins: []int{2}, Index: [][]uint8{{0, 1}}}
	x, err := m.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	for lanes, words := range map[int]int{0: 0, 1: 3, 2: 3, -1: 2} {
		if _, err := x.Histogram(t.Context(), lanes, make([]uint64, words)); !errors.Is(err, ErrRange) {
			t.Errorf("%d words in %d lanes: got %v, want ErrRange", words, lanes, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Histogram(ctx, 1, make([]uint64, 2)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := (OneHot{Rows: 2, Bins: []int{2}}).Prepare(); !errors.Is(err, ErrMatrix) {
		t.Errorf("no index: got %v", err)
	}
}

func TestAThousandQueriesOnOneHint(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 8))
	m := randomMatrix(rng, 50, 3, 2)
	p := mustPlan(t, Spec{Rows: 50, Features: 2, Bins: 5, Queries: 2000, MeanBits: 8})
	h, q := pair(t, p, m)
	for i := range 1000 {
		v := randomVectors(rng, p, 2)
		for j, got := range run(t, h, q, v) {
			if want := product(m, v[j]); !slices.Equal(got, want) {
				t.Fatalf("query %d: got %v, want %v", i, got, want)
			}
		}
	}
	if _, err := tryRun(t.Context(), h, q, randomVectors(rng, p, 1)); !errors.Is(err, ErrBudget) {
		t.Errorf("after all planned queries: got %v, want ErrBudget", err)
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 9))
	m := randomMatrix(rng, 30, 3)
	packed := mustPlan(t, Spec{Rows: 30, Features: 1, Bins: 3, Queries: 10, MeanBits: 4})
	single := mustPlan(t, Spec{Rows: 30, Features: 1, Bins: 3, Queries: 10, MeanBits: 24})
	for _, c := range []struct {
		p       Params
		batches []int // the last one is refused
	}{
		{packed, []int{10, 1}},
		{packed, []int{4, 4, 2, 2}},
		{packed, []int{1, 1, 1, 1, 1, 1}}, // each takes the room of two
		{packed, []int{7, 3}},
		{single, []int{1, 2, 3, 4, 1}},
		{single, []int{9, 2}},
	} {
		h, q := pair(t, c.p, m)
		for i, n := range c.batches {
			_, err := tryRun(t.Context(), h, q, randomVectors(rng, c.p, n))
			if last := i == len(c.batches)-1; last != errors.Is(err, ErrBudget) || !last && err != nil {
				t.Errorf("%d a word, batches %v: batch %d gave %v", c.p.PerWord(), c.batches, i, err)
			}
		}
	}
}

// Several goroutines together get no more answers than planned, and right ones.
func TestAnswersAtOnce(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 9))
	m := randomMatrix(rng, 300, 3, 4)
	p := mustPlan(t, Spec{Rows: 300, Features: 2, Bins: 7, Queries: 12, MeanBits: 4})
	h, q := pair(t, p, m)
	v := randomVectors(rng, p, 2)
	var mu sync.Mutex
	answered, refused := 0, 0
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			sums, err := tryRun(t.Context(), h, q, v)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, ErrBudget):
				refused++
			case err != nil:
				t.Error(err)
			case !slices.Equal(sums[0], product(m, v[0])) || !slices.Equal(sums[1], product(m, v[1])):
				t.Errorf("got %v", sums)
			default:
				answered++
			}
		})
	}
	wg.Wait()
	if answered != 6 || refused != 4 {
		t.Errorf("%d answered, %d refused; want 6 and 4", answered, refused)
	}
}

func TestTwoHoldersAnswerOneQuery(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 8))
	p := mustPlan(t, Spec{Rows: 4500, Features: 3, Bins: 20, Queries: 8, MeanBits: 4})
	a, b := randomMatrix(rng, 4500, 9), randomMatrix(rng, 4500, 4, 8, 8)
	h1, q := pair(t, p, a)
	h2, err := NewHolder(t.Context(), p, seedOf("shared"), b, reader("other holder"), nil)
	if err != nil {
		t.Fatal(err)
	}
	v := randomVectors(rng, p, 3)
	query, key, err := q.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	a1, err := h1.Answer(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	a2, err := h2.Answer(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		m OneHot
		h *Holder
		a *Answer
	}{{a, h1, a1}, {b, h2, a2}} {
		sums, err := key.Open(t.Context(), c.h.Hint(), c.a)
		if err != nil {
			t.Fatal(err)
		}
		for j := range v {
			if !slices.Equal(sums[j], product(c.m, v[j])) {
				t.Errorf("holder %d, vector %d is wrong", i, j)
			}
		}
	}
	if _, err := key.Open(t.Context(), h1.Hint(), a2); !errors.Is(err, ErrMismatch) {
		t.Errorf("one holder's hint, the other's answer: got %v, want ErrMismatch", err)
	}
	key.Erase()
	key.Erase()
	if _, err := key.Open(t.Context(), h1.Hint(), a1); !errors.Is(err, ErrErased) {
		t.Errorf("after Erase: got %v, want ErrErased", err)
	}
}

// What is not the query's hint, answer or seed opens to noise, not to sums.
func TestWrongSecretsOpenNothing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 9))
	p := mustPlan(t, Spec{Rows: 1000, Features: 1, Bins: 50, Queries: 20, MeanBits: 10})
	m := randomMatrix(rng, 1000, 50)
	h, q := pair(t, p, m)
	stranger, err := NewQuerier(p, seedOf("another"), reader("querier"))
	if err != nil {
		t.Fatal(err)
	}
	v := randomVectors(rng, p, 1)
	want := product(m, v[0])
	right := func(sums [][]int64) (n int) {
		for i, s := range sums[0] {
			if s == want[i] {
				n++
			}
		}
		return n
	}
	if n := right(run(t, h, q, v)); n != 50 {
		t.Fatalf("%d of 50 sums are right with the right seed", n)
	}
	if n := right(run(t, h, stranger, v)); n > 2 {
		t.Errorf("%d of 50 sums are right with the wrong seed", n)
	}
	one, _, err := q.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := q.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.Answer(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := key.Open(t.Context(), h.Hint(), a)
	if err != nil {
		t.Fatal(err)
	}
	if n := right(sums); n > 2 {
		t.Errorf("%d of 50 sums are right with the key of another query", n)
	}
}

// The same readers give the same bytes, however the work falls to the cores, and
// those bytes are the format.
func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(11, 11))
	m := randomMatrix(rng, 4200, 5, 3)
	for _, c := range []struct {
		meanBits            int
		hint, query, answer string
	}{
		{4, "1a38ae14a7f46a64", "021211656d4b6655", "1a97f2044649f0e4"},
		{20, "ba4930b845ad5a92", "eb30010748c7ea90", "3eae979c39f5f10d"},
	} {
		p := mustPlan(t, Spec{Rows: 4200, Features: 2, Bins: 8, Queries: 12, MeanBits: c.meanBits})
		v := randomVectors(rand.New(rand.NewPCG(12, 12)), p, 3)
		for range 2 {
			h, q := pair(t, p, m)
			query, _, err := q.Encrypt(t.Context(), v)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := h.Answer(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range []struct {
				name string
				v    interface{ MarshalBinary() ([]byte, error) }
				size int
				want string
			}{
				{"hint", h.Hint(), p.HintSize(8), c.hint},
				{"query", query, p.QuerySize(3), c.query},
				{"answer", answer, p.AnswerSize(8, 3), c.answer},
			} {
				b, err := x.v.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				if len(b) != x.size {
					t.Errorf("%d bits: the %s has %d bytes, announced are %d", c.meanBits, x.name, len(b), x.size)
				}
				sum := sha256.Sum256(b)
				if got := hex.EncodeToString(sum[:8]); got != x.want {
					t.Errorf("%d bits: the %s is %s, want %s", c.meanBits, x.name, got, x.want)
				}
			}
		}
	}
}

// A query of nothing and one of as much as fits look the same.
func TestQueriesLookAlike(t *testing.T) {
	t.Parallel()
	const rows = 20_000
	p := mustPlan(t, Spec{Rows: rows, Features: 1, Bins: 2, Queries: 4, MeanBits: 4})
	q, err := NewQuerier(p, seedOf("s"), reader("r"))
	if err != nil {
		t.Fatal(err)
	}
	zero, big := make([]int64, rows), make([]int64, rows)
	for i := range big {
		big[i] = 1 << 4
	}
	sizes := map[int]bool{}
	for name, v := range map[string][]int64{"zero": zero, "big": big} {
		query, _, err := q.Encrypt(t.Context(), [][]int64{v, v})
		if err != nil {
			t.Fatal(err)
		}
		b, err := query.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		sizes[len(b)] = true
		var seen [256]int
		for _, x := range b[1:] {
			seen[x]++
		}
		chi, e := 0.0, float64(len(b)-1)/256
		for _, n := range seen {
			chi += (float64(n) - e) * (float64(n) - e) / e
		}
		if chi < 160 || chi > 370 { // 255 degrees of freedom: five deviations
			t.Errorf("%s: chi-square of the bytes is %.0f", name, chi)
		}
	}
	if len(sizes) != 1 {
		t.Errorf("sizes %v differ", sizes)
	}
}
