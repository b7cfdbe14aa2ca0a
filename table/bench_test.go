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
