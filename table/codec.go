package table

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// codec decompresses the pages of a column.
type codec struct {
	id   format.CompressionCodec
	zstd *zstd.Decoder
	gzip *gzip.Reader
}

// codecFor returns a codec, old if that will do.
func codecFor(id format.CompressionCodec, old *codec) (c *codec, err error) {
	if old != nil && old.id == id {
		return old, nil
	}
	c = &codec{id: id}
	switch id {
	case format.Uncompressed, format.Snappy, format.Brotli, format.Lz4Raw, format.Gzip:
	case format.Zstd:
		c.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPageBytes))
	default:
		err = &TypeError{Detail: "its compression " + id.String()}
	}
	return c, err
}

var errCompressed = errors.New("its compressed data is damaged")

// decode fills dst, which is as long as the data shall be, and returns the part
// filled.
func (c *codec) decode(dst, src []byte) (out []byte, err error) {
	if len(dst) == 0 {
		return dst, nil
	}
	switch c.id {
	case format.Uncompressed:
		if len(src) > len(dst) {
			return nil, errors.New("it is longer than it says")
		}
		return dst[:copy(dst, src)], nil
	case format.Snappy:
		if n, lerr := snappy.DecodedLen(src); lerr != nil || n > len(dst) {
			return nil, errCompressed
		}
		out, err = snappy.Decode(dst, src)
	case format.Zstd:
		out, err = c.zstd.DecodeAll(src, dst[:0])
	case format.Lz4Raw:
		var n int
		n, err = lz4.UncompressBlock(src, dst)
		out = dst[:max(n, 0)]
	case format.Brotli:
		out, err = readInto(dst, brotli.NewReader(bytes.NewReader(src)))
	case format.Gzip:
		if c.gzip == nil {
			c.gzip = new(gzip.Reader)
		}
		if err = c.gzip.Reset(bytes.NewReader(src)); err == nil {
			out, err = readInto(dst, c.gzip)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCompressed, err)
	}
	if len(out) > len(dst) {
		return nil, errCompressed
	}
	return out, nil
}

// readInto reads r to its end, which must come before dst is full.
func readInto(dst []byte, r io.Reader) ([]byte, error) {
	n, err := io.ReadFull(r, dst)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return dst[:n], nil
	}
	if err != nil {
		return nil, err
	}
	var more [1]byte
	if k, err := io.ReadFull(r, more[:]); k > 0 || err != io.EOF {
		return nil, errors.Join(errCompressed, err)
	}
	return dst, nil
}
