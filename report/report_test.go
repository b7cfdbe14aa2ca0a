package report

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"kontor/fed/metric"
)

// evaluation measures scores that tell something, made from a seed.
func evaluation(t testing.TB, seed uint64, n int) *metric.Evaluation {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	scores, labels := make([]float64, n), make([]float64, n)
	for i := range scores {
		scores[i] = rng.Float64() * rng.Float64()
		if rng.Float64() < scores[i] {
			labels[i] = 1
		}
	}
	labels[0], labels[1] = 0, 1
	e, err := metric.Evaluate(scores, labels)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// full is a report with something in every part.
func full(t testing.TB) Report {
	t.Helper()
	r := Report{
		Job: "credit-default", Generated: "2026-01-31 12:00 UTC", Version: "1.2.3",
		Parties: []Party{{Name: "bank", Role: "guest", Rows: 28_000, Columns: 12, Missing: new(0.027), Note: "key 3f2a"},
			{Name: "telecom", Role: "host", Rows: 30_000, Columns: 10}},
		Joined:  21_074,
		Columns: []Column{{"bank", "age", "Int", 0}, {"bank", "income_monthly", "Float", 0.062}},
		Sets:    []Set{{"train", evaluation(t, 1, 900)}, {"valid", evaluation(t, 2, 300)}, {"test", evaluation(t, 3, 1200)}},
		Comparison: []Row{{"bank alone", 0.7372, 0.3619, "plaintext"}, {"federation", 0.7517, 0.3852, "this job"},
			{"pooled plaintext", 0.7521, 0.3832, ""}},
		Importance: []Importance{{"bank", "deposits", 40, 12}, {"telecom", "#3", 60, 9}, {"telecom", "#1", 20, 4}, {"bank", "age", 0.5, 1}},
		Steps: []Step{{"align", "align", 4.31, map[string]int64{"telecom": 2_912_000, "bank": 1_830_000}, 4},
			{"boost", "boost", 132.4, map[string]int64{"bank": 61_000_000, "telecom": 412_000_000}, 481}},
		Learned: []Learned{{"telecom", "align", []string{"How many rows are common."}}, {"bank", "align", []string{"Which rows are common.", "No other."}}},
		Traffic: []Traffic{{"bank", "telecom", "align", "blinded", 7, 900_000}, {"telecom", "bank", "boost", "sums", 481, 412_000_000}},
		Params:  [][2]string{{"trees", "60"}, {"depth", "4"}}, Security: []string{"128 bits."}, Warnings: []string{"One column is constant."},
	}
	for k := range 37 {
		r.History.Train = append(r.History.Train, 0.25*math.Exp(-float64(k)/30))
		r.History.Valid = append(r.History.Valid, 0.22+0.0001*float64((k-20)*(k-20)))
	}
	r.History.Best = 21
	return r
}

func write(t testing.TB, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFullReportShowsItsNumbers(t *testing.T) {
	t.Parallel()
	r := full(t)
	doc := parse(t, write(t, r))
	text := doc.text()
	e := r.Sets[2].Eval
	for _, want := range []string{
		"On 1,200 test rows", fixed(e.AUC, 3), fixed(e.KS, 4), "above the one of “bank alone”",
		"+0.0145", "+0.0213", "21,074", "75.3", "28,000", "2.7", "key 3f2a", "income_monthly", "6.2",
		"bank, 34", "telecom, 66", "49.8", "412\u202fMB", "1.83\u202fMB", "132.4", "136.7", "485", "Which rows are common.",
		"blinded", "481", "128 bits.", "One column is constant.", "trees", "2026-01-31 12:00 UTC", "1.2.3", "21 trees kept", "21 (kept)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	wantSections := []string{"Compared with", "Ranking", "Probabilities", "Model", "What each party learned", "What ran and what moved", "Data", "Parameters and security"}
	if got := doc.headings(); strings.Join(got, "|") != "Warnings|"+strings.Join(wantSections, "|") {
		t.Errorf("sections %v", got)
	}
	for _, id := range []string{"roc", "ks", "gains", "lift", "calibration", "history"} {
		if doc.byID[id+"-t"] == nil || doc.byID[id+"-d"] == nil {
			t.Errorf("no drawing %s with title and description", id)
		}
	}
	// The guest comes first though its features have less gain.
	if strings.Index(text, "bank, 34") > strings.Index(text, "telecom, 66") {
		t.Error("owners are not in the order of the parties")
	}
}

func TestSameBytes(t *testing.T) {
	t.Parallel()
	want := write(t, full(t))
	for range 20 {
		if write(t, full(t)) != want {
			t.Fatal("the same report gives other bytes")
		}
	}
}

// Without data a section is left out, and nothing is said about it.
func TestSectionsWithoutData(t *testing.T) {
	t.Parallel()
	empty := parse(t, write(t, Report{}))
	if len(empty.headings()) != 0 || len(empty.all("table")) != 0 || len(empty.all("svg")) != 0 || len(empty.all("li")) != 0 {
		t.Errorf("an empty report has %v", empty.headings())
	}
	for _, c := range []struct {
		heading string
		clear   func(r *Report)
	}{
		{"Warnings", func(r *Report) { r.Warnings = nil }},
		{"Compared with", func(r *Report) { r.Comparison = nil }},
		{"Ranking", func(r *Report) { r.Sets = []Set{{"test", nil}} }},
		{"Probabilities", func(r *Report) { r.Sets[2].Eval.Calibration = nil }},
		{"Model", func(r *Report) { r.Importance, r.History = nil, History{} }},
		{"What each party learned", func(r *Report) { r.Learned = []Learned{{"bank", "align", nil}} }},
		{"What ran and what moved", func(r *Report) { r.Steps, r.Traffic = nil, nil }},
		{"Data", func(r *Report) { r.Parties, r.Columns = nil, nil }},
		{"Parameters and security", func(r *Report) { r.Params, r.Security = nil, nil }},
	} {
		r := full(t)
		c.clear(&r)
		doc := parse(t, write(t, r))
		for _, h := range doc.headings() {
			if h == c.heading {
				t.Errorf("%q is there without data", h)
			}
		}
		if len(doc.headings()) < 7 {
			t.Errorf("without %q only %v is left", c.heading, doc.headings())
		}
	}
}

// Evaluations of few rows, perfect and useless models, curves that lack, one tree.
func TestOddReports(t *testing.T) {
	t.Parallel()
	few := func(scores, labels []float64) *metric.Evaluation {
		e, err := metric.Evaluate(scores, labels)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for name, r := range map[string]Report{
		"two rows":    {Sets: []Set{{"test", few([]float64{1, 0}, []float64{1, 0})}}},
		"constant":    {Sets: []Set{{"train", few([]float64{0, 0, 0}, []float64{1, 0, 0})}}},
		"no curves":   {Sets: []Set{{"test", &metric.Evaluation{}}}},
		"one tree":    {History: History{Train: []float64{0.3}, Best: 1}},
		"flat":        {History: History{Train: []float64{0, 0, 0}, Best: 9}},
		"best below":  {History: History{Valid: []float64{1, 2}, Best: -4}},
		"two trees":   {History: History{Valid: []float64{1, 2}, Train: []float64{1, 2, 3}, Best: 3}},
		"no gain":     {Importance: []Importance{{"bank", "age", 0, 3}, {"bank", "income", 0, 1}}},
		"nothing":     {Importance: []Importance{{"bank", "age", 0, 0}}},
		"one model":   {Comparison: []Row{{Name: "alone", AUC: 0.5}}},
		"same models": {Comparison: []Row{{Name: "a"}, {Name: "b"}}},
		"costs":       {Steps: []Step{{Seconds: -1, BytesSent: map[string]int64{"x": -5}, Rounds: -1}}},
	} {
		parse(t, write(t, r))
		if name == "no gain" && !strings.Contains(write(t, r), "Share of splits") {
			t.Error("without gains, splits do not count")
		}
	}
	many := Report{}
	for k := range 500 {
		many.Importance = append(many.Importance, Importance{"bank", strings.Repeat("x", k), 1, 1})
		many.Columns = append(many.Columns, Column{})
		many.Traffic = append(many.Traffic, Traffic{Messages: 1, Bytes: 2})
	}
	doc := parse(t, write(t, many))
	if n := len(doc.all("tr")); n > maxFeatures+maxColumns+maxTraffic+10 {
		t.Errorf("%d rows in all tables", n)
	}
	for _, want := range []string{"485 more", "300 more are not listed", "300 more kinds", "1.00\u202fkB"} {
		if !strings.Contains(doc.text(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestNumbersThatAreNone(t *testing.T) {
	t.Parallel()
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64} {
		r := full(t)
		r.Parties[0].Missing = &bad
		r.Columns[0].Missing = bad
		r.Comparison[1].AUC, r.Comparison[0].KS = bad, bad
		r.Importance[0].Gain = bad
		r.History.Train[3], r.History.Valid[0] = bad, bad
		r.Steps[0].Seconds = bad
		if !finite(bad) {
			e := r.Sets[2].Eval
			e.AUC, e.AUCLow, e.KS, e.KSThreshold, e.LogLoss, e.Lift10, e.MeanScore = bad, bad, bad, bad, bad, bad, bad
			e.ROC[1].FPR, e.KSCurve[2].Positives, e.KSCurve[0].Share = bad, bad, bad
			e.Gains[0].Lift, e.Gains[1].Captured, e.Gains[2].Positives = bad, bad, bad
			e.Calibration[0].Predicted, e.Calibration[1].High = bad, bad
		}
		page := write(t, r)
		parse(t, page)
		for _, word := range []string{"NaN", "Inf", "%!"} {
			if strings.Contains(page, word) {
				at := strings.Index(page, word)
				t.Errorf("%v shows as %q", bad, page[max(0, at-60):at+20])
			}
		}
	}
}

type failing struct{}

var errFull = errors.New("disk full")

func (failing) Write([]byte) (int, error) { return 0, errFull }

func TestWriteError(t *testing.T) {
	t.Parallel()
	if err := Write(failing{}, full(t)); !errors.Is(err, errFull) {
		t.Error(err)
	}
}
