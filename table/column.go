package table

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"
)

// Column is a named, typed, immutable sequence of values, each of which may be
// missing.
type Column struct {
	name string
	typ  Type
	n    int

	// Exactly one of these is in use; its length is n. A missing row holds the
	// zero value, in floats NaN.
	floats []float64 // Float
	ints   []int64   // Int, and Time in microseconds since 1970
	strs   []string  // String
	bools  []bool    // Bool

	missing bitmap
}

// bitmap marks rows. One that is shorter than its column has no marks beyond.
type bitmap []uint64

func (b bitmap) get(i int) bool {
	w := i >> 6
	return w < len(b) && b[w]>>(i&63)&1 != 0
}

func (b *bitmap) set(i int) {
	w := i >> 6
	for len(*b) <= w {
		*b = append(*b, 0)
	}
	(*b)[w] |= 1 << (i & 63)
}

func (b bitmap) count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

func bitmapOf(missing []bool) bitmap {
	var b bitmap
	for i, m := range missing {
		if m {
			b.set(i)
		}
	}
	return b
}

// FloatColumn returns a Float column that keeps values; NaN is missing.
func FloatColumn(name string, values []float64) *Column {
	c := &Column{name: name, typ: Float, n: len(values), floats: values}
	for i, v := range values {
		if math.IsNaN(v) {
			c.missing.set(i)
		}
	}
	return c
}

// IntColumn returns an Int column that keeps values. missing marks missing
// rows and may be nil or shorter than values.
func IntColumn(name string, values []int64, missing []bool) *Column {
	return &Column{name: name, typ: Int, n: len(values), ints: values, missing: bitmapOf(clip(missing, len(values)))}
}

// StringColumn is as [IntColumn], for text.
func StringColumn(name string, values []string, missing []bool) *Column {
	return &Column{name: name, typ: String, n: len(values), strs: values, missing: bitmapOf(clip(missing, len(values)))}
}

// BoolColumn is as [IntColumn], for truth values.
func BoolColumn(name string, values []bool, missing []bool) *Column {
	return &Column{name: name, typ: Bool, n: len(values), bools: values, missing: bitmapOf(clip(missing, len(values)))}
}

// TimeColumn returns a Time column; the zero time is missing. What is finer
// than a microsecond is cut off.
func TimeColumn(name string, values []time.Time) *Column {
	c := &Column{name: name, typ: Time, n: len(values), ints: make([]int64, len(values))}
	for i, t := range values {
		if t.IsZero() {
			c.missing.set(i)
			continue
		}
		c.ints[i] = t.UnixMicro()
	}
	return c
}

func clip(m []bool, n int) []bool { return m[:min(len(m), n)] }

// Name returns the column's name.
func (c *Column) Name() string { return c.name }

// Type returns the column's type.
func (c *Column) Type() Type { return c.typ }

// Len returns the number of rows.
func (c *Column) Len() int { return c.n }

// Missing reports whether row i, counted from 0, has no value.
func (c *Column) Missing(i int) bool { return c.missing.get(i) }

// MissingCount returns how many rows have no value.
func (c *Column) MissingCount() int { return c.missing.count() }

// Floats returns the values of an Int, Float or Bool column as numbers, NaN
// where missing, true as 1. Integers beyond 2^53 are rounded. Any other type
// is a [*TypeError]. The slice may be the column's own.
func (c *Column) Floats() ([]float64, error) {
	switch c.typ {
	case Float:
		return c.floats, nil
	case Int, Bool:
		out := make([]float64, c.n)
		if c.typ == Int {
			for i, v := range c.ints {
				out[i] = float64(v)
			}
		} else {
			for i, v := range c.bools {
				if v {
					out[i] = 1
				}
			}
		}
		c.eachMissing(func(i int) { out[i] = math.NaN() })
		return out, nil
	}
	return nil, &TypeError{Column: c.name, Have: c.typ, Want: Float}
}

// Ints returns the values of an Int column, or of a Time column in
// microseconds since 1970 UTC; 0 where missing. Any other type is a
// [*TypeError]. The slice is the column's own.
func (c *Column) Ints() ([]int64, error) {
	if c.typ != Int && c.typ != Time {
		return nil, &TypeError{Column: c.name, Have: c.typ, Want: Int}
	}
	return c.ints, nil
}

// Strings returns the values of a String column, "" where missing. Any other
// type is a [*TypeError]; for those see [Column.Text]. The slice is the
// column's own.
func (c *Column) Strings() ([]string, error) {
	if c.typ != String {
		return nil, &TypeError{Column: c.name, Have: c.typ, Want: String}
	}
	return c.strs, nil
}

// Bools returns the values of a Bool column, false where missing. Any other
// type is a [*TypeError]. The slice is the column's own.
func (c *Column) Bools() ([]bool, error) {
	if c.typ != Bool {
		return nil, &TypeError{Column: c.name, Have: c.typ, Want: Bool}
	}
	return c.bools, nil
}

// Value returns row i as int64, float64, string, bool or [time.Time], or nil
// where it is missing.
func (c *Column) Value(i int) any {
	if c.missing.get(i) {
		return nil
	}
	switch c.typ {
	case Int:
		return c.ints[i]
	case Float:
		return c.floats[i]
	case String:
		return c.strs[i]
	case Bool:
		return c.bools[i]
	default:
		return time.UnixMicro(c.ints[i]).UTC()
	}
}

// Text returns row i in its canonical form, "" where it is missing. Equal
// values have equal texts whatever file they came from, and a whole number has
// the same text as an Int and as a Float.
func (c *Column) Text(i int) string {
	if c.typ == String {
		return c.strs[i]
	}
	return string(c.appendText(nil, i))
}

func (c *Column) appendText(b []byte, i int) []byte {
	if c.missing.get(i) {
		return b
	}
	switch c.typ {
	case Int:
		return strconv.AppendInt(b, c.ints[i], 10)
	case Float:
		return appendFloat(b, c.floats[i])
	case String:
		return append(b, c.strs[i]...)
	case Bool:
		return strconv.AppendBool(b, c.bools[i])
	default:
		return time.UnixMicro(c.ints[i]).UTC().AppendFormat(b, "2006-01-02T15:04:05.999999Z07:00")
	}
}

// appendFloat writes v in digits alone where it is whole, as identifiers that
// another tool stored as floats are and must not turn into 1.234567e+06; else
// the shortest decimal that reads back as v.
func appendFloat(b []byte, v float64) []byte {
	switch a := math.Abs(v); {
	case a == 0: // -0 equals 0
		return append(b, '0')
	case a < 1e-5 || a >= 1e21:
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	case v == math.Trunc(v):
		return strconv.AppendFloat(b, v, 'f', 0, 64)
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

func (c *Column) eachMissing(f func(i int)) {
	for w, x := range c.missing {
		for ; x != 0; x &= x - 1 {
			f(w<<6 + bits.TrailingZeros64(x))
		}
	}
}

// take returns the rows named, in that order.
func (c *Column) take(rows []int) *Column {
	out := &Column{name: c.name, typ: c.typ, n: len(rows)}
	switch c.typ {
	case Float:
		out.floats = pick(c.floats, rows)
	case Int, Time:
		out.ints = pick(c.ints, rows)
	case String:
		out.strs = pick(c.strs, rows)
	case Bool:
		out.bools = pick(c.bools, rows)
	}
	if len(c.missing) > 0 {
		for i, r := range rows {
			if c.missing.get(r) {
				out.missing.set(i)
			}
		}
	}
	return out
}

func pick[T any](from []T, rows []int) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = from[r]
	}
	return out
}

// concat joins columns of one name. Int joins Float as Float; no other types
// mix. It empties the parts as it goes, so that a big table is in memory once
// and one column of it twice.
func concat(parts []*Column) (*Column, error) {
	out := &Column{name: parts[0].name, typ: parts[0].typ}
	total := 0
	for _, p := range parts {
		if p.typ != out.typ {
			if (p.typ != Float && p.typ != Int) || (out.typ != Float && out.typ != Int) {
				return nil, fmt.Errorf("column %s: batches of types %s and %s do not join", out.name, out.typ, p.typ)
			}
			out.typ = Float
		}
		total += p.n
	}
	switch out.typ {
	case Float:
		out.floats = make([]float64, 0, total)
	case Int, Time:
		out.ints = make([]int64, 0, total)
	case String:
		out.strs = make([]string, 0, total)
	case Bool:
		out.bools = make([]bool, 0, total)
	}
	for k, p := range parts {
		if out.typ == Float {
			f, err := p.Floats()
			if err != nil {
				return nil, err
			}
			out.floats = append(out.floats, f...)
		}
		out.ints = appendIf(out.typ == Int || out.typ == Time, out.ints, p.ints)
		out.strs = append(out.strs, p.strs...)
		out.bools = append(out.bools, p.bools...)
		base := out.n
		p.eachMissing(func(i int) { out.missing.set(base + i) })
		out.n += p.n
		parts[k] = nil
	}
	return out, nil
}

func appendIf(yes bool, to, from []int64) []int64 {
	if !yes {
		return to
	}
	return append(to, from...)
}
