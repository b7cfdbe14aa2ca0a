package matvec

import (
	"context"

	"kontor/internal/parallel"
	"kontor/ring"
)

// Domains of the streams under the public seed and under secret keys.
const (
	domainRows   = 1 + iota // public: the polynomial of a block of rows
	domainMask              // public: the polynomial that masks the hint
	domainSecret            // querier: the secret of a ring word
	domainNoise             // querier: the noise of a block of a ring word
	domainRho               // holder: the ternary mask of a row of M
	domainHint              // holder: the noise of that mask
	domainFlood             // holder: the flood of a row's sums
)

// expandRows derives the polynomials that stand for the rows, one a block, in the
// domain of the transform, and hands each to put, from several goroutines. The
// slice is reused. The seed is public, so the generator only has to look random
// to someone who knows its key; see "public randomness" in PROTOCOL.md.
func expandRows(ctx context.Context, seed *[32]byte, blocks int, put func(k, j int, a []uint64)) error {
	src, err := ring.NewSource(seed)
	if err != nil {
		return err
	}
	kern := loadKernels()
	return parallel.Workers(ctx, blocks, func() func(int) error {
		a := make([]uint64, degree)
		return func(k int) error {
			for j := range 2 {
				src.Stream(domainRows, uint64(2*k+j)).Uniform(a, kern.ntt[j].Modulus)
				put(k, j, a)
			}
			return nil
		}
	})
}

// expandMask derives the polynomial that the hint's mask multiplies.
func expandMask(seed *[32]byte) (a [2][]uint64, err error) {
	src, err := ring.NewSource(seed)
	if err != nil {
		return a, err
	}
	for j, t := range loadKernels().ntt {
		a[j] = make([]uint64, degree)
		src.Stream(domainMask, uint64(j)).Uniform(a[j], t.Modulus)
	}
	return a, nil
}
