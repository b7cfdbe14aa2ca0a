package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kontor/internal/fault"
)

// errHeld is what tryLock gives where another process holds the lock.
var errHeld = errors.New("locked")

// acquire locks path and writes who holds it. The lock ends with the process that
// holds it, however that ends.
func acquire(path string) (*os.File, error) {
	f, err := tryLock(path)
	if errors.Is(err, errHeld) {
		who := "another process"
		if pid := holder(path); pid > 0 {
			who = fmt.Sprintf("process %d", pid)
		}
		return nil, fault.New(fault.Local, fmt.Sprintf("%s uses the folder %s already", who, filepath.Dir(path)), "stop it, or let the command talk to the running node")
	}
	if err != nil {
		return nil, fault.Wrap(fault.Local, err, "locking the node's folder", "make the folder and its files belong to the user who runs Kontor, on a disk that can lock files")
	}
	// The number is for the message only: on a full disk the lock holds without it.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// holder returns the process that wrote its number into path, 0 if none did.
func holder(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

func release(f *os.File) error {
	if f == nil {
		return nil
	}
	return errors.Join(f.Truncate(0), f.Close())
}
