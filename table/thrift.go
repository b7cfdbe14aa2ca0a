package table

import (
	"encoding/binary"
	"errors"
	"io"
)

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
