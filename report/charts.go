package report

import (
	"fmt"
	"html/template"
	"math"

	"kontor/fed/metric"
)

// chart is a drawing with its heading and a sentence on how to read it.
type chart struct {
	Title, Read string
	SVG         template.HTML
}

// legendHead is the room that a legend over a drawing takes.
const legendHead = 18

// lineClass is the look of a set's curves: the headline's strong, others faint
// and broken, so that they differ without colour too.
func lineClass(s Set, head string) string {
	switch s.Name {
	case head:
		return "line a"
	case "train":
		return "line c dash"
	}
	return "line c dots"
}

// faintFirst orders sets so that the headline is drawn last, over the others.
func faintFirst(sets []Set, head string) []Set {
	var out, last []Set
	for _, s := range sets {
		if s.Name == head {
			last = append(last, s)
		} else {
			out = append(out, s)
		}
	}
	return append(out, last...)
}

func rocChart(sets []Set, head string) chart {
	p := newPlot("roc", "ROC curve", "True positive rate against false positive rate for every threshold. The area under each curve is in the table of key figures.",
		shares(), shares(), "false positive rate, %", "true positive rate, %")
	p.segment("line ref", point{0, 0}, point{1, 1})
	var keys []key
	for _, s := range faintFirst(sets, head) {
		pts := make([]point, len(s.Eval.ROC))
		for i, q := range s.Eval.ROC {
			pts[i] = point{q.FPR, q.TPR}
		}
		p.curve(lineClass(s, head), pts)
		text := fmt.Sprintf("%s, AUC %s", short(s.Name, 16), fixed(s.Eval.AUC, 3))
		keys = append([]key{{class: lineClass(s, head), text: text}}, keys...)
	}
	keys = append(keys, key{class: "line ref", text: "no skill, AUC 0.500"})
	p.legend(0.05, keys)
	return chart{"ROC", "Of the positives, the share found; of the negatives, the share flagged with them. The nearer the upper left corner, the better.", p.svg(0)}
}

// ksPoint returns the point of the curve with the greatest gap.
func ksPoint(e *metric.Evaluation) metric.KSPoint {
	best := e.KSCurve[0]
	for _, q := range e.KSCurve {
		if q.Positives-q.Negatives > best.Positives-best.Negatives {
			best = q
		}
	}
	return best
}

func ksChart(s Set) chart {
	at := ksPoint(s.Eval)
	drawn := point{at.Share, at.Positives}.drawable() && point{at.Share, at.Negatives}.drawable()
	p := newPlot("ks", "Kolmogorov-Smirnov curves", fmt.Sprintf("Cumulative shares of positives and negatives by share of rows, highest scores first. The greatest gap is %s, after %s of rows.",
		fixed(s.Eval.KS, 3), percent(at.Share, 1)), shares(), shares(), "share of rows, highest scores first, %", "cumulative share, %")
	pos := make([]point, len(s.Eval.KSCurve))
	neg := make([]point, len(s.Eval.KSCurve))
	for i, q := range s.Eval.KSCurve {
		pos[i], neg[i] = point{q.Share, q.Positives}, point{q.Share, q.Negatives}
	}
	if drawn {
		p.segment("gap", point{at.Share, at.Negatives}, point{at.Share, at.Positives})
	}
	p.curve("line a", neg)
	p.curve("line b", pos)
	if drawn {
		p.dot("dot b", p.x.at(at.Share), p.y.at(at.Positives), 3.5)
		p.dot("dot a", p.x.at(at.Share), p.y.at(at.Negatives), 3.5)
	}
	p.legend(0.05, []key{
		{class: "line b", text: "positives"},
		{class: "line a", text: "negatives"},
		{class: "gap", text: fmt.Sprintf("KS %s at score %s", fixed(s.Eval.KS, 3), fixed(s.Eval.KSThreshold, 4))},
	})
	return chart{"KS", fmt.Sprintf("On %s rows. The gap between the two curves is widest once %s of the rows are flagged.", s.Name, percent(at.Share, 1)), p.svg(0)}
}

func gainsChart(sets []Set, head string) chart {
	p := newPlot("gains", "Cumulative gains", "Share of all positives among the rows with the highest scores, by decile; values are in the table of deciles.",
		shares(), shares(), "share of rows, highest scores first, %", "share of positives found, %")
	p.segment("line ref", point{0, 0}, point{1, 1})
	var keys []key
	for _, s := range faintFirst(sets, head) {
		pts := []point{{0, 0}}
		for _, g := range s.Eval.Gains {
			pts = append(pts, point{g.Share, g.Captured})
		}
		p.curve(lineClass(s, head), pts)
		if s.Name == head {
			for _, q := range pts[1:] {
				if q.drawable() {
					p.dot("dot a", p.x.at(q.x), p.y.at(q.y), 2.8)
				}
			}
		}
		keys = append([]key{{class: lineClass(s, head), text: short(s.Name, 24)}}, keys...)
	}
	keys = append(keys, key{class: "line ref", text: "rows in random order"})
	p.legend(0.05, keys)
	return chart{"Gains", "How many of the positives are among the rows with the highest scores.", p.svg(0)}
}

func liftChart(s Set) chart {
	top := 1.0
	for _, g := range s.Eval.Gains {
		if plottable(g.Lift) {
			top = math.Max(top, g.Lift)
		}
	}
	x := scale{lo: 0.5, hi: 10.5, text: func(v float64) string { return fixed(v, 0) }}
	for k := 1; k <= 10; k++ {
		x.ticks = append(x.ticks, float64(k))
	}
	p := newPlot("lift", "Lift by decile", "Rate of positives in each decile over the rate of all rows; values are in the table of deciles.",
		x, fit(0, top*1.08, 5), "decile of scores, 1 is the highest", "lift")
	p.segment("line ref", point{0.5, 1}, point{10.5, 1})
	for _, g := range s.Eval.Gains {
		if !plottable(g.Lift) || g.Bucket < 1 || g.Bucket > 10 {
			continue
		}
		mid, y := p.x.at(float64(g.Bucket)), p.y.at(g.Lift)
		fmt.Fprintf(&p.b, `<rect class="bar a" x="%s" y="%s" width="26" height="%s"/>`, num(mid-13), num(y), num(p.y.from-y))
		p.text("value over mid", mid, y-5, fixed(g.Lift, 2))
	}
	return chart{"Lift", fmt.Sprintf("On %s rows. How much more often positives occur in a decile than among all rows (the line at 1).", s.Name), p.svg(0)}
}

func calibrationChart(s Set) chart {
	top := 0.0
	for _, b := range s.Eval.Calibration {
		for _, v := range []float64{b.Predicted, b.High} {
			if plottable(v) {
				top = math.Max(top, v)
			}
		}
	}
	axis := fit(0, math.Min(1, math.Max(top, 0.01)), 6)
	axis.text = percentTicks(axis)
	p := newPlot("calibration", "Calibration", "Observed rate of positives with its 95 % interval against the mean predicted probability, by bins of scores; values are in the table of calibration.",
		axis, axis, "mean predicted probability, %", "observed rate, %")
	p.segment("line ref", point{axis.lo, axis.lo}, point{axis.hi, axis.hi})
	var pts []point
	for _, b := range s.Eval.Calibration {
		if !(point{b.Predicted, b.Observed}).drawable() || !(point{b.Low, b.High}).drawable() {
			continue
		}
		x := p.x.at(b.Predicted)
		lo, hi := p.y.at(b.Low), p.y.at(b.High)
		p.line("whisker", x, lo, x, hi)
		p.line("whisker", x-3, lo, x+3, lo)
		p.line("whisker", x-3, hi, x+3, hi)
		pts = append(pts, point{b.Predicted, b.Observed})
	}
	for _, q := range pts {
		p.dot("dot a", p.x.at(q.x), p.y.at(q.y), 3.8)
	}
	p.legendAbove([]key{
		{class: "dot a", text: "bins of " + short(s.Name, 16) + " rows, 95 % interval", dot: true},
		{class: "line ref", text: "predicted = observed"},
	})
	return chart{"Calibration", "Whether a predicted probability can be taken at its word. Over the line, more rows are positive than predicted.", p.svg(legendHead)}
}

// percentTicks writes the ticks of s, which are shares, in percent.
func percentTicks(s scale) func(v float64) string {
	decimals := decimalsOf(100 * (s.ticks[1] - s.ticks[0]))
	return func(v float64) string { return fixed(100*v, decimals) }
}

func historyChart(h History) (chart, bool) {
	lo, hi, n := math.Inf(1), math.Inf(-1), 0
	for _, c := range [][]float64{h.Train, h.Valid} {
		for _, v := range c {
			if plottable(v) {
				lo, hi, n = math.Min(lo, v), math.Max(hi, v), n+1
			}
		}
	}
	trees := max(len(h.Train), len(h.Valid))
	if n == 0 || trees < 2 {
		return chart{}, false
	}
	x := fit(1, float64(trees), 6)
	x.lo, x.hi = 1, float64(trees)
	ticks := []float64{1}
	for _, v := range x.ticks {
		if v > 1 && v <= x.hi && v == math.Trunc(v) {
			ticks = append(ticks, v)
		}
	}
	x.ticks, x.text = ticks, func(v float64) string { return fixed(v, 0) }
	p := newPlot("history", "Training curve", "Log-loss after each tree; values are in the table of training.", x, fit(lo, hi, 5), "trees", "log-loss, nats a row")
	var keys []key
	if h.Best >= 1 && h.Best <= trees {
		p.segment("gap", point{float64(h.Best), p.y.lo}, point{float64(h.Best), p.y.hi})
	}
	for _, c := range []struct {
		class, name string
		values      []float64
	}{{"line c dash", "training rows", h.Train}, {"line a", "validation rows", h.Valid}} {
		if len(c.values) == 0 {
			continue
		}
		pts := make([]point, len(c.values))
		for i, v := range c.values {
			pts[i] = point{float64(i + 1), v}
		}
		p.curve(c.class, pts)
		keys = append(keys, key{class: c.class, text: c.name})
	}
	if h.Best >= 1 && h.Best <= trees {
		keys = append(keys, key{class: "gap", text: fmt.Sprintf("%d trees kept", h.Best)})
		if h.Best <= len(h.Valid) && plottable(h.Valid[h.Best-1]) {
			p.dot("dot a", p.x.at(float64(h.Best)), p.y.at(h.Valid[h.Best-1]), 3.5)
		}
	}
	p.legendAbove(keys)
	return chart{"Training", "Where the validation curve stops falling, further trees fit chance.", p.svg(legendHead)}, true
}

// bar draws a share of a table cell.
func bar(class string, share float64) template.HTML {
	if !finite(share) {
		share = 0
	}
	return template.HTML(fmt.Sprintf(`<svg class="cell" aria-hidden="true" viewBox="0 0 100 10" preserveAspectRatio="none"><rect class="bar %s" x="0" y="1" width="%s" height="8"/></svg>`,
		class, num(100*min(max(share, 0), 1))))
}

// strip draws v as a dot on a scale that all rows of a table share, with the
// baseline as a tick.
func strip(class string, s scale, baseline, v float64) template.HTML {
	s.from, s.to = 6, 194
	out := `<svg class="strip" aria-hidden="true" viewBox="0 0 200 16"><line class="grid" x1="0" y1="8" x2="200" y2="8"/>`
	if plottable(baseline) {
		x := num(s.at(baseline))
		out += fmt.Sprintf(`<line class="line ref" x1="%s" y1="1" x2="%s" y2="15"/>`, x, x)
		if plottable(v) {
			out += fmt.Sprintf(`<line class="line %s" x1="%s" y1="8" x2="%s" y2="8"/>`, class, x, num(s.at(v)))
		}
	}
	if plottable(v) {
		out += fmt.Sprintf(`<circle class="dot %s" cx="%s" cy="8" r="4.5"/>`, class, num(s.at(v)))
	}
	return template.HTML(out + `</svg>`)
}
