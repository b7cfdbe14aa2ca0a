//go:build unix

package data

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kontor/internal/fault"
	"kontor/store"
	"kontor/table"
	"kontor/table/tabletest"
)

func TestQuery(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := tabletest.Postgres(t, "CREATE TABLE customers (id numeric, income float8, note text)",
		"INSERT INTO customers SELECT 12345678901234567890 + n, n * 10, CASE WHEN n > 5 THEN 'x' END FROM generate_series(1, 10) n")
	c, db := catalogue(t)
	c.env = func(name string) (string, bool) {
		return "p@ss/w:rd-7f3a", name == "DB_PASSWORD"
	}
	dsn := strings.Replace(s.DSN(), s.Password, "${DB_PASSWORD}", 1)
	d := add(t, c, Spec{Name: "live", DSN: dsn, Query: "SELECT id, income, note FROM customers"})
	if d.Kind != Postgres || d.Rows != 10 || !strings.HasPrefix(d.Fingerprint, "rows-sha256:") || show(d.Schema[1]) != "income float missing 0 distinct 10 false [10 100] 55" || d.Schema[2].Missing != 5 {
		t.Errorf("%+v", d)
	}
	// Another order is the same set of rows.
	e := add(t, c, Spec{Name: "turned", DSN: dsn, Query: "SELECT id, income, note FROM customers ORDER BY income DESC"})
	if e.Fingerprint != d.Fingerprint {
		t.Error("the fingerprint depends on the order of the rows")
	}
	e = add(t, c, Spec{Name: "fewer", DSN: dsn, Query: "SELECT id, income, note FROM customers WHERE income < 100"})
	if e.Fingerprint == d.Fingerprint {
		t.Error("the fingerprint does not depend on the rows")
	}
	clear := add(t, c, Spec{Name: "clear", DSN: s.DSN(), Query: "SELECT id FROM customers"})
	if list, err := c.List(ctx); err != nil || len(list) != 4 || strings.Contains(clear.DSN+list[0].DSN, "7f3a") || !strings.Contains(list[0].DSN, "***") {
		t.Errorf("shown: %v %s, %v", list, clear.DSN, err)
	}

	dir := t.TempDir()
	first, err := c.Pin(ctx, "live", dir, map[string]table.Type{"id": table.String})
	if err != nil {
		t.Fatal(err)
	}
	s.Exec(t, "INSERT INTO customers VALUES (1, 2, 'later')", "UPDATE customers SET note = 'y' WHERE income = 10")
	ids, err := table.ReadSource(ctx, first, table.Options{Columns: []string{"id"}, Types: map[string]table.Type{"id": table.String}})
	if err != nil || ids.Len() != 10 || ids.Columns()[0].Text(0) != "12345678901234567891" {
		t.Errorf("pinned ids: %v %v", ids, err)
	}
	again, err := c.Pin(ctx, "live", dir, map[string]table.Type{"id": table.String})
	if err != nil || again.Fingerprint != first.Fingerprint || again.Rows != 10 {
		t.Errorf("pinned again: %+v %v", again, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "live.parquet")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v %v", info, err)
	}
	if err := c.Check(ctx, "live"); err != nil {
		t.Errorf("a database that lives is refused: %v", err)
	}
	if other, err := c.Pin(ctx, "live", t.TempDir(), nil); err != nil || other.Rows != 11 || other.Fingerprint == first.Fingerprint {
		t.Errorf("pinned for another job: %+v %v", other, err)
	}
	d.Schema[1].Type, d.dsn = "int", dsn // as if the database had been altered
	if err := db.Write(ctx, func(tx *store.Tx) error { return put(ctx, tx, d) }); err != nil {
		t.Fatal(err)
	}
	wants(t, "other columns", c.Check(ctx, "live"), fault.Data, "--replace")
	_, err = c.Pin(ctx, "live", t.TempDir(), nil)
	wants(t, "pinned with other columns", err, fault.Data, "--replace")
}
