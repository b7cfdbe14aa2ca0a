package matvec

import (
	"math/rand/v2"
	"testing"

	"kontor/ring"
)

// benchSpec is the size that the figures in PROTOCOL.md are for.
var benchSpec = Spec{Rows: 200_000, Features: 50, Bins: 1600, Queries: 1 << 10, MeanBits: 3}

// benchParties makes a holder with a hint of noise, which takes as long to answer
// and to open as a real one and no time to set up.
func benchParties(b *testing.B) (*Holder, *Querier, [][]int64) {
	p := mustPlan(b, benchSpec)
	rng := rand.New(rand.NewPCG(1, 2))
	bins := make([]int, benchSpec.Features)
	for f := range bins {
		bins[f] = benchSpec.Bins / benchSpec.Features
	}
	m := randomMatrix(rng, benchSpec.Rows, bins...)
	h := &Holder{p: p, x: prepare(m), rand: reader("holder")}
	h.rho = make([]byte, benchSpec.Bins*degree/4)
	h.hint = &Hint{p: p, bins: benchSpec.Bins, packed: make([]byte, benchSpec.Bins*ring.PackedLen(degree, p.hintBits))}
	q, err := NewQuerier(p, seedOf("shared"), reader("querier"))
	if err != nil {
		b.Fatal(err)
	}
	return h, q, randomVectors(rng, p, 16)
}

func BenchmarkEncrypt(b *testing.B) {
	_, q, v := benchParties(b)
	for b.Loop() {
		if _, _, err := q.Encrypt(b.Context(), v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkQueryEncoding(b *testing.B) {
	h, q, v := benchParties(b)
	query, _, err := q.Encrypt(b.Context(), v)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		x, err := query.MarshalBinary()
		if err != nil {
			b.Fatal(err)
		}
		if _, err = ParseQuery(h.p, len(v), x); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	h, q, v := benchParties(b)
	query, _, err := q.Encrypt(b.Context(), v)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		h.used = 0
		if _, err := h.Answer(b.Context(), query); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHistogram(b *testing.B) {
	h, _, _ := benchParties(b)
	rows := make([]uint64, benchSpec.Rows*16)
	b.SetBytes(int64(benchSpec.Rows * benchSpec.Features))
	for b.Loop() {
		if _, err := histogram(b.Context(), h.x, 16, rows, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	h, q, v := benchParties(b)
	query, key, err := q.Encrypt(b.Context(), v)
	if err != nil {
		b.Fatal(err)
	}
	a, err := h.Answer(b.Context(), query)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := key.Open(b.Context(), h.hint, a); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHint(b *testing.B) {
	s := Spec{Rows: 200_000, Features: 1, Bins: 32, Queries: 1 << 10, MeanBits: 3}
	p := mustPlan(b, s)
	m := randomMatrix(rand.New(rand.NewPCG(1, 2)), s.Rows, 32)
	for b.Loop() {
		if _, err := NewHolder(b.Context(), p, seedOf("shared"), m, reader("holder"), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDot(b *testing.B) {
	kern := loadKernels()
	mod := [2]ring.Modulus{kern.ntt[0].Modulus, kern.ntt[1].Modulus}
	s, x := make([]int8, degree), make([]uint64, 16*degree)
	mask, out := newMaskLanes(x, 16), make([]uint64, 16)
	b.Run("residues16", func(b *testing.B) {
		for b.Loop() {
			mask.dot(out, s, &mod)
		}
	})
	sec := newSecrets(8)
	b.Run("secrets8", func(b *testing.B) {
		for b.Loop() {
			sec.dot(out[:8], x[:degree])
		}
	})
}
