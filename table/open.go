package table

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// sniffBytes is how much of a file is looked at to tell what it is.
const sniffBytes = 64 << 10

// Open begins to read a CSV or Parquet file: .csv, .tsv, .txt, each also with
// .gz, and .parquet; what begins as Parquet does is read as such under any of
// these names. A folder is read by [OpenFolder]. Open reads as far as it needs to
// know the schema. The caller closes the Reader.
func Open(ctx context.Context, path string, o Options) (r Reader, err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if isFolder(path) {
		return OpenFolder(ctx, path, o)
	}
	if o, err = o.normalise(); err != nil {
		return nil, err
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	src := bufio.NewReaderSize(f, sniffBytes)
	head, err := src.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return nil, &FileError{File: path, What: "reading: " + err.Error(), Err: err}
	}
	name := strings.ToLower(filepath.Base(path))
	switch {
	case len(head) == 0:
		return nil, &FileError{File: path, Err: ErrEmpty, Cure: "export it again"}
	case bytes.HasPrefix(head, []byte("PAR1")):
		return openParquet(f, path, o)
	case strings.HasSuffix(name, ".parquet") && !bytes.HasPrefix(head, []byte("PARE")):
		return nil, &FileError{File: path, Err: ErrCorrupt, What: "it does not begin as a Parquet file does", Cure: "export it again, or give it the name of what it is"}
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		name = strings.TrimSuffix(name, ".gz")
		if src, head, err = unzip(src, path); err != nil {
			return nil, err
		}
	}
	if err := checkText(path, head); err != nil {
		return nil, err
	}
	if ext := filepath.Ext(name); ext != ".csv" && ext != ".tsv" && ext != ".txt" {
		return nil, &FileError{File: path, Err: ErrFormat, What: "the name does not end in .csv, .tsv, .txt (or one of them and .gz) or .parquet", Cure: "export the data in one of these formats and name it so"}
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		head = head[3:]
		src.Discard(3)
	}
	if o.Delimiter == 0 {
		o.Delimiter = rune(sniffDelimiter(head, filepath.Ext(name) == ".tsv"))
	}
	return newCSVReader(ctx, src, f, path, o)
}

func openFile(path string) (*os.File, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &FileError{File: path, Err: fs.ErrNotExist, What: "there is no such file", Cure: "check the path"}
	case err == nil && info.IsDir():
		return nil, &FileError{File: path, Err: ErrDirectory, Cure: "name a file in it"}
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &FileError{File: path, Err: err, What: "this user may not read it", Cure: "change its permissions"}
	case err != nil:
		return nil, &FileError{File: path, Err: err, What: "opening: " + err.Error()}
	}
	return f, nil
}

func unzip(src *bufio.Reader, path string) (*bufio.Reader, []byte, error) {
	z, err := gzip.NewReader(src)
	if err != nil {
		return nil, nil, damagedGzip(path, err)
	}
	plain := bufio.NewReaderSize(z, sniffBytes)
	head, err := plain.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return nil, nil, damagedGzip(path, err)
	}
	if len(head) == 0 {
		return nil, nil, &FileError{File: path, Err: ErrEmpty, Cure: "export it again"}
	}
	return plain, head, nil
}

func damagedGzip(path string, err error) error {
	return &FileError{File: path, Err: ErrCorrupt, What: "the gzip stream is damaged: " + err.Error(), Cure: "export it again"}
}

// checkText refuses, with a better word than "invalid cell", what is clearly
// not UTF-8 text.
func checkText(path string, head []byte) error {
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return &FileError{File: path, Err: ErrFormat, What: "it is an Excel workbook or a zip archive", Cure: "export the sheet as CSV in UTF-8"}
	case bytes.HasPrefix(head, []byte("PARE")):
		return &FileError{File: path, Err: ErrFormat, What: "it is an encrypted Parquet file", Cure: "decrypt it first"}
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return &FileError{File: path, Err: ErrEncoding, What: "the text is UTF-16", Cure: "save it as UTF-8"}
	case bytes.IndexByte(head, 0) >= 0:
		return &FileError{File: path, Err: ErrFormat, What: "it holds zero bytes, so it is no text file", Cure: "export it as CSV in UTF-8 or as Parquet"}
	}
	return nil
}

var delimiters = []byte{',', ';', '\t', '|'}

// sniffDelimiter picks the delimiter that gives every complete record in head
// the same number of cells, the most cells if there are several; failing that
// the one with the most cells in the header.
func sniffDelimiter(head []byte, tsv bool) byte {
	if i := bytes.LastIndexByte(head, '\n'); i >= 0 && len(head) == sniffBytes {
		head = head[:i+1]
	}
	best, bestWidth, bestEven := byte(','), 1, false
	if tsv {
		best = '\t'
	}
	for _, d := range delimiters {
		width, even := widthOf(head, d)
		if width < 2 || bestEven && !even {
			continue
		}
		if even && !bestEven || width > bestWidth {
			best, bestWidth, bestEven = d, width, even
		}
	}
	return best
}

// widthOf returns how many cells the header has if d delimits them, and
// whether the other records have as many.
func widthOf(head []byte, d byte) (width int, even bool) {
	const enough = 100
	s := newScanner(bytes.NewReader(head), d)
	first, err := s.next()
	if err != nil {
		return 0, false
	}
	width = first.len()
	for range enough {
		r, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			// A quoted cell may be cut off by the end of head.
			return width, s.err == io.EOF && len(head) > sniffBytes/2
		}
		if r.len() != width {
			return width, false
		}
	}
	return width, true
}

// parseHeader returns the column names, without the white space around them.
func parseHeader(path string, r *record) ([]string, error) {
	fail := func(line int, what, cure string) error {
		return &FileError{File: path, Line: line, Err: ErrHeader, What: what, Cure: cure}
	}
	names := make([]string, r.len())
	seen := make(map[string]int, len(names))
	for i := range names {
		cell, line := r.cell(i), r.lineOf(i)
		if !utf8.Valid(cell) {
			return nil, &FileError{File: path, Line: line, Err: ErrEncoding, What: "the header is not UTF-8", Cure: "save the file as UTF-8"}
		}
		if hasLoneCR(cell) {
			return nil, fail(line, "the lines end with a bare carriage return, or the header holds one", "save the file with Unix or Windows line ends")
		}
		name := string(trim(cell))
		if name == "" {
			return nil, fail(line, "column "+itoa(i+1)+" has no name", "name every column, and remove delimiters at the end of the header")
		}
		if j, ok := seen[name]; ok {
			return nil, fail(line, "columns "+itoa(j+1)+" and "+itoa(i+1)+" are both named "+quote(name), "give each column a name of its own")
		}
		seen[name] = i
		names[i] = name
	}
	return names, nil
}
