package table

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// Files much bigger than the bounds must stream within them.
func TestStreamingIsBounded(t *testing.T) {
	const rows = 1_000_000
	dir := t.TempDir()
	csv := filepath.Join(dir, "big.csv")
	f, err := os.Create(csv)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	row := []byte("id,a,b,c,group\n")
	for i := range int64(rows) {
		w.Write(row)
		row = strconv.AppendInt(append(row[:0], "customer-"...), 10_000_000+i, 10)
		row = strconv.AppendInt(append(row, ','), i%977, 10)
		row = strconv.AppendInt(append(row, ".25,"...), i, 10)
		row = strconv.AppendInt(append(row, ",-0."...), 100_000+i%900_000, 10)
		row = strconv.AppendInt(append(row, ",segment "...), i%13, 10)
		row = append(row, '\n')
	}
	w.Write(row)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if info.Size() < 32<<20 {
		t.Fatalf("the file of %d bytes is too small to show anything", info.Size())
	}

	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what lies in a sync.Pool goes with the second
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	stream := func(path string, out Writer, bound uint64) {
		t.Helper()
		before := live()
		r, err := Open(t.Context(), path, Options{Types: map[string]Type{"id": String}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n, last, most := 0, 0, uint64(0)
		for batch := 0; ; batch++ {
			b, err := r.Next(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.Len() > DefaultBatchRows {
				t.Fatalf("a batch has %d rows", b.Len())
			}
			if out != nil {
				if err := out.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			if batch%20 == 10 {
				now := live()
				if now > before+bound {
					t.Fatalf("%s: the heap grew by %d bytes at row %d", filepath.Base(path), now-before, n)
				}
				most = max(most, now-min(now, before))
			}
			n += b.Len()
			last = b.Line(b.Len() - 1)
		}
		if n != rows || last < rows {
			t.Errorf("%s: got %d rows, the last at %d", filepath.Base(path), n, last)
		}
		t.Logf("%s, writing %t: at most %d KiB", filepath.Base(path), out != nil, most>>10)
	}
	// The writer holds a compressed row group, the readers a batch.
	schema := Schema{{"id", String}, {"a", Float}, {"b", Int}, {"c", Float}, {"group", String}}
	parquet := filepath.Join(dir, "big.parquet")
	out, err := Create(parquet, schema)
	if err != nil {
		t.Fatal(err)
	}
	stream(csv, nil, 8<<20)
	stream(csv, out, 32<<20)
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	stream(parquet, nil, 16<<20)
}
