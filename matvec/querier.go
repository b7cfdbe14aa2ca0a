package matvec

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"sync"

	"kontor/internal/parallel"
	"kontor/ring"
)

// Querier is the party with the vectors. Its methods may be called from several
// goroutines.
type Querier struct {
	p    Params
	rows [2][]uint64 // [prime][block of rows][value], for the inner product with a bin
	mask [2][]uint64

	mu   sync.Mutex
	rand io.Reader
}

// NewQuerier prepares to encrypt under parameters and a public seed that both
// sides share. It holds 16 bytes a row.
func NewQuerier(p Params, seed [32]byte, rand io.Reader) (*Querier, error) {
	if p.perWord == 0 {
		return nil, fmt.Errorf("%w: the parameters are empty", ErrSpec)
	}
	if rand == nil {
		return nil, fmt.Errorf("matvec: making a querier: %w: the reader is nil", ring.ErrRandom)
	}
	q := &Querier{p: p, rand: rand}
	mask, err := expandMask(&seed)
	if err != nil {
		return nil, err
	}
	// The holder multiplies with the polynomials themselves; here the rows' noise
	// must meet the bins in an inner product, not a convolution, which is what
	// X -> 1/X does: in the domain of the transform a reversal.
	for j := range q.rows {
		q.rows[j] = make([]uint64, p.blocks()*degree)
		q.mask[j] = make([]uint64, degree)
		reverse(q.mask[j], mask[j])
	}
	err = expandRows(context.Background(), &seed, p.blocks(), func(k, j int, a []uint64) {
		reverse(q.rows[j][k*degree:][:degree], a)
	})
	if err != nil {
		return nil, err
	}
	return q, nil
}

func reverse(dst, src []uint64) {
	for i, v := range src {
		dst[len(src)-1-i] = v
	}
}

// Encrypt makes a query of vectors of Rows integers each, and the key that opens
// its answers. It reads 32 bytes from the querier's reader. It fails with an
// [ErrRange] if a vector has another length or if its magnitudes sum to
// 2^(P-1) or more, or if there are none or more than were planned.
func (q *Querier) Encrypt(ctx context.Context, v [][]int64) (*Query, *Key, error) {
	if err := q.p.checkVectors(ctx, v); err != nil {
		return nil, nil, err
	}
	q.mu.Lock()
	src, err := ring.ReadSource(q.rand)
	q.mu.Unlock()
	if err != nil {
		return nil, nil, fmt.Errorf("matvec: encrypting: %w", err)
	}
	words := q.p.words(len(v))
	query := &Query{
		p: q.p, vectors: len(v), words: words,
		rows: make([]uint64, q.p.spec.Rows*2*words),
		mask: make([]uint64, degree*2*words),
	}
	e := &encrypter{Querier: q, src: src, kern: loadKernels(), query: query, v: v, s: newSecrets(words)}
	if err := e.secrets(ctx); err != nil {
		return nil, nil, err
	}
	// A task is a block of rows for all words, so that the words of a row are
	// written by one core; for few blocks it is a block for one word.
	jobs, per := q.p.blocks()+1, words
	if jobs < 4*runtime.GOMAXPROCS(0) {
		per = 1
	}
	chunks, bounds := parallel.Chunks(words, per)
	err = parallel.Workers(ctx, jobs*chunks, func() func(int) error {
		w := &encryptWorker{encrypter: e, e: make([]int8, degree), payload: make([]int64, degree)}
		w.y = [2][]uint64{make([]uint64, degree), make([]uint64, degree)}
		return func(i int) error {
			lo, hi := bounds(i % chunks)
			for t := lo; t < hi; t++ {
				w.block(i/chunks, t)
			}
			return nil
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return query, &Key{p: q.p, vectors: len(v), words: words, s: e.s}, nil
}

// checkVectors bounds the vectors in time that depends on their shape only.
func (p Params) checkVectors(ctx context.Context, v [][]int64) error {
	if err := p.checkCount(len(v)); err != nil {
		return err
	}
	for i, x := range v {
		if len(x) != p.spec.Rows {
			return fmt.Errorf("%w: vector %d has %d entries for %d rows", ErrRange, i, len(x), p.spec.Rows)
		}
	}
	return parallel.For(ctx, len(v), func(i int) error {
		var sum, over uint64
		for _, a := range v[i] {
			s := uint64(a >> 63)
			var c uint64
			sum, c = bits.Add64(sum, (uint64(a)^s)-s, 0)
			over |= c
		}
		if over != 0 || sum >= 1<<(p.payload-1) {
			return fmt.Errorf("%w: the magnitudes of vector %d sum to 2^%d or more", ErrRange, i, p.payload-1)
		}
		return nil
	})
}

// checkCount bounds the vectors of one query.
func (p Params) checkCount(vectors int) error {
	if p.perWord == 0 {
		return fmt.Errorf("%w: the parameters are empty", ErrSpec)
	}
	if vectors < 1 || vectors > p.spec.Queries {
		return fmt.Errorf("%w: %d vectors in a query, must be from 1 to the %d planned", ErrRange, vectors, p.spec.Queries)
	}
	return nil
}

// encrypter is what the parts of a query have in common.
type encrypter struct {
	*Querier
	src   *ring.Source
	kern  *kernels
	query *Query
	v     [][]int64
	s     *secrets
	hat   [2][]ring.Factor // their transforms, [word][value]
	scale [2]ring.Factor   // Δ
}

// secrets draws a ternary secret for each ring word.
func (e *encrypter) secrets(ctx context.Context) error {
	words := e.query.words
	delta := new(delta)
	delta.set(e.p, e.kern)
	for j, t := range e.kern.ntt {
		e.hat[j] = make([]ring.Factor, words*degree)
		e.scale[j] = t.Factor(delta[j])
	}
	return parallel.For(ctx, words, func(t int) error {
		s, x := make([]int8, degree), make([]uint64, degree)
		e.src.Stream(domainSecret, uint64(t)).Ternary(s)
		e.s.set(t, s)
		for j, ntt := range e.kern.ntt {
			for i, v := range s {
				x[i] = ntt.FromInt(int64(v))
			}
			ntt.Forward(x)
			for i, v := range x {
				e.hat[j][t*degree+i] = ntt.Factor(v)
			}
		}
		clear(s)
		clear(x)
		return nil
	})
}

// encryptWorker holds the buffers of one goroutine.
type encryptWorker struct {
	*encrypter
	e       []int8
	payload []int64
	y       [2][]uint64
}

// block encrypts the rows of block k for ring word t; the block after the last
// one is the encryption of zero that meets the hint's mask.
func (w *encryptWorker) block(k, t int) {
	lanes := 2 * w.query.words
	rows, out, a := degree, w.query.mask, w.mask
	if lo := k * degree; k < w.p.blocks() {
		rows = min(degree, w.p.spec.Rows-lo)
		out = w.query.rows[lo*lanes:]
		a = [2][]uint64{w.rows[0][lo:], w.rows[1][lo:]}
		w.pack(lo, rows, t)
	} else {
		clear(w.payload)
	}
	w.src.Stream(domainNoise, uint64(k*w.query.words+t)).Binomial(w.e)
	for j, ntt := range w.kern.ntt {
		y, hat, aj := w.y[j], w.hat[j][t*degree:][:degree], a[j][:degree]
		for i := range y {
			y[i] = ntt.MulLazy(aj[i], hat[i])
		}
		ntt.Inverse(y)
	}
	m0, m1 := w.kern.ntt[0].Modulus, w.kern.ntt[1].Modulus
	y0, y1, payload := w.y[0][:rows], w.y[1][:rows], w.payload[:rows]
	at := 2 * t
	for i, e := range w.e[:rows] {
		b := (*[2]uint64)(out[at:])
		b[0] = m0.Reduce(y0[i] + m0.FromInt(int64(e)) + m0.MulLazy(m0.FromInt(payload[i]), w.scale[0]))
		b[1] = m1.Reduce(y1[i] + m1.FromInt(int64(e)) + m1.MulLazy(m1.FromInt(payload[i]), w.scale[1]))
		at += lanes
	}
}

// pack puts the vectors of word t side by side.
func (w *encryptWorker) pack(lo, rows, t int) {
	first := t * w.p.perWord
	copy(w.payload, w.v[first][lo:lo+rows])
	if w.p.perWord == 2 && first+1 < len(w.v) {
		for i, v := range w.v[first+1][lo : lo+rows] {
			w.payload[i] += v << w.p.payload
		}
	}
}

// delta is floor(q/2^W) modulo each prime.
type delta [2]uint64

func (d *delta) set(p Params, kern *kernels) {
	hi, lo := bits.Mul64(prime0, prime1)
	w := uint(p.wordBits())
	lo = lo>>w | hi<<(64-w)
	hi >>= w
	for j, t := range kern.ntt {
		d[j] = t.Reduce128(hi, lo)
	}
}
