package table

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Why a file cannot be read or written. They come wrapped in a [*FileError],
// which names the file and the cure. A file that is not there is
// [io/fs.ErrNotExist].
var (
	ErrDirectory = errors.New("it is a directory")
	ErrEmpty     = errors.New("the file is empty")
	ErrNoRows    = errors.New("there are no rows, only a header")
	ErrFormat    = errors.New("the format is not supported")
	ErrEncoding  = errors.New("the text is not UTF-8")
	ErrHeader    = errors.New("the header is unfit")
	ErrQuote     = errors.New("the quotes do not match")
	ErrTooLong   = errors.New("the row is too long")
	ErrCorrupt   = errors.New("the file is damaged or not what its name says")
)

// ErrSchema is a set of columns that is no table, or does not fit the writer.
var ErrSchema = errors.New("the columns do not form a table")

// ErrClosed is the use of a Reader or Writer after its end.
var ErrClosed = errors.New("already closed")

// ErrOptions is an [Options] that cannot be followed, whatever the file.
var ErrOptions = errors.New("the reading options are invalid")

// FileError is a file that cannot be used as it is. Its text is one line:
// "guest.csv line 3: what; cure".
type FileError struct {
	File string // the path as the caller gave it
	Line int    // from 1; 0 if no line is to blame
	What string // says more than Err; may be empty
	Cure string // what to do, an imperative clause
	Err  error  // one of the sentinels, or the operating system's error
}

func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, " line %d", e.Line)
	}
	b.WriteString(": ")
	if e.What != "" {
		b.WriteString(e.What)
	} else {
		b.WriteString(e.Err.Error())
	}
	if e.Cure != "" {
		b.WriteString("; ")
		b.WriteString(e.Cure)
	}
	return b.String()
}

// Unwrap returns the sentinel or the cause.
func (e *FileError) Unwrap() error { return e.Err }

// CellError is a cell that does not hold what its column wants. It quotes the
// cell, so it is for the owner of the data only, never for a peer.
type CellError struct {
	File   string
	Line   int // the line of a CSV file on which the cell begins, from 1; else 0
	Row    int // the row of a Parquet file, from 1; else 0
	Column string
	Value  string // at most 40 characters
	Want   Type
	Cure   string // may be empty
}

func (e *CellError) Error() string {
	unit, n := "line", e.Line
	if n == 0 {
		unit, n = "row", e.Row
	}
	s := fmt.Sprintf("%s %s %d, column %s: %q is not %s", e.File, unit, n, e.Column, e.Value, wants[e.Want])
	if e.Cure != "" {
		s += "; " + e.Cure
	}
	return s
}

var wants = map[Type]string{
	Int: "a whole number", Float: "a number", String: "text",
	Bool: "a truth value (true, false, yes, no, t, f)", Time: "a date or time",
}

// shorten cuts a cell for an error text, at a character's edge.
func shorten(s string) string {
	const limit = 40
	if utf8.RuneCountInString(s) <= limit {
		return strings.Clone(s)
	}
	n := 0
	for i := range s {
		if n++; n == limit {
			return s[:i] + "…"
		}
	}
	return s
}

// RaggedError is a row with more or fewer cells than the header.
type RaggedError struct {
	File      string
	Line      int // on which the row begins, from 1
	Got, Want int // cells
}

func (e *RaggedError) Error() string {
	return fmt.Sprintf("%s line %d: the row has %s where the header has %d; "+
		"put a cell that holds the delimiter in quotes, and check that no row is cut off", e.File, e.Line, count(e.Got, "cell"), e.Want)
}

// ColumnError is a column that was asked for and is not there.
type ColumnError struct {
	File   string // may be empty
	Column string
	Have   []string
}

func (e *ColumnError) Error() string {
	const limit = 10
	have := e.Have
	more := ""
	if len(have) > limit {
		more = fmt.Sprintf(" and %d more", len(have)-limit)
		have = have[:limit]
	}
	who := e.File
	if who == "" {
		who = "the table"
	}
	return fmt.Sprintf("%s has no column %q; it has %s%s", who, e.Column, strings.Join(have, ", "), more)
}

// TypeError is a column whose type does not fit its use.
type TypeError struct {
	File   string // may be empty
	Column string
	Have   Type   // 0 for a type that no column of ours can have, see Detail
	Detail string // names the type in the file if Have is 0
	Want   Type   // 0 for any
}

func (e *TypeError) Error() string {
	pre := ""
	if e.File != "" {
		pre = e.File + ", "
	}
	if e.Have == 0 {
		return fmt.Sprintf("%scolumn %s: %s is not supported; leave the column out, or export it as a plain column", pre, e.Column, e.Detail)
	}
	return fmt.Sprintf("%scolumn %s is of type %s, which cannot be used as %s; declare another type for it or leave it out", pre, e.Column, e.Have, e.Want)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
