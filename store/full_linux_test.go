package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kontor/internal/fault"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small disk cannot be mounted here (%v): a full disk is not tested", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk, ctx := smallDisk(t, "1m"), context.Background()
	d, err := Open(filepath.Join(disk, "home"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := d.Migrate("test", counters); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 500<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 10_000)
	write := func(n int) error {
		return d.Write(ctx, func(tx *Tx) error {
			if err := insert(ctx, n)(tx); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "UPDATE counter SET text = ? WHERE n = ?", text, n)
			return err
		})
	}
	n := 0
	for err = write(n); err == nil && n < 1000; err = write(n) {
		n++
	}
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Local || !strings.Contains(f.What, "disk is full") || f.Cure == "" {
		t.Fatalf("after %d writes: %v", n, err)
	}
	check := func(want int) {
		t.Helper()
		var whole int
		if err := d.Read(ctx, func(t *Tx) error {
			return t.QueryRow(ctx, "SELECT count(*) FROM counter WHERE text = ?", text).Scan(&whole)
		}); err != nil {
			t.Fatal(err)
		}
		if got := count(t, d); got != want || whole != want {
			t.Fatalf("%d rows, %d of them whole, want %d", got, whole, want)
		}
	}
	check(n)
	if err := write(n); err == nil {
		t.Fatal("the disk was not full")
	}
	check(n)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := write(n); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	check(n + 1)
	if err := d.Check(ctx); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("the disk was to be full")
	}
	if _, err := Open(filepath.Join(disk, "another")); fault.KindOf(err) != fault.Local {
		t.Errorf("opening on a full disk: %v", err)
	}
}
