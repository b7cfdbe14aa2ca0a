package data

import (
	"math"
	"math/bits"
	"slices"
)

// exactDistinct is up to how many different values are counted one by one.
const exactDistinct = 256

// sketchBits sets the size of the estimate beyond that: 2^12 registers of a byte
// are off by 1.04/64, about 1.6 in 100, on average.
const sketchBits = 12

// distinct counts different values by their 64-bit hashes: exactly while they are
// few, then as HyperLogLog does (Flajolet and others, 2007). It needs no more
// than 4 KiB, so that a table of ten thousand columns can be profiled at once.
type distinct struct {
	few      []uint64 // sorted; used until registers are
	register []uint8
}

func (d *distinct) add(h uint64) {
	if d.register == nil {
		i, found := slices.BinarySearch(d.few, h)
		switch {
		case found:
			return
		case len(d.few) < exactDistinct:
			d.few = slices.Insert(d.few, i, h)
			return
		}
		d.spill()
	}
	rank := uint8(bits.LeadingZeros64(h<<sketchBits|1<<(sketchBits-1))) + 1
	r := &d.register[h>>(64-sketchBits)]
	*r = max(*r, rank)
}

func (d *distinct) spill() {
	few := d.few
	d.few, d.register = nil, make([]uint8, 1<<sketchBits)
	for _, h := range few {
		d.add(h)
	}
}

// merge adds what other saw.
func (d *distinct) merge(other *distinct) {
	for _, h := range other.few {
		d.add(h)
	}
	if other.register == nil {
		return
	}
	if d.register == nil {
		d.spill()
	}
	for i, r := range other.register {
		d.register[i] = max(d.register[i], r)
	}
}

// count returns how many values there are, and whether that is an estimate.
func (d *distinct) count() (n int64, approx bool) {
	if d.register == nil {
		return int64(len(d.few)), false
	}
	const m = 1 << sketchBits
	sum, zeros := 0.0, 0
	for _, r := range d.register {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zeros > 0 {
		e = m * math.Log(float64(m)/float64(zeros))
	}
	return int64(math.Round(e)), true
}

// hashText is FNV-1a with its bits mixed, which it leaves uneven.
func hashText(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// hashNumber is the same for a whole number and for the float that equals it.
func hashNumber(v float64) uint64 { return mix(math.Float64bits(v + 0)) } // -0 becomes 0

func hashInt(v int64) uint64 {
	if f := float64(v); math.Abs(f) < 1<<53 {
		return hashNumber(f)
	}
	return mix(uint64(v) ^ 0x9e3779b97f4a7c15)
}

// mix is the finaliser of SplitMix64.
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
