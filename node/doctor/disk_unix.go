//go:build linux || darwin || freebsd

package doctor

import "syscall"

// diskSpace returns how much of the file system that holds path is free for
// this user, and how much it has.
func diskSpace(path string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, 0, err
	}
	block := uint64(s.Bsize)
	return uint64(s.Bavail) * block, uint64(s.Blocks) * block, nil
}
