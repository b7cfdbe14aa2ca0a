package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"kontor/fed/metric"
)

// How many rows a table shows of what has no natural bound.
const (
	maxFeatures = 15 // per owner
	maxColumns  = 200
	maxTraffic  = 200
)

func figureTable(sets []Set, head string) *table {
	t := &table{Caption: "Key figures", Text: 1, Head: []string{""}}
	for _, s := range sets {
		t.Head = append(t.Head, s.Name)
	}
	for _, f := range []struct {
		name string
		text func(e *metric.Evaluation) string
	}{
		{"Rows", func(e *metric.Evaluation) string { return count(e.Rows) }},
		{"Positives", func(e *metric.Evaluation) string { return count(e.Positives) }},
		{"AUC", func(e *metric.Evaluation) string { return fixed(e.AUC, 4) }},
		{"AUC, 95\u202f% interval", func(e *metric.Evaluation) string {
			if !hasInterval(e) {
				return dash
			}
			return interval(e)
		}},
		{"Gini", func(e *metric.Evaluation) string { return fixed(e.Gini, 4) }},
		{"KS", func(e *metric.Evaluation) string { return fixed(e.KS, 4) }},
		{"Lift, top tenth", func(e *metric.Evaluation) string { return fixed(e.Lift10, 2) }},
		{"Average precision", func(e *metric.Evaluation) string { return fixed(e.AP, 4) }},
		{"Log-loss, nats a row", func(e *metric.Evaluation) string { return fixed(e.LogLoss, 4) }},
		{"Brier score", func(e *metric.Evaluation) string { return fixed(e.Brier, 4) }},
	} {
		row := []any{f.name}
		for _, s := range sets {
			row = append(row, f.text(s.Eval))
		}
		t.Rows = append(t.Rows, row)
	}
	if len(sets) > 1 && head == "test" {
		t.Note = "The model was made with the rows of the other sets. What to expect of it, only the " + head + " rows say."
	}
	return t
}

func thresholdTable(s Set) *table {
	e := s.Eval
	if e.Confusion == (metric.Confusion{}) {
		return nil
	}
	t := &table{Caption: "Flagging at a threshold, " + s.Name + " rows", Text: 1, Head: []string{"",
		"score ≥ " + fixed(e.Threshold, 4), "score ≥ " + fixed(e.KSThreshold, 4) + " (KS)"}}
	a, b := e.Confusion, e.KSConfusion
	flagged := func(c metric.Confusion) string {
		return percent(float64(c.TP+c.FP)/float64(c.TP+c.FP+c.TN+c.FN), 1)
	}
	precision := func(c metric.Confusion) string {
		if c.TP+c.FP == 0 {
			return dash
		}
		return percent(c.Precision, 1)
	}
	t.Rows = [][]any{
		{"Flagged", flagged(a), flagged(b)},
		{"Positives flagged", count(a.TP), count(b.TP)},
		{"Positives missed", count(a.FN), count(b.FN)},
		{"Negatives flagged", count(a.FP), count(b.FP)},
		{"Negatives passed", count(a.TN), count(b.TN)},
		{"Precision", precision(a), precision(b)},
		{"Recall", percent(a.Recall, 1), percent(b.Recall, 1)},
		{"F1", fixed(a.F1, 3), fixed(b.F1, 3)},
		{"Accuracy", percent(a.Accuracy, 1), percent(b.Accuracy, 1)},
	}
	return t
}

func decileTable(s Set) *table {
	if len(s.Eval.Gains) == 0 {
		return nil
	}
	t := &table{Caption: "Deciles of score, " + s.Name + " rows", Text: 1,
		Head: []string{"Decile", "Rows", "Scores from", "Positives", "Rate", "Lift", "Found so far", "Lift so far"},
		Note: "Positives of rows with equal scores that fall into two deciles are shared out in proportion."}
	for _, g := range s.Eval.Gains {
		decimals := 0
		if g.Positives != math.Trunc(g.Positives) {
			decimals = 1
		}
		t.Rows = append(t.Rows, []any{count(g.Bucket), count(g.Rows), fixed(g.MinScore, 4), fixed(g.Positives, decimals),
			percent(g.Rate, 2), fixed(g.Lift, 2), percent(g.Captured, 1), fixed(g.CumLift, 2)})
	}
	return t
}

func calibrationTable(s Set) *table {
	t := &table{Caption: "Calibration, " + s.Name + " rows",
		Head: []string{"Rows", "Scores from", "to", "Predicted", "Observed", "95\u202f% interval"}}
	for _, b := range s.Eval.Calibration {
		t.Rows = append(t.Rows, []any{count(b.Rows), fixed(b.MinScore, 4), fixed(b.MaxScore, 4), percent(b.Predicted, 2),
			percent(b.Observed, 2), fixed(100*b.Low, 2) + " to " + percent(b.High, 2)})
	}
	return t
}

func historyTable(h History) *table {
	trees := max(len(h.Train), len(h.Valid))
	at := map[int]bool{1: true, trees: true, h.Best: true}
	for _, v := range fit(0, float64(trees), 6).ticks {
		at[int(v)] = true
	}
	t := &table{Caption: "Log-loss by number of trees", Head: []string{"Trees", "Training rows"}}
	if len(h.Valid) > 0 {
		t.Head = append(t.Head, "Validation rows")
	}
	value := func(c []float64, k int) string {
		if k > len(c) {
			return dash
		}
		return fixed(c[k-1], 5)
	}
	for k := 1; k <= trees; k++ {
		if !at[k] {
			continue
		}
		name := count(k)
		if k == h.Best {
			name += " (kept)"
		}
		row := []any{name, value(h.Train, k)}
		if len(h.Valid) > 0 {
			row = append(row, value(h.Valid, k))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func comparisonTable(rows []Row) *table {
	if len(rows) == 0 {
		return nil
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, r := range rows {
		if plottable(r.AUC) {
			lo, hi = math.Min(lo, r.AUC), math.Max(hi, r.AUC)
		}
	}
	axis := fit(lo, hi, 3)
	t := &table{Text: 2, Remarks: true, Head: []string{"Model", axis.text(axis.lo) + " — AUC — " + axis.text(axis.hi), "AUC", "Difference", "KS", "Difference", "Note"}}
	for i, r := range rows {
		class, dAUC, dKS := "a", dash, dash
		if i > 0 {
			dAUC, dKS = signed(r.AUC-rows[0].AUC, 4), signed(r.KS-rows[0].KS, 4)
		} else {
			class = "c"
		}
		t.Rows = append(t.Rows, []any{r.Name, strip(class, axis, rows[0].AUC, r.AUC), fixed(r.AUC, 4), dAUC, fixed(r.KS, 4), dKS, r.Note})
	}
	if len(rows) > 1 {
		t.Note = "Differences are to the first line; all lines are measured on the same rows."
	}
	return t
}

// importanceTables gives each owner's features, the guest's and other parties'
// in the order of the report. All bars have one scale.
func importanceTables(r Report) []table {
	weight := func(i Importance) float64 { return i.Gain }
	measure := "Share of gain"
	total := sum(r.Importance, weight)
	if total <= 0 {
		weight = func(i Importance) float64 { return float64(i.Splits) }
		measure = "Share of splits"
		total = sum(r.Importance, weight)
	}
	if total <= 0 {
		return nil
	}
	top := 0.0
	by := map[string][]Importance{}
	for _, i := range r.Importance {
		by[i.Owner] = append(by[i.Owner], i)
		if w := weight(i); finite(w) {
			top = math.Max(top, w)
		}
	}
	var out []table
	for k, owner := range owners(r) {
		list := by[owner]
		slices.SortStableFunc(list, func(a, b Importance) int {
			return cmp.Or(cmp.Compare(weight(b), weight(a)), cmp.Compare(b.Splits, a.Splits), cmp.Compare(a.Feature, b.Feature))
		})
		class := "a"
		if k > 0 {
			class = "b"
		}
		t := table{Caption: owner + ", " + percent(sum(list, weight)/total, 0), Text: 1,
			Head: []string{"Feature", "", measure, "Splits"}}
		for j, i := range list {
			if j == maxFeatures {
				rest := list[j:]
				t.Note = fmt.Sprintf("%d more with %s together.", len(rest), percent(sum(rest, weight)/total, 1))
				break
			}
			t.Rows = append(t.Rows, []any{i.Feature, bar(class, weight(i)/top), percent(weight(i)/total, 1), count(i.Splits)})
		}
		out = append(out, t)
	}
	return out
}

// owners returns those who have features in the model: parties in the order of
// the report, then whoever else is named, by name.
func owners(r Report) []string {
	var named []string
	for _, i := range r.Importance {
		named = append(named, i.Owner)
	}
	return inOrder(r.Parties, named)
}

// inOrder returns the distinct names, parties first and in their order.
func inOrder(parties []Party, names []string) []string {
	slices.Sort(names)
	names = slices.Compact(names)
	var out []string
	for _, p := range parties {
		if _, ok := slices.BinarySearch(names, p.Name); ok && !slices.Contains(out, p.Name) {
			out = append(out, p.Name)
		}
	}
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func sum(list []Importance, weight func(Importance) float64) (s float64) {
	for _, i := range list {
		if w := weight(i); finite(w) && w > 0 {
			s += w
		}
	}
	return s
}

func stepTable(r Report) *table {
	if len(r.Steps) == 0 {
		return nil
	}
	var senders []string
	for _, s := range r.Steps {
		for name := range s.BytesSent {
			senders = append(senders, name)
		}
	}
	senders = inOrder(r.Parties, senders)
	t := &table{Caption: "Steps", Text: 2, Head: []string{"Step", "Kind", "Seconds", "Rounds"}}
	for _, name := range senders {
		t.Head = append(t.Head, name+" sent")
	}
	var (
		time  float64
		total = map[string]int64{}
		round int
	)
	for _, s := range r.Steps {
		row := []any{s.Name, s.Kind, seconds(s.Seconds), known(s.Rounds)}
		if finite(s.Seconds) {
			time += s.Seconds
		}
		round += s.Rounds
		for _, name := range senders {
			if b, ok := s.BytesSent[name]; ok && b != 0 {
				row = append(row, bytesText(b))
				total[name] += b
			} else {
				row = append(row, dash)
			}
		}
		t.Rows = append(t.Rows, row)
	}
	if len(r.Steps) > 1 {
		t.Foot = []any{"All", "", seconds(time), known(round)}
		for _, name := range senders {
			t.Foot = append(t.Foot, bytesText(total[name]))
		}
	}
	return t
}

func trafficTable(list []Traffic) *table {
	if len(list) == 0 {
		return nil
	}
	t := &table{Caption: "Messages", Text: 4, Head: []string{"From", "To", "Step", "Message", "Count", "Bytes"}}
	var messages, bytes int64
	for i, m := range list {
		messages += m.Messages
		bytes += m.Bytes
		if i < maxTraffic {
			t.Rows = append(t.Rows, []any{m.From, m.To, m.Step, m.Tag, count64(m.Messages), bytesText(m.Bytes)})
		}
	}
	if len(list) > maxTraffic {
		t.Note = fmt.Sprintf("%d more kinds of messages are in the totals only.", len(list)-maxTraffic)
	}
	t.Foot = []any{"All", "", "", "", count64(messages), bytesText(bytes)}
	return t
}

// accounts joins what was learned by party, in the order of the parties.
func accounts(r Report) []account {
	var names []string
	for _, l := range r.Learned {
		if len(l.Facts) > 0 {
			names = append(names, l.Party)
		}
	}
	var out []account
	for _, name := range inOrder(r.Parties, names) {
		a := account{Party: name}
		for _, l := range r.Learned {
			if l.Party == name && len(l.Facts) > 0 {
				a.Steps = append(a.Steps, l)
			}
		}
		out = append(out, a)
	}
	return out
}

func dataTable(r Report) *table {
	if len(r.Parties) == 0 {
		return nil
	}
	t := &table{Caption: "Parties", Text: 2, Head: []string{"Party", "Role", "Rows", "In common", "Features", "Values missing"}}
	notes := slices.ContainsFunc(r.Parties, func(p Party) bool { return p.Note != "" })
	if notes {
		t.Head, t.Remarks = append(t.Head, "Note"), true
	}
	for _, p := range r.Parties {
		joined, missing := dash, dash
		if r.Joined > 0 && p.Rows > 0 {
			joined = percent(float64(r.Joined)/float64(p.Rows), 1)
		}
		if p.Missing != nil {
			missing = percent(*p.Missing, 1)
		}
		row := []any{p.Name, p.Role, known(p.Rows), joined, known(p.Columns), missing}
		if notes {
			row = append(row, p.Note)
		}
		t.Rows = append(t.Rows, row)
	}
	if r.Joined > 0 {
		t.Note = count(r.Joined) + " rows are with all parties."
	}
	return t
}

func columnTable(columns []Column) *table {
	if len(columns) == 0 {
		return nil
	}
	t := &table{Caption: "Features", Text: 3, Head: []string{"Owner", "Feature", "Type", "Values missing"}}
	for i, c := range columns {
		if i == maxColumns {
			t.Note = fmt.Sprintf("%d more are not listed.", len(columns)-maxColumns)
			break
		}
		t.Rows = append(t.Rows, []any{c.Owner, c.Name, strings.ToLower(c.Type), percent(c.Missing, 1)})
	}
	return t
}
