package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// The library believes the sizes that a file states and would ask for memory
// without end on a damaged one, which no recover catches. The functions here
// look at the sizes first.

const (
	maxFooter     = 256 << 20
	maxPageBytes  = 512 << 20 // uncompressed; writers make pages of about 1 MiB
	maxPageValues = 1 << 26
)

// checkFooter checks the end of a Parquet file and the structure of its
// metadata.
func checkFooter(f io.ReaderAt, size int64) error {
	if size < 12 {
		return errors.New("it is too short")
	}
	var tail [8]byte
	if _, err := f.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	if string(tail[4:]) != "PAR1" {
		return errors.New("its end is missing")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if n > size-12 || n > maxFooter {
		return errors.New("its footer is longer than can be")
	}
	footer := make([]byte, n)
	if _, err := f.ReadAt(footer, size-8-n); err != nil {
		return err
	}
	// What may follow the metadata is a signature.
	if _, err := skipStruct(footer, 0); err != nil {
		return fmt.Errorf("its metadata: %w", err)
	}
	return nil
}

// checkChunk walks the page headers of one column in one row group: do the
// pages lie in the file, have a believable size and as many values as the row
// group has rows?
func checkChunk(f io.ReaderAt, size int64, m *format.ColumnMetaData, rows int64) error {
	at := m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < at {
		at = d
	}
	end := at + m.TotalCompressedSize
	if at < 4 || end < at || end > size {
		return errors.New("its pages lie outside the file")
	}
	end = min(end+128, size) // parquet-mr before 1.3 forgot to count a page header
	var values int64
	for at < end && values < rows {
		h, n, err := pageHeader(f, at, end)
		if err != nil {
			return fmt.Errorf("page header at byte %d: %w", at, err)
		}
		at += n
		length := int64(h.CompressedPageSize)
		if length < 0 || length > end-at || h.UncompressedPageSize < 0 || h.UncompressedPageSize > maxPageBytes {
			return fmt.Errorf("the page before byte %d states an impossible size", at)
		}
		var in int64
		switch h.Type {
		case format.DataPage:
			in = int64(h.DataPageHeader.V.NumValues)
		case format.DataPageV2:
			in = int64(h.DataPageHeaderV2.V.NumValues)
			if v := h.DataPageHeaderV2.V; v.NumNulls < 0 || int64(v.NumNulls) > in || v.RepetitionLevelsByteLength < 0 || v.DefinitionLevelsByteLength < 0 ||
				int64(v.RepetitionLevelsByteLength)+int64(v.DefinitionLevelsByteLength) > length {
				return fmt.Errorf("the page before byte %d states impossible levels", at)
			}
		case format.DictionaryPage:
			if v := h.DictionaryPageHeader.V.NumValues; v < 0 || v > maxPageValues {
				return fmt.Errorf("the page before byte %d states an impossible number of values", at)
			}
		}
		if in < 0 || in > maxPageValues || in > rows-values {
			return fmt.Errorf("the page before byte %d states an impossible number of values", at)
		}
		if err := checkCompressed(f, at, h, m.Codec); err != nil {
			return fmt.Errorf("the page at byte %d: %w", at, err)
		}
		values += in
		at += length
	}
	if values != rows {
		return fmt.Errorf("it has %d values in a row group of %d rows", values, rows)
	}
	return nil
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

// checkCompressed checks what the decompressor would allocate for.
func checkCompressed(f io.ReaderAt, at int64, h *format.PageHeader, codec format.CompressionCodec) error {
	length, want := int(h.CompressedPageSize), int(h.UncompressedPageSize)
	if h.Type == format.DataPageV2 {
		v := h.DataPageHeaderV2.V
		if v.IsCompressed.Valid && !v.IsCompressed.V {
			return nil
		}
		// Levels are not compressed.
		levels := int(v.RepetitionLevelsByteLength) + int(v.DefinitionLevelsByteLength)
		at, length, want = at+int64(levels), length-levels, want-levels
		if want < 0 {
			return errors.New("it is smaller than its levels")
		}
	}
	switch codec {
	case format.Snappy:
		var b [binary.MaxVarintLen64]byte
		n := min(length, len(b))
		if _, err := f.ReadAt(b[:n], at); err != nil && err != io.EOF {
			return err
		}
		if got, k := binary.Uvarint(b[:n]); k <= 0 || got > maxPageBytes {
			return errors.New("its compression is damaged")
		}
	case format.Lz4Raw:
		// The library doubles its buffer until a page fits, a damaged one never.
		b := make([]byte, length)
		if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
			return err
		}
		if _, err := lz4.UncompressBlock(b, make([]byte, want)); err != nil {
			return errors.New("its compression is damaged")
		}
	}
	return nil
}

var errThrift = errors.New("it is not well formed")

// skipStruct checks a structure in Thrift's compact protocol, without knowing
// its fields, and returns what follows it. No list in it is longer than the
// bytes there are.
func skipStruct(b []byte, depth int) ([]byte, error) {
	const maxDepth = 32
	if depth > maxDepth {
		return nil, errThrift
	}
	for {
		if len(b) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		head := b[0]
		b = b[1:]
		if head == 0 {
			return b, nil
		}
		var err error
		if head>>4 == 0 { // the field's number follows
			if _, b, err = uvarint(b); err != nil {
				return nil, err
			}
		}
		if kind := head & 15; kind > 2 { // a truth value is in the head
			if b, err = skipValue(b, kind, depth); err != nil {
				return nil, err
			}
		}
	}
}

// Types of the compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

func skipValue(b []byte, kind byte, depth int) (rest []byte, err error) {
	var n uint64
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		return skipBytes(b, 1)
	case thriftI16, thriftI32, thriftI64:
		_, b, err = uvarint(b)
		return b, err
	case thriftDouble:
		return skipBytes(b, 8)
	case thriftBinary:
		if n, b, err = uvarint(b); err != nil {
			return nil, err
		}
		return skipBytes(b, n)
	case thriftList, thriftSet:
		return skipList(b, depth)
	case thriftMap:
		if n, b, err = uvarint(b); err != nil || n == 0 {
			return b, err
		}
		if len(b) == 0 || n > uint64(len(b)) {
			return nil, io.ErrUnexpectedEOF
		}
		kinds := b[0]
		b = b[1:]
		for range n {
			if b, err = skipValue(b, kinds>>4, depth+1); err != nil {
				return nil, err
			}
			if b, err = skipValue(b, kinds&15, depth+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	case thriftStruct:
		return skipStruct(b, depth+1)
	}
	return nil, errThrift
}

func skipList(b []byte, depth int) (rest []byte, err error) {
	if depth > 32 {
		return nil, errThrift
	}
	if len(b) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	n, kind := uint64(b[0]>>4), b[0]&15
	b = b[1:]
	if n == 15 {
		if n, b, err = uvarint(b); err != nil {
			return nil, err
		}
	}
	if n > uint64(len(b)) {
		return nil, io.ErrUnexpectedEOF
	}
	for range n {
		if b, err = skipValue(b, kind, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func skipBytes(b []byte, n uint64) ([]byte, error) {
	if n > uint64(len(b)) {
		return nil, io.ErrUnexpectedEOF
	}
	return b[n:], nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	switch {
	case n == 0:
		return 0, nil, io.ErrUnexpectedEOF
	case n < 0:
		return 0, nil, errThrift
	}
	return v, b[n:], nil
}

// checkGroup checks the chunk of one column in one row group.
func checkGroup(f io.ReaderAt, size int64, pf *parquet.File, group, column int) error {
	g := &pf.Metadata().RowGroups[group]
	c := &g.Columns[column]
	if c.FilePath != "" {
		return errors.New("its data is in another file, " + c.FilePath)
	}
	return checkChunk(f, size, &c.MetaData, g.NumRows)
}
