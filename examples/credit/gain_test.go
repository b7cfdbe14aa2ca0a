package credit

import (
	"math"
	"slices"
	"testing"

	"kontor/fed/metric"
)

// TestTwoSidesKnowMore is what the example is for: a model of the joint columns
// ranks better than the bank's alone. The model is a logistic regression on
// indicators of quantile bins, fitted on seven rows in ten.
func TestTwoSidesKnowMore(t *testing.T) {
	t.Parallel()
	bank, telecom := Generate(Config{})
	partner := map[string]int{}
	for i, r := range telecom.Rows {
		partner[r[0]] = i
	}
	var at [2][]int // rows of the bank and the telecom of those in common
	for i, r := range bank.Rows {
		if j, ok := partner[r[0]]; ok {
			at[0], at[1] = append(at[0], i), append(at[1], j)
		}
	}
	var bins [][]int // by column, then row
	collect := func(d *Data, columns []column, rows []int) {
		for _, c := range columns {
			all := d.values(t, c.name)
			x := make([]float64, len(rows))
			for k, i := range rows {
				x[k] = all[i]
			}
			bins = append(bins, quantiles(x, 12))
		}
	}
	collect(bank, bankColumns, at[0])
	collect(telecom, telecomColumns, at[1])
	labels := bank.values(t, Label)
	y := make([]float64, len(at[0]))
	for k, i := range at[0] {
		y[k] = labels[i]
	}
	train := len(y) * 7 / 10

	auc := func(columns [][]int) float64 {
		p := fit(columns, y, train)
		a, err := metric.AUC(p[train:], y[train:])
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	alone, other, joint := auc(bins[:len(bankColumns)]), auc(bins[len(bankColumns):]), auc(bins)
	t.Logf("bank alone %.4f, telecom's columns alone %.4f, joint %.4f", alone, other, joint)
	if alone < 0.70 || alone > 0.82 {
		t.Errorf("the bank alone has an AUC of %.4f", alone)
	}
	if joint < alone+0.01 || joint > alone+0.06 {
		t.Errorf("joint AUC %.4f after %.4f alone", joint, alone)
	}
}

// quantiles gives each value the number of its bin, 0 where missing.
func quantiles(x []float64, n int) []int {
	sorted := slices.DeleteFunc(slices.Clone(x), math.IsNaN)
	slices.Sort(sorted)
	out := make([]int, len(x))
	for i, v := range x {
		if !math.IsNaN(v) {
			k, _ := slices.BinarySearch(sorted, v)
			out[i] = 1 + k*n/len(sorted)
		}
	}
	return out
}

// fit returns scores of all rows after gradient descent (Adagrad) on the first ones.
func fit(columns [][]int, y []float64, train int) []float64 {
	const width = 16
	weight := make([]float64, len(columns)*width)
	square := make([]float64, len(weight))
	bias := math.Log(mean(y[:train]) / (1 - mean(y[:train])))
	score := func(i int) float64 {
		z := bias
		for c := range columns {
			z += weight[c*width+columns[c][i]]
		}
		return z
	}
	gradient := make([]float64, len(weight))
	for range 150 {
		for k := range gradient {
			gradient[k] = 8 * weight[k] // ridge
		}
		for i := range train {
			d := sigmoid(score(i)) - y[i]
			for c := range columns {
				gradient[c*width+columns[c][i]] += d
			}
		}
		for k, g := range gradient {
			square[k] += g * g
			weight[k] -= 0.3 * g / math.Sqrt(square[k]+1e-9)
		}
	}
	out := make([]float64, len(y))
	for i := range out {
		out[i] = score(i)
	}
	return out
}
