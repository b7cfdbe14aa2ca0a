package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Pages are found, checked and decompressed here and only decoded by the
// library, for two reasons. It believes the sizes that a file states and asks
// for memory without end on a damaged one, which no recover catches. And
// v0.32.0 returns zeros for a page whose decompressor had to grow its buffer,
// as that for LZ4 does with nearly every page.

const (
	maxFooter     = 256 << 20
	maxPageBytes  = 512 << 20 // writers make pages of about 1 MiB
	maxPageValues = 1 << 26
)

// readFooter reads the metadata of a Parquet file.
func readFooter(f io.ReaderAt, size int64) (*format.FileMetaData, error) {
	if size < 12 {
		return nil, errors.New("it is too short")
	}
	var tail [8]byte
	if _, err := f.ReadAt(tail[:], size-8); err != nil {
		return nil, err
	}
	if string(tail[4:]) != "PAR1" {
		return nil, errors.New("its end is missing")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if n > size-12 || n > maxFooter {
		return nil, errors.New("its footer is longer than can be")
	}
	footer := make([]byte, n)
	if _, err := f.ReadAt(footer, size-8-n); err != nil {
		return nil, err
	}
	// Behind the metadata there may be a signature.
	rest, err := skipStruct(footer, 0)
	if err != nil {
		return nil, fmt.Errorf("its metadata: %w", err)
	}
	meta := new(format.FileMetaData)
	var p thrift.CompactProtocol
	return meta, thrift.Unmarshal(&p, footer[:len(footer)-len(rest)], meta)
}

// virtual has the library open a file that has the metadata given but no data,
// and whose chunks are not compressed, begin at chunkStart and have no end. Its
// pages are then read from a chunk, below. meta is left as it was.
func virtual(meta *format.FileMetaData) (*parquet.File, error) {
	for g := range meta.RowGroups {
		for c := range meta.RowGroups[g].Columns {
			m := &meta.RowGroups[g].Columns[c].MetaData
			defer func(was format.ColumnMetaData) { *m = was }(*m)
			m.Codec = format.Uncompressed
			m.DataPageOffset, m.DictionaryPageOffset, m.IndexPageOffset = chunkStart, 0, 0
			m.TotalCompressedSize = 1 << 60
		}
	}
	var p thrift.CompactProtocol
	footer, err := thrift.Marshal(&p, meta)
	if err != nil {
		return nil, err
	}
	b := append([]byte("PAR1"), footer...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(footer)))
	b = append(b, "PAR1"...)
	return parquet.OpenFile(bytes.NewReader(b), int64(len(b)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
}

const chunkStart = 4

// chunk presents the pages of one column in one row group, which it checks and
// decompresses, as a chunk of a virtual file. It is read from chunkStart on
// without a jump.
type chunk struct {
	f       io.ReaderAt
	codec   *codec
	at, end int64  // the next page in the file, the end of the pages
	left    int64  // values in the pages not yet read
	out     []byte // what has been made and not been read
	served  int64  // where out begins in the virtual file
	err     error

	raw, plain, made []byte // buffers
}

// newChunk returns the chunk that m describes, in a row group of rows rows of a
// file of size bytes. It reuses the buffers of old.
func newChunk(f io.ReaderAt, m *format.ColumnChunk, rows, size int64, old *chunk) (*chunk, error) {
	if m.FilePath != "" {
		return nil, errors.New("its data is in another file, " + m.FilePath)
	}
	c := &chunk{f: f, left: rows, served: chunkStart}
	if old != nil {
		c.codec, c.raw, c.plain, c.made = old.codec, old.raw, old.plain, old.made
	}
	md := &m.MetaData
	c.at = md.DataPageOffset
	if d := md.DictionaryPageOffset; d > 0 && d < c.at {
		c.at = d
	}
	c.end = c.at + md.TotalCompressedSize
	if c.at < 4 || c.end < c.at || c.end > size {
		return nil, errors.New("its pages lie outside the file")
	}
	c.end = min(c.end+128, size) // parquet-mr before 1.3 forgot to count a page header
	var err error
	c.codec, err = codecFor(md.Codec, c.codec)
	return c, err
}

// ReadAt implements [io.ReaderAt] for reading in sequence.
func (c *chunk) ReadAt(p []byte, off int64) (n int, err error) {
	if off != c.served {
		return 0, fmt.Errorf("chunk read at %d instead of %d", off, c.served)
	}
	for n < len(p) {
		if len(c.out) == 0 {
			if c.err == nil {
				c.err = c.step()
			}
			if c.err != nil {
				return n, c.err
			}
			continue
		}
		k := copy(p[n:], c.out)
		c.out = c.out[k:]
		c.served += int64(k)
		n += k
	}
	return n, nil
}

// step makes the next page, or none where there is one that holds no values.
func (c *chunk) step() error {
	if c.left == 0 {
		return io.EOF
	}
	if c.at >= c.end {
		return errors.New("a row group has fewer values than rows")
	}
	start := c.at
	if err := c.page(); err != nil {
		return fmt.Errorf("page at byte %d: %w", start, err)
	}
	return nil
}

func (c *chunk) page() error {
	h, n, err := pageHeader(c.f, c.at, c.end)
	if err != nil {
		return err
	}
	c.at += n
	length := int64(h.CompressedPageSize)
	if length < 0 || length > c.end-c.at || length > maxPageBytes || h.UncompressedPageSize < 0 || h.UncompressedPageSize > maxPageBytes {
		return errors.New("its size is impossible")
	}
	c.raw = resize(c.raw, int(length))
	if _, err := c.f.ReadAt(c.raw, c.at); err != nil {
		return err
	}
	c.at += length
	if h.CRC != 0 && uint32(h.CRC) != crc32.ChecksumIEEE(c.raw) {
		return errors.New("its checksum does not match")
	}
	levels, err := c.count(h)
	if err != nil || h.Type == format.IndexPage {
		return err
	}
	data := c.raw
	if v := h.DataPageHeaderV2.V.IsCompressed; h.Type != format.DataPageV2 || !v.Valid || v.V {
		// Levels stand before the values and are not compressed.
		c.plain = resize(c.plain, int(h.UncompressedPageSize))
		copy(c.plain, c.raw[:levels])
		values, err := c.codec.decode(c.plain[levels:], c.raw[levels:])
		if err != nil {
			return err
		}
		data = c.plain[:levels+len(values)]
	}
	return c.make(h, data)
}

// count checks how many values a page says it has, and returns the length of
// the levels that stand before them.
func (c *chunk) count(h *format.PageHeader) (levels int, err error) {
	bad := errors.New("its header is impossible")
	fits := func(n int32) bool { return n >= 0 && n <= maxPageValues && int64(n) <= c.left }
	switch h.Type {
	case format.DictionaryPage:
		d := &h.DictionaryPageHeader
		if !d.Valid || d.V.NumValues < 0 || d.V.NumValues > maxPageValues {
			return 0, bad
		}
	case format.DataPage:
		d := &h.DataPageHeader
		if !d.Valid || !fits(d.V.NumValues) {
			return 0, bad
		}
		d.V.Statistics = format.Statistics{}
		c.left -= int64(d.V.NumValues)
	case format.DataPageV2:
		d := &h.DataPageHeaderV2
		if !d.Valid || !fits(d.V.NumValues) || d.V.NumNulls < 0 || d.V.NumNulls > d.V.NumValues || d.V.RepetitionLevelsByteLength < 0 || d.V.DefinitionLevelsByteLength < 0 {
			return 0, bad
		}
		n := int64(d.V.RepetitionLevelsByteLength) + int64(d.V.DefinitionLevelsByteLength)
		if n > int64(h.CompressedPageSize) || n > int64(h.UncompressedPageSize) {
			return 0, bad
		}
		levels = int(n)
		d.V.Statistics = format.Statistics{}
		c.left -= int64(d.V.NumValues)
	case format.IndexPage:
	default:
		return 0, bad
	}
	return levels, nil
}

// make sets out to a page of plain data.
func (c *chunk) make(h *format.PageHeader, data []byte) error {
	h.CompressedPageSize, h.UncompressedPageSize, h.CRC = int32(len(data)), int32(len(data)), 0
	var p thrift.CompactProtocol
	head, err := thrift.Marshal(&p, h)
	if err != nil {
		return err
	}
	c.made = append(append(c.made[:0], head...), data...)
	c.out = c.made
	return nil
}

func resize(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// pageHeader decodes the page header at a place before end and returns its
// length.
func pageHeader(f io.ReaderAt, at, end int64) (*format.PageHeader, int64, error) {
	// Statistics in it can hold long values.
	for want := int64(512); ; want *= 8 {
		want = min(want, end-at)
		b := make([]byte, want)
		if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
			return nil, 0, err
		}
		rest, err := skipStruct(b, 0)
		if errors.Is(err, io.ErrUnexpectedEOF) && want < end-at && want < 16<<20 {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		n := len(b) - len(rest)
		h := new(format.PageHeader)
		var p thrift.CompactProtocol
		return h, int64(n), thrift.Unmarshal(&p, b[:n], h)
	}
}
