package matvec

import "kontor/ring"

// dotSpan is how many residues below 2^53, with signs, add up in an int64.
const dotSpan = 1 << 10

// dotResidues computes the inner products of a ternary vector with each lane of
// x, [position][lane], where lane l has residues of modulus l%2. Multiplication
// by -1, 0 or 1 keeps its time the same for all three.
func dotResidues(out []uint64, s []int8, x []uint64, mod *[2]ring.Modulus) {
	lanes := len(out)
	clear(out)
	for lo := 0; lo < len(s); lo += dotSpan {
		part, y := s[lo:min(len(s), lo+dotSpan)], x[lo*lanes:]
		at := 0
		for ; lanes-at >= 8; at += 8 {
			sum := dot8(part, y[at:], lanes)
			addSigned(out[at:], sum[:], mod)
		}
		for ; lanes > at; at += 2 {
			sum := dot2(part, y[at:], lanes)
			addSigned(out[at:], sum[:], mod)
		}
	}
}

// addSigned adds signed sums to residues.
func addSigned(out, sum []uint64, mod *[2]ring.Modulus) {
	for l, v := range sum {
		m := mod[l&1]
		out[l] = m.Add(out[l], m.Sub(m.Reduce(v^1<<63), m.Reduce(1<<63)))
	}
}

func dot8(s []int8, x []uint64, lanes int) [8]uint64 {
	var a, b, c, d, e, f, g, h uint64
	for i, v := range s {
		r := (*[8]uint64)(x[i*lanes:])
		w := uint64(v)
		a += w * r[0]
		b += w * r[1]
		c += w * r[2]
		d += w * r[3]
		e += w * r[4]
		f += w * r[5]
		g += w * r[6]
		h += w * r[7]
	}
	return [8]uint64{a, b, c, d, e, f, g, h}
}

func dot2(s []int8, x []uint64, lanes int) [2]uint64 {
	var a, b uint64
	for i, v := range s {
		r := (*[2]uint64)(x[i*lanes:])
		a += uint64(v) * r[0]
		b += uint64(v) * r[1]
	}
	return [2]uint64{a, b}
}

// dotSecrets computes, modulo 2^64, the inner products of x with each of the
// ternary vectors in s, [position][vector].
func dotSecrets(out []uint64, x []uint64, s []int8) {
	n := len(out)
	at := 0
	for ; n-at >= 8; at += 8 {
		sum := secrets8(x, s[at:], n)
		copy(out[at:], sum[:])
	}
	for ; at < n; at++ {
		var a uint64
		for i, v := range x {
			a += v * uint64(s[at+i*n])
		}
		out[at] = a
	}
}

func secrets8(x []uint64, s []int8, n int) [8]uint64 {
	var a, b, c, d, e, f, g, h uint64
	for i, v := range x {
		r := (*[8]int8)(s[i*n:])
		a += v * uint64(r[0])
		b += v * uint64(r[1])
		c += v * uint64(r[2])
		d += v * uint64(r[3])
		e += v * uint64(r[4])
		f += v * uint64(r[5])
		g += v * uint64(r[6])
		h += v * uint64(r[7])
	}
	return [8]uint64{a, b, c, d, e, f, g, h}
}
