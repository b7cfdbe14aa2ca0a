package data

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"kontor/internal/fault"
	"kontor/table"
)

// Kinds of sources.
const (
	CSV      = "csv"
	Parquet  = "parquet"
	Folder   = "folder" // of Parquet files
	Postgres = "postgres"
	MySQL    = "mysql" // and MariaDB
)

var kinds = []string{CSV, Parquet, Folder, Postgres, MySQL}

// Bounds of a [Spec].
const (
	maxName    = 64
	maxPath    = 4096
	maxQuery   = 64 << 10
	maxColumn  = 300
	maxMissing = 100
	maxTypes   = 10_000
	maxPeers   = 1000
)

// Options say how a source is read, whatever job reads it.
type Options struct {
	ID      string            `json:"id,omitempty"`    // the column that identifies rows across parties
	Label   string            `json:"label,omitempty"` // the column that holds the label, if any
	Missing []string          `json:"missing,omitempty"`
	Types   map[string]string `json:"types,omitempty"` // by column, as [table.ParseType] reads them
}

// Spec says where a dataset comes from. Path, or DSN with Query, is given.
type Spec struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind,omitempty"` // by default as Path or DSN says
	Path    string  `json:"path,omitempty"`
	DSN     string  `json:"dsn,omitempty"` // may hold ${NAME} of the environment; see [table.Query]
	Query   string  `json:"query,omitempty"`
	Options Options `json:"options,omitzero"`
}

// String names the dataset without the secrets that a DSN may hold.
func (s Spec) String() string { return s.Name + " (" + s.Kind + ")" }

// GoString is for %#v, which would print a DSN too.
func (s Spec) GoString() string { return s.String() }

// LogValue implements [slog.LogValuer].
func (s Spec) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Dataset is an entry of the catalogue as it was when it was added.
type Dataset struct {
	Name        string          `json:"name"`
	Kind        string          `json:"kind"`
	Path        string          `json:"path,omitempty"`
	DSN         string          `json:"dsn,omitempty"` // without secrets
	Query       string          `json:"query,omitempty"`
	Options     Options         `json:"options,omitzero"`
	Added       time.Time       `json:"added"`
	Rows        int64           `json:"rows"`
	Bytes       int64           `json:"bytes,omitempty"` // of the files
	Schema      []ColumnProfile `json:"schema"`
	Fingerprint string          `json:"fingerprint"` // see docs/formats/data.md
	Published   []string        `json:"published,omitempty"`

	stamp stamp
	dsn   string // as it was given
}

// GoString is for %#v, which would print a DSN too.
func (d Dataset) GoString() string { return d.Name + " (" + d.Kind + ")" }

// ColumnProfile describes a column. It is for the owner of the data: it holds values.
type ColumnProfile struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Missing  int64    `json:"missing"`
	Distinct int64    `json:"distinct"`
	Approx   bool     `json:"approx,omitempty"` // Distinct is an estimate, about 2 in 100 off
	Min      string   `json:"min,omitempty"`    // of numbers, truth values and times; never of text
	Max      string   `json:"max,omitempty"`
	Mean     *float64 `json:"mean,omitempty"` // of the finite numbers
}

// Meta is what a peer may know of a dataset that was published to it: no row and
// no value.
type Meta struct {
	Name    string       `json:"name"`
	Rows    int64        `json:"rows"` // rounded to two digits
	Columns []ColumnMeta `json:"columns"`
}

// ColumnMeta is what a peer may know of a column.
type ColumnMeta struct {
	Name        string  `json:"name"`
	Type        string  `json:"type"`
	MissingRate float64 `json:"missing_rate"` // rounded to whole hundredths
}

// Meta returns what may be published of d.
func (d Dataset) Meta() Meta {
	m := Meta{Name: d.Name, Rows: round2(d.Rows), Columns: make([]ColumnMeta, len(d.Schema))}
	for i, c := range d.Schema {
		m.Columns[i] = ColumnMeta{Name: c.Name, Type: c.Type}
		if d.Rows > 0 {
			m.Columns[i].MissingRate = float64((100*c.Missing+d.Rows/2)/d.Rows) / 100
		}
	}
	return m
}

// round2 rounds to two significant digits.
func round2(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	if n%unit >= (unit+1)/2 { // not n + unit/2, which overflows
		return (n/unit + 1) * unit
	}
	return n / unit * unit
}

// CheckName says whether a dataset may be called name.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName
	for i := range len(name) {
		c := name[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if !ok {
		return fault.New(fault.Usage, fmt.Sprintf("%q is no name for a dataset", clip(name)), fmt.Sprintf("use 1 to %d of a-z, 0-9, - and _", maxName))
	}
	return nil
}

// clip shortens a text for a message.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	n := 77
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// normalise checks s and fills in the kind and the full path.
func (s Spec) normalise() (Spec, error) {
	if err := CheckName(s.Name); err != nil {
		return s, err
	}
	usage := func(what, cure string) (Spec, error) {
		return s, fault.New(fault.Usage, "dataset "+s.Name+": "+what, cure)
	}
	if s.Kind == "" {
		s.Kind = s.guessKind()
	}
	switch {
	case (s.Path == "") == (s.DSN == ""):
		return usage("it needs a file or a database, and not both", "name a file or folder, or a database with a query")
	case s.Path != "" && s.Query != "":
		return usage("a file has no query", "leave the query out, or name a database")
	case s.DSN != "" && strings.TrimSpace(s.Query) == "":
		return usage("a database needs a query", "give the query whose rows are the dataset")
	case !slices.Contains(kinds, s.Kind):
		return usage(fmt.Sprintf("there is no kind %q of data", clip(s.Kind)), "choose one of: "+strings.Join(kinds, ", "))
	case s.sql() != (s.DSN != ""):
		return usage("the kind "+s.Kind+" does not fit what it is read from", "leave the kind out")
	case len(s.Path) > maxPath || len(s.DSN) > maxPath || len(s.Query) > maxQuery:
		return usage("its description is too long", fmt.Sprintf("a path or address has at most %d bytes, a query %d", maxPath, maxQuery))
	case strings.ContainsRune(s.Path+s.DSN+s.Query, 0) || !utf8.ValidString(s.Path+s.DSN+s.Query):
		return usage("its path, address or query is no text", "write it in UTF-8, without zero bytes")
	}
	if s.Path != "" {
		abs, err := filepath.Abs(s.Path)
		if err != nil {
			return s, fault.Wrap(fault.Local, err, "finding "+s.Path, "name it by its full path")
		}
		s.Path = abs
	}
	return s, s.Options.check(s.Name)
}

func (s Spec) sql() bool { return s.Kind == Postgres || s.Kind == MySQL }

// guessKind tells the kind by the address or by the file's name; a path that says
// nothing else is a CSV, and opening it tells what is wrong.
func (s Spec) guessKind() string {
	switch scheme, _, _ := strings.Cut(s.DSN, "://"); {
	case scheme == "postgres" || scheme == "postgresql":
		return Postgres
	case scheme == "mysql" || scheme == "mariadb":
		return MySQL
	case s.DSN != "":
		return "" // a DSN that is ${NAME} as a whole: the kind has to be said
	case strings.EqualFold(filepath.Ext(s.Path), ".parquet") && !isFolder(s.Path):
		return Parquet
	case isFolder(s.Path):
		return Folder
	}
	return CSV
}

func (o Options) check(name string) error {
	bad := func(what, cure string) error {
		return fault.New(fault.Usage, "dataset "+name+": "+what, cure)
	}
	if len(o.ID) > maxColumn || len(o.Label) > maxColumn || len(o.Missing) > maxMissing || len(o.Types) > maxTypes {
		return bad("its options are too long", fmt.Sprintf("name at most %d texts for missing values and %d types, columns of at most %d bytes", maxMissing, maxTypes, maxColumn))
	}
	for _, m := range o.Missing {
		if len(m) > maxColumn {
			return bad("a text for missing values is too long", fmt.Sprintf("use at most %d bytes", maxColumn))
		}
	}
	if o.ID != "" && o.ID == o.Label {
		return bad(fmt.Sprintf("column %q is both id and label", o.ID), "name two columns")
	}
	for _, c := range slices.Sorted(maps.Keys(o.Types)) {
		if _, err := table.ParseType(o.Types[c]); err != nil || len(c) > maxColumn {
			return bad(fmt.Sprintf("column %q has the type %q", clip(c), clip(o.Types[c])), "use int, float, string, bool or time")
		}
	}
	return nil
}

// table returns o as options of package table. The id is read verbatim: an
// identifier keeps its leading zeros, and the profile is that of the texts.
func (o Options) table() table.Options {
	out := table.Options{Missing: slices.Clone(o.Missing), Types: map[string]table.Type{}}
	for c, t := range o.Types {
		out.Types[c], _ = table.ParseType(t) // checked when it was added
	}
	if o.ID != "" {
		out.Types[o.ID] = table.String
	}
	return out
}
