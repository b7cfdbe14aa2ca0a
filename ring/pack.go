package ring

import "encoding/binary"

// PackedLen returns how many bytes n integers of width bits take.
func PackedLen(n, width int) int { return (n*width + 7) / 8 }

// Pack writes the low width bits of each integer of src to dst one after the
// other, least significant bit first, in PackedLen(len(src), width) bytes; the
// bits that remain in the last byte are zero. The width is from 1 to 64.
func Pack(dst []byte, src []uint64, width int) {
	dst = dst[:PackedLen(len(src), width)]
	mask := ^uint64(0) >> (64 - width)
	var acc uint64
	fill, w := 0, uint(width)
	for _, v := range src {
		v &= mask
		acc |= v << uint(fill)
		fill += width
		if fill >= 64 {
			binary.LittleEndian.PutUint64(dst, acc)
			dst = dst[8:]
			fill -= 64
			acc = v >> (w - uint(fill)) // a shift of 64 gives zero, as it must
		}
	}
	for ; fill > 0; fill -= 8 {
		dst[0] = byte(acc)
		dst, acc = dst[1:], acc>>8
	}
}

// Unpack reads len(dst) integers of width bits from src, the inverse of [Pack].
// src must hold PackedLen(len(dst), width) bytes.
func Unpack(dst []uint64, src []byte, width int) {
	src = src[:PackedLen(len(dst), width)]
	mask := ^uint64(0) >> (64 - width)
	i, bit := 0, 0
	if width <= 57 {
		for ; i < len(dst) && bit>>3+8 <= len(src); i, bit = i+1, bit+width {
			dst[i] = binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
		}
	} else {
		for ; i < len(dst) && bit>>3+9 <= len(src); i, bit = i+1, bit+width {
			b := (*[9]byte)(src[bit>>3:])
			s := uint(bit & 7)
			dst[i] = (binary.LittleEndian.Uint64(b[:8])>>s | uint64(b[8])<<(64-s)) & mask
		}
	}
	if i == len(dst) {
		return
	}
	// The last few integers, read from a copy that has room behind it.
	var tail [2 * 9]byte
	for ; i < len(dst); i, bit = i+1, bit+width {
		clear(tail[:])
		copy(tail[:9], src[bit>>3:])
		s := uint(bit & 7)
		dst[i] = (binary.LittleEndian.Uint64(tail[:8])>>s | uint64(tail[8])<<(64-s)) & mask
	}
}
