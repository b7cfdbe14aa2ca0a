package ring

import (
	"fmt"
	"testing"
)

func BenchmarkForward(b *testing.B) {
	for _, n := range []int{1024, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t := testNTT(b, 0, n)
			x := make([]uint64, n)
			for b.Loop() {
				t.Forward(x)
			}
		})
	}
}

func BenchmarkInverse(b *testing.B) {
	t := testNTT(b, 0, 4096)
	x := make([]uint64, 4096)
	for b.Loop() {
		t.Inverse(x)
	}
}

// BenchmarkBits transforms a 0/1 polynomial with one coefficient in 32 set and
// adds its products, all of what a hint does over and over.
func BenchmarkBits(b *testing.B) {
	const n = 4096
	t := testNTT(b, 0, n)
	masks := make([]uint16, n/BitBlocks)
	for i := 7; i < n; i += 32 {
		SetBit(masks, i*n/32%n+i/32)
	}
	x, a := make([]uint64, n/BitBlocks), make([]uint64, n)
	hi, lo := make([]uint64, n/BitBlocks), make([]uint64, n/BitBlocks)
	for b.Loop() {
		for s := range BitBlocks {
			t.ForwardBits(x, masks, s)
			MulAdd(hi, lo, x, a[s*len(x):][:len(x)])
		}
	}
}

func BenchmarkBinomial(b *testing.B) {
	s := testSource(b).Stream(1, 1)
	dst := make([]int8, 4096)
	b.SetBytes(4096)
	for b.Loop() {
		s.Binomial(dst)
	}
}

func BenchmarkTernary(b *testing.B) {
	s := testSource(b).Stream(1, 1)
	dst := make([]int8, 4096)
	b.SetBytes(4096)
	for b.Loop() {
		s.Ternary(dst)
	}
}

func BenchmarkPack(b *testing.B) {
	x, dst := make([]uint64, 4096), make([]byte, 8*4096)
	b.SetBytes(8 * 4096)
	for b.Loop() {
		Pack(dst, x, 53)
	}
}

func BenchmarkUnpack(b *testing.B) {
	for _, w := range []int{37, 53, 59} {
		b.Run(fmt.Sprint(w), func(b *testing.B) {
			x, src := make([]uint64, 4096), make([]byte, 8*4096)
			b.SetBytes(8 * 4096)
			for b.Loop() {
				Unpack(x, src, w)
			}
		})
	}
}
