package matvec

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestPrimesAreWhatTheSecurityTablesAreFor(t *testing.T) {
	t.Parallel()
	product := big.NewInt(1)
	for _, q := range []int64{prime0, prime1} {
		b := big.NewInt(q)
		if !b.ProbablyPrime(64) {
			t.Errorf("%d is not prime", q)
		}
		if q%(2*degree) != 1 {
			t.Errorf("%d is not 1 modulo %d", q, 2*degree)
		}
		product.Mul(product, b)
	}
	// 106 bits at N = 4096: eprint 2024/463, ternary secrets, 128 bits classical.
	if limit := new(big.Int).Lsh(big.NewInt(1), 106); product.Cmp(limit) >= 0 {
		t.Errorf("the product %v is not below 2^106", product)
	}
	if degree != 4096 || securityBits != 128 || math.Sqrt(sigma2) < 3.2 {
		t.Errorf("N = %d, sigma = %.2f, %d bits: not what the tables are for", degree, math.Sqrt(sigma2), securityBits)
	}
	// The slack that LogFailure takes for q being below 2^106.
	f, _ := new(big.Float).SetInt(product).Float64()
	if 1-f/math.Exp2(106) > 0x1p-31 {
		t.Errorf("q is 2^106(1-2^%.1f), further off than the failure bound allows for", math.Log2(1-f/math.Exp2(106)))
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                     string
		spec                     Spec
		payload, perWord, hint   int
		logDistance, logFailures float64
	}{
		{"the least", Spec{1, 1, 1, 1, 0}, 2, 2, 17, -92.32, -68.2},
		{"credit cards", Spec{30_000, 23, 23 * 32, 800, 4}, 20, 2, 53, -47.12, -50.1},
		{"credit cards, finer", Spec{30_000, 23, 23 * 32, 800, 6}, 22, 2, 57, -43.12, -50.1},
		{"one level", Spec{200_000, 50, 1600, 16, 4}, 23, 2, 59, -42.95, -54.5},
		{"50 trees of depth 4", Spec{200_000, 50, 1600, 800, 4}, 23, 2, 59, -40.13, -48.8},
		{"100 trees: unpacked", Spec{200_000, 50, 1600, 1600, 4}, 23, 1, 36, -62.13, -47},
		{"finer: unpacked", Spec{200_000, 50, 1600, 800, 6}, 25, 1, 38, -60.63, -48},
		{"16-bit gradients", Spec{200_000, 50, 1600, 800, 16}, 35, 1, 48, -50.63, -48},
		{"a label", Spec{200_000, 50, 1600, 2, 1}, 20, 2, 53, -50.45, -57.6},
		{"a million rows", Spec{1_000_000, 50, 1600, 800, 4}, 25, 1, 38, -59.80, -48},
		{"many bins", Spec{100_000, 50, 12_700, 800, 4}, 22, 2, 57, -41.13, -46},
		{"the most rows", Spec{1 << 26, 100, 3200, 800, 4}, 32, 1, 45, -49.38, -47},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustPlan(t, c.spec)
			if p.PayloadBits() != c.payload || p.PerWord() != c.perWord || p.HintBits() != c.hint {
				t.Errorf("%d-bit sums, %d a word, %d-bit hint; want %d, %d, %d", p.PayloadBits(), p.PerWord(), p.HintBits(), c.payload, c.perWord, c.hint)
			}
			if d := p.LogDistance(); d > -40 || math.Abs(d-c.logDistance) > 0.01 {
				t.Errorf("log distance %.2f, want %.2f", d, c.logDistance)
			}
			if f := p.LogFailure(); f > -40 || math.Abs(f-c.logFailures) > 0.1 {
				t.Errorf("log failure %.1f, want %.1f", f, c.logFailures)
			}
			if p.Spec() != c.spec || p.SecurityBits() != 128 {
				t.Errorf("planned for %+v with %d bits of security", p.Spec(), p.SecurityBits())
			}
			if again := mustPlan(t, c.spec); again != p {
				t.Errorf("planned again: %v, first: %v", again, p)
			}
			// The promised magnitudes fit, and no more bits are used than that takes.
			if need := int64(c.spec.Rows) << c.spec.MeanBits; need >= 1<<(c.payload-1) || need < 1<<(c.payload-2)-1 {
				t.Errorf("magnitudes up to %d in sums of %d bits", need, c.payload)
			}
			if s := p.String(); !strings.Contains(s, "-bit hint") || strings.Contains(s, "\n") {
				t.Errorf("described as %q", s)
			}
		})
	}
}

// The hint must have as many bits as the bound on failures asks, not more.
func TestHintBitsAreTheFewest(t *testing.T) {
	t.Parallel()
	for _, s := range []Spec{{200_000, 50, 1600, 800, 4}, {1000, 10, 320, 100_000, 16}, {1 << 20, 3, 90, 40, 2}} {
		p := mustPlan(t, s)
		p.hintBits--
		if p.LogFailure() <= maxLogFailure {
			t.Errorf("%+v: %d bits would do", s, p.hintBits)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	good := Spec{Rows: 1000, Features: 4, Bins: 40, Queries: 10, MeanBits: 4}
	mustPlan(t, good)
	for name, change := range map[string]func(*Spec){
		"no rows":                 func(s *Spec) { s.Rows = 0 },
		"negative rows":           func(s *Spec) { s.Rows = -1 },
		"too many rows":           func(s *Spec) { s.Rows = 1<<26 + 1 },
		"no features":             func(s *Spec) { s.Features = 0 },
		"too many features":       func(s *Spec) { s.Features, s.Bins = 1<<16+1, 1<<17 },
		"fewer bins than feature": func(s *Spec) { s.Bins = 3 },
		"more bins than fit":      func(s *Spec) { s.Bins = 4*255 + 1 },
		"too many bins":           func(s *Spec) { s.Features, s.Bins = 1<<16, 1<<20+1 },
		"no queries":              func(s *Spec) { s.Queries = 0 },
		"too many queries":        func(s *Spec) { s.Queries = 1<<24 + 1 },
		"negative bits":           func(s *Spec) { s.MeanBits = -1 },
		"too many bits":           func(s *Spec) { s.MeanBits = 41 },
		"bits beyond the word":    func(s *Spec) { s.Rows, s.MeanBits = 1<<26, 40 },
		"bits the flood needs":    func(s *Spec) { s.Rows, s.MeanBits = 1<<24, 24 },
	} {
		s := good
		change(&s)
		if p, err := Plan(s); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: got %v, %v; want ErrSpec", name, p, err)
		}
	}
}

// The constant of the flood: the Fisher information of a sum of three uniforms of
// width one is 4 + 4(a·ln((a+1/2)/(a-1/2)) - 1) with a = √(3/4), and the discrete
// sum has no more than a vanishing excess.
func TestFloodInformation(t *testing.T) {
	t.Parallel()
	a := math.Sqrt(0.75)
	closed := 4 + 4*(a*math.Log((a+0.5)/(a-0.5))-1)
	const steps = 1 << 20
	sum, h := 0.0, 3.0/steps
	for i := range steps {
		x := math.Abs(-1.5 + (float64(i)+0.5)*h)
		f, d := 0.75-x*x, -2*x
		if x > 0.5 {
			f, d = (1.5-x)*(1.5-x)/2, x-1.5
		}
		sum += d * d / f * h
	}
	if math.Abs(sum-closed) > 1e-6 || closed > floodInfo {
		t.Errorf("the integral is %.6f, the closed form %.6f, the bound used %.6f", sum, closed, floodInfo)
	}
	// Discrete: 4·w²·Σ(√f(i)-√f(i-1))², which a shift by one changes, and by X at
	// most X² times (the square root of this distance is a metric).
	for w := 16; w <= 4096; w *= 2 {
		f := []float64{1}
		for range 3 {
			g := make([]float64, len(f)+w-1)
			run := 0.0
			for i := range g {
				if i < len(f) {
					run += f[i]
				}
				if i >= w {
					run -= f[i-w]
				}
				g[i] = run / float64(w)
			}
			f = g
		}
		d, last := 0.0, 0.0
		for _, v := range append(f, 0) {
			s := math.Sqrt(math.Max(v, 0))
			d += (s - last) * (s - last)
			last = s
		}
		if got := 4 * d * float64(w) * float64(w); got > closed*(1+8/float64(w)) {
			t.Errorf("w = %d: %.5f, more than the limit %.5f allows", w, got, closed*(1+8/float64(w)))
		}
	}
}
