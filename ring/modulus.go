package ring

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
)

// ModulusBits is the size of every modulus of this package in bits.
const ModulusBits = 53

const (
	mask53 = 1<<ModulusBits - 1
	maxC   = 1 << 20 // bound on 2^53 - q, which keeps every folding step in 64 bits
)

// ErrModulus says that a number cannot be a modulus of this package.
var ErrModulus = errors.New("ring: not a usable modulus")

// Modulus is a prime q = 2^53 - c with c < 2^20. The zero value is not usable.
// Residues are canonical, in [0, q), unless a function says otherwise.
type Modulus struct {
	q, c uint64
	inv  uint64 // floor(2^128/q) mod 2^64
	invH uint64 // floor(2^128/q) >> 64
}

// NewModulus checks that q is a prime of the form above.
func NewModulus(q uint64) (Modulus, error) {
	if q >= 1<<ModulusBits || q <= 1<<ModulusBits-maxC {
		return Modulus{}, fmt.Errorf("%w: %d is not just below 2^53", ErrModulus, q)
	}
	if !new(big.Int).SetUint64(q).ProbablyPrime(32) {
		return Modulus{}, fmt.Errorf("%w: %d is not prime", ErrModulus, q)
	}
	h, r := bits.Div64(1, 0, q)
	l, _ := bits.Div64(r, 0, q)
	return Modulus{q: q, c: 1<<ModulusBits - q, inv: l, invH: h}, nil
}

// Q returns the prime.
func (m Modulus) Q() uint64 { return m.q }

// sub1 subtracts q once if x >= q; x < 2^63.
func (m Modulus) sub1(x uint64) uint64 {
	d := x - m.q
	return d + m.q&-(d>>63)
}

// fold returns a value congruent to x and below 2^53 + 2^31.
func (m Modulus) fold(x uint64) uint64 { return x&mask53 + (x>>ModulusBits)*m.c }

// Fold returns a value congruent to x and below 2^53 + 2^31: such a value plus
// 2047 residues still fits 64 bits. (With c = 2^53-q the fold is at most
// 2^53-1 + 2047c and 2047 residues are at most 2047(2^53-c-1), together below
// 2^64.)
func (m Modulus) Fold(x uint64) uint64 { return m.fold(x) }

// Reduce returns x mod q.
func (m Modulus) Reduce(x uint64) uint64 { return m.sub1(m.fold(x)) }

// Reduce128 returns hi·2^64 + lo mod q.
func (m Modulus) Reduce128(hi, lo uint64) uint64 {
	d := m.c << (64 - ModulusBits) // 2^64 mod q, below 2^31
	h, l := bits.Mul64(hi, d)
	l, k := bits.Add64(l, lo, 0)
	l, k = bits.Add64(l, (h+k)*d, 0) // h+k <= 2^31, the product below 2^63
	return m.Reduce(l + d&-k)        // after a carry l is below 2^63
}

// Add returns a + b mod q.
func (m Modulus) Add(a, b uint64) uint64 { return m.sub1(a + b) }

// Sub returns a - b mod q.
func (m Modulus) Sub(a, b uint64) uint64 { return m.sub1(a + m.q - b) }

// Mul returns a·b mod q for any a, b.
func (m Modulus) Mul(a, b uint64) uint64 { return m.Reduce128(bits.Mul64(a, b)) }

// FromInt returns the residue of a signed integer with |v| < q.
func (m Modulus) FromInt(v int64) uint64 { return uint64(v) + m.q&uint64(v>>63) }

// Pow returns a^e mod q. Its time depends on e.
func (m Modulus) Pow(a, e uint64) uint64 {
	r := uint64(1)
	for ; e > 0; e >>= 1 {
		if e&1 == 1 {
			r = m.Mul(r, a)
		}
		a = m.Mul(a, a)
	}
	return r
}

// Inv returns the inverse of a nonzero residue.
func (m Modulus) Inv(a uint64) uint64 { return m.Pow(a, m.q-2) }

// Factor is a residue prepared for many multiplications (Shoup).
type Factor struct {
	w uint64 // the residue
	s uint64 // floor(w·2^64/q)
}

// Factor prepares the residue w.
func (m Modulus) Factor(w uint64) Factor {
	// The product with floor(2^128/q) is at most one short of the quotient; the
	// remainder tells. No division, whose time would depend on w.
	h, _ := bits.Mul64(w, m.inv)
	s := w*m.invH + h
	r := -s * m.q // w·2^64 - s·q, in [0, 2q)
	s += ((r - m.q) >> 63) ^ 1
	return Factor{w, s}
}

// MulLazy returns x·f mod q, plus q or not: a value below 2q, for any x.
func (m Modulus) MulLazy(x uint64, f Factor) uint64 { return mulLazy(x, f, m.q) }

func mulLazy(x uint64, f Factor, q uint64) uint64 {
	h, _ := bits.Mul64(x, f.s)
	return x*f.w - h*q
}

// MulFactor returns x·f mod q for any x.
func (m Modulus) MulFactor(x uint64, f Factor) uint64 { return m.sub1(m.MulLazy(x, f)) }
