package matvec

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"kontor/internal/parallel"
	"kontor/ring"
)

// Holder is the party with the matrix. Its methods may be called from several
// goroutines.
type Holder struct {
	p    Params
	x    *Prepared
	rho  []byte // ternary mask of each bin, four values a byte
	hint *Hint

	mu   sync.Mutex
	rand io.Reader
	used int // ring words answered
}

// blockLen is the number of values of a transform that [ring.NTT.ForwardBits]
// computes at once: a stretch that stays in the first cache with its sums.
const blockLen = degree / ring.BitBlocks

// NewHolder makes the hint for a matrix, the long part of the protocol: about 15
// nanoseconds of one core for each bin and row. It reads 32 bytes from rand, and
// 32 more at each answer. progress, if not nil, is told the bins done, one call at
// a time. The seed must be the querier's. It fails with an [ErrMatrix] for a
// matrix that is not what p was planned for.
func NewHolder(ctx context.Context, p Params, seed [32]byte, m OneHot, rand io.Reader, progress func(done, total int)) (*Holder, error) {
	if err := p.fits(m); err != nil {
		return nil, err
	}
	src, err := ring.ReadSource(rand)
	if err != nil {
		return nil, fmt.Errorf("matvec: making a hint: %w", err)
	}
	h := &Holder{p: p, x: prepare(m), rand: rand}
	bins := h.x.total()
	h.rho = make([]byte, bins*degree/4)
	h.hint = &Hint{p: p, bins: bins, packed: make([]byte, bins*ring.PackedLen(degree, p.hintBits))}
	b, err := newHintBuilder(ctx, h, &seed, src)
	if err != nil {
		return nil, err
	}
	if err := b.run(ctx, progress); err != nil {
		return nil, err
	}
	return h, nil
}

// fits checks a matrix against what the parameters were planned for.
func (p Params) fits(m OneHot) error {
	if p.perWord == 0 {
		return fmt.Errorf("%w: the parameters are empty", ErrSpec)
	}
	if err := m.check(); err != nil {
		return err
	}
	switch s, bins := p.spec, m.TotalBins(); {
	case m.Rows != s.Rows:
		return fmt.Errorf("%w: %d rows, planned for %d", ErrMatrix, m.Rows, s.Rows)
	case len(m.Bins) == 0 || len(m.Bins) > s.Features:
		return fmt.Errorf("%w: %d features, planned for 1 to %d", ErrMatrix, len(m.Bins), s.Features)
	case bins > s.Bins:
		return fmt.Errorf("%w: %d bins, planned for %d", ErrMatrix, bins, s.Bins)
	}
	return nil
}

// Hint returns what the querier needs once to open answers. It is public as far
// as the protocol goes, and of no use to anyone else.
func (h *Holder) Hint() *Hint { return h.hint }

// hintBuilder is what the rows of a hint have in common.
type hintBuilder struct {
	*Holder
	src  *ring.Source
	kern *kernels
	rows [2][]uint64 // the rows' polynomials, [block of the transform][block of rows][value]
	mask [2][]uint64
}

func newHintBuilder(ctx context.Context, h *Holder, seed *[32]byte, src *ring.Source) (*hintBuilder, error) {
	b := &hintBuilder{Holder: h, src: src, kern: loadKernels()}
	var err error
	if b.mask, err = expandMask(seed); err != nil {
		return nil, err
	}
	// The values of a block of the transform lie together for all blocks of rows,
	// in the order in which they are multiplied.
	blocks := h.p.blocks()
	for j := range b.rows {
		b.rows[j] = make([]uint64, blocks*degree)
	}
	err = expandRows(ctx, seed, blocks, func(k, j int, a []uint64) {
		for s := range ring.BitBlocks {
			copy(b.rows[j][(s*blocks+k)*blockLen:][:blockLen], a[s*blockLen:])
		}
	})
	return b, err
}

// run makes all rows of the hint, in tasks of some bins of one feature.
func (b *hintBuilder) run(ctx context.Context, progress func(done, total int)) error {
	type task struct{ f, lo, hi int }
	total := b.x.total()
	per := max(1, total/(8*runtime.GOMAXPROCS(0)))
	var tasks []task
	for f, n := range b.x.bins {
		for lo := 0; lo < n; lo += per {
			tasks = append(tasks, task{f, lo, min(n, lo+per)})
		}
	}
	var mu sync.Mutex
	done := 0
	return parallel.Workers(ctx, len(tasks), func() func(int) error {
		w := newHintWorker(b)
		return func(i int) error {
			t := tasks[i]
			w.sort(b.x.col[t.f], b.x.bins[t.f])
			for bin := t.lo; bin < t.hi; bin++ {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				w.row(b.x.first[t.f]+bin, bin)
				if progress != nil {
					mu.Lock()
					done++
					progress(done, total)
					mu.Unlock()
				}
			}
			return nil
		}
	})
}

// hintWorker holds the buffers of one goroutine.
type hintWorker struct {
	*hintBuilder
	pos    []uint16 // the rows of each block, as offsets in it, sorted by bin
	start  []uint16 // [block][bin]: where the bin's offsets begin; and the end
	stride int      // of start
	masks  []uint16 // [block][blockLen]: the rows of one bin as a 0/1 polynomial
	active []int    // blocks that have a row in the bin
	hi, lo []uint64
	x      []uint64
	rho    []int8
	noise  []int8
	out    [2][]uint64
	lift   []uint64
}

func newHintWorker(b *hintBuilder) *hintWorker {
	w := &hintWorker{
		hintBuilder: b,
		pos:         make([]uint16, b.x.rows),
		masks:       make([]uint16, b.p.blocks()*blockLen),
		hi:          make([]uint64, blockLen),
		lo:          make([]uint64, blockLen),
		x:           make([]uint64, blockLen),
		rho:         make([]int8, degree),
		noise:       make([]int8, degree),
		lift:        make([]uint64, degree),
	}
	for j := range w.out {
		w.out[j] = make([]uint64, degree)
	}
	return w
}

// sort groups the rows of each block by their bin.
func (w *hintWorker) sort(col []uint8, bins int) {
	blocks := w.p.blocks()
	w.stride = bins + 2
	if need := blocks * w.stride; cap(w.start) < need {
		w.start = make([]uint16, need)
	}
	w.start = w.start[:blocks*w.stride]
	var count [256]int
	for k := range blocks {
		c := col[k*degree : min(len(col), (k+1)*degree)]
		clear(count[:])
		for _, v := range c {
			count[v]++
		}
		at := 0
		for v := range bins + 1 {
			w.start[k*w.stride+v] = uint16(at)
			at, count[v] = at+count[v], at
		}
		w.start[k*w.stride+bins+1] = uint16(at)
		pos := w.pos[k*degree:]
		for i, v := range c {
			pos[count[v]] = uint16(i)
			count[v]++
		}
	}
}

// row makes row r of the hint from a bin of the feature that was sorted.
func (w *hintWorker) row(r, bin int) {
	clear(w.masks)
	w.active = w.active[:0]
	for k := range w.p.blocks() {
		s := w.start[k*w.stride+bin:]
		if s[0] == s[1] {
			continue
		}
		w.active = append(w.active, k)
		m := w.masks[k*blockLen:][:blockLen]
		for _, i := range w.pos[k*degree:][s[0]:s[1]] {
			ring.SetBit(m, int(i))
		}
	}
	w.src.Stream(domainRho, uint64(r)).Ternary(w.rho)
	w.src.Stream(domainHint, uint64(r)).Binomial(w.noise)
	packTernary(w.Holder.rho[r*degree/4:][:degree/4], w.rho)
	for j := range 2 {
		w.product(j)
		w.addMask(j)
	}
	width := w.p.hintBits
	for i := range w.lift {
		w.lift[i] = w.kern.pair.Fraction(w.out[0][i], w.out[1][i], width)
	}
	size := ring.PackedLen(degree, width)
	ring.Pack(w.hint.packed[r*size:][:size], w.lift, width)
}

// product sums the products of the rows' polynomials and the bin's, modulo prime
// j and in the domain of the transform, into out.
func (w *hintWorker) product(j int) {
	t, blocks := w.kern.ntt[j], w.p.blocks()
	for s := range ring.BitBlocks {
		clear(w.hi)
		clear(w.lo)
		for _, k := range w.active {
			t.ForwardBits(w.x, w.masks[k*blockLen:][:blockLen], s)
			ring.MulAdd(w.hi, w.lo, w.x, w.rows[j][(s*blocks+k)*blockLen:][:blockLen])
		}
		out := w.out[j][s*blockLen:][:blockLen]
		for i := range out {
			out[i] = t.Reduce128(w.hi[i], w.lo[i])
		}
	}
}

// addMask adds ρ·a″ + e′ and leaves out as coefficients.
func (w *hintWorker) addMask(j int) {
	t, out := w.kern.ntt[j], w.out[j]
	for i, v := range w.rho {
		w.lift[i] = t.FromInt(int64(v))
	}
	t.Forward(w.lift)
	for i, v := range w.lift {
		out[i] = t.Add(out[i], t.Mul(v, w.mask[j][i]))
	}
	t.Inverse(out)
	for i, v := range w.noise {
		out[i] = t.Add(out[i], t.FromInt(int64(v)))
	}
}

// packTernary stores values of {-1, 0, 1} in two bits each.
func packTernary(dst []byte, src []int8) {
	for i := range dst {
		s := src[4*i:][:4]
		dst[i] = byte(s[0]+1) | byte(s[1]+1)<<2 | byte(s[2]+1)<<4 | byte(s[3]+1)<<6
	}
}

func unpackTernary(dst []int8, src []byte) {
	for i, b := range src {
		d := dst[4*i:][:4]
		d[0], d[1], d[2], d[3] = int8(b&3)-1, int8(b>>2&3)-1, int8(b>>4&3)-1, int8(b>>6)-1
	}
}
