package ring

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"
	"testing/iotest"
)

func testSource(t testing.TB) *Source {
	t.Helper()
	s, err := ReadSource(bytes.NewReader(bytes.Repeat([]byte{7}, KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// chiSquare sums (observed-expected)²/expected over classes that expect enough.
func chiSquare(observed map[int8]int, p func(int8) float64, n int) (chi float64, classes int) {
	for v := int8(-Eta); v <= Eta; v++ {
		if e := p(v) * float64(n); e >= 5 {
			d := float64(observed[v]) - e
			chi += d * d / e
			classes++
		}
	}
	return chi, classes
}

func TestBinomialDistribution(t *testing.T) {
	t.Parallel()
	const n = 1 << 20
	x := make([]int8, n)
	testSource(t).Stream(1, 0).Binomial(x)
	seen, sum, squares := map[int8]int{}, 0.0, 0.0
	for _, v := range x {
		if v < -Eta || v > Eta {
			t.Fatalf("drew %d", v)
		}
		seen[v]++
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	// Four standard deviations of the estimators.
	if mean, limit := sum/n, 4*math.Sqrt(10.5/n); math.Abs(mean) > limit {
		t.Errorf("the mean is %.4f, further than %.4f from zero", mean, limit)
	}
	if v := squares / n; math.Abs(v-10.5) > 4*10.5*math.Sqrt(2.0/n) {
		t.Errorf("the variance is %.3f, want 10.5", v)
	}
	chi, classes := chiSquare(seen, func(v int8) float64 {
		c, _ := new(big.Float).SetInt(new(big.Int).Binomial(2*Eta, int64(v)+Eta)).Float64()
		return c / math.Exp2(2*Eta)
	}, n)
	if limit := float64(classes) + 5*math.Sqrt(2*float64(classes)); chi > limit {
		t.Errorf("chi-square %.1f over %d classes, limit %.1f", chi, classes, limit)
	}
}

func TestTernaryDistribution(t *testing.T) {
	t.Parallel()
	const n = 1 << 20
	x := make([]int8, n)
	testSource(t).Stream(1, 0).Ternary(x)
	seen := map[int8]int{}
	for _, v := range x {
		seen[v]++
	}
	if len(seen) != 3 {
		t.Fatalf("drew %v", seen)
	}
	chi, _ := chiSquare(seen, func(v int8) float64 {
		if v < -1 || v > 1 {
			return 0
		}
		return 1.0 / 3
	}, n)
	if chi > 20 {
		t.Errorf("chi-square %.1f over 3 classes: %v", chi, seen)
	}
	// Neighbours must not depend on each other either.
	pairs := [9]int{}
	for i := 0; i+1 < n; i += 2 {
		pairs[3*int(x[i]+1)+int(x[i+1]+1)]++
	}
	chi = 0
	for _, c := range pairs {
		d := float64(c) - n/18.0
		chi += d * d / (n / 18.0)
	}
	if chi > 36 {
		t.Errorf("chi-square %.1f over 9 pairs: %v", chi, pairs)
	}
}

func TestUniformDistribution(t *testing.T) {
	t.Parallel()
	const n, classes = 1 << 18, 64
	m := testModulus(t, 1)
	x := make([]uint64, n)
	testSource(t).Stream(1, 0).Uniform(x, m)
	var seen [classes]int
	for _, v := range x {
		if v >= m.Q() {
			t.Fatalf("%d is not a residue", v)
		}
		seen[int(float64(v)/float64(m.Q())*classes)]++
	}
	chi := 0.0
	for _, c := range seen {
		d := float64(c) - n/classes
		chi += d * d / (n / classes)
	}
	if chi > classes+5*math.Sqrt(2*classes) {
		t.Errorf("chi-square %.1f over %d classes", chi, classes)
	}
}

func TestUniformRejectsWhatIsNotAResidue(t *testing.T) {
	t.Parallel()
	// A modulus of 2^52 or so does not exist here; drive the buffer by hand.
	s := testSource(t).Stream(1, 0)
	s.refill()
	for i := range s.buf {
		s.buf[i] = 255 // 2^53-1 is never below a prime
	}
	copy(s.buf[16:], []byte{5, 0, 0, 0, 0, 0, 0, 0})
	copy(s.buf[40:], []byte{6, 0, 0, 0, 0, 0, 0, 0})
	x := make([]uint64, 2)
	s.Uniform(x, testModulus(t, 0))
	if !slices.Equal(x, []uint64{5, 6}) {
		t.Errorf("got %d, want [5 6]", x)
	}
	for i := range s.buf[64:] {
		s.buf[64+i] = 255
	}
	copy(s.buf[64:], []byte{0, 255, 1, 255, 255, 254})
	y := make([]int8, 3)
	s.next = 64
	s.Ternary(y)
	if !slices.Equal(y, []int8{-1, 0, 1}) {
		t.Errorf("got %d, want [-1 0 1]", y)
	}
}

func TestStreamsAreReproducibleAndDistinct(t *testing.T) {
	t.Parallel()
	s := testSource(t)
	seen := map[uint64]string{}
	for domain := range uint8(4) {
		for _, index := range []uint64{0, 1, 2, 255, 256, 1<<56 - 1} {
			v := s.Stream(domain, index).Uint64()
			if v != s.Stream(domain, index).Uint64() {
				t.Fatalf("stream %d of domain %d differs from itself", index, domain)
			}
			if _, ok := seen[v]; ok {
				t.Fatalf("stream %d of domain %d repeats another", index, domain)
			}
			seen[v] = ""
		}
	}
	// How much is taken at once does not change the values.
	a, b := s.Stream(1, 1), s.Stream(1, 1)
	x, y := make([]int8, 3000), make([]int8, 3000)
	a.Binomial(x)
	for i := range y {
		b.Binomial(y[i : i+1])
	}
	if !slices.Equal(x, y) {
		t.Error("binomial values depend on how many are taken at once")
	}
}

func TestSourceNeedsRandomness(t *testing.T) {
	t.Parallel()
	if _, err := ReadSource(nil); !errors.Is(err, ErrRandom) {
		t.Errorf("nil reader: got %v", err)
	}
	broken := errors.New("broken")
	if _, err := ReadSource(iotest.ErrReader(broken)); !errors.Is(err, ErrRandom) || !errors.Is(err, broken) {
		t.Errorf("failing reader: got %v", err)
	}
	if _, err := ReadSource(bytes.NewReader(make([]byte, KeySize-1))); !errors.Is(err, ErrRandom) {
		t.Errorf("short reader: got %v", err)
	}
}
