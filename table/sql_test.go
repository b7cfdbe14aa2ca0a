//go:build unix

package table_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"kontor/table"
	"kontor/table/tabletest"
)

const secret = "p@ss/w:rd-7f3a"

// readSQL reads a query with small batches, so that there are several.
func readSQL(t *testing.T, driver, dsn, query string, o table.Options) (*table.Table, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if o.BatchRows == 0 {
		o.BatchRows = 2
	}
	tb, err := table.ReadSource(ctx, table.Query{Driver: driver, DSN: dsn, SQL: query}, o)
	if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "7f3a")) {
		t.Errorf("the error holds the password: %v", err)
	}
	return tb, err
}

// cells returns a column as text, "-" where missing.
func cells(t *testing.T, tb *table.Table, name string) string {
	t.Helper()
	c, ok := tb.Column(name)
	if !ok {
		t.Fatalf("no column %s in %v", name, tb.Schema())
	}
	out := []string{c.Type().String()}
	for i := range c.Len() {
		if c.Missing(i) {
			out = append(out, "-")
		} else {
			out = append(out, c.Text(i))
		}
	}
	return strings.Join(out, " ")
}

func checkCells(t *testing.T, tb *table.Table, want map[string]string) {
	t.Helper()
	for name, w := range want {
		if got := cells(t, tb, name); got != w {
			t.Errorf("column %s: got %s, want %s", name, got, w)
		}
	}
}

// failures are queries and addresses that must be refused, alike at both databases.
func failures(t *testing.T, driver string, s tabletest.Server, insert string) {
	t.Helper()
	for _, tt := range []struct {
		name, dsn, query, say string
		is                    error
	}{
		{"syntax", s.DSN(), "SELEC 1", "correct the query", table.ErrDatabase},
		{"no table", s.DSN(), "SELECT * FROM nothing_here", "correct the query", table.ErrDatabase},
		{"no rows", s.DSN(), "SELECT id FROM customers WHERE name = 'nobody'", "no rows", table.ErrNoRows},
		{"writes", s.DSN(), insert, "only reads", table.ErrDatabase},
		{"two statements", s.DSN(), "SELECT 1; SELECT 2", "correct the query", table.ErrDatabase},
		{"same name", s.DSN(), "SELECT id AS a, id AS a FROM customers", "AS", table.ErrHeader},
		{"wrong password", strings.Replace(s.DSN(), "7f3a", "7f3b", 1), "SELECT 1", "user and password", table.ErrDatabase},
		{"wrong database", strings.Replace(s.DSN(), "/"+s.Database+"?", "/elsewhere?", 1), "SELECT 1", "correct", table.ErrDatabase},
		{"unknown certificate", s.TCP() + "?tls=verify", "SELECT 1 AS a", "tls_ca", table.ErrDatabase},
		{"nobody there", strings.Replace(s.TCP(), fmt.Sprint(s.Port), "1", 1), "SELECT 1 AS a", "check that the database runs", table.ErrDatabase},
	} {
		_, err := readSQL(t, driver, tt.dsn, tt.query, table.Options{})
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.say) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.say)
		}
	}
	if _, err := readSQL(t, driver, s.DSN(), "SELECT name FROM customers", table.Options{Columns: []string{"nam"}}); !errors.As(err, new(*table.ColumnError)) {
		t.Errorf("missing column: %v", err)
	}
	for _, dsn := range []string{s.DSN(), s.TCP(), s.TCP() + "?tls=off", s.TCP() + "?tls=verify&tls_ca=" + s.CA} {
		if _, err := readSQL(t, driver, dsn, "SELECT id FROM customers", table.Options{}); err != nil {
			t.Errorf("%s: %v", table.MaskDSN(dsn), err)
		}
	}
}

// streams reads a million rows without taking them all, and gives up half way.
func streams(t *testing.T, driver, dsn, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := table.OpenSQL(ctx, driver, dsn, query, table.Options{BatchRows: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, sum := 0, int64(0)
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() > 1000 || b.Line(0) != rows+1 {
			t.Fatalf("a batch of %d rows at %d after %d", b.Len(), b.Line(0), rows)
		}
		rows += b.Len()
		c, _ := b.Column("n")
		v, err := c.Ints()
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range v {
			sum += x
		}
	}
	if rows != 200_000 || sum != 200_000*200_001/2 {
		t.Errorf("%d rows, sum %d", rows, sum)
	}
	if _, err := r.Next(ctx); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// stops ends queries that would not end for minutes.
func stops(t *testing.T, driver, dsn, slow, long string) {
	t.Helper()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := table.ReadSource(ctx, table.Query{Driver: driver, DSN: dsn, SQL: slow}, table.Options{})
		done <- err
	}()
	time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
	select {
	case err := <-done:
		if !errors.Is(err, why) {
			t.Errorf("cancelled: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a cancelled query goes on")
	}
	r, err := table.OpenSQL(t.Context(), driver, dsn, long, table.Options{BatchRows: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("closing reads the whole result")
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, table.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	s := tabletest.Postgres(t,
		`CREATE TYPE grade AS ENUM ('good', 'bad')`,
		`CREATE TABLE customers (id bigint, name text, code char(4), active bool, small smallint, r real, d double precision,
			whole numeric(12,0), money_ numeric(12,2), free numeric, day date, at timestamp, zoned timestamptz, g grade, u uuid, doc jsonb, raw bytea, tags text[])`,
		`INSERT INTO customers VALUES
			(1, 'Ада', '0012', true, -7, 0.1, 0.1, 123456789012, 12.50, 0.123456789012345678901, '2024-02-29', '2024-02-29 23:59:59.123456', '2024-02-29 23:00:00.5-05', 'good', '12345678-9abc-def0-0102-030405060708', '{"a": 1}', '\x00', '{a}'),
			(9223372036854775807, '', 'NA', false, 7, 'NaN', 'Infinity', -1, -0.01, 1e30, '1969-12-31', '1969-12-31 00:00:00', '1970-01-01 00:00:00Z', 'bad', NULL, NULL, NULL, NULL),
			(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`)
	const all = "SELECT id, name, code, active, small, r, d, whole, money_, free, day, at, zoned, g, u, doc FROM customers"
	tb, err := readSQL(t, table.Postgres, s.DSN(), all, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkCells(t, tb, map[string]string{
		"id": "int 1 9223372036854775807 -", "name": "string Ада  -", "code": "string 0012 NA   -", "active": "bool true false -", "small": "int -7 7 -",
		"r": "float 0.1 - -", "d": "float 0.1 +Inf -", "whole": "int 123456789012 -1 -", "money_": "float 12.5 -0.01 -",
		"free": "float 0.12345678901234568 1e+30 -", "day": "time 2024-02-29T00:00:00Z 1969-12-31T00:00:00Z -",
		"at": "time 2024-02-29T23:59:59.123456Z 1969-12-31T00:00:00Z -", "zoned": "time 2024-03-01T04:00:00.5Z 1970-01-01T00:00:00Z -",
		"g": "string good bad -", "u": "string 12345678-9abc-def0-0102-030405060708 - -", "doc": `string {"a": 1} - -`,
	})
	tb, err = readSQL(t, table.Postgres, s.DSN(), all, table.Options{Columns: []string{"free", "small", "id"},
		Types: map[string]table.Type{"free": table.String, "small": table.Float, "id": table.String}, Missing: []string{"-7"}})
	if err != nil {
		t.Fatal(err)
	}
	checkCells(t, tb, map[string]string{"free": "string 0.123456789012345678901 1000000000000000000000000000000 -", "small": "float - 7 -", "id": "string 1 9223372036854775807 -"})
	for _, q := range []string{"SELECT raw FROM customers", "SELECT tags FROM customers", "SELECT '1 day'::interval AS i"} {
		if _, err := readSQL(t, table.Postgres, s.DSN(), q, table.Options{}); !errors.As(err, new(*table.TypeError)) {
			t.Errorf("%s: %v", q, err)
		}
	}
	if _, err := readSQL(t, table.Postgres, s.DSN(), "SELECT 'infinity'::date AS day", table.Options{}); !errors.As(err, new(*table.CellError)) {
		t.Errorf("an infinite date: %v", err)
	}
	failures(t, table.Postgres, s, "INSERT INTO customers (id) VALUES (5) RETURNING id")
	streams(t, table.Postgres, s.DSN(), "SELECT n FROM generate_series(1::bigint, 200000) n")
	stops(t, table.Postgres, s.DSN(), "SELECT pg_sleep(300)::text AS a", "SELECT generate_series(1::bigint, 4000000000) AS n")
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	s := tabletest.MySQL(t,
		`CREATE TABLE customers (id bigint, big bigint unsigned, name varchar(20), flag tinyint(1), f float, d double, whole decimal(12,0), money_ decimal(12,2),
			day date, at datetime(6), ts timestamp(6) NULL, y year, e enum('good','bad'), doc json, raw blob, t time)`,
		`SET time_zone = '-05:00'`,
		`INSERT INTO customers VALUES
			(1, 18446744073709551615, 'Ада', 1, 0.1, 0.1, 123456789012, 12.50, '2024-02-29', '2024-02-29 23:59:59.123456', '2024-02-29 23:00:00.5', 2024, 'good', '{"a": 1}', x'00', '10:00'),
			(-9223372036854775808, 5, '', 0, 1e30, -1e300, -1, -0.01, '1969-12-31', '1969-12-31', '1980-01-01', 1999, 'bad', NULL, NULL, NULL),
			(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`)
	const all = "SELECT id, big, name, flag, f, d, whole, money_, day, at, ts, y, e, doc FROM customers"
	if _, err := readSQL(t, table.MySQL, s.DSN(), all, table.Options{}); !errors.As(err, new(*table.CellError)) || !strings.Contains(err.Error(), "18446744073709551615") {
		t.Errorf("beyond 63 bits: %v", err)
	}
	tb, err := readSQL(t, table.MySQL, s.DSN(), all, table.Options{Types: map[string]table.Type{"big": table.String}})
	if err != nil {
		t.Fatal(err)
	}
	checkCells(t, tb, map[string]string{
		"id": "int 1 -9223372036854775808 -", "big": "string 18446744073709551615 5 -", "name": "string Ада  -", "flag": "int 1 0 -",
		"f": "float 0.1 1e+30 -", "d": "float 0.1 -1e+300 -", "whole": "int 123456789012 -1 -", "money_": "float 12.5 -0.01 -",
		"day": "time 2024-02-29T00:00:00Z 1969-12-31T00:00:00Z -", "at": "time 2024-02-29T23:59:59.123456Z 1969-12-31T00:00:00Z -",
		"ts": "time 2024-03-01T04:00:00.5Z 1980-01-01T05:00:00Z -", "y": "int 2024 1999 -", "e": "string good bad -", "doc": `string {"a": 1} - -`,
	})
	tb, err = readSQL(t, table.MySQL, s.DSN(), "SELECT big, money_ FROM customers", table.Options{Types: map[string]table.Type{"big": table.Float, "money_": table.String}})
	if err != nil {
		t.Fatal(err)
	}
	checkCells(t, tb, map[string]string{"big": "float 18446744073709551616 5 -", "money_": "string 12.50 -0.01 -"})
	if c, _ := tb.Column("big"); c.Value(0) != math.Pow(2, 64) {
		t.Errorf("2^64-1 as a float: %v", c.Value(0))
	}
	for _, q := range []string{"SELECT raw FROM customers", "SELECT t FROM customers"} {
		if _, err := readSQL(t, table.MySQL, s.DSN(), q, table.Options{}); !errors.As(err, new(*table.TypeError)) {
			t.Errorf("%s: %v", q, err)
		}
	}
	failures(t, table.MySQL, s, "DELETE FROM customers")
	streams(t, table.MySQL, s.DSN(), "WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 1000) SELECT 1000 * (a.n - 1) + b.n AS n FROM s a JOIN s b WHERE a.n <= 200")
	stops(t, table.MySQL, s.DSN(), "SELECT SLEEP(300) AS a", "WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 1000) SELECT a.n FROM s a, s b, s c")
}
