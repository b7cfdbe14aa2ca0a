package table

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// IDError is a column that does not identify its rows. Its text gives places,
// not identifiers, which have no business in a log.
type IDError struct {
	File   string // may be empty
	Column string
	Unit   string // what places are: "line" or "row", both from 1

	Missing      []int // the places of the first rows without an identifier
	MissingCount int

	Duplicates     []Duplicate // the first identifiers that occur more than once
	DuplicateCount int         // how many such identifiers there are
}

// Duplicate is an identifier that several rows have.
type Duplicate struct {
	ID     string
	Places []int // of the first of these rows
	Count  int   // of rows
}

// listed is how many places, and how many duplicates, an IDError lists.
const listed = 5

func (e *IDError) Error() string {
	var what []string
	if e.MissingCount > 0 {
		s := "1 row has no id (" + e.Unit + " "
		if e.MissingCount > 1 {
			s = fmt.Sprintf("%d rows have no id (%ss ", e.MissingCount, e.Unit)
		}
		what = append(what, s+places(e.Missing, e.MissingCount)+")")
	}
	if e.DuplicateCount > 0 {
		groups := make([]string, len(e.Duplicates))
		for i, d := range e.Duplicates {
			groups[i] = places(d.Places, d.Count)
		}
		s := "1 id occurs more than once ("
		if e.DuplicateCount > 1 {
			s = fmt.Sprintf("%d ids occur more than once (", e.DuplicateCount)
		}
		s += e.Unit + "s " + strings.Join(groups, "; ")
		if more := e.DuplicateCount - len(groups); more > 0 {
			s += fmt.Sprintf("; and %d more ids", more)
		}
		what = append(what, s+")")
	}
	who := "column " + e.Column
	if e.File != "" {
		who = e.File + ", " + who
	}
	return who + ": " + strings.Join(what, ", ") + "; give every row one id of its own"
}

// places lists some of n places: "4, 9 and 17", "4, 9, 17 and 12 more".
func places(some []int, n int) string {
	text := make([]string, len(some))
	for i, p := range some {
		text[i] = itoa(p)
	}
	last := len(text) - 1
	switch {
	case n > len(some):
		return strings.Join(text, ", ") + fmt.Sprintf(" and %d more", n-len(some))
	case last > 0:
		return strings.Join(text[:last], ", ") + " and " + text[last]
	}
	return strings.Join(text, "")
}

// IDs returns the canonical text of every row of a column, to be compared with
// those of another party: white space around it is cut off, whole numbers are
// written without point and exponent, see [Column.Text]. Nothing else is
// normalised; leading zeros count, which is why an id column is to be declared
// String. Rows without an id, which includes the texts that DefaultMissing
// lists, and ids that occur twice are an [*IDError]; a column that is not there
// is a [*ColumnError].
func IDs(t *Table, column string) ([]string, error) {
	c, ok := t.Column(column)
	if !ok {
		return nil, &ColumnError{File: t.Source(), Column: column, Have: t.Schema().Names()}
	}
	e := &IDError{File: t.Source(), Column: column, Unit: t.origin.unit()}
	ids := make([]string, c.n)
	for i := range ids {
		if !c.missing.get(i) {
			ids[i] = strings.TrimSpace(c.Text(i))
		}
		// An unknown id must never join another party's unknown id.
		if ids[i] == "" || defaultTokens.set[ids[i]] {
			ids[i] = ""
			e.MissingCount++
			if len(e.Missing) < listed {
				e.Missing = append(e.Missing, t.Line(i))
			}
		}
	}
	e.duplicates(t, ids)
	if e.MissingCount > 0 || e.DuplicateCount > 0 {
		return nil, e
	}
	return ids, nil
}

// duplicates finds ids that occur more than once. Sorting hashes takes 16
// bytes a row; a map of strings takes several times that.
func (e *IDError) duplicates(t *Table, ids []string) {
	type entry struct {
		hash uint64
		row  int
	}
	seed := maphash.MakeSeed()
	entries := make([]entry, 0, len(ids))
	for i, id := range ids {
		if id != "" {
			entries = append(entries, entry{maphash.String(seed, id), i})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.row, b.row))
	})
	groups := make(map[string][]int) // of the rows whose hash is not alone
	for i := 0; i < len(entries); {
		j := i + 1
		for j < len(entries) && entries[j].hash == entries[i].hash {
			j++
		}
		if j > i+1 {
			for _, x := range entries[i:j] {
				groups[ids[x.row]] = append(groups[ids[x.row]], x.row)
			}
		}
		i = j
	}
	var found [][]int
	for _, rows := range groups {
		if len(rows) > 1 {
			found = append(found, rows)
		}
	}
	slices.SortFunc(found, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	e.DuplicateCount = len(found)
	for _, rows := range found[:min(len(found), listed)] {
		d := Duplicate{ID: ids[rows[0]], Count: len(rows)}
		for _, r := range rows[:min(len(rows), listed)] {
			d.Places = append(d.Places, t.Line(r))
		}
		e.Duplicates = append(e.Duplicates, d)
	}
}
