package table

import "math"

// builder gathers the values of one column, a batch at a time.
type builder struct {
	Field

	n       int
	floats  []float64
	ints    []int64
	bools   []bool
	text    []byte // all strings of the batch, one after the other
	ends    []int  // of each string in text
	missing bitmap
}

func (b *builder) addFloat(v float64) {
	if v != v {
		b.missing.set(b.n)
	}
	b.floats = append(b.floats, v)
	b.n++
}

// addInt is for Int and Time.
func (b *builder) addInt(v int64) {
	b.ints = append(b.ints, v)
	b.n++
}

func (b *builder) addBool(v bool) {
	b.bools = append(b.bools, v)
	b.n++
}

func (b *builder) addText(v []byte) {
	b.text = append(b.text, v...)
	b.ends = append(b.ends, len(b.text))
	b.n++
}

// parse adds the value that a cell without white space around it stands for,
// in any type but String. It reports false, and adds nothing, if there is none.
func (b *builder) parse(cell []byte) (ok bool) {
	switch b.Type {
	case Float:
		var v float64
		if v, ok = parseFloat(cell); ok {
			b.addFloat(v)
		}
	case Bool:
		var v bool
		if v, ok = parseBool(cell); ok {
			b.addBool(v)
		}
	case Int:
		var v int64
		if v, ok = parseInt(cell); ok {
			b.addInt(v)
		}
	case Time:
		var v int64
		if v, ok = parseTime(cell); ok {
			b.addInt(v)
		}
	}
	if !ok && (len(cell) == 0 || defaultTokens.has(cell)) {
		b.absent()
		return true
	}
	return ok
}

// reset begins a batch; what column handed over is left alone.
func (b *builder) reset(rows int) {
	b.n, b.missing = 0, nil
	b.floats, b.ints, b.bools = nil, nil, nil
	switch b.Type {
	case Float:
		b.floats = make([]float64, 0, rows)
	case Int, Time:
		b.ints = make([]int64, 0, rows)
	case Bool:
		b.bools = make([]bool, 0, rows)
	case String:
		b.text, b.ends = b.text[:0], b.ends[:0]
	}
}

// absent adds a missing value.
func (b *builder) absent() {
	b.missing.set(b.n)
	b.n++
	switch b.Type {
	case Float:
		b.floats = append(b.floats, math.NaN())
	case Int, Time:
		b.ints = append(b.ints, 0)
	case Bool:
		b.bools = append(b.bools, false)
	case String:
		b.ends = append(b.ends, len(b.text))
	}
}

// toFloat turns an Int column under construction into Float.
func (b *builder) toFloat() {
	b.Type = Float
	b.floats = make([]float64, len(b.ints), cap(b.ints))
	for i, k := range b.ints {
		b.floats[i] = float64(k)
		if b.missing.get(i) {
			b.floats[i] = math.NaN()
		}
	}
	b.ints = nil
}

// column hands over what was gathered since reset. Strings become slices of
// one text, so a batch costs two allocations however many there are.
func (b *builder) column() *Column {
	out := &Column{name: b.Name, typ: b.Type, n: b.n, floats: b.floats, ints: b.ints, bools: b.bools, missing: b.missing}
	if b.Type == String {
		all := string(b.text)
		out.strs = make([]string, b.n)
		from := 0
		for i, to := range b.ends {
			out.strs[i] = all[from:to]
			from = to
		}
	}
	return out
}
