package ring

import (
	"fmt"
	"math/bits"
)

// MaxLogN bounds the degree of the rings: the lazy butterflies let values grow
// by 2q a layer and must stay below 2^64.
const MaxLogN = 16

// NTT is the number-theoretic transform of Z_q[X]/(X^N+1). It is read-only and
// may be used from many goroutines.
//
// In the domain of the transform index i stands for the evaluation at one odd
// power of a 2N-th root of unity, in bit-reversed order; index N-1-i stands for
// the inverse of that power, so reversing a transform replaces X by 1/X.
type NTT struct {
	Modulus
	n        int
	fwd, inv []Factor // twiddle of each node of the tree of butterflies; node 1 is the root
	nInv     Factor   // 1/N
	nInvTop  Factor   // 1/N times the root's inverse twiddle
	bitLo    [][256]uint64
	bitHi    [][256]uint64
}

// NewNTT prepares the transform of degree n, a power of two in [4, 2^MaxLogN]
// with 2n dividing q-1.
func NewNTT(m Modulus, n int) (*NTT, error) {
	if n < 4 || n > 1<<MaxLogN || n&(n-1) != 0 {
		return nil, fmt.Errorf("ring: the degree %d is not a power of two from 4 to 2^%d", n, MaxLogN)
	}
	if m.q == 0 || (m.q-1)%uint64(2*n) != 0 {
		return nil, fmt.Errorf("%w: %d is not 1 mod %d", ErrModulus, m.q, 2*n)
	}
	t := &NTT{Modulus: m, n: n, fwd: make([]Factor, n), inv: make([]Factor, n)}
	psi := m.rootOfMinusOne(n)
	shift := 64 - bits.TrailingZeros(uint(n))
	p := uint64(1)
	for i := range n {
		r := bits.Reverse64(uint64(i)) >> shift
		t.fwd[r] = m.Factor(p)
		t.inv[r] = m.Factor(m.Inv(p))
		p = m.Mul(p, psi)
	}
	ni := m.Inv(uint64(n))
	t.nInv = m.Factor(ni)
	t.nInvTop = m.Factor(m.Mul(ni, t.inv[1].w))
	if n >= bitBlocks*4 {
		t.makeBitTables()
	}
	return t, nil
}

// rootOfMinusOne returns x^((q-1)/2n) for the least x >= 2 that makes its n-th
// power -1.
func (m Modulus) rootOfMinusOne(n int) uint64 {
	for x := uint64(2); ; x++ {
		if r := m.Pow(x, (m.q-1)/uint64(2*n)); m.Pow(r, uint64(n)) == m.q-1 {
			return r
		}
	}
}

// N returns the degree.
func (t *NTT) N() int { return t.n }

// Forward transforms x, N values below 2^57, in place to residues.
func (t *NTT) Forward(x []uint64) {
	t.forwardLazy(x[:t.n], 1)
	for i, v := range x[:t.n] {
		x[i] = t.Reduce(v)
	}
}

// forwardLazy runs the butterflies of the tree below node over x. Values grow by
// less than 2q a layer.
func (t *NTT) forwardLazy(x []uint64, node int) {
	if len(x) > 1024 {
		// Two layers over everything, then each quarter on its own, which fits
		// the first cache.
		h := len(x) / 4
		t.forward4(x, node, 1, h)
		for i := range 4 {
			t.forwardLazy(x[i*h:(i+1)*h], 4*node+i)
		}
		return
	}
	count, h := 1, len(x)
	if bits.TrailingZeros(uint(h))&1 == 1 {
		h /= 2
		t.forward2(x[:h], x[h:], t.fwd[node])
		node, count = 2*node, 2
	}
	for h >= 16 {
		h /= 4
		t.forward4(x, node, count, h)
		node, count = 4*node, 4*count
	}
	if h == 4 {
		t.forwardLast(x, node)
	}
}

// forward2 is one layer over one node.
func (t *NTT) forward2(a, b []uint64, w Factor) {
	q2 := 2 * t.q
	b = b[:len(a)]
	for j := range a {
		u, v := a[j], t.MulLazy(b[j], w)
		a[j], b[j] = u+v, u-v+q2
	}
}

// forward4 is two layers over count nodes of 4h values each.
func (t *NTT) forward4(x []uint64, node, count, h int) {
	q, q2 := t.q, 2*t.q
	for i := range count {
		w1, w2, w3 := t.fwd[node+i], t.fwd[2*(node+i)], t.fwd[2*(node+i)+1]
		a := x[4*h*i:][:4*h]
		x0, x1, x2, x3 := a[:h], a[h:][:h], a[2*h:][:h], a[3*h:][:h]
		for j := range x0 {
			u, v := mulLazy(x2[j], w1, q), mulLazy(x3[j], w1, q)
			a0, a1 := x0[j], x1[j]
			b0, b2 := a0+u, a0-u+q2
			b1, b3 := mulLazy(a1+v, w2, q), mulLazy(a1-v+q2, w3, q)
			x0[j], x1[j] = b0+b1, b0-b1+q2
			x2[j], x3[j] = b2+b3, b2-b3+q2
		}
	}
}

// forwardLast is the last two layers: nodes of four values.
func (t *NTT) forwardLast(x []uint64, node int) {
	q, q2 := t.q, 2*t.q
	n := len(x) / 4
	f1, f2 := t.fwd[node:][:n], t.fwd[2*node:][:2*n]
	for i := range f1 {
		a := (*[4]uint64)(x[4*i:])
		w1, w2, w3 := f1[i], f2[2*i], f2[2*i+1]
		u, v := mulLazy(a[2], w1, q), mulLazy(a[3], w1, q)
		b0, b2 := a[0]+u, a[0]-u+q2
		b1, b3 := mulLazy(a[1]+v, w2, q), mulLazy(a[1]-v+q2, w3, q)
		a[0], a[1] = b0+b1, b0-b1+q2
		a[2], a[3] = b2+b3, b2-b3+q2
	}
}

// lazyBound is the most, in units of q, that may enter two layers of the inverse:
// its quadruple leaves them, and must be below 2^64 = 2^11·2^53.
const lazyBound = 512

// Inverse transforms x, N values below 2q, back in place to residues.
func (t *NTT) Inverse(x []uint64) {
	x = x[:t.n]
	const block = 256
	h, bound := 1, 2*t.q
	if t.n > block {
		// The first four pairs of layers block by block, in the first cache. They
		// bring 2q to 2q·4^4 = lazyBound.
		for i := 0; i < t.n; i += block {
			bound = 2 * t.q
			for h = 1; h < block; h *= 4 {
				nodes := t.n / (4 * h)
				count := block / (4 * h)
				t.inverse4(x[i:i+block], nodes+i/(4*h), count, h, bound)
				bound *= 4
			}
		}
	}
	for ; 4*h < t.n; h *= 4 {
		if bound > lazyBound*t.q {
			for i, v := range x {
				x[i] = t.fold(v)
			}
			bound = 2 * t.q
		}
		t.inverse4(x, t.n/(4*h), t.n/(4*h), h, bound)
		bound *= 4
	}
	if 4*h == t.n {
		t.inverseRoot4(x)
	} else {
		t.inverseRoot2(x)
	}
}

// inverse4 undoes two layers over count nodes of 4h values, each below bound, and
// leaves values below four times that.
func (t *NTT) inverse4(x []uint64, node, count, h int, bound uint64) {
	if h == 1 {
		t.inverseFirst(x, node, count, bound)
		return
	}
	q := t.q
	for i := range count {
		w1, w2, w3 := t.inv[node+i], t.inv[2*(node+i)], t.inv[2*(node+i)+1]
		a := x[4*h*i:][:4*h]
		x0, x1, x2, x3 := a[:h], a[h:][:h], a[2*h:][:h], a[3*h:][:h]
		for j := range x0 {
			c0, c1, c2, c3 := x0[j], x1[j], x2[j], x3[j]
			b0, b1 := c0+c1, mulLazy(c0-c1+bound, w2, q)
			b2, b3 := c2+c3, mulLazy(c2-c3+bound, w3, q)
			x0[j], x2[j] = b0+b2, mulLazy(b0-b2+2*bound, w1, q)
			x1[j], x3[j] = b1+b3, mulLazy(b1-b3+2*q, w1, q)
		}
	}
}

// inverseFirst is inverse4 for nodes of four values.
func (t *NTT) inverseFirst(x []uint64, node, count int, bound uint64) {
	q := t.q
	f1, f2 := t.inv[node:][:count], t.inv[2*node:][:2*count]
	for i := range f1 {
		a := (*[4]uint64)(x[4*i:])
		w1, w2, w3 := f1[i], f2[2*i], f2[2*i+1]
		b0, b1 := a[0]+a[1], mulLazy(a[0]-a[1]+bound, w2, q)
		b2, b3 := a[2]+a[3], mulLazy(a[2]-a[3]+bound, w3, q)
		a[0], a[2] = b0+b2, mulLazy(b0-b2+2*bound, w1, q)
		a[1], a[3] = b1+b3, mulLazy(b1-b3+2*q, w1, q)
	}
}

// inverseRoot4 undoes the last two layers and multiplies by 1/N.
func (t *NTT) inverseRoot4(x []uint64) {
	// A copy, which the compiler can keep while x is written.
	m := t.Modulus
	h, q2 := t.n/4, 2*m.q
	w1, wn, w2, w3 := t.nInvTop, t.nInv, t.inv[2], t.inv[3]
	x0, x1, x2, x3 := x[:h], x[h:][:h], x[2*h:][:h], x[3*h:][:h]
	for j := range x0 {
		c0, c1, c2, c3 := m.fold(x0[j]), m.fold(x1[j]), m.fold(x2[j]), m.fold(x3[j])
		b0, b1 := c0+c1, mulLazy(c0-c1+q2, w2, m.q)
		b2, b3 := c2+c3, mulLazy(c2-c3+q2, w3, m.q)
		x0[j], x2[j] = m.MulFactor(b0+b2, wn), m.MulFactor(b0-b2+2*q2, w1)
		x1[j], x3[j] = m.MulFactor(b1+b3, wn), m.MulFactor(b1-b3+q2, w1)
	}
}

// inverseRoot2 undoes the last layer and multiplies by 1/N.
func (t *NTT) inverseRoot2(x []uint64) {
	h, q2 := t.n/2, 2*t.q
	a, b := x[:h], x[h:][:h]
	for j := range a {
		u, v := t.fold(a[j]), t.fold(b[j])
		a[j], b[j] = t.MulFactor(u+v, t.nInv), t.MulFactor(u-v+q2, t.nInvTop)
	}
}
