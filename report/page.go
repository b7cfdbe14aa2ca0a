package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"unicode"

	"kontor/fed/metric"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page is a report as the template shows it; what is empty is left out.
type page struct {
	Report
	Style template.CSS
	Lead  string
	Roles string

	Cards       []card
	Compare     *table
	Ranking     []chart
	Figures     *table
	Thresholds  *table
	Deciles     *table
	Calibration *panel
	Training    *panel
	Owners      []table
	StepCosts   *table
	Moved       *table
	Accounts    []account
	Data        *table
	Features    *table
}

// card is a number that the reader sees first.
type card struct{ Label, Value, Sub string }

// table is rows of cells, strings or [template.HTML]. The first cell of a row
// names it.
type table struct {
	Caption string
	Note    string
	Text    int  // how many columns from the left hold text, the others numbers
	Remarks bool // the last column holds text too
	Head    []string
	Rows    [][]any
	Foot    []any
}

// Class returns the look of a column, for the template.
func (t table) Class(column int) string {
	switch {
	case column < t.Text:
		return ""
	case t.Remarks && column == len(t.Head)-1:
		return "remark"
	}
	return "n"
}

// panel is a chart with its table beside it.
type panel struct {
	Chart chart
	Table *table
}

// account is what one party learned.
type account struct {
	Party string
	Steps []Learned
}

// Write writes the page. Errors are those of w.
func Write(w io.Writer, r Report) error {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, build(r)); err != nil {
		return fmt.Errorf("fill in the report: %w", err)
	}
	if _, err := w.Write(bytes.Map(printable, b.Bytes())); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// printable replaces what no page may hold. Names come from files and peers, and
// broken text in one would spoil the whole. Bytes that are no UTF-8 arrive here
// as U+FFFD already.
func printable(r rune) rune {
	if r == '\n' || r == '\t' {
		return r
	}
	if unicode.IsControl(r) || r == '\uFFFE' || r == '\uFFFF' {
		return '\uFFFD'
	}
	return r
}

func build(r Report) *page {
	p := &page{Report: r, Style: template.CSS(pageStyle)}
	var roles []string
	for _, party := range r.Parties {
		roles = append(roles, strings.TrimSuffix(party.Name+" ("+party.Role+")", " ()"))
	}
	p.Roles = strings.Join(roles, ", ")
	sets := measured(r.Sets)
	if len(sets) > 0 {
		head := headline(sets)
		p.Lead = lead(head, r.Comparison)
		p.Cards = cards(r, head)
		p.Ranking = rankingCharts(sets, head)
		p.Figures = figureTable(sets, head.Name)
		p.Thresholds = thresholdTable(head)
		p.Deciles = decileTable(head)
		if len(head.Eval.Calibration) > 0 {
			p.Calibration = &panel{calibrationChart(head), calibrationTable(head)}
		}
	} else if r.Joined > 0 {
		p.Cards = []card{{"Rows in common", count(r.Joined), ""}}
	}
	p.Compare = comparisonTable(r.Comparison)
	if c, ok := historyChart(r.History); ok {
		p.Training = &panel{c, historyTable(r.History)}
	}
	p.Owners = importanceTables(r)
	p.StepCosts = stepTable(r)
	p.Moved = trafficTable(r.Traffic)
	p.Accounts = accounts(r)
	p.Data = dataTable(r)
	p.Features = columnTable(r.Columns)
	return p
}

// measured returns the sets that have an evaluation.
func measured(sets []Set) []Set {
	var out []Set
	for _, s := range sets {
		if s.Eval != nil {
			out = append(out, s)
		}
	}
	return out
}

func headline(sets []Set) Set {
	for _, s := range sets {
		if s.Name == "test" {
			return s
		}
	}
	return sets[len(sets)-1]
}

func rankingCharts(sets []Set, head Set) []chart {
	var out []chart
	if len(head.Eval.ROC) > 0 {
		out = append(out, rocChart(sets, head.Name))
	}
	if len(head.Eval.KSCurve) > 0 {
		out = append(out, ksChart(head))
	}
	if len(head.Eval.Gains) > 0 {
		out = append(out, gainsChart(sets, head.Name), liftChart(head))
	}
	return out
}

func interval(e *metric.Evaluation) string {
	return fixed(e.AUCLow, 3) + " to " + fixed(e.AUCHigh, 3)
}

// hasInterval tells whether the interval says more than that an AUC is a share.
func hasInterval(e *metric.Evaluation) bool {
	return finite(e.AUCLow) && finite(e.AUCHigh) && e.AUCLow < e.AUCHigh && (e.AUCLow > 0 || e.AUCHigh < 1)
}

// lead is the result in a sentence.
func lead(s Set, comparison []Row) string {
	e := s.Eval
	var b strings.Builder
	fmt.Fprintf(&b, "On %s %s rows, of which %s are positive, the model reaches an AUC of %s", count(e.Rows), s.Name, count(e.Positives), fixed(e.AUC, 3))
	if hasInterval(e) {
		fmt.Fprintf(&b, " (95\u202f%% interval %s)", interval(e))
	}
	fmt.Fprintf(&b, " and a KS of %s.", fixed(e.KS, 3))
	if len(comparison) > 1 && finite(comparison[0].AUC) && finite(e.AUC) {
		d := e.AUC - comparison[0].AUC
		word := "above"
		if d < 0 {
			d, word = -d, "below"
		}
		fmt.Fprintf(&b, " That AUC is %s %s the one of “%s”.", fixed(d, 3), word, comparison[0].Name)
	}
	return b.String()
}

func cards(r Report, s Set) []card {
	e := s.Eval
	auc := card{"AUC, " + s.Name, fixed(e.AUC, 3), ""}
	if hasInterval(e) {
		auc.Sub = "95\u202f% interval " + interval(e)
	}
	out := []card{auc, {"KS, " + s.Name, fixed(e.KS, 3), "at score " + fixed(e.KSThreshold, 4)}}
	if len(r.Comparison) > 1 {
		out = append(out, card{"AUC, difference", signed(e.AUC-r.Comparison[0].AUC, 3), "to " + r.Comparison[0].Name + ", " + fixed(r.Comparison[0].AUC, 3)})
	}
	top := card{"Lift, top tenth", fixed(e.Lift10, 2), ""}
	if len(e.Gains) > 0 {
		top.Sub = percent(e.Gains[0].Captured, 0) + " of the positives"
	}
	out = append(out, top)
	if e.Rows > 0 {
		out = append(out, card{"Positives, " + s.Name, percent(float64(e.Positives)/float64(e.Rows), 2), "predicted on average " + percent(e.MeanScore, 2)})
	}
	if r.Joined > 0 {
		out = append(out, card{"Rows in common", count(r.Joined), count(len(r.Parties)) + " parties"})
	}
	return out
}
