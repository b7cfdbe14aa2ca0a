package data

import (
	"io/fs"
	"syscall"
	"time"
)

// identify returns when the file was last changed in any way, which no user can
// set, and its number.
func identify(info fs.FileInfo) (changed time.Time, inode uint64, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, 0, false
	}
	return time.Unix(s.Ctim.Unix()), s.Ino, true
}
