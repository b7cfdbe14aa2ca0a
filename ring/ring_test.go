package ring

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// The two largest primes below 2^53 that are 1 mod 8192.
var testPrimes = [2]uint64{1<<53 - 311295, 1<<53 - 376831}

func testModulus(t testing.TB, i int) Modulus {
	t.Helper()
	m, err := NewModulus(testPrimes[i])
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testNTT(t testing.TB, prime, n int) *NTT {
	t.Helper()
	ntt, err := NewNTT(testModulus(t, prime), n)
	if err != nil {
		t.Fatal(err)
	}
	return ntt
}

// edges returns words that are likely to find an off-by-one, and random ones.
func edges(rng *rand.Rand, q uint64) []uint64 {
	v := []uint64{0, 1, 2, q - 2, q - 1, q, q + 1, 2*q - 1, 2 * q, 2*q + 1, mask53, mask53 + 1, 1 << 62, 1<<63 - 1, 1 << 63, 1<<63 + 1, ^uint64(0) - 1, ^uint64(0)}
	for range 40 {
		v = append(v, rng.Uint64()>>rng.IntN(64))
	}
	return v
}

// mod is a·2^64 + b mod q, by big integers.
func mod(hi, lo, q uint64) uint64 {
	x := new(big.Int).SetUint64(hi)
	x.Lsh(x, 64).Add(x, new(big.Int).SetUint64(lo))
	return x.Mod(x, new(big.Int).SetUint64(q)).Uint64()
}

func TestModulusAgainstBigIntegers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range testPrimes {
		m := testModulus(t, i)
		q := m.Q()
		words := edges(rng, q)
		for _, a := range words {
			if got := m.Reduce(a); got != a%q {
				t.Fatalf("Reduce(%d) = %d, want %d", a, got, a%q)
			}
			if f := m.Fold(a); f%q != a%q || f >= 1<<53+1<<31 {
				t.Fatalf("Fold(%d) = %d", a, f)
			}
			if a%q != 0 {
				if p := m.Mul(m.Inv(a%q), a%q); p != 1 {
					t.Fatalf("Inv(%d) is not an inverse", a%q)
				}
			}
			f := m.Factor(a % q)
			if want, _ := bits.Div64(a%q, 0, q); f.s != want {
				t.Fatalf("Factor(%d) has quotient %d, want %d", a%q, f.s, want)
			}
			for _, b := range words {
				hi, lo := bits.Mul64(a, b)
				if got, want := m.Reduce128(a, b), mod(a, b, q); got != want {
					t.Fatalf("Reduce128(%d, %d) = %d, want %d", a, b, got, want)
				}
				want := mod(hi, lo, q)
				if got := m.Mul(a, b); got != want {
					t.Fatalf("Mul(%d, %d) = %d, want %d", a, b, got, want)
				}
				if got, want := m.Add(a%q, b%q), mod(0, a%q+b%q, q); got != want {
					t.Fatalf("Add(%d, %d) = %d, want %d", a%q, b%q, got, want)
				}
				if got := m.Sub(a%q, b%q); m.Add(got, b%q) != a%q || got >= q {
					t.Fatalf("Sub(%d, %d) = %d", a%q, b%q, got)
				}
				if got, want := m.MulFactor(b, f), mod(0, a%q, q); got != m.Mul(want, b) {
					t.Fatalf("MulFactor(%d, %d) = %d", b, a%q, got)
				}
				if got := m.MulLazy(b, f); got >= 2*q || got%q != m.Mul(a%q, b) {
					t.Fatalf("MulLazy(%d, %d) = %d", b, a%q, got)
				}
			}
		}
		for _, v := range []int64{0, 1, -1, 1 << 51, -1 << 51, int64(q) - 1, 1 - int64(q)} {
			want := uint64((v + int64(q)) % int64(q))
			if got := m.FromInt(v); got != want {
				t.Errorf("FromInt(%d) = %d, want %d", v, got, want)
			}
		}
	}
}

// The claim that lets sums run 2047 residues between two folds.
func TestFoldedSumHasRoomFor2047Residues(t *testing.T) {
	t.Parallel()
	for i := range testPrimes {
		m := testModulus(t, i)
		most := uint64(0)
		// The fold grows with the bits above 53 and with those below.
		for hi := range uint64(1 << 11) {
			most = max(most, m.Fold(hi<<53|mask53))
		}
		hi, lo := bits.Mul64(2047, m.Q()-1)
		lo, c := bits.Add64(lo, most, 0)
		if hi+c != 0 {
			t.Errorf("q = %d: 2047 residues and a fold of %d exceed 64 bits by %d", m.Q(), most, lo)
		}
	}
}

func TestModulusRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	for name, q := range map[string]uint64{
		"zero": 0, "small prime": 65537, "even": 1<<53 - 2, "composite": 1<<53 - 3*8192 + 1,
		"too far below 2^53": 1<<53 - 1<<21 + 1, "2^53": 1 << 53, "above": 1<<53 + 5,
	} {
		if _, err := NewModulus(q); !errors.Is(err, ErrModulus) {
			t.Errorf("%s: got %v, want ErrModulus", name, err)
		}
	}
	m := testModulus(t, 0)
	for _, n := range []int{0, 1, 2, 3, 12, 1 << 17} {
		if _, err := NewNTT(m, n); err == nil {
			t.Errorf("a transform of degree %d was made", n)
		}
	}
	if _, err := NewNTT(m, 16384); !errors.Is(err, ErrModulus) {
		t.Errorf("degree 16384 needs q = 1 mod 32768: got %v", err)
	}
	if _, err := NewPair(m, m); !errors.Is(err, ErrModulus) {
		t.Errorf("a pair of equal primes: got %v", err)
	}
	if _, err := NewPair(m, Modulus{}); !errors.Is(err, ErrModulus) {
		t.Errorf("a pair with an empty modulus: got %v", err)
	}
}

func randomResidues(rng *rand.Rand, n int, q uint64) []uint64 {
	x := make([]uint64, n)
	for i := range x {
		x[i] = rng.Uint64N(q)
	}
	return x
}

// negacyclic multiplies modulo X^n + 1 by its definition.
func negacyclic(m Modulus, a, b []uint64) []uint64 {
	n := len(a)
	out := make([]uint64, n)
	for i, x := range a {
		for j, y := range b {
			if p := m.Mul(x, y); i+j < n {
				out[i+j] = m.Add(out[i+j], p)
			} else {
				out[i+j-n] = m.Sub(out[i+j-n], p)
			}
		}
	}
	return out
}

func TestTransformMultiplies(t *testing.T) {
	t.Parallel()
	for n := 4; n <= 4096; n *= 2 {
		for prime := range testPrimes {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(prime)))
			ntt := testNTT(t, prime, n)
			a, b := randomResidues(rng, n, ntt.Q()), randomResidues(rng, n, ntt.Q())
			if n == 4096 {
				// Only a few coefficients, for the schoolbook's sake.
				clear(b[17:])
				b[n-1] = 3
			}
			want := negacyclic(ntt.Modulus, a, b)
			x, y := slices.Clone(a), slices.Clone(b)
			ntt.Forward(x)
			ntt.Forward(y)
			for i := range x {
				x[i] = ntt.MulLazy(x[i], ntt.Factor(y[i])) // left below 2q, as Inverse allows
			}
			ntt.Inverse(x)
			if !slices.Equal(x, want) {
				t.Fatalf("degree %d, prime %d: the product differs from the schoolbook's", n, prime)
			}
		}
	}
}

func TestTransformAtTheEdgesOfItsDomain(t *testing.T) {
	t.Parallel()
	for n := 4; n <= 4096; n *= 2 {
		ntt := testNTT(t, 0, n)
		for _, v := range []uint64{0, 1, ntt.Q() - 1, ntt.Q(), 2*ntt.Q() - 1, 1<<57 - 1} {
			x, y, want := make([]uint64, n), make([]uint64, n), make([]uint64, n)
			for i := range x {
				x[i], y[i], want[i] = v, v%ntt.Q(), v%ntt.Q()
			}
			ntt.Forward(x)
			ntt.Forward(y)
			if !slices.Equal(x, y) {
				t.Fatalf("degree %d: values %d transform otherwise than their residues", n, v)
			}
			for i := range x {
				x[i] += ntt.Q() // the most that Inverse takes
			}
			ntt.Inverse(x)
			if !slices.Equal(x, want) {
				t.Fatalf("degree %d: a round trip changed values %d", n, v)
			}
		}
	}
}

// Reversing a transform replaces X by 1/X, which makes the constant coefficient
// of a product an inner product.
func TestReversalIsConjugation(t *testing.T) {
	t.Parallel()
	for _, n := range []int{4, 64, 512, 4096} {
		ntt := testNTT(t, 1, n)
		rng := rand.New(rand.NewPCG(uint64(n), 3))
		x := randomResidues(rng, n, ntt.Q())
		want := make([]uint64, n)
		want[0] = x[0]
		for i := 1; i < n; i++ {
			want[n-i] = ntt.Sub(0, x[i])
		}
		ntt.Forward(x)
		slices.Reverse(x)
		ntt.Inverse(x)
		if !slices.Equal(x, want) {
			t.Errorf("degree %d: the reversal is not X -> 1/X", n)
		}
	}
}

func TestForwardBitsEqualsForward(t *testing.T) {
	t.Parallel()
	for n := 64; n <= 4096; n *= 2 {
		for prime := range testPrimes {
			ntt := testNTT(t, prime, n)
			rng := rand.New(rand.NewPCG(uint64(n), 5))
			for _, one := range []int{0, 1, 32, 2, 1000} { // chance of a coefficient: 0, all, 1/32 ...
				masks, want := make([]uint16, n/BitBlocks), make([]uint64, n)
				for i := range n {
					if one != 0 && rng.IntN(one) == 0 {
						SetBit(masks, i)
						want[i] = 1
					}
				}
				ntt.Forward(want)
				got := make([]uint64, n/BitBlocks)
				limit := 2 * ntt.Q() * uint64(1+bits.TrailingZeros(uint(n))-4)
				for b := range BitBlocks {
					ntt.ForwardBits(got, masks, b)
					for i, v := range got {
						if v >= limit || ntt.Reduce(v) != want[b*len(got)+i] {
							t.Fatalf("degree %d, prime %d, 1 in %d: value %d of block %d is %d, want %d", n, prime, one, i, b, v, want[b*len(got)+i])
						}
					}
				}
			}
		}
	}
}

func TestMulAdd(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 9))
	hi, lo := []uint64{0, 5, ^uint64(0)}, []uint64{^uint64(0), ^uint64(0), ^uint64(0)}
	want := make([]*big.Int, 3)
	for i := range want {
		want[i] = new(big.Int).SetUint64(hi[i])
		want[i].Lsh(want[i], 64).Add(want[i], new(big.Int).SetUint64(lo[i]))
	}
	for range 50 {
		a, b := []uint64{^uint64(0), rng.Uint64(), 0}, []uint64{^uint64(0), rng.Uint64(), 7}
		MulAdd(hi, lo, a, b)
		for i := range want {
			p := new(big.Int).SetUint64(a[i])
			want[i].Add(want[i], p.Mul(p, new(big.Int).SetUint64(b[i])))
			got := new(big.Int).SetUint64(hi[i])
			got.Lsh(got, 64).Add(got, new(big.Int).SetUint64(lo[i]))
			if w := new(big.Int).Mod(want[i], new(big.Int).Lsh(big.NewInt(1), 128)); got.Cmp(w) != 0 {
				t.Fatalf("sum %d is %v, want %v", i, got, w)
			}
		}
	}
}

func TestTorusAgainstBigIntegers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 3))
	p, err := NewPair(testModulus(t, 0), testModulus(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	q0, q1 := new(big.Int).SetUint64(testPrimes[0]), new(big.Int).SetUint64(testPrimes[1])
	q := new(big.Int).Mul(q0, q1)
	full := new(big.Int).Lsh(big.NewInt(1), 128)
	values := []*big.Int{big.NewInt(0), big.NewInt(1), new(big.Int).Sub(q, big.NewInt(1)), new(big.Int).Rsh(q, 1), q0, q1}
	for range 500 {
		v := new(big.Int).SetUint64(rng.Uint64())
		v.Lsh(v, 64).Add(v, new(big.Int).SetUint64(rng.Uint64()))
		values = append(values, v.Mod(v, q))
	}
	for _, c := range values {
		c0, c1 := new(big.Int).Mod(c, q0).Uint64(), new(big.Int).Mod(c, q1).Uint64()
		hi, lo := p.Torus(c0, c1)
		got := new(big.Int).SetUint64(hi)
		got.Lsh(got, 64).Add(got, new(big.Int).SetUint64(lo))
		want := new(big.Int).Mul(c, full)
		want.Div(want, q)
		short := want.Sub(want, got)
		if short.Mod(short, full); short.BitLen() > 54 {
			t.Fatalf("%v/q: the fraction is short by 2^%d units", c, short.BitLen())
		}
		for _, width := range []int{1, 8, 37, 59, 63, 64} {
			// round(c·2^width/q), up to the fraction's own error at a tie.
			n := new(big.Int).Lsh(c, uint(width)+1)
			n.Add(n, q).Div(n, new(big.Int).Lsh(q, 1))
			n.Mod(n, new(big.Int).Lsh(big.NewInt(1), uint(width)))
			if f := p.Fraction(c0, c1, width); f != n.Uint64() {
				t.Fatalf("%v/q to %d bits is %d, want %v", c, width, f, n)
			}
		}
	}
}

// reference packs bit by bit.
func reference(x []uint64, width int) []byte {
	out := make([]byte, PackedLen(len(x), width))
	for i, v := range x {
		for b := range width {
			if at := i*width + b; v>>b&1 == 1 {
				out[at/8] |= 1 << (at % 8)
			}
		}
	}
	return out
}

func TestPackEveryWidth(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 4))
	for width := 1; width <= 64; width++ {
		for n := range 70 {
			x, want := make([]uint64, n), make([]uint64, n)
			for i := range x {
				x[i] = rng.Uint64() // bits above the width are to be ignored
				want[i] = x[i] & (^uint64(0) >> (64 - width))
			}
			b := make([]byte, PackedLen(n, width)+3)
			Pack(b, x, width)
			if ref := reference(want, width); !slices.Equal(b[:len(ref)], ref) {
				t.Fatalf("%d integers of %d bits: got %x, want %x", n, width, b, ref)
			}
			if b[len(b)-1]|b[len(b)-2]|b[len(b)-3] != 0 {
				t.Fatalf("%d integers of %d bits were written past their end", n, width)
			}
			got := make([]uint64, n)
			Unpack(got, b[:len(b)-3], width)
			if !slices.Equal(got, want) {
				t.Fatalf("%d integers of %d bits came back as %d, want %d", n, width, got, want)
			}
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, uint8(52), uint8(1))
	f.Add([]byte{}, uint8(0), uint8(0))
	f.Add(slices.Repeat([]byte{255}, 64), uint8(63), uint8(8))
	f.Fuzz(func(t *testing.T, b []byte, w, n uint8) {
		width := int(w)%64 + 1
		count := min(int(n), 8*len(b)/width)
		x := make([]uint64, count)
		b = b[:PackedLen(count, width)]
		Unpack(x, b, width)
		again := make([]byte, len(b))
		Pack(again, x, width)
		if len(b) > 0 {
			if r := count * width % 8; r != 0 {
				b[len(b)-1] &= 1<<r - 1
			}
		}
		if !slices.Equal(b, again) {
			t.Fatalf("%d integers of %d bits: %x came back as %x", count, width, b, again)
		}
	})
}

// The values that other implementations have to reproduce: both sides of the
// protocol derive the same public polynomials. Computed apart from this code, from
// the definitions and OpenSSL's AES-256-CTR.
func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	key := sha256.Sum256([]byte("kontor ring known answers"))
	src, err := NewSource(&key)
	if err != nil {
		t.Fatal(err)
	}
	ntt := testNTT(t, 0, 4096)
	uniform := make([]uint64, 4096)
	src.Stream(1, 2).Uniform(uniform, ntt.Modulus)
	transformed := slices.Clone(uniform)
	ntt.Forward(transformed)
	binomial, ternary := make([]int8, 1000), make([]int8, 1000)
	src.Stream(3, 1<<56-1).Binomial(binomial)
	src.Stream(4, 0).Ternary(ternary)
	for _, c := range []struct {
		name string
		v    any
		want string
	}{
		{"uniform", uniform, "7f7a2ac81f72fce75922c546bfb83ea9"},
		{"transform", transformed, "37f0d6eb13bce4ad4c50608035cda777"},
		{"binomial", binomial, "d5be78dcf3aa5105194dd61af8729919"},
		{"ternary", ternary, "9b0633ab5b23e852164892780572d92a"},
	} {
		h := sha256.New()
		if err := binary.Write(h, binary.LittleEndian, c.v); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil))[:32]; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	small := testNTT(t, 0, 4)
	x := []uint64{1, 2, 3, 4}
	small.Forward(x)
	if got, want := fmt.Sprint(x), "[8891956284779811 1436101751675696 4998592231100683 2687748241303208]"; got != want {
		t.Errorf("degree 4: %s, want %s", got, want)
	}
}
