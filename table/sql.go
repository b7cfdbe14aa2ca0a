package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrDatabase is a database that cannot be reached, or a query that it refused.
var ErrDatabase = errors.New("the database could not be read")

const (
	connectTimeout = 15 * time.Second
	// maxTextBatch ends a batch early, so that long texts do not fill the memory.
	maxTextBatch = 32 << 20
)

// Query is the [Source] that is a query to a database. It is asked in a
// transaction that can only read, and its rows stream. The order of the rows is the query's: without ORDER BY they may come
// in another one each time.
type Query struct {
	Driver string // Postgres or MySQL
	// DSN is a URL, DRIVER://USER:PASSWORD@HOST:PORT/DATABASE, in which ${NAME}
	// stands for a variable of the environment. Parameters: tls=verify (the default
	// unless the database is on this machine) or tls=off, tls_ca=FILE,
	// socket=PATH. It appears in no error.
	DSN string
	SQL string
	Env func(string) (string, bool) // nil for [os.LookupEnv]
}

// OpenSQL asks a database at dsn and begins to read the rows, see [Query].
func OpenSQL(ctx context.Context, driver, dsn, query string, o Options) (Reader, error) {
	return Query{Driver: driver, DSN: dsn, SQL: query}.Open(ctx, o)
}

// String names the database, without the password.
func (q Query) String() string {
	if a, err := q.address(); err == nil {
		return a.String()
	}
	return q.Driver + " database"
}

// GoString is for %#v, which would print the DSN.
func (q Query) GoString() string { return q.String() }

func (q Query) address() (address, error) {
	dsn, err := expand(q.DSN, q.Env)
	if err != nil {
		return address{}, err
	}
	return parseDSN(q.Driver, dsn)
}

// Open implements [Source].
func (q Query) Open(ctx context.Context, o Options) (Reader, error) {
	o, err := o.normalise()
	if err != nil {
		return nil, err
	}
	if q.Driver != Postgres && q.Driver != MySQL {
		return nil, fmt.Errorf("%w: %q is no database that is known; use postgres or mysql", ErrOptions, shorten(q.Driver))
	}
	a, err := q.address()
	if err != nil {
		return nil, &FileError{File: q.Driver + " database", Err: ErrOptions, What: err.Error(), Cure: "correct the address"}
	}
	// A query lives longer than the call of Open and Next, each of which has a
	// context of its own that must end it.
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &sqlReader{name: a.String(), address: a, cancel: cancel, custom: newTokens(o.Missing)}
	if len(o.Missing) == 0 {
		r.custom = nil
	}
	defer r.watch(ctx)()
	if err := r.begin(life, q, o); err != nil {
		err = r.explain(ctx, err)
		r.Close() // the first error is the one to tell
		return nil, err
	}
	return r, nil
}

// cursor is a query under way.
type cursor interface {
	// columns returns the columns of the result; want has the declared types.
	columns(want map[string]Type) ([]Field, error)
	// next moves to the next row.
	next() (bool, error)
	// add adds the value of column i of the row; false if it does not fit.
	add(i int, b *builder) bool
	// text returns that value for an error text.
	text(i int) string
	// close ends the query and the connection.
	close() error
}

// sqlReader implements Reader.
type sqlReader struct {
	name    string
	address address
	cancel  context.CancelCauseFunc
	cursor  cursor
	schema  Schema
	columns []*sqlColumn
	custom  *tokens
	batch   int
	ready   bool // the cursor stands on a row that is not yet read
	rows    int
	err     error
}

type sqlColumn struct {
	builder
	place int
	want  Type
}

// watch ends the query when ctx does, until the function that it returns is called.
func (r *sqlReader) watch(ctx context.Context) func() {
	stop := context.AfterFunc(ctx, func() { r.cancel(context.Cause(ctx)) })
	return func() { stop() }
}

func (r *sqlReader) begin(ctx context.Context, q Query, o Options) (err error) {
	t, err := r.address.tlsConfig()
	if err != nil {
		return &FileError{File: r.name, Err: ErrOptions, What: err.Error(), Cure: "correct tls_ca in the address"}
	}
	if q.Driver == Postgres {
		r.cursor, err = askPostgres(ctx, r.address, t, q.SQL)
	} else {
		r.cursor, err = askMySQL(ctx, r.address, t, q.SQL)
	}
	if err != nil {
		return err
	}
	fields, err := r.cursor.columns(o.Types)
	if err != nil {
		return err
	}
	if err := r.bind(fields, o); err != nil {
		return err
	}
	if r.ready, err = r.cursor.next(); err == nil && !r.ready {
		return &FileError{File: r.name, Err: ErrNoRows, What: "the query gives no rows", Cure: "correct the query"}
	}
	return err
}

func (r *sqlReader) bind(fields []Field, o Options) error {
	if len(fields) == 0 {
		return &FileError{File: r.name, Err: ErrSchema, What: "the query gives no columns", Cure: "use a query that gives rows: SELECT …"}
	}
	names := make([]string, len(fields))
	seen := make(map[string]bool, len(fields))
	for i, f := range fields {
		if f.Name == "" || seen[f.Name] {
			return &FileError{File: r.name, Err: ErrHeader, What: "column " + itoa(i+1) + " of the query has no name of its own: " + quote(f.Name), Cure: "name it with AS"}
		}
		names[i], seen[f.Name] = f.Name, true
	}
	keep, err := o.project(r.name, names)
	if err != nil {
		return err
	}
	r.batch = o.batchRows(len(keep))
	for _, p := range keep {
		c := &sqlColumn{builder: builder{Field: fields[p]}, place: p, want: o.Types[names[p]]}
		if c.want == 0 {
			c.want = c.Type
		}
		switch {
		case c.Type == 0:
			return unsupported(r.name, r.cursor, c.Name, p)
		case !convertible(c.Type, c.want):
			return &TypeError{File: r.name, Column: c.Name, Have: c.Type, Want: c.want}
		}
		r.columns = append(r.columns, c)
		r.schema = append(r.schema, Field{c.Name, c.want})
	}
	return nil
}

func unsupported(name string, c cursor, column string, p int) error {
	detail := "its type in the database"
	if n, ok := c.(interface{ typeName(int) string }); ok {
		detail = "the database's type " + n.typeName(p)
	}
	return &TypeError{File: name, Column: column, Detail: detail}
}

// Schema implements Reader.
func (r *sqlReader) Schema() Schema { return r.schema }

// Close implements Reader.
func (r *sqlReader) Close() error {
	r.cancel(ErrClosed) // before the cursor is closed, which would else read what is left
	if r.err == nil {
		r.err = ErrClosed
	}
	if r.cursor == nil {
		return nil
	}
	_ = r.cursor.close() // rows were read or given up; a bad farewell changes nothing
	r.cursor = nil
	return nil
}

// Next implements Reader.
func (r *sqlReader) Next(ctx context.Context) (*Table, error) {
	if r.err != nil {
		return nil, r.err
	}
	if ctx.Err() != nil {
		r.err = context.Cause(ctx)
		return nil, r.err
	}
	defer r.watch(ctx)()
	t, err := r.next()
	if err != nil && err != io.EOF {
		err = r.explain(ctx, err)
	}
	if err != nil {
		r.err = err
	}
	return t, err
}

func (r *sqlReader) next() (*Table, error) {
	for _, c := range r.columns {
		c.reset(min(r.batch, 1024)) // how many there are is not known
	}
	n := 0
	for text := 0; n < r.batch && text < maxTextBatch; n++ {
		if !r.ready {
			more, err := r.cursor.next()
			if err != nil {
				return nil, err
			}
			if !more {
				break
			}
		}
		r.ready = false
		text = 0
		for _, c := range r.columns {
			if err := r.add(c, r.rows+n+1); err != nil {
				return nil, err
			}
			text += len(c.text)
		}
	}
	if n == 0 {
		return nil, io.EOF
	}
	t := &Table{rows: n, columns: make([]*Column, len(r.columns)), origin: origin{file: r.name}}
	t.origin.add(0, r.rows+1)
	for i, c := range r.columns {
		col := c.column()
		if r.custom != nil {
			col = blank(col, r.custom)
		}
		col, row, err := convert(col, c.want)
		if err != nil {
			if e := new(CellError); errors.As(err, &e) {
				e.File, e.Column, e.Row = r.name, c.Name, r.rows+row+1
			}
			return nil, err
		}
		t.columns[i] = col
	}
	r.rows += n
	return t, nil
}

func (r *sqlReader) add(c *sqlColumn, row int) error {
	if r.cursor.add(c.place, &c.builder) {
		return nil
	}
	if c.Type == String {
		return &FileError{File: r.name, Err: ErrEncoding, What: "column " + c.Name + ", row " + itoa(row) + ": the bytes are not UTF-8 text", Cure: "leave the column out or convert it in the query"}
	}
	return &CellError{File: r.name, Row: row, Column: c.Name, Value: shorten(strings.ToValidUTF8(r.cursor.text(c.place), "?")), Want: c.Type, Cure: "correct the value, or convert it in the query"}
}

// explain makes an error of a driver one that names the database and the cure.
func (r *sqlReader) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, target := range []any{new(*FileError), new(*CellError), new(*ColumnError), new(*TypeError)} {
		if errors.As(err, target) {
			return err
		}
	}
	if errors.Is(err, ErrOptions) {
		return err
	}
	what, cure := explainPostgres(err)
	if r.address.driver == MySQL {
		what, cure = explainMySQL(err)
	}
	if cure == "" {
		cure = "check that the database runs and can be reached from here"
	}
	// Only the text is kept: what the driver wrapped may hold the password.
	return &FileError{File: r.name, Err: ErrDatabase, What: strings.Join(strings.Fields(r.address.scrub(what)), " "), Cure: cure}
}
