package matvec

import "kontor/ring"

// dotSpan is how many residues below 2^53, with signs, add up in an int64.
const dotSpan = 1 << 10

// maskLanes are the lanes of a polynomial for each ring word, laid out for inner
// products: panels of eight lanes, and the lanes that are left two by two.
type maskLanes struct {
	eight [][][8]uint64 // [panel][position]
	two   [][][2]uint64
}

func newMaskLanes(x []uint64, lanes int) *maskLanes {
	m := new(maskLanes)
	at := 0
	for ; lanes-at >= 8; at += 8 {
		m.eight = append(m.eight, takePanel[[8]uint64](x[at:], lanes))
	}
	for ; lanes-at >= 2; at += 2 {
		m.two = append(m.two, takePanel[[2]uint64](x[at:], lanes))
	}
	return m
}

// takePanel copies as many lanes as A has from the front of each position.
func takePanel[A lanes](x []uint64, stride int) []A {
	p := make([]A, (len(x)+stride-1)/stride)
	for i := range p {
		for l := range len(p[i]) {
			p[i][l] = x[i*stride+l]
		}
	}
	return p
}

// dot computes the inner products of a ternary vector with each lane, where lane
// l has residues of modulus l%2. Multiplication by -1, 0 or 1 keeps its time the
// same for all three.
func (m *maskLanes) dot(out []uint64, s []int8, mod *[2]ring.Modulus) {
	clear(out)
	for lo := 0; lo < len(s); lo += dotSpan {
		hi := min(len(s), lo+dotSpan)
		dst := out
		for _, p := range m.eight {
			sum := dot8(s[lo:hi], p[lo:hi])
			addSigned(dst[:8], sum[:], mod)
			dst = dst[8:]
		}
		for _, p := range m.two {
			sum := dot2(s[lo:hi], p[lo:hi])
			addSigned(dst[:2], sum[:], mod)
			dst = dst[2:]
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

func dot8(s []int8, x [][8]uint64) [8]uint64 {
	var a, b, c, d, e, f, g, h uint64
	x = x[:len(s)]
	for i, v := range s {
		r, w := &x[i], uint64(v)
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

func dot2(s []int8, x [][2]uint64) [2]uint64 {
	var a, b uint64
	x = x[:len(s)]
	for i, v := range s {
		a += uint64(v) * x[i][0]
		b += uint64(v) * x[i][1]
	}
	return [2]uint64{a, b}
}

// secrets are the ternary secrets of a query's ring words, laid out for inner
// products: eight words side by side, and the words that are left one by one.
type secrets struct {
	eight [][][8]int8 // [panel][position]
	one   [][]int8
}

func newSecrets(words int) *secrets {
	s := &secrets{eight: make([][][8]int8, words/8), one: make([][]int8, words%8)}
	for i := range s.eight {
		s.eight[i] = make([][8]int8, degree)
	}
	for i := range s.one {
		s.one[i] = make([]int8, degree)
	}
	return s
}

// set stores the secret of a word.
func (s *secrets) set(word int, v []int8) {
	if p := word / 8; p < len(s.eight) {
		for i, x := range v {
			s.eight[p][i][word%8] = x
		}
		return
	}
	copy(s.one[word%8], v)
}

func (s *secrets) erase() {
	for _, p := range s.eight {
		clear(p)
	}
	for _, p := range s.one {
		clear(p)
	}
}

// dot computes, modulo 2^64, the inner products of x with each secret.
func (s *secrets) dot(out, x []uint64) {
	for _, p := range s.eight {
		sum := secrets8(x, p)
		copy(out, sum[:])
		out = out[8:]
	}
	for j, p := range s.one {
		p = p[:len(x)]
		var a uint64
		for i, v := range x {
			a += v * uint64(p[i])
		}
		out[j] = a
	}
}

func secrets8(x []uint64, s [][8]int8) [8]uint64 {
	var a, b, c, d, e, f, g, h uint64
	s = s[:len(x)]
	for i, v := range x {
		r := &s[i]
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
