package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kontor/internal/fault"
)

const counters = "CREATE TABLE counter (n INTEGER PRIMARY KEY, text TEXT) STRICT"

func open(t testing.TB, dir string) *DB {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.Migrate("test", counters); err != nil {
		t.Fatal(err)
	}
	return d
}

func insert(ctx context.Context, n int) func(*Tx) error {
	return func(t *Tx) error {
		_, err := t.Exec(ctx, "INSERT INTO counter (n) VALUES (?)", n)
		return err
	}
}

func count(t testing.TB, d *DB) (n int) {
	t.Helper()
	ctx := context.Background()
	if err := d.Read(ctx, func(t *Tx) error {
		return t.QueryRow(ctx, "SELECT count(*) FROM counter").Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWriteIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	d, ctx := open(t, t.TempDir()), context.Background()
	if err := d.Write(ctx, insert(ctx, 1)); err != nil {
		t.Fatal(err)
	}
	sour := errors.New("sour")
	if err := d.Write(ctx, func(t *Tx) error { return errors.Join(insert(ctx, 2)(t), sour) }); !errors.Is(err, sour) {
		t.Errorf("%v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic was swallowed")
			}
		}()
		_ = d.Write(ctx, func(t *Tx) error { _ = insert(ctx, 3)(t); panic("defect") })
	}()
	ending, cancel := context.WithCancel(ctx)
	if err := d.Write(ending, func(t *Tx) error { defer cancel(); return insert(ending, 4)(t) }); !errors.Is(err, context.Canceled) {
		t.Errorf("a write whose context ended: %v", err)
	}
	if err := d.Write(ending, insert(ctx, 5)); !errors.Is(err, context.Canceled) {
		t.Errorf("a write after its context ended: %v", err)
	}
	if n := count(t, d); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if err := d.Write(ctx, insert(ctx, 6)); err != nil {
		t.Errorf("after failures: %v", err)
	}
}

func TestAConflictLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	d, ctx := open(t, t.TempDir()), context.Background()
	err := d.Write(ctx, func(tx *Tx) error {
		if err := insert(ctx, 1)(tx); err != nil {
			return err
		}
		if err := insert(ctx, 1)(tx); !Conflict(err) {
			t.Errorf("a number taken twice: %v", err)
		}
		return insert(ctx, 2)(tx)
	})
	if err != nil || count(t, d) != 2 {
		t.Errorf("%v, %d rows", err, count(t, d))
	}
	// Any other failed statement spoils the transaction, even if it is overlooked.
	err = d.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO nowhere VALUES (1)"); err == nil || Conflict(err) {
			t.Errorf("a table that is not there: %v", err)
		}
		_ = insert(ctx, 3)(tx)
		return nil
	})
	if err == nil || count(t, d) != 2 {
		t.Errorf("%v, %d rows", err, count(t, d))
	}
	if err := d.Read(ctx, func(tx *Tx) error {
		return tx.QueryRow(ctx, "SELECT n FROM counter WHERE n = 77").Scan(new(int))
	}); !None(err) || !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("no row: %v", err)
	}
}

func TestReadSeesOneStateAndChangesNothing(t *testing.T) {
	t.Parallel()
	d, ctx := open(t, t.TempDir()), context.Background()
	err := d.Read(ctx, func(tx *Tx) error {
		var before, after int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM counter").Scan(&before); err != nil {
			return err
		}
		if err := d.Write(ctx, insert(ctx, 1)); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM counter").Scan(&after); err != nil {
			return err
		}
		if before != after {
			t.Errorf("a read saw %d rows and then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Read(ctx, insert(ctx, 2)); err == nil || count(t, d) != 1 {
		t.Errorf("a read wrote: %v", err)
	}
}

func TestWritesTakeTurns(t *testing.T) {
	t.Parallel()
	d, ctx := open(t, t.TempDir()), context.Background()
	if err := d.Write(ctx, insert(ctx, 0)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				err := d.Write(ctx, func(tx *Tx) error {
					var n int
					if err := tx.QueryRow(ctx, "SELECT max(n) FROM counter").Scan(&n); err != nil {
						return err
					}
					return insert(ctx, n+1)(tx)
				})
				if err != nil {
					t.Error(err)
				}
				_ = count(t, d)
			}
		})
	}
	wg.Wait()
	if n := count(t, d); n != 81 {
		t.Errorf("%d rows, want 81", n)
	}
	// Waiting for a turn ends with the context.
	ending, cancel := context.WithCancel(ctx)
	err := d.Write(ctx, func(*Tx) error {
		cancel()
		return d.Write(ending, insert(ctx, 100))
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a turn: %v", err)
	}
}

func TestAfterTellsHowItEnded(t *testing.T) {
	t.Parallel()
	d, ctx := open(t, t.TempDir()), context.Background()
	var got []bool
	note := func(n int, err error) func(*Tx) error {
		return func(tx *Tx) error {
			tx.After(func(c bool) { got = append(got, c) })
			return errors.Join(insert(ctx, n)(tx), err)
		}
	}
	_ = d.Write(ctx, note(1, nil))
	_ = d.Write(ctx, note(2, errors.New("no")))
	if len(got) != 2 || !got[0] || got[1] {
		t.Errorf("%v", got)
	}
}

func TestMigrateRunsEachStatementOnce(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), context.Background()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	steps := []string{counters, "INSERT INTO counter (n) VALUES (1)", "INSERT INTO counter (n) VALUES (2)"}
	for n := range 4 {
		for range 2 {
			if err := d.Migrate("a", steps[:max(1, n)]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := d.Migrate("b", "INSERT INTO counter (n) VALUES (3)", "INSERT INTO counter (n) VALUES (3)"); err == nil {
		t.Error("a failed migration passed")
	}
	if n := count(t, d); n != 2 {
		t.Errorf("%d rows, want 2: a failed migration leaves nothing", n)
	}
	if err := d.Migrate("a", steps[:2]...); fault.KindOf(err) != fault.Version {
		t.Errorf("tables of a later version: %v", err)
	}
	if err := d.Migrate("a", steps[0], steps[2], steps[1]); fault.KindOf(err) != fault.Internal {
		t.Errorf("a changed migration: %v", err)
	}
	if err := d.Write(ctx, func(t *Tx) error { _, err := t.Exec(ctx, "PRAGMA user_version = 2"); return err }); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); fault.KindOf(err) != fault.Version {
		t.Errorf("a file of a later version: %v", err)
	}
}

func TestOpenRefusesWhatIsNoState(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(foreign, File))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE x (y)"); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	garbage := t.TempDir()
	if err := os.WriteFile(filepath.Join(garbage, File), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{foreign, garbage, file} {
		_, err := Open(dir)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Local || f.Cure == "" {
			t.Errorf("%s: %v", dir, err)
		}
		if _, again := Open(dir); again == nil || again.Error() != err.Error() {
			t.Errorf("a failed Open keeps the lock: %v", again)
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), context.Background()
	d := open(t, dir)
	for n := range 2000 {
		if n%500 != 0 {
			continue
		}
		if err := d.Write(ctx, func(tx *Tx) error {
			for i := range 500 {
				if _, err := tx.Exec(ctx, "INSERT INTO counter (n, text) VALUES (?, ?)", n+i, strings.Repeat("x", 100)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if size, err := d.Size(); err != nil || size < 100_000 {
		t.Errorf("size %d, %v", size, err)
	}
	if err := d.Write(ctx, insert(ctx, 5000)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.writer.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	for i := 20 * 4096; i < 21*4096; i++ {
		b[i] ^= 0x5a
	}
	if err := os.WriteFile(filepath.Join(other, File), b, 0o600); err != nil {
		t.Fatal(err)
	}
	broken, err := Open(other)
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	if err := broken.Check(ctx); fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a page overwritten: %v", err)
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c%20", "home")
	d := open(t, dir)
	if err := d.Write(context.Background(), insert(context.Background(), 1)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// TestConnectionsAreSetUp holds what durability rests on and no crash of a process shows.
func TestConnectionsAreSetUp(t *testing.T) {
	t.Parallel()
	d, ctx := open(t, t.TempDir()), context.Background()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		for name, in := range map[string]func(context.Context, func(*Tx) error) error{"writing": d.Write, "reading": d.Read} {
			var got string
			if err := in(ctx, func(tx *Tx) error { return tx.QueryRow(ctx, "PRAGMA "+pragma).Scan(&got) }); err != nil || got != want {
				t.Errorf("%s, %s: %q, %v, want %q", name, pragma, got, err, want)
			}
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		d, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Migrate("test", counters); err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	d, ctx, n := open(b, b.TempDir()), context.Background(), 0
	for b.Loop() {
		n++
		if err := d.Write(ctx, insert(ctx, n)); err != nil {
			b.Fatal(err)
		}
	}
}
