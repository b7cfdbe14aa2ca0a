package credit

import (
	"math"
	"math/rand/v2"
	"strconv"
)

// missing marks a value that an institution does not have.
var missing = math.NaN()

// column is a name and how many decimals it is written with.
type column struct {
	name     string
	decimals int
}

var bankColumns = []column{
	{"age", 0}, {"income_monthly", 0}, {"employment_years", 1}, {"tenure_months", 0},
	{"card_utilisation", 3}, {"open_loans", 0}, {"past_delinquencies", 0}, {"overdraft_days", 0},
	{"deposits", 0}, {"balance_volatility", 3}, {"requested_amount", 0}, {"term_months", 0},
}

var telecomColumns = []column{
	{"subscription_months", 0}, {"monthly_spend", 2}, {"topups_per_month", 1}, {"late_bills_12m", 0},
	{"data_gb", 2}, {"night_call_share", 3}, {"roaming_days", 0}, {"device_price", 0},
	{"contacts", 0}, {"address_changes_5y", 0},
}

// Generate draws a population and returns what the bank and what the telecom
// have of it, each in an order of its own.
func Generate(c Config) (bank, telecom *Data) {
	c = c.withDefaults()
	ps := people(c)

	bank = &Data{Header: []string{BankID}}
	bank.name(bankColumns)
	bank.Header = append(bank.Header, Label)
	rows := measure(ps, stream(c.Seed, "bank columns"), bankRow)
	for _, i := range members(ps, c.BankShare, stream(c.Seed, "bank members"), func(p *person) float64 {
		return 0.25*p.income + 0.15*p.urbanity
	}) {
		label := "0"
		if ps[i].defaulted {
			label = "1"
		}
		bank.Rows = append(bank.Rows, append(texts(ps[i].id, bankColumns, rows[i]), label))
	}

	telecom = &Data{Header: []string{TelecomID}}
	telecom.name(telecomColumns)
	rows = measure(ps, stream(c.Seed, "telecom columns"), telecomRow)
	for _, i := range members(ps, c.TelecomShare, stream(c.Seed, "telecom members"), func(p *person) float64 {
		return 0.3*p.digital - 0.1*p.income
	}) {
		telecom.Rows = append(telecom.Rows, texts(ps[i].id, telecomColumns, rows[i]))
	}
	return bank, telecom
}

func (d *Data) name(columns []column) {
	for _, c := range columns {
		d.Header = append(d.Header, c.name)
	}
}

// measure is done for everyone, customer or not, so that a change of shares does
// not change what is known of anyone.
func measure(ps []person, rng *rand.Rand, row func(p *person, rng *rand.Rand) []float64) [][]float64 {
	rows := make([][]float64, len(ps))
	for i := range ps {
		rows[i] = row(&ps[i], rng)
	}
	return rows
}

func texts(id string, columns []column, values []float64) []string {
	out := make([]string, 1, len(columns)+2)
	out[0] = id
	for k, v := range values {
		s := ""
		if !math.IsNaN(v) {
			s = strconv.FormatFloat(v, 'f', columns[k].decimals, 64)
		}
		out = append(out, s)
	}
	return out
}

// bankRow gives the values of bankColumns.
func bankRow(p *person, rng *rand.Rand) []float64 {
	p = p.seen(rng, 1)
	n := rng.NormFloat64
	chance := func(logit float64) bool { return rng.Float64() < sigmoid(logit) }

	// Declared by the customer; those without steady work leave it out more often.
	income := 10 * math.Round(p.monthlyIncome()*math.Exp(0.14*n())/10)
	if chance(-3.0 - 0.6*p.stability) {
		income = missing
	}
	employment := (p.age - 18) * 0.7 * sigmoid(-0.2+0.9*p.stability+0.8*n())
	if p.age > 66 || chance(-3.5) {
		employment = missing
	}
	tenure := 1 + math.Floor(12*(p.age-17)*0.6*rng.Float64()*sigmoid(0.4+0.5*p.stability+0.5*n()))
	utilisation := math.Min(1.1, 1.15*sigmoid(-0.9+0.65*p.stress-0.25*p.income-0.2*p.discipline+1.0*n()))
	if chance(-1.7 - 0.5*p.digital - 0.3*p.income) { // no card
		utilisation = missing
	}
	loans := poisson(rng, math.Exp(-0.1+0.25*p.stress+0.15*p.income-0.15*p.youth*p.youth+0.3*n()))
	delinquencies := poisson(rng, math.Exp(-2.0+0.4*p.stress-0.55*p.discipline-0.15*p.stability+0.5*n()))
	overdraft := math.Floor(math.Min(180, math.Max(0, 9*(0.8*p.stress-0.3*p.income-0.3*p.discipline+1.2*n())-5)))
	deposits := math.Round(1400 * math.Exp(0.7*p.income+0.3*p.stability-0.3*p.stress+0.3*p.discipline+1.3*n()))
	volatility := math.Exp(-0.8 + 0.25*p.stress - 0.15*p.stability + 0.5*n())

	return []float64{p.age, income, employment, tenure, utilisation, loans, delinquencies, overdraft,
		deposits, volatility, p.amount, p.term}
}

// telecomRow gives the values of telecomColumns.
func telecomRow(p *person, rng *rand.Rand) []float64 {
	p = p.seen(rng, 0.8)
	n := rng.NormFloat64
	chance := func(logit float64) bool { return rng.Float64() < sigmoid(logit) }

	months := 1 + math.Floor(math.Min(240, 12*(p.age-15)*0.5*rng.Float64()*sigmoid(0.3+0.7*p.stability+0.6*n())))
	spend := 21 * math.Exp(0.22*p.income+0.25*p.digital+0.1*p.urbanity+0.35*n())

	// Who pays in advance tops up and gets no bill; who gets bills does not top up.
	topups, late := missing, missing
	if chance(-0.6 - 0.7*p.stability - 0.5*p.income + 0.3*p.stress) {
		topups = math.Min(30, math.Exp(0.8+0.3*p.stress-0.15*p.income-0.1*p.discipline+0.6*n()))
	} else {
		late = 0
		each := -3.0 + 0.75*p.stress - 0.8*p.discipline - 0.2*p.stability + 0.6*n()
		for range 12 {
			if chance(each) {
				late++
			}
		}
	}
	data := math.Min(400, math.Exp(1.8+0.6*p.digital+0.15*p.urbanity+0.5*n()))
	night := sigmoid(-2.1 + 0.2*p.stress + 0.3*p.youth - 0.1*p.stability + 0.6*n())
	roaming := math.Min(120, poisson(rng, math.Exp(-0.4+0.55*p.income+0.25*p.urbanity+0.8*n())))
	// The operator knows the price of devices that it sold; cheap ones come from elsewhere.
	price := 5 * math.Round(260*math.Exp(0.32*p.income+0.28*p.digital+0.3*n())/5)
	if chance(-1.6 - 1.2*math.Log(price/260)) {
		price = missing
	}
	contacts := poisson(rng, math.Exp(3.4+0.2*p.stability+0.15*p.digital+0.4*n()))
	moves := poisson(rng, math.Exp(-0.8-0.55*p.stability+0.15*p.stress+0.15*p.urbanity+0.3*n()))

	return []float64{months, spend, topups, late, data, night, roaming, price, contacts, moves}
}
