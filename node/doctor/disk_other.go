//go:build !(linux || darwin || freebsd)

package doctor

import "errors"

// diskSpace is not known how to find out on this system.
func diskSpace(string) (free, total uint64, err error) {
	return 0, 0, errors.ErrUnsupported
}
