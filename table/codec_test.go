package table

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/format"
)

// A page must not grow beyond what its header says, however well it packs.
func TestCodecBounds(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("abcdefgh"), 1<<16)
	for _, lib := range []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Brotli, &parquet.Zstd, &parquet.Lz4Raw} {
		packed, err := lib.Encode(nil, plain)
		if err != nil {
			t.Fatal(err)
		}
		packed = bytes.Clone(packed)
		c, err := codecFor(lib.CompressionCodec(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time with state
			if got, err := c.decode(make([]byte, len(plain)), packed); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: got %d bytes, %v", lib, len(got), err)
			}
			if got, err := c.decode(make([]byte, len(plain)-1), packed); err == nil {
				t.Errorf("%s: %d bytes come out where %d are announced", lib, len(got), len(plain)-1)
			}
			if got, err := c.decode(make([]byte, len(plain)), packed[:len(packed)/2]); err == nil && len(got) == len(plain) {
				t.Errorf("%s: half of the data makes a whole page", lib)
			}
		}
	}
	if _, err := codecFor(format.LZO, nil); !errors.As(err, new(*TypeError)) {
		t.Errorf("an unknown compression gives %v", err)
	}
}

func TestSkipStruct(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   []byte
		rest int
		want error
	}{
		{"empty", []byte{0, 9, 9}, 2, nil},
		{"truth values", []byte{0x11, 0x12, 0, 7}, 1, nil},
		{"integers", []byte{0x15, 0x80, 1, 0x13, 255, 0x16, 0, 0}, 0, nil},
		{"far field", []byte{0x05, 0x20, 2, 0}, 0, nil},
		{"double and text", []byte{0x17, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 2, 'a', 'b', 0}, 0, nil},
		{"list", []byte{0x19, 0x25, 1, 2, 0}, 0, nil},
		{"long list", append(append([]byte{0x19, 0xf3, 20}, make([]byte, 20)...), 0), 0, nil},
		{"list of structures", []byte{0x19, 0x2c, 0x15, 1, 0, 0, 0}, 0, nil},
		{"map", []byte{0x1b, 1, 0x58, 4, 1, 'x', 0}, 0, nil},
		{"empty map", []byte{0x1b, 0, 0}, 0, nil},
		{"structure", []byte{0x1c, 0x15, 1, 0, 0}, 0, nil},
		{"no end", []byte{0x15, 1}, 0, io.ErrUnexpectedEOF},
		{"list without its items", []byte{0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0}, 0, io.ErrUnexpectedEOF},
		{"text without its end", []byte{0x18, 200, 1, 'a'}, 0, io.ErrUnexpectedEOF},
		{"map without its items", []byte{0x1b, 100, 0x55, 1}, 0, io.ErrUnexpectedEOF},
		{"unknown type", []byte{0x1f, 0}, 0, errThrift},
		{"endless number", append([]byte{0x15}, bytes.Repeat([]byte{0xff}, 12)...), 0, errThrift},
		{"too deep", bytes.Repeat([]byte{0x1c}, 1000), 0, errThrift},
		{"too deep in lists", bytes.Repeat([]byte{0x19}, 1000), 0, errThrift},
	}
	for _, tt := range tests {
		rest, err := skipStruct(tt.in, 0)
		if !errors.Is(err, tt.want) || err == nil && len(rest) != tt.rest {
			t.Errorf("%s: %d bytes are left, %v; want %d, %v", tt.name, len(rest), err, tt.rest, tt.want)
		}
	}
}

func TestBatchRows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ asked, columns, want int }{{0, 1, 8192}, {0, 512, 8192}, {0, 10_000, 419}, {0, 10 << 20, 1}, {100_000, 10_000, 100_000}} {
		if got := (Options{BatchRows: tt.asked}).batchRows(tt.columns); got != tt.want {
			t.Errorf("batchRows of %d columns, %d asked: %d, want %d", tt.columns, tt.asked, got, tt.want)
		}
	}
}
