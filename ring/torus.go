package ring

import (
	"fmt"
	"math/bits"
)

// Pair is the residue ring modulo the product of two different moduli.
type Pair struct {
	M    [2]Modulus
	lift [2]Factor // the inverse of the other prime
}

// NewPair joins two different moduli.
func NewPair(a, b Modulus) (Pair, error) {
	if a.q == b.q || a.q == 0 || b.q == 0 {
		return Pair{}, fmt.Errorf("%w: a pair needs two different primes", ErrModulus)
	}
	return Pair{
		M:    [2]Modulus{a, b},
		lift: [2]Factor{a.Factor(a.Inv(a.Reduce(b.q))), b.Factor(b.Inv(b.Reduce(a.q)))},
	}, nil
}

// Torus returns c/q as a fraction of 2^128, where q = q0·q1 and c is the residue
// mod q that is c0 mod q0 and c1 mod q1: floor(c·2^128/q) less at most 2^54,
// modulo 2^128.
func (p *Pair) Torus(c0, c1 uint64) (hi, lo uint64) {
	// c/q = Σ y_j/q_j mod 1 with y_j = c_j·(q/q_j)^-1 mod q_j, and y/q_j is
	// y·floor(2^128/q_j) with an error below y < 2^53.
	y0, y1 := p.M[0].MulFactor(c0, p.lift[0]), p.M[1].MulFactor(c1, p.lift[1])
	h0, l0 := bits.Mul64(y0, p.M[0].inv)
	h1, l1 := bits.Mul64(y1, p.M[1].inv)
	lo, k := bits.Add64(l0, l1, 0)
	return h0 + h1 + k + y0*p.M[0].invH + y1*p.M[1].invH, lo
}

// Fraction returns c/q rounded to width bits, 1 to 64, modulo one. Up to 2^-73
// it is the nearest such fraction.
func (p *Pair) Fraction(c0, c1 uint64, width int) uint64 {
	hi, lo := p.Torus(c0, c1)
	if width == 64 {
		return hi + lo>>63
	}
	s := uint(64 - width)
	return (hi + 1<<(s-1)) >> s
}
