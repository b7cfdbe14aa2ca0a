package data

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
	"kontor/store"
	"kontor/table"
)

func catalogue(t *testing.T) (*Catalogue, *store.DB) {
	t.Helper()
	db, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return c, db
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func add(t *testing.T, c *Catalogue, s Spec) Dataset {
	t.Helper()
	d, err := c.Add(t.Context(), s, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wants(t *testing.T, what string, err error, kind fault.Kind, say string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), say) {
		t.Errorf("%s: got %v (%v), want %v with %q", what, err, fault.KindOf(err), kind, say)
	}
}

// show writes a column's profile in a line.
func show(p ColumnProfile) string {
	mean := "-"
	if p.Mean != nil {
		mean = fmt.Sprintf("%.4g", *p.Mean)
	}
	return fmt.Sprintf("%s %s missing %d distinct %d %v [%s %s] %s", p.Name, p.Type, p.Missing, p.Distinct, p.Approx, p.Min, p.Max, mean)
}

func TestProfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		o          Options
		rows       int64
		want       []string
	}{
		{"types", "id,i,f,b,t,s,none\n0012,1,.5,true,2024-01-01,Ада,\n0013,-3,inf,false,1969-12-31T23:59:59Z,Ада,\n0014,NA,,,,,\n", Options{ID: "id"}, 3, []string{
			"id string missing 0 distinct 3 false [ ] -", "i int missing 1 distinct 2 false [-3 1] -1", "f float missing 1 distinct 2 false [0.5 +Inf] 0.5",
			"b bool missing 1 distinct 2 false [false true] 0.5", "t time missing 1 distinct 2 false [1969-12-31T23:59:59Z 2024-01-01T00:00:00Z] -",
			"s string missing 1 distinct 1 false [ ] -", "none string missing 3 distinct 0 false [ ] -"}},
		{"huge integers", "a,b\n9223372036854775807,1\n-9223372036854775808,2\n9223372036854775806,3\n", Options{}, 3, []string{
			"a int missing 0 distinct 3 false [-9223372036854775808 9223372036854775807] 3.074e+18", "b int missing 0 distinct 3 false [1 3] 2"}},
		{"beyond integers", "a\n9223372036854775808\n1\n", Options{}, 2, []string{"a float missing 0 distinct 2 false [1 9223372036854775808] 4.612e+18"}},
		{"the greatest floats", "a\n1.7e308\n1.7e308\n-1.7e308\n", Options{}, 3, []string{"a float missing 0 distinct 2 false [" + huge(-1.7e308) + " " + huge(1.7e308) + "] 5.667e+307"}},
		{"own missing value", "a\n-999\n4\n", Options{Missing: []string{"-999"}}, 2, []string{"a int missing 1 distinct 1 false [4 4] 4"}},
		{"declared", "a\n0012\n0012\n", Options{Types: map[string]string{"a": "string"}}, 2, []string{"a string missing 0 distinct 1 false [ ] -"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := catalogue(t)
			d := add(t, c, Spec{Name: "x", Path: file(t, "a.csv", tt.text), Options: tt.o})
			if d.Kind != CSV || d.Rows != tt.rows || d.Bytes != int64(len(tt.text)) || !strings.HasPrefix(d.Fingerprint, "sha256:") {
				t.Errorf("%+v", d)
			}
			for i, w := range tt.want {
				if i >= len(d.Schema) || show(d.Schema[i]) != w {
					t.Errorf("got %s\nwant %s", show(d.Schema[min(i, len(d.Schema)-1)]), w)
				}
			}
		})
	}
}

func huge(v float64) string { return table.FloatColumn("", []float64{v}).Text(0) }

// TestProfileTurnsToFloat has the number with a fraction come batches later.
func TestProfileTurnsToFloat(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("x\n")
	for i := range 30_000 {
		fmt.Fprintf(&b, "%d\n", i%1000)
	}
	b.WriteString("0.5\n-0\n7.0\n")
	c, _ := catalogue(t)
	d := add(t, c, Spec{Name: "x", Path: file(t, "a.csv", b.String())})
	p := d.Schema[0]
	if p.Type != "float" || p.Min != "0" || p.Max != "999" || math.Abs(*p.Mean-499.5) > .1 || !p.Approx || math.Abs(float64(p.Distinct)-1001) > 50 {
		t.Errorf("%s", show(p))
	}
}

func TestWide(t *testing.T) {
	t.Parallel()
	const columns = 3000
	var b strings.Builder
	for i := range columns {
		fmt.Fprintf(&b, "c%d,", i)
	}
	b.WriteString("last\n")
	for r := range 20 {
		for i := range columns {
			fmt.Fprintf(&b, "%d,", r*i)
		}
		b.WriteString("x\n")
	}
	c, _ := catalogue(t)
	d := add(t, c, Spec{Name: "wide", Path: file(t, "a.csv", b.String())})
	if len(d.Schema) != columns+1 || show(d.Schema[7]) != "c7 int missing 0 distinct 20 false [0 133] 66.5" {
		t.Errorf("%d columns, %s", len(d.Schema), show(d.Schema[7]))
	}
	again, err := c.Describe(t.Context(), "wide")
	if err != nil || len(again.Schema) != columns+1 {
		t.Error(len(again.Schema), err)
	}
}

// TestPartsAgree profiles the same rows as one CSV file, as a Parquet file of many
// row groups and as a folder.
func TestPartsAgree(t *testing.T) {
	t.Parallel()
	const rows = 400_000
	rng := rand.New(rand.NewPCG(1, 2))
	x, k, s := make([]float64, rows), make([]int64, rows), make([]string, rows)
	for i := range rows {
		x[i], k[i], s[i] = rng.NormFloat64(), rng.Int64N(1000), fmt.Sprint(rng.IntN(50_000))
		if i%10 == 0 {
			x[i] = math.NaN()
		}
	}
	dir := t.TempDir()
	tb := func(from, to int) *table.Table {
		b, err := table.New(table.FloatColumn("x", x[from:to]), table.IntColumn("k", k[from:to], nil), table.StringColumn("s", s[from:to], nil))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(path string, b *table.Table) string {
		w, err := table.Create(path, b.Schema())
		if err == nil {
			err = w.Write(b)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := write(filepath.Join(dir, "a.parquet"), tb(0, rows))
	if parts, err := table.Parts(t.Context(), one); err != nil || len(parts) < 3 {
		t.Fatalf("%d parts, %v: nothing to join", len(parts), err)
	}
	if err := os.Mkdir(filepath.Join(dir, "parts"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "parts", "1.parquet"), tb(0, 1000))
	write(filepath.Join(dir, "parts", "2.parquet"), tb(1000, 1000))
	write(filepath.Join(dir, "parts", "3.parquet"), tb(1000, rows))
	c, _ := catalogue(t)
	a := add(t, c, Spec{Name: "a", Path: one})
	b := add(t, c, Spec{Name: "b", Path: filepath.Join(dir, "parts")})
	if a.Kind != Parquet || b.Kind != Folder || a.Rows != rows || b.Rows != rows || !strings.HasPrefix(b.Fingerprint, "folder-sha256:") {
		t.Errorf("%s of %d rows, %s of %d rows (%s)", a.Kind, a.Rows, b.Kind, b.Rows, b.Fingerprint)
	}
	for i := range a.Schema {
		if show(a.Schema[i]) != show(b.Schema[i]) {
			t.Errorf("%s\n%s", show(a.Schema[i]), show(b.Schema[i]))
		}
	}
	if p := a.Schema[0]; p.Missing != rows/10 || math.Abs(float64(p.Distinct)/(.9*rows)-1) > .06 {
		t.Errorf("%s", show(p))
	}
	if p := a.Schema[2]; math.Abs(float64(p.Distinct)/50_000-1) > .06 {
		t.Errorf("%s", show(p))
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := file(t, "a.csv", "id,x\n1,2\n")
	for _, tt := range []struct {
		name string
		s    Spec
		kind fault.Kind
		say  string
	}{
		{"no name", Spec{Path: good}, fault.Usage, "name"},
		{"name", Spec{Name: "Müller", Path: good}, fault.Usage, "a-z"},
		{"long name", Spec{Name: strings.Repeat("a", 65), Path: good}, fault.Usage, "64"},
		{"nothing", Spec{Name: "x"}, fault.Usage, "file or a database"},
		{"both", Spec{Name: "x", Path: good, DSN: "postgres://u@h/d", Query: "q"}, fault.Usage, "not both"},
		{"query of a file", Spec{Name: "x", Path: good, Query: "SELECT 1"}, fault.Usage, "no query"},
		{"no query", Spec{Name: "x", DSN: "postgres://u@h/d", Query: " "}, fault.Usage, "needs a query"},
		{"kind", Spec{Name: "x", Path: good, Kind: "excel"}, fault.Usage, `"excel"`},
		{"kind of a database", Spec{Name: "x", Path: good, Kind: MySQL}, fault.Usage, "does not fit"},
		{"kind is a folder", Spec{Name: "x", Path: good, Kind: Folder}, fault.Usage, "leave the kind out"},
		{"unknown kind of address", Spec{Name: "x", DSN: "${ALL}", Query: "SELECT 1"}, fault.Usage, `kind ""`},
		{"type", Spec{Name: "x", Path: good, Options: Options{Types: map[string]string{"x": "number"}}}, fault.Usage, "int, float"},
		{"id and label", Spec{Name: "x", Path: good, Options: Options{ID: "id", Label: "id"}}, fault.Usage, "both"},
		{"no such id", Spec{Name: "x", Path: good, Options: Options{ID: "idd"}}, fault.Data, `"idd"`},
		{"no such label", Spec{Name: "x", Path: good, Options: Options{Label: "y"}}, fault.Data, `"y"`},
		{"no file", Spec{Name: "x", Path: good + "x"}, fault.Data, "no such file"},
		{"no folder", Spec{Name: "x", Path: filepath.Dir(good) + "/none", Kind: Folder}, fault.Data, "no such file"},
		{"empty", Spec{Name: "x", Path: file(t, "e.csv", "")}, fault.Data, "empty"},
		{"no rows", Spec{Name: "x", Path: file(t, "e.csv", "a,b\n")}, fault.Data, "no rows"},
		{"not UTF-8", Spec{Name: "x", Path: file(t, "e.csv", "a,b\n1,caf\xe9\n")}, fault.Data, "UTF-8"},
		{"ragged", Spec{Name: "x", Path: file(t, "e.csv", "a,b\n1\n")}, fault.Data, "line 2"},
		{"address", Spec{Name: "x", DSN: "postgres://u:topsecret@h/d?x=topsecret", Query: "SELECT 1"}, fault.Usage, "not known"},
		{"no variable", Spec{Name: "x", DSN: "postgres://u:${KONTOR_TEST_NONE}@h/d", Query: "SELECT 1"}, fault.Usage, "KONTOR_TEST_NONE"},
		{"zero byte", Spec{Name: "x", Path: "a\x00b"}, fault.Usage, "no text"},
	} {
		c, _ := catalogue(t)
		_, err := c.Add(t.Context(), tt.s, false, nil)
		wants(t, tt.name, err, tt.kind, tt.say)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error holds the password: %v", tt.name, err)
		}
		if list, err := c.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%s: something was entered: %v %v", tt.name, list, err)
		}
	}
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, db := catalogue(t)
	path := file(t, "a.csv", "id,x\n"+strings.Repeat("1,\n2,5\n3,6\n", 415))
	var told string
	d, err := c.Add(ctx, Spec{Name: "customers", Path: path, Options: Options{ID: "id"}}, false, func(_ *store.Tx, d Dataset) error { told = d.Name; return nil })
	if err != nil || told != "customers" || d.Added.IsZero() || time.Since(d.Added) > time.Hour {
		t.Fatal(d, told, err)
	}
	_, err = c.Add(ctx, Spec{Name: "customers", Path: path}, false, nil)
	wants(t, "twice", err, fault.Usage, "--replace")
	// What is done along with entering it decides too.
	_, err = c.Add(ctx, Spec{Name: "other", Path: path}, false, func(*store.Tx, Dataset) error { return fault.New(fault.Local, "no", "") })
	wants(t, "also fails", err, fault.Local, "no")
	_, err = c.Describe(ctx, "other")
	wants(t, "not entered", err, fault.Usage, "kontor data ls")

	publish := func(peers ...string) {
		t.Helper()
		if err := db.Write(ctx, func(tx *store.Tx) error { _, err := c.Publish(ctx, tx, "customers", peers); return err }); err != nil {
			t.Fatal(err)
		}
	}
	publish("telecom", "bank", "telecom")
	if d, err = c.Describe(ctx, "customers"); err != nil || strings.Join(d.Published, " ") != "bank telecom" {
		t.Errorf("published to %v, %v", d.Published, err)
	}
	meta, err := c.PublishedTo(ctx, "bank")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(meta)
	if want := `[{"name":"customers","rows":1200,"columns":[{"name":"id","type":"string","missing_rate":0},{"name":"x","type":"int","missing_rate":0.33}]}]`; err != nil || string(b) != want {
		t.Errorf("a peer sees %s, %v", b, err)
	}
	if meta, err := c.PublishedTo(ctx, "stranger"); err != nil || len(meta) != 0 {
		t.Errorf("a stranger sees %v, %v", meta, err)
	}
	// Replaced, it stays published as long as the columns are the same.
	if d, err = c.Add(ctx, Spec{Name: "customers", Path: path}, true, nil); err != nil || len(d.Published) != 2 {
		t.Errorf("replaced: %v %v", d.Published, err)
	}
	if d, err = c.Add(ctx, Spec{Name: "customers", Path: file(t, "b.csv", "id,x,income\n1,2,3\n")}, true, nil); err != nil || len(d.Published) != 0 {
		t.Errorf("with another column it is still published to %v (%v)", d.Published, err)
	}
	publish()
	if list, err := c.List(ctx); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	remove := func() error { return db.Write(ctx, func(tx *store.Tx) error { return c.Remove(ctx, tx, "customers") }) }
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	wants(t, "removed twice", remove(), fault.Usage, "no dataset")
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the rows are gone too: %v", err)
	}
}

func TestOpenMergesOptions(t *testing.T) {
	t.Parallel()
	c, _ := catalogue(t)
	add(t, c, Spec{Name: "x", Path: file(t, "a.csv", "id,a,b\n007,-9,1\n008,2,-8\n"), Options: Options{ID: "id", Missing: []string{"-9"}, Types: map[string]string{"a": "float", "b": "int"}}})
	src, err := c.Source(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	tb, err := table.ReadSource(t.Context(), src, table.Options{Missing: []string{"-8"}, Types: map[string]table.Type{"b": table.Float}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, col := range tb.Columns() {
		got = append(got, fmt.Sprint(col.Type(), col.Value(0), col.Value(1)))
	}
	if s := strings.Join(got, "; "); s != "string007008; float <nil> 2; float 1 <nil>" {
		t.Errorf("%s", s)
	}
	_, err = c.Open(t.Context(), "none", table.Options{})
	wants(t, "no dataset", err, fault.Usage, `"none"`)
	_, err = c.Open(t.Context(), "x", table.Options{Columns: []string{"zz"}})
	wants(t, "no column", err, fault.Data, `"zz"`)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, _ := catalogue(t)
	path := file(t, "a.csv", "id,x\n1,2\n")
	add(t, c, Spec{Name: "x", Path: path})
	check := func() error { return c.Check(ctx, "x") }
	if err := check(); err != nil {
		t.Fatal(err)
	}
	// The same bytes written again are the same dataset.
	if err := os.WriteFile(path, []byte("id,x\n1,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(); err != nil {
		t.Errorf("written again: %v", err)
	}
	// Other bytes are not, even of the same length and with the old times.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("id,x\n1,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	wants(t, "changed", check(), fault.Data, "run kontor data add x --replace")
	_, err = c.Pin(ctx, "x", t.TempDir(), nil)
	wants(t, "pinned", err, fault.Data, "--replace")
	if _, err := c.Add(ctx, Spec{Name: "x", Path: path}, true, nil); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Pin(ctx, "x", t.TempDir(), nil); err != nil || p.Rows != 1 || !strings.HasPrefix(p.Fingerprint, "sha256:") {
		t.Errorf("%+v %v", p, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wants(t, "gone", check(), fault.Data, "no such file")
	wants(t, "unknown", c.Check(ctx, "y"), fault.Usage, "y")
}

// TestSettledFilesAreNotReadAgain shows it by a file that cannot be read any more
// but has not changed; its content is only looked at when its times say so.
func TestSettledFilesAreNotReadAgain(t *testing.T) {
	t.Parallel()
	path := file(t, "a.csv", "id,x\n1,2\n")
	s, err := look(path)
	if err != nil {
		t.Fatal(err)
	}
	if !s.sure {
		t.Skip("this system does not say when a file was changed")
	}
	if s.stamp() != (stamp{}) {
		t.Error("a file that was just written is believed")
	}
	s.at = s.at.Add(time.Minute) // as seen later
	if s.stamp() == (stamp{}) {
		t.Fatal("an old file is not believed")
	}
	c, db := catalogue(t)
	d := add(t, c, Spec{Name: "x", Path: path})
	d.Fingerprint, d.stamp = "sha256:wrong", s.stamp()
	if err := db.Write(t.Context(), func(tx *store.Tx) error { return put(t.Context(), tx, d) }); err != nil {
		t.Fatal(err)
	}
	now, err := look(path)
	if err != nil {
		t.Fatal(err)
	}
	now.at = s.at
	if now.stamp() != d.stamp {
		t.Error("the stamp of an unchanged file differs")
	}
	if err := os.WriteFile(path, []byte("id,x\n1,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now, err = look(path)
	if err != nil {
		t.Fatal(err)
	}
	if now.at = s.at; now.stamp() == d.stamp {
		t.Error("a changed file has the stamp that it had")
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	c, _ := catalogue(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Add(ctx, Spec{Name: "x", Path: file(t, "a.csv", "a\n1\n")}, false, nil); fault.KindOf(err) != fault.Cancelled {
		t.Errorf("%v", err)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	s := Spec{Name: "x", Kind: Postgres, DSN: "postgres://u:topsecret@h/d", Query: "SELECT 1"}
	d := Dataset{Name: "x", Kind: Postgres, DSN: table.MaskDSN(s.DSN), dsn: s.DSN}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("add", "spec", s, "dataset", d)
	doc, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprintf("%v %+v %#v %s %#v %s %s", s, s, s, s, d, log.String(), doc); strings.Contains(all, "secret") {
		t.Errorf("printed: %s", all)
	}
}
