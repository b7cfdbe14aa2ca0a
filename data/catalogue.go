// Package data is a node's catalogue: datasets by name, wherever their rows are.
// Adding one reads it once and keeps what it found: columns, types, how much is
// missing, ranges, and a fingerprint by which a later change is noticed. Rows stay
// where they are. Published metadata ([Meta]) holds no value.
//
// Use package table to read a file that is in no catalogue. Whether a column may
// be used for a job is package policy's question. docs/data.md is the manual.
package data

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"kontor/internal/fault"
	"kontor/store"
	"kontor/table"
)

// Catalogue is the datasets of a node. It is safe for concurrent use.
type Catalogue struct {
	db  *store.DB
	env func(string) (string, bool) // for ${NAME} in a DSN; nil for the process's own
}

// Open returns the catalogue that is kept in db.
func Open(db *store.DB) (*Catalogue, error) {
	err := db.Migrate("data", `CREATE TABLE dataset (
		name TEXT PRIMARY KEY,
		doc  TEXT NOT NULL,
		dsn  TEXT NOT NULL, -- may hold a secret; apart from the document, which is shown
		stamp TEXT NOT NULL
	) STRICT`)
	if err != nil {
		return nil, err
	}
	return &Catalogue{db: db}, nil
}

// Add reads a new dataset through and enters it; with replace it takes the place
// of one of the same name, and stays published if it has the same columns. also, if not nil, runs in
// the transaction that enters it. Errors are faults.
func (c *Catalogue) Add(ctx context.Context, s Spec, replace bool, also func(*store.Tx, Dataset) error) (Dataset, error) {
	s, err := s.normalise()
	if err != nil {
		return Dataset{}, err
	}
	taken := func(tx *store.Tx) error {
		if _, err := get(ctx, tx, s.Name); err == nil && !replace {
			return fault.New(fault.Usage, "there is a dataset "+s.Name+" already", "choose another name, or add it with --replace")
		} else if err != nil && fault.KindOf(err) != fault.Usage {
			return err
		}
		return nil
	}
	// Asked before the reading, which may take minutes, and again when it is entered.
	if err := c.db.Read(ctx, taken); err != nil {
		return Dataset{}, err
	}
	d, err := c.profile(ctx, s)
	if err != nil {
		return Dataset{}, err
	}
	err = c.db.Write(ctx, func(tx *store.Tx) error {
		if err := taken(tx); err != nil {
			return err
		}
		if old, err := get(ctx, tx, s.Name); err == nil && slices.EqualFunc(old.Schema, d.Schema, func(a, b ColumnProfile) bool { return a.Name == b.Name }) {
			d.Published = old.Published
		}
		if err := put(ctx, tx, d); err != nil || also == nil {
			return err
		}
		return also(tx, d)
	})
	return d, err
}

// Remove takes a dataset out of the catalogue. Its rows stay where they are.
func (c *Catalogue) Remove(ctx context.Context, tx *store.Tx, name string) error {
	if _, err := get(ctx, tx, name); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "DELETE FROM dataset WHERE name = ?", name)
	return err
}

// Publish lets peers, and no others, see the metadata of a dataset. Nobody sees it
// after an empty list.
func (c *Catalogue) Publish(ctx context.Context, tx *store.Tx, name string, peers []string) (Dataset, error) {
	if len(peers) > maxPeers {
		return Dataset{}, fault.New(fault.Usage, "too many peers to publish to", fmt.Sprintf("name at most %d", maxPeers))
	}
	d, err := get(ctx, tx, name)
	if err != nil {
		return Dataset{}, err
	}
	d.Published = slices.Compact(slices.Sorted(slices.Values(peers)))
	return d, put(ctx, tx, d)
}

// List returns all datasets by name.
func (c *Catalogue) List(ctx context.Context) (out []Dataset, err error) {
	err = c.db.Read(ctx, func(tx *store.Tx) error {
		out, err = all(ctx, tx)
		return err
	})
	return out, err
}

// Describe returns a dataset. One that is not there is a fault of kind [fault.Usage].
func (c *Catalogue) Describe(ctx context.Context, name string) (d Dataset, err error) {
	err = c.db.Read(ctx, func(tx *store.Tx) error {
		d, err = get(ctx, tx, name)
		return err
	})
	return d, err
}

// PublishedTo returns what peer may know, by name.
func (c *Catalogue) PublishedTo(ctx context.Context, peer string) ([]Meta, error) {
	list, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	out := []Meta{}
	for _, d := range list {
		if slices.Contains(d.Published, peer) {
			out = append(out, d.Meta())
		}
	}
	return out, nil
}

// Source returns where the rows of a dataset are. What the catalogue says of
// missing values and types holds wherever the reader of the source says nothing else.
func (c *Catalogue) Source(ctx context.Context, name string) (table.Source, error) {
	d, err := c.Describe(ctx, name)
	if err != nil {
		return nil, err
	}
	return c.source(d), nil
}

// Open begins to read a dataset.
func (c *Catalogue) Open(ctx context.Context, name string, o table.Options) (table.Reader, error) {
	src, err := c.Source(ctx, name)
	if err != nil {
		return nil, err
	}
	return src.Open(ctx, o)
}

// source reads with the options of the catalogue.
type source struct {
	name string
	from table.Source
	o    Options
}

func (c *Catalogue) source(d Dataset) table.Source {
	s := source{name: d.Name, o: d.Options, from: table.File(d.Path)}
	if d.dsn != "" {
		s.from = table.Query{Driver: d.Kind, DSN: d.dsn, SQL: d.Query, Env: c.env}
	}
	return s
}

// String returns the dataset's name.
func (s source) String() string { return s.name }

// Open implements [table.Source].
func (s source) Open(ctx context.Context, o table.Options) (table.Reader, error) {
	r, err := s.from.Open(ctx, s.merge(o))
	if err != nil {
		return nil, asFault(s.name, err)
	}
	return r, nil
}

// merge adds the options of the catalogue where o says nothing.
func (s source) merge(o table.Options) table.Options {
	mine := s.o.table()
	o.Missing = slices.Concat(mine.Missing, o.Missing)
	for c, t := range o.Types {
		mine.Types[c] = t
	}
	o.Types = mine.Types
	return o
}

func none(name string) error {
	return fault.New(fault.Usage, fmt.Sprintf("there is no dataset %q", clip(name)), "see kontor data ls, or add it with kontor data add")
}

const columns = "doc, dsn, stamp"

func get(ctx context.Context, tx *store.Tx, name string) (Dataset, error) {
	var doc, dsn, st string
	err := tx.QueryRow(ctx, "SELECT "+columns+" FROM dataset WHERE name = ?", name).Scan(&doc, &dsn, &st)
	if store.None(err) {
		return Dataset{}, none(name)
	}
	if err != nil {
		return Dataset{}, err
	}
	return decode(doc, dsn, st)
}

func all(ctx context.Context, tx *store.Tx) ([]Dataset, error) {
	rows, err := tx.Query(ctx, "SELECT "+columns+" FROM dataset ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []Dataset{}
	for rows.Next() {
		var doc, dsn, st string
		if err := rows.Scan(&doc, &dsn, &st); err != nil {
			return nil, err
		}
		d, err := decode(doc, dsn, st)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

func decode(doc, dsn, st string) (d Dataset, err error) {
	if err = json.NewDecoder(strings.NewReader(doc)).Decode(&d); err == nil {
		err = json.Unmarshal([]byte(st), &d.stamp)
	}
	if err != nil {
		return Dataset{}, fault.Wrap(fault.Local, err, "an entry of the catalogue cannot be read", "add the dataset again with kontor data add NAME --replace")
	}
	d.dsn = dsn
	return d, nil
}

func put(ctx context.Context, tx *store.Tx, d Dataset) error {
	doc, err := json.Marshal(d)
	if err != nil {
		return err
	}
	st, err := json.Marshal(d.stamp)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO dataset (name, doc, dsn, stamp) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET doc = excluded.doc, dsn = excluded.dsn, stamp = excluded.stamp",
		d.Name, string(doc), d.dsn, string(st))
	return err
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
