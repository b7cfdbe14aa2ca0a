package boost

import (
	"fmt"
	"math"

	"kontor/internal/fault"
	"kontor/matvec"
)

// Bounds of [Params] and of the input. They keep every buffer whose size a
// parameter or a peer decides within what a machine can hold.
const (
	maxTrees    = 10_000
	maxDepth    = 10
	maxBins     = 254 // one index of a byte is left for missing values
	maxMeanBits = 24
	maxRows     = 1 << 26
	maxFeatures = 1 << 14

	// The bins of all columns of a host. Each takes about 27 KB of hint.
	maxTotalBins = 1 << 17
)

// Column is one feature: a value for each row of the aligned table, NaN where
// it is missing. Infinite values count as the largest finite ones.
type Column struct {
	Name   string
	Values []float64
}

// Rows says which rows of the columns train the model and which decide when to
// stop, as indices into the columns. All parties of a session give the same.
type Rows struct {
	Train []int // at least one
	Valid []int // may be empty unless Params.EarlyStopping is set
}

// Params are the parameters of a training, the same at all parties.
type Params struct {
	Trees          int     `json:"trees"`            // trees to grow, 1 to 10,000
	Depth          int     `json:"depth"`            // levels of splits, 1 to 10
	LearningRate   float64 `json:"learning_rate"`    // factor of each leaf, in (0, 1]
	Lambda         float64 `json:"lambda"`           // L2 penalty on leaf weights, >= 0
	Gamma          float64 `json:"gamma"`            // least gain of a split, >= 0
	MinChildWeight float64 `json:"min_child_weight"` // least sum of second derivatives in a child, >= 0
	Bins           int     `json:"bins"`             // quantile bins of a column, 2 to 254
	EarlyStopping  int     `json:"early_stopping"`   // trees without better validation log-loss before stopping; 0 = never
	Seed           uint64  `json:"seed"`             // of the stochastic rounding
	MeanBits       int     `json:"mean_bits"`        // gradients are rounded to about this many bits on average, 1 to 24
	// Exact holds gradients as fixed-point numbers of 62 bits instead of rounding
	// them to MeanBits: sums are then closer to the true ones than sums of
	// float64, and do not depend on the order of the rows. Only without hosts.
	Exact bool `json:"exact,omitempty"`
}

// DefaultParams returns parameters that suit tens of thousands of rows and a
// few dozen columns.
func DefaultParams() Params {
	return Params{Trees: 50, Depth: 4, LearningRate: 0.1, Lambda: 1, MinChildWeight: 1, Bins: 32, MeanBits: 4}
}

// Validate returns a [fault.Spec] error for the first parameter out of bounds.
func (p Params) Validate() error {
	bad := func(name string, value any, want string) error {
		return fault.New(fault.Spec, fmt.Sprintf("%s is %v", name, value), fmt.Sprintf("give %s %s", name, want))
	}
	atLeast0 := func(x float64) bool { return x >= 0 && x <= math.MaxFloat32 }
	switch {
	case p.Trees < 1 || p.Trees > maxTrees:
		return bad("trees", p.Trees, "from 1 to 10000")
	case p.Depth < 1 || p.Depth > maxDepth:
		return bad("depth", p.Depth, "from 1 to 10")
	case !(p.LearningRate > 0 && p.LearningRate <= 1):
		return bad("learning_rate", p.LearningRate, "above 0 and at most 1")
	case !atLeast0(p.Lambda):
		return bad("lambda", p.Lambda, "of at least 0")
	case !atLeast0(p.Gamma):
		return bad("gamma", p.Gamma, "of at least 0")
	case !atLeast0(p.MinChildWeight):
		return bad("min_child_weight", p.MinChildWeight, "of at least 0")
	case p.Bins < 2 || p.Bins > maxBins:
		return bad("bins", p.Bins, "from 2 to 254")
	case p.EarlyStopping < 0 || p.EarlyStopping > maxTrees:
		return bad("early_stopping", p.EarlyStopping, "from 0 to 10000")
	case p.MeanBits < 1 || p.MeanBits > maxMeanBits:
		return bad("mean_bits", p.MeanBits, "from 1 to 24")
	}
	return nil
}

// slots is how many nodes are built from rows at a level: one child of each
// possible pair, the other follows by subtraction.
func slots(level int) int {
	if level == 0 {
		return 1
	}
	return 1 << (level - 1)
}

// spec is what the kernel is asked for over a training with these parameters.
func (p Params) spec(rows, features, bins int) matvec.Spec {
	return matvec.Spec{Rows: rows, Features: features, Bins: bins,
		Queries: 2 * p.Trees << (p.Depth - 1), MeanBits: p.MeanBits}
}

// checkInput checks columns and rows against each other. rows is the length of
// every column.
func checkInput(cols []Column, n int, rows Rows, p Params) error {
	if n > maxRows {
		return fault.New(fault.Data, fmt.Sprintf("the table has %d rows, at most %d are supported", n, maxRows), "train on a sample")
	}
	if len(cols) > maxFeatures {
		return fault.New(fault.Data, fmt.Sprintf("the table has %d columns, at most %d are supported", len(cols), maxFeatures), "select columns")
	}
	seen := make(map[string]bool, len(cols))
	for _, c := range cols {
		if len(c.Values) != n {
			return fault.New(fault.Data, fmt.Sprintf("column %q has %d rows where %d were expected", c.Name, len(c.Values), n),
				"give columns of one aligned table")
		}
		if seen[c.Name] {
			return fault.New(fault.Data, fmt.Sprintf("column %q appears twice", c.Name), "name every column once")
		}
		seen[c.Name] = true
	}
	if len(rows.Train) == 0 {
		return fault.New(fault.Data, "no rows are left to train on", "check the split and the size of the join")
	}
	if p.EarlyStopping > 0 && len(rows.Valid) == 0 {
		return fault.New(fault.Spec, "early_stopping is set but there are no validation rows", "set a validation share, or early_stopping to 0")
	}
	if len(rows.Train)+len(rows.Valid) > maxRows {
		return fault.New(fault.Data, fmt.Sprintf("the split names more than %d rows", maxRows), "name every row once")
	}
	for _, part := range [][]int{rows.Train, rows.Valid} {
		for _, i := range part {
			if i < 0 || i >= n {
				return fault.New(fault.Data, fmt.Sprintf("the split names row %d of a table of %d rows", i, n), "split the aligned table itself")
			}
		}
	}
	return nil
}
