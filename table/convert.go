package table

import (
	"math"
)

// convertible says whether a column of type have can be read as want.
func convertible(have, want Type) bool {
	switch {
	case have == want, want == String, have == String:
		return true
	case want == Float:
		return have == Int || have == Bool
	case want == Int:
		return have == Float || have == Bool
	}
	return false
}

// blank returns c with those rows missing whose text is one of the tokens.
func blank(c *Column, missing *tokens) *Column {
	var text []byte
	for i := range c.n {
		if c.missing.get(i) {
			continue
		}
		text = c.appendText(text[:0], i)
		if !missing.has(trim(text)) {
			continue
		}
		c.missing.set(i)
		switch c.typ {
		case Float:
			c.floats[i] = math.NaN()
		case Int, Time:
			c.ints[i] = 0
		case Bool:
			c.bools[i] = false
		case String:
			c.strs[i] = ""
		}
	}
	return c
}

// convert returns c as a column of type want, see convertible. Where a value
// does not fit it returns its row, from 0, and a CellError without a place.
func convert(c *Column, want Type) (*Column, int, error) {
	if c.typ == want {
		return c, 0, nil
	}
	b := builder{Field: Field{c.name, want}}
	b.reset(c.n)
	var text []byte
	for i := range c.n {
		if c.missing.get(i) {
			b.absent()
			continue
		}
		ok := true
		switch {
		case want == String:
			text = c.appendText(text[:0], i)
			b.addText(text)
		case c.typ == String:
			text = append(text[:0], c.strs[i]...)
			ok = b.parse(trim(text))
		case want == Float && c.typ == Int:
			b.addFloat(float64(c.ints[i]))
		case want == Int && c.typ == Float:
			v := c.floats[i]
			if ok = v == math.Trunc(v) && math.Abs(v) < 1<<63; ok {
				b.addInt(int64(v))
			}
		default: // Bool to a number
			v := 0
			if c.bools[i] {
				v = 1
			}
			if want == Int {
				b.addInt(int64(v))
			} else {
				b.addFloat(float64(v))
			}
		}
		if !ok {
			return nil, i, &CellError{Value: shorten(c.Text(i)), Want: want, Cure: "correct the value, list it as missing or declare another type for the column"}
		}
	}
	return b.column(), 0, nil
}
