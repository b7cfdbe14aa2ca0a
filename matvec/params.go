package matvec

import (
	"fmt"
	"math"
	"math/bits"
	"sync"

	"kontor/ring"
)

// The ring: degree and the two largest primes below 2^53 that are 1 mod 2N. Their
// product is below 2^106, the bound of Bossuat et al., "Security Guidelines for
// Implementing Homomorphic Encryption" (eprint 2024/463), for 128 bits of
// classical security at N = 4096 with uniform ternary secrets; the Homomorphic
// Encryption Standard of 2018 allows 109 bits.
const (
	degree = 4096
	prime0 = 1<<53 - 311295
	prime1 = 1<<53 - 376831

	securityBits = 128
	sigma2       = ring.Eta / 2.0 // variance of every noise coefficient
)

// What a plan must reach, as log2 of a probability over the life of a hint.
const (
	maxLogDistance = -40.0
	maxLogFailure  = -40.0
)

// Bounds on what can be asked, which keep sums of products in 128 bits and
// lengths of messages in an int.
const (
	maxRows     = 1 << 26
	maxFeatures = 1 << 16
	maxBins     = 1 << 20
	maxQueries  = 1 << 24
	maxMeanBits = 40
	maxWordBits = 50 // payload of a ring word; the opening works in 64 bits
)

// The flood is a sum of three uniform integers of floodTop·2^floodLog values,
// where Δ is 2^(floodLog+4) to 35 places: |flood| <= 15/32 Δ.
const (
	floodTop = 5
	// floodInfo bounds the Fisher information of that sum times the square of
	// the width of a summand: 4.5621..., with room for its being discrete.
	floodInfo = 4.57
)

// kernels holds what depends on the two primes only.
type kernels struct {
	ntt  [2]*ring.NTT
	pair ring.Pair
}

// loadKernels makes the tables at first use. The primes are constants, so that
// an error is a fault of this package.
var loadKernels = sync.OnceValue(func() *kernels {
	k := new(kernels)
	var m [2]ring.Modulus
	for j, q := range [2]uint64{prime0, prime1} {
		var err error
		if m[j], err = ring.NewModulus(q); err == nil {
			k.ntt[j], err = ring.NewNTT(m[j], degree)
		}
		if err != nil {
			panic("matvec: " + err.Error())
		}
	}
	var err error
	if k.pair, err = ring.NewPair(m[0], m[1]); err != nil {
		panic("matvec: " + err.Error())
	}
	return k
})

// Spec says what will be asked of the kernel over the life of one hint. Both
// sides plan from equal specs and get equal [Params].
type Spec struct {
	Rows     int // rows of the tables, at least 1
	Features int // one-hot columns of the widest holder
	Bins     int // rows of M: bins over all features, of the widest holder
	// Queries is how many vectors will be encrypted for the hint. Where two
	// vectors share a ring word (see [Params.PerWord]), a batch of an odd number
	// counts as one more. The holder enforces it.
	Queries int
	// MeanBits is the wanted resolution: vectors whose magnitudes sum to
	// 2^MeanBits·Rows must fit.
	MeanBits int
}

// Params is a set of parameters for one hint and its queries, made by [Plan]. It
// is a comparable value.
type Params struct {
	spec     Spec
	payload  int // bits of one sum, with its sign
	perWord  int // vectors in a ring word
	hintBits int
}

// Plan chooses parameters. Two vectors share a ring word if that keeps the
// statistical distance at 2^-40 or less, otherwise each has its own. The error is
// an [ErrSpec].
func Plan(s Spec) (Params, error) {
	if err := s.check(); err != nil {
		return Params{}, err
	}
	payload := 2
	for int64(1)<<(payload-1)-1 < int64(s.Rows)<<s.MeanBits {
		payload++
	}
	for perWord := 2; perWord >= 1; perWord-- {
		p := Params{spec: s, payload: payload, perWord: perWord}
		if p.wordBits() > maxWordBits || p.LogDistance() > maxLogDistance {
			continue
		}
		for p.hintBits = p.wordBits() + 8; p.hintBits <= 64; p.hintBits++ {
			if p.LogFailure() <= maxLogFailure {
				return p, nil
			}
		}
	}
	return Params{}, fmt.Errorf("%w: %d bits a sum over %d rows, %d bins and %d queries leave no room to hide the noise",
		ErrSpec, payload, s.Rows, s.Bins, s.Queries)
}

func (s Spec) check() error {
	for _, c := range []struct {
		name        string
		v, min, max int
	}{
		{"rows", s.Rows, 1, maxRows},
		{"features", s.Features, 1, maxFeatures},
		{"bins", s.Bins, s.Features, min(maxBins, Missing*s.Features)},
		{"queries", s.Queries, 1, maxQueries},
		{"mean bits", s.MeanBits, 0, maxMeanBits},
	} {
		if c.v < c.min || c.v > c.max {
			return fmt.Errorf("%w: %d %s, must be from %d to %d", ErrSpec, c.v, c.name, c.min, c.max)
		}
	}
	if bits.Len(uint(s.Rows))+s.MeanBits > maxWordBits {
		return fmt.Errorf("%w: %d rows of %d bits are more than a ring word holds", ErrSpec, s.Rows, s.MeanBits)
	}
	return nil
}

// Spec returns what the parameters were planned for.
func (p Params) Spec() Spec { return p.spec }

// PayloadBits returns P: every sum of a vector over any set of rows must lie in
// [-2^(P-1), 2^(P-1)), which [Querier.Encrypt] makes sure of by demanding
// Σ|v_i| < 2^(P-1).
func (p Params) PayloadBits() int { return p.payload }

// PerWord returns how many vectors share a ring word: 1 or 2.
func (p Params) PerWord() int { return p.perWord }

// SecurityBits returns the bits of security of the ring, against classical
// attacks, by the tables cited in PROTOCOL.md.
func (p Params) SecurityBits() int { return securityBits }

// HintBits returns the bits of a coefficient of the hint.
func (p Params) HintBits() int { return p.hintBits }

// wordBits is W: Δ = floor(q/2^W).
func (p Params) wordBits() int { return p.payload * p.perWord }

// words returns how many ring words hold so many vectors.
func (p Params) words(vectors int) int { return (vectors + p.perWord - 1) / p.perWord }

// blocks is K, the number of polynomials that cover the rows.
func (p Params) blocks() int { return (p.spec.Rows + degree - 1) / degree }

// floodLog is k where a summand of the flood takes floodTop·2^k values.
func (p Params) floodLog() int { return 2*ring.ModulusBits - p.wordBits() - 4 }

// LogDistance returns log2 of the statistical distance, over the life of the
// hint, between what the querier sees and what the sums alone determine (with a
// mask that is computationally uniform).
func (p Params) LogDistance() float64 {
	s := p.spec
	noise := float64(s.Features)*float64(s.Rows) + float64(s.Bins)*(4.0/3)*degree
	sum := float64(p.words(s.Queries)) * sigma2 * noise * (floodInfo / 4)
	return math.Log2(sum)/2 - math.Log2(floodTop) - float64(p.floodLog())
}

// LogFailure returns log2 of a bound on the probability that any sum over the
// life of the hint opens wrong.
func (p Params) LogFailure() float64 {
	s := p.spec
	// In units of Δ. The flood takes 15/32 of the half that rounding forgives; the
	// other terms are Δ's own rounding, that of the answer, and slack for q being
	// a little below 2^106.
	w := float64(p.wordBits())
	margin := 1.0/32 - math.Exp2(2*w-107) - math.Exp2(w-64) - 0x1p-30
	if margin <= 0 {
		return math.Inf(1)
	}
	noise := math.Sqrt(sigma2*(float64(s.Rows)+2*degree)) * math.Exp2(w-2*ring.ModulusBits)
	rounding := math.Exp2(w-float64(p.hintBits)) * math.Sqrt(degree/6.0)
	r := margin / (noise + rounding)
	return 1 + math.Log2(float64(s.Bins)*float64(p.words(s.Queries))) - r*r/2*math.Log2E
}

// String describes the parameters in one line.
func (p Params) String() string {
	share := "one vector a word"
	if p.perWord == 2 {
		share = "two vectors a word"
	}
	return fmt.Sprintf("N=%d, log2 q=106 (%d-bit classical), %d-bit sums, %s, %d-bit hint, %d queries: distance 2^%.1f, failure 2^%.1f",
		degree, securityBits, p.payload, share, p.hintBits, p.spec.Queries, p.LogDistance(), p.LogFailure())
}
