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
			a2, a3 := x2[j], x3[j]
			h2, _ := bits.Mul64(a2, w1.s)
			h3, _ := bits.Mul64(a3, w1.s)
			v2, v3 := a2*w1.w-h2*q, a3*w1.w-h3*q
			a0, a1 := x0[j], x1[j]
			b0, b2 := a0+v2, a0-v2+q2
			b1, b3 := a1+v3, a1-v3+q2
			h1, _ := bits.Mul64(b1, w2.s)
			h4, _ := bits.Mul64(b3, w3.s)
			v1, v4 := b1*w2.w-h1*q, b3*w3.w-h4*q
			x0[j], x1[j] = b0+v1, b0-v1+q2
			x2[j], x3[j] = b2+v4, b2-v4+q2
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
		h2, _ := bits.Mul64(a[2], w1.s)
		h3, _ := bits.Mul64(a[3], w1.s)
		v2, v3 := a[2]*w1.w-h2*q, a[3]*w1.w-h3*q
		b0, b2 := a[0]+v2, a[0]-v2+q2
		b1, b3 := a[1]+v3, a[1]-v3+q2
		h1, _ := bits.Mul64(b1, w2.s)
		h4, _ := bits.Mul64(b3, w3.s)
		v1, v4 := b1*w2.w-h1*q, b3*w3.w-h4*q
		a[0], a[1] = b0+v1, b0-v1+q2
		a[2], a[3] = b2+v4, b2-v4+q2
	}
}

// Inverse transforms x, N values below 2q, back in place to residues.
func (t *NTT) Inverse(x []uint64) {
	x = x[:t.n]
	const block = 256
	if t.n > block {
		// Four pairs of layers bring 2q to 2q·4^4; the rest starts after a fold.
		for i := 0; i < t.n; i += block {
			t.inverseBlock(x[i:i+block], t.n/block+i/block)
		}
		for i, v := range x {
			x[i] = t.fold(v)
		}
	} else {
		t.inverseTop(x, t.n/2, 1)
		return
	}
	t.inverseTop(x, t.n/block/2, block)
}

// inverseBlock undoes the butterflies below node over 4^k values, k <= 4.
func (t *NTT) inverseBlock(x []uint64, node int) {
	bound := 2 * t.q
	for h, count := 1, len(x)/4; count >= 1; h, count = 4*h, count/4 {
		t.inverse4(x, node*count, count, h, bound)
		bound *= 4
	}
}

// inverse4 undoes two layers over count nodes of 4h values, each below bound.
func (t *NTT) inverse4(x []uint64, node, count, h int, bound uint64) {
	for i := range count {
		w1, w2, w3 := t.inv[node+i], t.inv[2*(node+i)], t.inv[2*(node+i)+1]
		a := x[4*h*i:][:4*h]
		x0, x1, x2, x3 := a[:h], a[h:][:h], a[2*h:][:h], a[3*h:][:h]
		for j := range x0 {
			c0, c1, c2, c3 := x0[j], x1[j], x2[j], x3[j]
			b0, b1 := c0+c1, t.MulLazy(c0-c1+bound, w2)
			b2, b3 := c2+c3, t.MulLazy(c2-c3+bound, w3)
			x0[j], x2[j] = b0+b2, t.MulLazy(b0-b2+2*bound, w1)
			x1[j], x3[j] = b1+b3, t.MulLazy(b1-b3+2*t.q, w1)
		}
	}
}

// inverseTop undoes the remaining layers one by one, from the one with count
// nodes of 2h values up to the root, and multiplies by 1/N. Values come in below
// 2q, and are kept there.
func (t *NTT) inverseTop(x []uint64, count, h int) {
	q2 := 2 * t.q
	for ; count > 1; count, h = count/2, 2*h {
		for i := range count {
			w := t.inv[count+i]
			a, b := x[2*h*i:][:h], x[2*h*i+h:][:h]
			for j := range a {
				u, v := a[j], b[j]
				a[j], b[j] = t.fold(u+v), t.MulLazy(u-v+q2, w)
			}
		}
	}
	a, b := x[:h], x[h:][:h]
	for j := range a {
		u, v := a[j], b[j]
		a[j] = t.MulFactor(u+v, t.nInv)
		b[j] = t.MulFactor(u-v+q2, t.nInvTop)
	}
}
