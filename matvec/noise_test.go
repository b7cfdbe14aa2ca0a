package matvec

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"kontor/ring"
)

// rig runs the protocol with everything in the open that a party keeps to itself.
type rig struct {
	h     *Holder
	q     *Querier
	build *hintBuilder
	exact [][2][]uint64 // each row of the hint before it is rounded
}

func newRig(t testing.TB, p Params, m OneHot) *rig {
	t.Helper()
	r := new(rig)
	r.h, r.q = pair(t, p, m)
	src, err := ring.ReadSource(reader("holder")) // what NewHolder read
	if err != nil {
		t.Fatal(err)
	}
	seed := seedOf("shared")
	h := &Holder{p: p, x: prepare(m)}
	h.rho = make([]byte, len(r.h.rho))
	h.hint = &Hint{p: p, bins: r.h.hint.bins, packed: make([]byte, len(r.h.hint.packed))}
	if r.build, err = newHintBuilder(t.Context(), h, &seed, src); err != nil {
		t.Fatal(err)
	}
	w := newHintWorker(r.build)
	for f, bins := range m.Bins {
		w.sort(h.x.col[f], bins)
		for b := range bins {
			w.row(h.x.first[f]+b, b)
			r.exact = append(r.exact, [2][]uint64{slices.Clone(w.out[0]), slices.Clone(w.out[1])})
		}
	}
	if !slices.Equal(h.rho, r.h.rho) || !slices.Equal(h.hint.packed, r.h.hint.packed) {
		t.Fatal("the rows of the hint depend on the order in which they are made")
	}
	return r
}

// centred joins two residues to an integer in (-q/2, q/2).
func centred(c [2]uint64) *big.Int {
	q0, q1 := big.NewInt(prime0), big.NewInt(prime1)
	q := new(big.Int).Mul(q0, q1)
	x := new(big.Int)
	for _, y := range []struct {
		c     uint64
		p, co *big.Int
	}{{c[0], q0, q1}, {c[1], q1, q0}} {
		z := new(big.Int).ModInverse(y.co, y.p)
		z.Mul(z, new(big.Int).SetUint64(y.c)).Mul(z, y.co)
		x.Add(x, z)
	}
	x.Mod(x, q)
	if new(big.Int).Lsh(x, 1).Cmp(q) > 0 {
		x.Sub(x, q)
	}
	return x
}

// secret returns a word's secret.
func (s *secrets) secret(word int) []int8 {
	if p := word / 8; p < len(s.eight) {
		out := make([]int8, degree)
		for i := range out {
			out[i] = s.eight[p][i][word%8]
		}
		return out
	}
	return s.one[word%8]
}

// noise returns, for each row of M and ring word of one query, the X of
// PROTOCOL.md: what is left of an answer without its flood when the product of
// hint and secret and the sums are taken away.
func (r *rig) noise(t testing.TB, v [][]int64) [][]float64 {
	t.Helper()
	p, kern := r.h.p, loadKernels()
	query, key, err := r.q.Encrypt(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	w, err := newAnswering(t.Context(), r.h, query)
	if err != nil {
		t.Fatal(err)
	}
	sums := make([][]int64, len(v))
	m := OneHot{Rows: p.spec.Rows, Bins: r.h.x.bins, Index: r.h.x.col}
	for i := range v {
		sums[i] = product(m, v[i])
	}
	var d delta
	d.set(p, kern)
	out := make([][]float64, len(r.exact))
	c, rho := make([]uint64, w.lanes), make([]int8, degree)
	for row := range r.exact {
		w.exact(c, rho, row)
		for word := range query.words {
			payload := sums[word*p.perWord][row]
			if i := word*p.perWord + 1; p.perWord == 2 && i < len(v) {
				payload += sums[i][row] << p.payload
			}
			var x [2]uint64
			for j, ntt := range kern.ntt {
				x[j] = ntt.Sub(c[2*word+j], ntt.Mul(d[j], ntt.FromInt(payload)))
				for i, s := range key.s.secret(word) {
					x[j] = ntt.Sub(x[j], ntt.Mul(r.exact[row][j][i], ntt.FromInt(int64(s))))
				}
			}
			f, _ := new(big.Float).SetInt(centred(x)).Float64()
			out[row] = append(out[row], f)
		}
	}
	return out
}

// The noise has mean zero and the variance σ²(n_r + 4N/3) that the bounds on the
// distance and on failures are made from, and it does not depend on the vectors.
func TestNoiseIsAsDerived(t *testing.T) {
	t.Parallel()
	const rows = 6000
	bins := []int{1, 2, 40}
	m := randomMatrix(rand.New(rand.NewPCG(5, 5)), rows, bins...)
	for _, meanBits := range []int{4, 20} {
		p := mustPlan(t, Spec{Rows: rows, Features: 3, Bins: 43, Queries: 200, MeanBits: meanBits})
		r := newRig(t, p, m)
		ones := make([]int64, rows)
		for i := range ones {
			ones[i] = 1
		}
		count := product(m, ones)
		n, mean, square := 0, 0.0, 0.0
		limit := 7 * math.Sqrt(sigma2*(rows+2*degree))
		for range 3 {
			for row, xs := range r.noise(t, randomVectors(rand.New(rand.NewPCG(6, 6)), p, 8)) {
				sd := math.Sqrt(sigma2 * (float64(count[row]) + degree*4.0/3))
				for _, x := range xs {
					if math.Abs(x) > limit {
						t.Fatalf("row %d has noise %.0f, beyond %.0f", row, x, limit)
					}
					n++
					mean += x / sd
					square += x / sd * x / sd
				}
			}
		}
		// Rows share a query's noise and queries share a row's, so the estimates
		// are wider than those of n independent values.
		mean, square = mean/float64(n), square/float64(n)
		if math.Abs(mean) > 0.15 {
			t.Errorf("%s: the noise has mean %.3f of its deviation over %d values", p, mean, n)
		}
		if math.Abs(square-1) > 0.15 {
			t.Errorf("%s: the variance is %.3f of the one derived over %d values", p, square, n)
		}
	}
}

// What is left at opening, flood and rounding of the hint included, stays where
// the failure bound wants it: within the flood's 15/32 of Δ and the 1/32 above it.
func TestOpeningErrorStaysInside(t *testing.T) {
	t.Parallel()
	const rows = 500
	m := randomMatrix(rand.New(rand.NewPCG(5, 6)), rows, 30)
	for _, meanBits := range []int{4, 20} {
		p := mustPlan(t, Spec{Rows: rows, Features: 1, Bins: 30, Queries: 400, MeanBits: meanBits})
		h, q := pair(t, p, m)
		v := make([][]int64, 16)
		for i := range v {
			v[i] = make([]int64, rows)
		}
		unit := math.Exp2(float64(64 - p.wordBits())) // Δ
		largest, sum, n := 0.0, 0.0, 0
		for range 10 {
			query, key, err := q.Encrypt(t.Context(), v)
			if err != nil {
				t.Fatal(err)
			}
			a, err := h.Answer(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			x, dots := make([]uint64, degree), make([]uint64, query.words)
			size := ring.PackedLen(degree, p.hintBits)
			for r := range a.bins {
				ring.Unpack(x, h.hint.packed[r*size:][:size], p.hintBits)
				key.s.dot(dots, x)
				for w, d := range dots {
					e := float64(int64(a.c[r*query.words+w]-d<<(64-p.hintBits))) / unit
					largest, sum, n = max(largest, math.Abs(e)), sum+e*e, n+1
				}
			}
		}
		if largest > 0.5 {
			t.Errorf("%s: an error of %.3f Δ", p, largest)
		}
		// The flood's variance dominates: 3·(5/16)²/12 of Δ².
		if want := 3 * 25.0 / 256 / 12; math.Abs(sum/float64(n)/want-1) > 0.15 {
			t.Errorf("%s: the error has variance %.4f Δ², want %.4f", p, sum/float64(n), want)
		}
	}
}

// The flood is what its derivation says: exact, bounded, centred, of the right
// variance, the same integer modulo both primes.
func TestFlood(t *testing.T) {
	t.Parallel()
	seen := map[bool]bool{}
	for _, s := range []Spec{
		{1, 1, 1, 1, 0}, {1, 1, 1, 1, 10}, {1, 1, 1, 1, 18}, {1, 1, 1, 1, 19}, {1, 1, 1, 1, 21}, {1, 1, 1, 1, 22},
	} {
		p := mustPlan(t, s)
		k := p.floodLog()
		seen[k >= 64] = true
		src, err := ring.ReadSource(reader("flood"))
		if err != nil {
			t.Fatal(err)
		}
		stream := src.Stream(domainFlood, 0)
		unit := new(big.Int).Lsh(big.NewInt(1), uint(k-1))
		bound := new(big.Int).Mul(unit, big.NewInt(3*floodTop))
		mean, square, odd := 0.0, 0.0, 0
		const n = 4000
		for range n {
			hi, lo := p.flood(stream)
			x := new(big.Int).SetUint64(hi)
			x.Lsh(x, 64).Add(x, new(big.Int).SetUint64(lo)).Sub(x, bound)
			if x.CmpAbs(bound) > 0 {
				t.Fatalf("k = %d: a flood of %v, beyond %v", k, x, bound)
			}
			var c [2]uint64
			for j, ntt := range loadKernels().ntt {
				c[j] = p.floodResidue(ntt.Modulus, hi, lo)
			}
			if got := centred(c); got.Cmp(x) != 0 {
				t.Fatalf("k = %d: %v, as residues %v", k, x, got)
			}
			odd += int(x.Bit(0))
			f, _ := new(big.Float).SetInt(x).Float64()
			f /= floodTop * math.Exp2(float64(k))
			mean, square = mean+f/n, square+f*f/n
		}
		if math.Abs(mean) > 5*0.5/math.Sqrt(n) || math.Abs(square-0.25) > 0.03 || odd < n/2-200 || odd > n/2+200 {
			t.Errorf("k = %d: mean %.3f, variance %.3f of a summand's width, %d of %d odd", k, mean, square, odd, n)
		}
		// With Δ = floor(q/2^W), |flood| <= 15/32 Δ and a bit in 2^30.
		q := new(big.Int).Mul(big.NewInt(prime0), big.NewInt(prime1))
		ratio, _ := new(big.Rat).SetFrac(bound, q.Rsh(q, uint(p.wordBits()))).Float64()
		if ratio > 15.0/32*(1+0x1p-30) || ratio < 15.0/32 {
			t.Errorf("k = %d: the flood reaches %.12f Δ", k, ratio)
		}
	}
	if len(seen) != 2 {
		t.Error("one of the two ranges of widths was not tried")
	}
}

// Masks and secrets are what the packing says, whatever the number of words.
func TestDots(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	kern := loadKernels()
	mod := [2]ring.Modulus{kern.ntt[0].Modulus, kern.ntt[1].Modulus}
	ternary := func() []int8 {
		s := make([]int8, degree)
		for i := range s {
			s[i] = int8(rng.IntN(3)) - 1
		}
		return s
	}
	for words := 1; words <= 18; words++ {
		lanes := 2 * words
		x := make([]uint64, degree*lanes)
		rho := ternary()
		if words == 3 {
			for i := range rho {
				rho[i] = -1 // the largest sums there are
			}
		}
		for i := range x {
			x[i] = mod[i&1].Q() - 1 - uint64(rng.IntN(2))
		}
		packed, back := make([]byte, degree/4), make([]int8, degree)
		packTernary(packed, rho)
		unpackTernary(back, packed)
		if !slices.Equal(rho, back) {
			t.Fatal("a ternary vector changes when it is packed")
		}
		got := make([]uint64, lanes)
		newMaskLanes(x, lanes).dot(got, rho, &mod)
		for l := range lanes {
			want := uint64(0)
			for i, s := range rho {
				want = mod[l&1].Add(want, mod[l&1].Mul(x[i*lanes+l], mod[l&1].FromInt(int64(s))))
			}
			if got[l] != want {
				t.Fatalf("%d words: lane %d is %d, want %d", words, l, got[l], want)
			}
		}
		s, all := newSecrets(words), make([][]int8, words)
		for w := range all {
			all[w] = ternary()
			s.set(w, all[w])
		}
		h := make([]uint64, degree)
		for i := range h {
			h[i] = rng.Uint64()
		}
		out := make([]uint64, words)
		s.dot(out, h)
		for w := range all {
			want := uint64(0)
			for i, v := range all[w] {
				want += h[i] * uint64(v)
			}
			if out[w] != want || !slices.Equal(s.secret(w), all[w]) {
				t.Fatalf("%d words: secret %d gives %d, want %d", words, w, out[w], want)
			}
		}
		s.erase()
		for w := range all {
			for _, v := range s.secret(w) {
				if v != 0 {
					t.Fatalf("%d words: secret %d is not erased", words, w)
				}
			}
		}
	}
}

// Packing two sums in a word separates at every edge.
func TestSplit(t *testing.T) {
	t.Parallel()
	for _, meanBits := range []int{4, 20} {
		p := mustPlan(t, Spec{Rows: 100, Features: 1, Bins: 1, Queries: 2, MeanBits: meanBits})
		most := int64(1)<<(p.payload-1) - 1
		edge := []int64{-most, 1 - most, -1, 0, 1, most - 1, most}
		for _, a := range edge {
			for _, b := range edge {
				v := a
				if p.perWord == 2 {
					v += b << p.payload
				}
				unit := int64(1) << (64 - p.wordBits())
				for _, e := range []int64{-unit/2 + 1, 0, unit/2 - 1} {
					got := make([]int64, p.perWord)
					p.split(uint64(v*unit+e), func(i int, s int64) { got[i] = s })
					if want := []int64{a, b}[:p.perWord]; !slices.Equal(got, want) {
						t.Fatalf("%s: %v opens as %v", fmt.Sprint(p), want, got)
					}
				}
			}
		}
	}
}
