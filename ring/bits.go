package ring

import "math/bits"

// bitBlocks is into how many blocks a 0/1 polynomial is cut: the first four
// layers of its transform come from tables.
const bitBlocks = 16

// BitBlocks is the number of blocks that [NTT.ForwardBits] works in.
const BitBlocks = bitBlocks

// makeBitTables computes, for each output block, the first four layers for every
// pattern of the low and of the high eight of the sixteen coefficients that meet.
func (t *NTT) makeBitTables() {
	t.bitLo = make([][256]uint64, bitBlocks)
	t.bitHi = make([][256]uint64, bitBlocks)
	for bit := range bitBlocks {
		var col [bitBlocks]uint64
		col[bit] = 1
		node, h := 1, bitBlocks/2
		for ; h >= 1; node, h = 2*node, h/2 {
			for i := range node {
				t.forward2(col[2*h*i:][:h], col[2*h*i+h:][:h], t.fwd[node+i])
			}
		}
		for b := range bitBlocks {
			tab := &t.bitLo[b]
			if bit >= 8 {
				tab = &t.bitHi[b]
			}
			step := 1 << (bit % 8)
			v := t.Reduce(col[b])
			for p := range step {
				tab[step+p] = t.Add(tab[p], v)
			}
		}
	}
}

// SetBit adds the monomial X^i to the 0/1 polynomial of degree below n that the
// n/16 masks stand for: bit m of masks[j] is the coefficient of X^(j + m·n/16).
// n is a power of two from 64 on.
func SetBit(masks []uint16, i int) {
	s := len(masks)
	masks[i&(s-1)] |= 1 << (i >> bits.TrailingZeros(uint(s)))
}

// ForwardBits computes values [block·N/16, (block+1)·N/16) of the transform of a
// 0/1 polynomial given as N/16 masks (see [SetBit]) into x. The values are below
// 2q(1 + log2 N - 4), not reduced. Its memory accesses depend on the masks.
// N must be at least 64.
func (t *NTT) ForwardBits(x []uint64, masks []uint16, block int) {
	lo, hi := &t.bitLo[block], &t.bitHi[block]
	masks = masks[:len(x)]
	for j, m := range masks {
		x[j] = lo[m&255] + hi[m>>8]
	}
	t.forwardLazy(x, bitBlocks+block)
}

// MulAdd adds the products a[i]·b[i] to the 128-bit sums hi[i]·2^64 + lo[i].
func MulAdd(hi, lo, a, b []uint64) {
	n := len(a)
	hi, lo, b = hi[:n], lo[:n], b[:n]
	for i := range n {
		h, l := bits.Mul64(a[i], b[i])
		var c uint64
		lo[i], c = bits.Add64(lo[i], l, 0)
		hi[i], _ = bits.Add64(hi[i], h, c)
	}
}
