package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxRecord bounds a row, in bytes. A quote that is never closed would
// otherwise pull the rest of the file into memory.
const maxRecord = 16 << 20

const scanBuffer = 256 << 10

// scanner splits CSV (RFC 4180) into records without allocating for cells.
// encoding/csv would do but for three things: it makes a string of every
// record, it turns "\r\n" inside quotes into "\n", and it has no bound.
// A fuzz test holds the two to the same records.
type scanner struct {
	src   io.Reader
	delim byte
	limit int // of a record, in bytes

	buf      []byte
	pos, end int   // the unread part of buf
	err      error // what src said last, io.EOF included
	line     int   // the line at pos, from 1

	rec record
	own []byte // holds a record with quotes once these are resolved
}

// record is a row: cell i is data[ends[i-1]+1 : ends[i]]. It is valid until
// the next call.
type record struct {
	data  []byte
	ends  []int
	line  int   // on which the record begins
	lines []int // on which each cell begins; nil if all are on line
}

func (r *record) len() int { return len(r.ends) }

func (r *record) cell(i int) []byte {
	from := 0
	if i > 0 {
		from = r.ends[i-1] + 1
	}
	return r.data[from:r.ends[i]]
}

func (r *record) lineOf(i int) int {
	if r.lines == nil {
		return r.line
	}
	return r.lines[i]
}

// scanError is a defect of the text on one line; the reader adds the file.
type scanError struct {
	line int
	err  error // ErrQuote or ErrTooLong
	what string
	cure string
}

func (e *scanError) Error() string { return fmt.Sprintf("line %d: %s; %s", e.line, e.what, e.cure) }
func (e *scanError) Unwrap() error { return e.err }

func newScanner(src io.Reader, delim byte) *scanner {
	return &scanner{src: src, delim: delim, limit: maxRecord, buf: make([]byte, scanBuffer), line: 1}
}

// more reads on behind end, keeping what is unread at the start of buf. It
// reports false at the end of the input or on an error, see s.err.
func (s *scanner) more() bool {
	if s.err != nil {
		return false
	}
	if s.pos > 0 {
		s.end = copy(s.buf, s.buf[s.pos:s.end])
		s.pos = 0
	}
	if s.end == len(s.buf) {
		if len(s.buf) >= s.limit {
			s.err = &scanError{line: s.line, err: ErrTooLong,
				what: fmt.Sprintf("the row that begins here is longer than %d MiB", s.limit>>20),
				cure: "look for a quote that is never closed"}
			return false
		}
		grown := make([]byte, min(2*len(s.buf), s.limit))
		copy(grown, s.buf[:s.end])
		s.buf = grown
	}
	for range 100 {
		n, err := s.src.Read(s.buf[s.end:])
		s.end += n
		s.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// next returns the next record that is not an empty line, or io.EOF.
func (s *scanner) next() (*record, error) {
	for {
		line, ok, err := s.takeLine()
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return s.quoted()
		case len(line) == 0:
			continue
		}
		r := &s.rec
		r.line, r.lines, r.data = s.line-1, nil, line
		r.ends = r.ends[:0]
		for i, c := range line {
			if c == s.delim {
				r.ends = append(r.ends, i)
			}
		}
		r.ends = append(r.ends, len(line))
		return r, nil
	}
}

// takeLine consumes a line and returns it without its end. ok is false, and
// nothing consumed, if there is a quote in it.
func (s *scanner) takeLine() (line []byte, ok bool, err error) {
	seen := 0
	for {
		window := s.buf[s.pos+seen : s.end]
		n := bytes.IndexByte(window, '\n')
		if n >= 0 {
			window = window[:n]
		}
		if bytes.IndexByte(window, '"') >= 0 {
			return nil, false, nil
		}
		seen += len(window)
		if n >= 0 {
			line = s.buf[s.pos : s.pos+seen]
			s.pos += seen + 1
			break
		}
		if s.more() {
			continue
		}
		if !errors.Is(s.err, io.EOF) {
			return nil, false, s.err
		}
		if seen == 0 {
			return nil, false, io.EOF
		}
		line = s.buf[s.pos:s.end]
		s.pos = s.end
		break
	}
	s.line++
	if k := len(line); k > 0 && line[k-1] == '\r' {
		line = line[:k-1]
	}
	return line, true, nil
}

// at returns the byte i places behind pos.
func (s *scanner) at(i int) (byte, bool) {
	if s.pos+i >= s.end && !s.more() {
		return 0, false
	}
	return s.buf[s.pos+i], true
}

// quoted reads a record that has a quote somewhere.
func (s *scanner) quoted() (*record, error) {
	s.own = s.own[:0]
	r := &s.rec
	r.line, r.lines, r.ends = s.line, r.lines[:0], r.ends[:0]
	line := s.line
	for i := 0; ; {
		r.lines = append(r.lines, line)
		c, ok := s.at(i)
		var err error
		if ok && c == '"' {
			i, line, err = s.quotedCell(i+1, line)
		} else {
			i, err = s.plainCell(i, line)
		}
		if err != nil {
			return nil, err
		}
		r.ends = append(r.ends, len(s.own))
		c, ok = s.at(i)
		switch {
		case ok && c == s.delim:
			s.own = append(s.own, s.delim)
			i++
			continue
		case ok && c == '\r':
			i++
		case !ok && !errors.Is(s.err, io.EOF):
			return nil, s.err
		}
		s.pos = min(s.pos+i+1, s.end) // past the newline, if there is one
		s.line = line + 1
		r.data = s.own
		return r, nil
	}
}

// plainCell appends the cell at i and returns where its end is: at a
// delimiter, at the end of the line, or at the end of the input.
func (s *scanner) plainCell(i, line int) (int, error) {
	for {
		c, ok := s.at(i)
		switch {
		case !ok, c == s.delim, c == '\n':
			return i, nil
		case c == '\r' && s.endsLine(i+1):
			return i, nil
		case c == '"':
			return 0, &scanError{line: line, err: ErrQuote, what: "a quote stands inside a cell that does not begin with one",
				cure: "put the whole cell in quotes and write each quote inside it twice"}
		}
		s.own = append(s.own, c)
		i++
	}
}

// quotedCell does the same from behind the opening quote.
func (s *scanner) quotedCell(i, line int) (int, int, error) {
	first := line
	for {
		c, ok := s.at(i)
		if !ok {
			if !errors.Is(s.err, io.EOF) {
				return 0, 0, s.err
			}
			return 0, 0, &scanError{line: first, err: ErrQuote, what: "the quote that opens here is never closed",
				cure: "close it, or write a quote that belongs to the text twice"}
		}
		i++
		if c != '"' {
			if c == '\n' {
				line++
			}
			s.own = append(s.own, c)
			continue
		}
		c, ok = s.at(i)
		switch {
		case ok && c == '"':
			s.own = append(s.own, '"')
			i++
		case !ok, c == s.delim, c == '\n', c == '\r' && s.endsLine(i+1):
			return i, line, nil
		default:
			return 0, 0, &scanError{line: line, err: ErrQuote, what: "text follows a closing quote",
				cure: "write a quote that belongs to the text twice"}
		}
	}
}

// endsLine reports whether a carriage return before i belongs to a line's end.
func (s *scanner) endsLine(i int) bool {
	c, ok := s.at(i)
	return !ok || c == '\n'
}
