package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kontor/internal/fault"
	"kontor/internal/suggest"
	"kontor/table"
)

// binaryLabel maps the label column to 0 and 1.
func binaryLabel(t *table.Table, c *table.Column, positive, file string) ([]float64, error) {
	distinct := map[string]int{}
	tokens := table.DefaultMissing()
	var missing []int // lines
	for i := range c.Len() {
		if c.Missing(i) || slices.Contains(tokens, strings.TrimSpace(c.Text(i))) {
			missing = append(missing, t.Line(i))
		} else if len(distinct) <= 32 {
			distinct[labelText(c, i)]++
		}
	}
	if len(missing) > 0 {
		return nil, fault.New(fault.Data, fmt.Sprintf("%s: the label %s is missing in %d rows (line %d is the first)", file, c.Name(), len(missing), missing[0]), "remove these rows or fill in their label")
	}
	var values []string
	for v := range distinct {
		values = append(values, v)
	}
	slices.Sort(values)
	is, err := positiveValue(values, positive, c.Name(), file)
	if err != nil {
		return nil, err
	}
	out := make([]float64, c.Len())
	for i := range out {
		if is(labelText(c, i)) {
			out[i] = 1
		}
	}
	return out, nil
}

// labelText returns the label of a row so that 1, 1.0 and " 1" are the same.
func labelText(c *table.Column, i int) string {
	s := strings.TrimSpace(c.Text(i))
	if x, err := strconv.ParseFloat(s, 64); err == nil {
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	return s
}

func positiveValue(values []string, positive, column, file string) (func(string) bool, error) {
	if len(values) == 1 {
		return nil, fault.New(fault.Data, fmt.Sprintf("%s: the label %s has one class only (%q in every row)", file, column, values[0]), "name a label column with both classes, 0 and 1")
	}
	if positive != "" {
		if !slices.Contains(values, positive) {
			return nil, fault.New(fault.Data, fmt.Sprintf("%s: no row has the label %s = %q", file, column, positive), suggest.For(positive, values))
		}
		return func(v string) bool { return v == positive }, nil
	}
	if len(values) > 2 {
		return nil, fault.New(fault.Data, fmt.Sprintf("%s: the label %s has more than two values (%s)", file, column, list(values)), "name a label column with two classes, or say positive: VALUE")
	}
	a, errA := strconv.ParseFloat(values[0], 64)
	b, errB := strconv.ParseFloat(values[1], 64)
	if errA == nil && errB == nil && a != b {
		top := max(a, b)
		return func(v string) bool { x, err := strconv.ParseFloat(v, 64); return err == nil && x == top }, nil
	}
	for _, pair := range [][2]string{{"false", "true"}, {"no", "yes"}, {"f", "t"}, {"n", "y"}} {
		is := strings.EqualFold
		if is(values[0], pair[0]) && is(values[1], pair[1]) || is(values[0], pair[1]) && is(values[1], pair[0]) {
			return func(v string) bool { return strings.EqualFold(v, pair[1]) }, nil
		}
	}
	return nil, fault.New(fault.Data, fmt.Sprintf("%s: the label %s has the values %q and %q", file, column, values[0], values[1]), "say which one counts as 1 with positive: VALUE")
}
