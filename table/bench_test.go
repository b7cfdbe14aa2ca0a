package table

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// floatsCSV makes rows of standardised features as scoring files have them.
func floatsCSV(rows, cols int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	b.WriteString("id")
	for j := range cols {
		fmt.Fprintf(&b, ",x%d", j)
	}
	b.WriteByte('\n')
	for i := range rows {
		fmt.Fprintf(&b, "%d", i)
		for range cols {
			fmt.Fprintf(&b, ",%.6f", rng.NormFloat64())
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func benchRead(b *testing.B, path string, size int64, o Options) {
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		r, err := Open(context.Background(), path, o)
		if err != nil {
			b.Fatal(err)
		}
		rows := 0
		for {
			t, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			rows += t.Len()
		}
		r.Close()
		if rows == 0 {
			b.Fatal("no rows")
		}
	}
}

func BenchmarkCSV(b *testing.B) {
	data := floatsCSV(100_000, 20)
	path := filepath.Join(b.TempDir(), "bench.csv")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	id := map[string]Type{"id": String}
	b.Run("floats", func(b *testing.B) { benchRead(b, path, int64(len(data)), Options{Types: id}) })
	b.Run("oneColumn", func(b *testing.B) {
		benchRead(b, path, int64(len(data)), Options{Columns: []string{"id"}, Types: id})
	})
}

func BenchmarkParquet(b *testing.B) {
	data := floatsCSV(200_000, 20)
	dir := b.TempDir()
	csv, parquet := filepath.Join(dir, "bench.csv"), filepath.Join(dir, "bench.parquet")
	if err := os.WriteFile(csv, data, 0o600); err != nil {
		b.Fatal(err)
	}
	t, err := Read(context.Background(), csv, Options{Types: map[string]Type{"id": String}})
	if err != nil {
		b.Fatal(err)
	}
	write(b, parquet, t)
	// Bytes as they are in memory, to be compared with other readers.
	size := int64(t.Len()) * 20 * 8
	b.Run("read", func(b *testing.B) { benchRead(b, parquet, size, Options{}) })
	b.Run("readTwoColumns", func(b *testing.B) {
		benchRead(b, parquet, size/10, Options{Columns: []string{"x3", "x17"}})
	})
	b.Run("write", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			write(b, filepath.Join(dir, "out.parquet"), t)
		}
	})
	b.Run("writeCSV", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			write(b, filepath.Join(dir, "out.csv"), t)
		}
	})
}

func BenchmarkIDs(b *testing.B) {
	ids := make([]string, 1_000_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("customer-%09d", i*7919)
	}
	t, err := New(StringColumn("id", ids, nil))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := IDs(t, "id"); err != nil {
			b.Fatal(err)
		}
	}
}
