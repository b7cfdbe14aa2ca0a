package matvec

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
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
		for b := range bins {
			sum := int64(0)
			for i, x := range m.Index[f] {
				if int(x) == b {
					sum += v[i]
				}
			}
			out = append(out, sum)
		}
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

