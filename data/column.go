package data

import (
	"math"
	"time"

	"kontor/table"
)

// column gathers the profile of a column, batch by batch.
type column struct {
	name    string
	typ     table.Type
	missing int64
	values  int64 // that are finite numbers, or truth values
	mean    float64
	any     bool  // minInt and maxInt, or minF and maxF, are set
	minInt  int64 // of Int, Time (microseconds) and Bool
	maxInt  int64
	minF    float64
	maxF    float64
	seen    distinct
}

// add takes a batch. A column that began as Int may go on as Float.
func (c *column) add(b *table.Column) error {
	if c.typ == table.Int && b.Type() == table.Float {
		c.toFloat()
	}
	c.missing += int64(b.MissingCount())
	switch b.Type() {
	case table.Int, table.Time:
		return c.addInts(b)
	case table.Float:
		return c.addFloats(b)
	case table.Bool:
		v, err := b.Bools()
		if err != nil {
			return err
		}
		for i, x := range v {
			if !b.Missing(i) {
				n := int64(0)
				if x {
					n = 1
				}
				c.whole(n, float64(n))
			}
		}
		return nil
	}
	v, err := b.Strings()
	if err != nil {
		return err
	}
	for i, s := range v {
		if !b.Missing(i) {
			c.seen.add(hashText(s))
		}
	}
	return nil
}

func (c *column) addInts(b *table.Column) error {
	v, err := b.Ints()
	if err != nil {
		return err
	}
	for i, x := range v {
		switch {
		case b.Missing(i):
		case c.typ == table.Float: // the batch is Int, those before were not
			c.float(float64(x))
		default:
			c.whole(x, float64(x))
		}
	}
	return nil
}

func (c *column) addFloats(b *table.Column) error {
	v, err := b.Floats()
	if err != nil {
		return err
	}
	for i, x := range v {
		if !b.Missing(i) {
			c.float(x)
		}
	}
	return nil
}

func (c *column) whole(x int64, f float64) {
	if !c.any {
		c.any, c.minInt, c.maxInt = true, x, x
	}
	c.minInt, c.maxInt = min(c.minInt, x), max(c.maxInt, x)
	c.average(f)
	c.seen.add(hashInt(x))
}

func (c *column) float(x float64) {
	if !c.any {
		c.any, c.minF, c.maxF = true, x, x
	}
	c.minF, c.maxF = min(c.minF, x), max(c.maxF, x)
	if !math.IsInf(x, 0) {
		c.average(x)
	}
	c.seen.add(hashNumber(x))
}

// average moves the mean without sums that overflow.
func (c *column) average(x float64) {
	c.values++
	n := float64(c.values)
	c.mean += x/n - c.mean/n
}

func (c *column) toFloat() {
	c.typ, c.minF, c.maxF = table.Float, float64(c.minInt), float64(c.maxInt)
}

// merge adds what next, a later part of the same column, found.
func (c *column) merge(next *column) {
	if c.typ == table.Int && next.typ == table.Float {
		c.toFloat()
	} else if c.typ == table.Float && next.typ == table.Int {
		next.toFloat()
	}
	c.missing += next.missing
	if n := c.values + next.values; n > 0 {
		c.mean = c.mean*(float64(c.values)/float64(n)) + next.mean*(float64(next.values)/float64(n))
		c.values = n
	}
	switch {
	case next.any && !c.any:
		c.any, c.minInt, c.maxInt, c.minF, c.maxF = true, next.minInt, next.maxInt, next.minF, next.maxF
	case next.any:
		c.minInt, c.maxInt = min(c.minInt, next.minInt), max(c.maxInt, next.maxInt)
		c.minF, c.maxF = min(c.minF, next.minF), max(c.maxF, next.maxF)
	}
	c.seen.merge(&next.seen)
}

// profile returns what was found.
func (c *column) profile() ColumnProfile {
	p := ColumnProfile{Name: c.name, Type: c.typ.String(), Missing: c.missing}
	p.Distinct, p.Approx = c.seen.count()
	if c.any {
		p.Min, p.Max = c.bounds()
	}
	if c.values > 0 && (c.typ == table.Int || c.typ == table.Float || c.typ == table.Bool) {
		mean := c.mean
		p.Mean = &mean
	}
	return p
}

// bounds returns the least and the greatest value in their canonical texts.
func (c *column) bounds() (lo, hi string) {
	var b *table.Column
	switch c.typ {
	case table.Float:
		b = table.FloatColumn("", []float64{c.minF, c.maxF})
	case table.Int:
		b = table.IntColumn("", []int64{c.minInt, c.maxInt}, nil)
	case table.Bool:
		b = table.BoolColumn("", []bool{c.minInt == 1, c.maxInt == 1}, nil)
	case table.Time:
		b = table.TimeColumn("", []time.Time{time.UnixMicro(c.minInt), time.UnixMicro(c.maxInt)})
	default:
		return "", ""
	}
	return b.Text(0), b.Text(1)
}
