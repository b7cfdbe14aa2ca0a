package credit

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// stream returns randomness for one purpose, so that a change to one purpose
// leaves the others as they were.
func stream(seed uint64, purpose string) *rand.Rand {
	b := binary.BigEndian.AppendUint64(nil, seed)
	return rand.New(rand.NewChaCha8(sha256.Sum256(append(b, purpose...))))
}

// person is someone's traits, each about standard normal but for the first two.
// Neither institution sees a trait itself.
type person struct {
	id  string
	age float64 // years

	youth      float64 // the age, turned round and scaled
	urbanity   float64
	income     float64 // level of income, against others
	stability  float64 // of work and home
	stress     float64 // lack of money at present
	discipline float64 // in paying what is due
	digital    float64 // affinity

	amount, term float64 // what they ask the bank for: money, months
	defaulted    bool
}

// monthlyIncome is the true one, in units of money a month.
func (p *person) monthlyIncome() float64 { return 2300 * math.Exp(0.42*p.income) }

// seen returns the person as one institution meets them. It sees a part of their
// life: the account they use for rent or only for savings, the telephone of the
// household or of one of its members. So all that it measures errs together.
func (p *person) seen(rng *rand.Rand, blur float64) *person {
	q := *p
	q.stability += blur * rng.NormFloat64()
	q.stress += blur * rng.NormFloat64()
	q.discipline += blur * rng.NormFloat64()
	return &q
}

func people(c Config) []person {
	rng := stream(c.Seed, "people")
	ps := make([]person, c.Customers)
	for i := range ps {
		draw(&ps[i], rng)
	}
	label(ps, c.DefaultRate, stream(c.Seed, "life"))
	identify(ps, stream(c.Seed, "ids"))
	return ps
}

func draw(p *person, rng *rand.Rand) {
	n := rng.NormFloat64
	p.age = 18 + math.Floor(64*math.Pow(rng.Float64(), 0.8)*math.Pow(rng.Float64(), 0.45))
	p.youth = (42 - p.age) / 15
	p.urbanity = n()
	// Income peaks in mid-life.
	p.income = 0.35 - 0.35*p.youth*p.youth + 0.25*p.urbanity + 0.85*n()
	p.stability = -0.35*p.youth + 0.2*p.income + 0.85*n()
	p.stress = -0.3*p.stability - 0.25*p.income + 0.9*n()
	p.discipline = 0.2*p.stability + 0.95*n()
	p.digital = 0.5*p.youth + 0.3*p.urbanity + 0.8*n()

	terms := []float64{6, 12, 18, 24, 36, 48, 60}
	want := 0.6 + 0.2*p.stress + 0.55*n() // in the logarithm of monthly incomes
	p.amount = math.Max(300, 100*math.Round(p.monthlyIncome()*math.Exp(want)/100))
	k := int(math.Round(2.6 + 1.3*want + 1.1*n()))
	p.term = terms[min(max(k, 0), len(terms)-1)]
}

// label decides who defaults: a hazard of the traits and of the burden of the
// loan, plus what happens to people and shows nowhere.
func label(ps []person, rate float64, rng *rand.Rand) {
	hazard := make([]float64, len(ps))
	for i := range ps {
		p := &ps[i]
		burden := math.Log(p.amount / p.term / p.monthlyIncome())
		h := 0.9*p.stress - 0.4*p.stability - 0.2*p.income - 0.6*p.discipline + 0.4*burden
		h += 0.35 * math.Max(0, p.stress) * math.Max(0, -p.stability)
		h += 0.8 * rng.NormFloat64()
		if rng.Float64() < 0.03 { // work lost, an illness, a separation
			h += 2.5
		}
		hazard[i] = h
	}
	at := intercept(hazard, rate)
	for i := range ps {
		ps[i].defaulted = rng.Float64() < sigmoid(at+hazard[i])
	}
}

// intercept returns what to add to the hazards for the wanted mean probability.
func intercept(hazard []float64, rate float64) float64 {
	lo, hi := -40.0, 40.0
	for range 60 {
		mid := (lo + hi) / 2
		sum := 0.0
		for _, h := range hazard {
			sum += sigmoid(mid + h)
		}
		if sum < rate*float64(len(hazard)) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// identify gives everyone a national id: C, nine digits, and Luhn's check digit.
func identify(ps []person, rng *rand.Rand) {
	taken := make(map[uint32]bool, len(ps))
	for i := range ps {
		n := rng.Uint32N(1_000_000_000)
		for taken[n] {
			n = rng.Uint32N(1_000_000_000)
		}
		taken[n] = true
		ps[i].id = fmt.Sprintf("C%09d%d", n, luhn(n))
	}
}

// luhn returns the check digit of n (ISO/IEC 7812-1, annex B).
func luhn(n uint32) uint32 {
	sum := uint32(0)
	for double := true; n > 0; n, double = n/10, !double {
		d := n % 10
		if double {
			d *= 2
			d = d/10 + d%10
		}
		sum += d
	}
	return (10 - sum%10) % 10
}

// members returns the indexes of those who are customers, in random order: the
// given share of all, likelier the greater their lean.
func members(ps []person, share float64, rng *rand.Rand, lean func(p *person) float64) []int {
	type applicant struct {
		i    int
		rank float64
	}
	all := make([]applicant, len(ps))
	for i := range ps {
		u := rng.Float64()
		all[i] = applicant{i, lean(&ps[i]) + math.Log((u+1e-12)/(1-u+1e-12))}
	}
	slices.SortFunc(all, func(a, b applicant) int { return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.i, b.i)) })
	picked := make([]int, int(math.Round(share*float64(len(ps)))))
	for k := range picked {
		picked[k] = all[k].i
	}
	rng.Shuffle(len(picked), func(a, b int) { picked[a], picked[b] = picked[b], picked[a] })
	return picked
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// poisson draws a count by Knuth's product of uniforms, for means up to some hundred.
func poisson(rng *rand.Rand, mean float64) float64 {
	limit, k := math.Exp(-min(mean, 200)), 0.0
	for u := rng.Float64(); u > limit; u *= rng.Float64() {
		k++
	}
	return k
}
