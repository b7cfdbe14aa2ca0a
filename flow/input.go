package flow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kontor/fed/boost"
	"kontor/internal/fault"
	"kontor/session"
	"kontor/table"
)

// Input is a party's own table, ready for a job: every row with its id, the
// label where the party is the guest, and numeric features.
type Input struct {
	File    string
	IDs     []string
	Label   []float64 // 0 or 1; nil at a host
	Columns []boost.Column
	Notes   []string // what was left out, and why
}

// LoadInput reads a party's file as the job says. Errors are of kind
// [fault.Data] and name file, line and column.
func LoadInput(ctx context.Context, p Party, path string) (*Input, error) {
	in, err := loadInput(ctx, p, path)
	if err != nil {
		return nil, dataFault(err)
	}
	return in, nil
}

// dataFault makes an error of package table, which names file and cure, a fault.
func dataFault(err error) error {
	if f := new(fault.Error); err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled) {
		return err
	}
	return fault.Wrap(fault.Data, err, "", "")
}

// CheckInput finds what can be wrong with a party's file without reading it
// whole: that it is there, has a header, and the columns that the job names.
func CheckInput(ctx context.Context, p Party, path string) error {
	_, err := planInput(ctx, p, path)
	return dataFault(err)
}

// plan is what to read of a file.
type plan struct {
	in        *Input
	options   table.Options
	id, label string
	features  []string
}

func planInput(ctx context.Context, p Party, path string) (*plan, error) {
	if path == "" {
		return nil, fault.New(fault.Usage, "no data file is named", fmt.Sprintf("add data: to the job or give --party %s=FILE", p.Name))
	}
	o := table.Options{Types: map[string]table.Type{}, Missing: p.Missing}
	for c, t := range p.Types {
		o.Types[c] = t
	}
	r, err := table.Open(ctx, path, o)
	if err != nil {
		return nil, err
	}
	schema := r.Schema()
	if err := r.Close(); err != nil {
		return nil, err
	}
	pl := &plan{in: &Input{File: filepath.Base(path)}}
	if pl.id, pl.label, err = keyColumns(p, schema, pl.in.File); err != nil {
		return nil, err
	}
	if pl.features, err = pl.in.pickFeatures(p, schema, pl.id, pl.label); err != nil {
		return nil, err
	}
	o.Types[pl.id] = table.String
	o.Columns = append([]string{pl.id}, pl.features...)
	if pl.label != "" {
		o.Types[pl.label] = table.String
		o.Columns = append(o.Columns, pl.label)
	}
	pl.options = o
	return pl, nil
}

func loadInput(ctx context.Context, p Party, path string) (*Input, error) {
	pl, err := planInput(ctx, p, path)
	if err != nil {
		return nil, err
	}
	t, err := table.Read(ctx, path, pl.options)
	if err != nil {
		return nil, err
	}
	return pl.in, pl.in.fill(p, t, pl.id, pl.label, pl.features)
}

func (in *Input) fill(p Party, t *table.Table, id, label string, features []string) (err error) {
	if in.IDs, err = table.IDs(t, id); err != nil {
		return err
	}
	for _, f := range features {
		c, _ := t.Column(f)
		v, err := c.Floats()
		if err != nil {
			return err
		}
		for i := range v {
			if math.IsInf(v[i], 0) {
				return fault.New(fault.Data, fmt.Sprintf("%s line %d, column %s is infinite", in.File, t.Line(i), f), "correct the cell or list its text under missing:")
			}
		}
		in.Columns = append(in.Columns, boost.Column{Name: f, Values: v})
	}
	if label != "" {
		c, _ := t.Column(label)
		if in.Label, err = binaryLabel(t, c, p.Positive, in.File); err != nil {
			return err
		}
	}
	return nil
}

// keyColumns finds the id and label columns: as the job names them, else by
// their usual names.
func keyColumns(p Party, schema table.Schema, file string) (id, label string, err error) {
	var names []string
	for _, f := range schema {
		names = append(names, f.Name)
	}
	find := func(given, what string, usual ...string) (string, error) {
		if given != "" {
			if !slices.Contains(names, given) {
				return "", fault.New(fault.Data, fmt.Sprintf("%s has no %s column %q", file, what, given), suggest(given, names))
			}
			return given, nil
		}
		for _, u := range usual {
			if slices.Contains(names, u) {
				return u, nil
			}
		}
		return "", fault.New(fault.Data, fmt.Sprintf("%s: the job names no %s column for %s and none of the columns (%s) has a usual name", file, what, p.Name, list(names)),
			fmt.Sprintf("add %s: COLUMN to the party or give --party %s=FILE,%s=COLUMN", what, p.Name, what))
	}
	if id, err = find(p.ID, "id", "id"); err != nil {
		return "", "", err
	}
	if p.Role == session.Guest {
		if label, err = find(p.Label, "label", "label", "y"); err != nil {
			return "", "", err
		}
		if id == label {
			return "", "", fault.New(fault.Data, fmt.Sprintf("%s: column %s is both id and label", file, id), "name two columns")
		}
	}
	return id, label, nil
}

// pickFeatures returns the names of the columns to learn from. Text and time
// columns are left out with a note unless the job asks for them by name.
func (in *Input) pickFeatures(p Party, schema table.Schema, id, label string) ([]string, error) {
	var all []string
	numeric := map[string]bool{}
	for _, f := range schema {
		if f.Name == id || f.Name == label {
			continue
		}
		all = append(all, f.Name)
		numeric[f.Name] = f.Type == table.Int || f.Type == table.Float || f.Type == table.Bool
	}
	for _, name := range slices.Concat(p.Features, p.Ignore) {
		if !slices.Contains(all, name) {
			return nil, fault.New(fault.Data, fmt.Sprintf("%s has no feature column %q", in.File, name), suggest(name, all))
		}
	}
	var out, text []string
	for _, name := range all {
		switch {
		case slices.Contains(p.Ignore, name), p.Features != nil && !slices.Contains(p.Features, name):
		case numeric[name]:
			out = append(out, name)
		case p.Features != nil:
			return nil, fault.New(fault.Data, fmt.Sprintf("%s: feature column %s is not numeric", in.File, name), "encode it as numbers, say types: {"+name+": float} if it should be, or take it out of features:")
		default:
			text = append(text, name)
		}
	}
	if len(text) > 0 {
		in.Notes = append(in.Notes, fmt.Sprintf("%s: left out, not numeric: %s", p.Name, list(text)))
	}
	if len(out) == 0 && p.Role == session.Host {
		return nil, fault.New(fault.Data, in.File+" has no numeric feature column", "a host brings features: name a file that has some")
	}
	return out, nil
}

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
			return nil, fault.New(fault.Data, fmt.Sprintf("%s: no row has the label %s = %q", file, column, positive), suggest(positive, values))
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
