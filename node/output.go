package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/store"
)

// marker is the file by which a folder is known to be a result of ours, so that
// a later run may replace it.
const marker = "result.json"

// staged is a result that is complete on disk but not yet in its place.
type staged struct {
	dir, final string
}

// checkOut refuses a folder that holds anything but an earlier result.
func checkOut(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fault.Wrap(fault.Local, err, "the output folder cannot be used", "name another folder with --out")
	}
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
		return fault.New(fault.Local, dir+" holds files that are no result of a job", "name an empty or new folder with --out")
	}
	return nil
}

// stage writes files into a temporary folder beside dir.
func stage(dir string, files []flow.File) (_ *staged, err error) {
	dir = filepath.Clean(dir)
	if err := checkOut(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, diskFault(err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return nil, diskFault(err)
	}
	s := &staged{tmp, dir}
	for _, f := range files {
		if err := writeFile(filepath.Join(tmp, f.Name), f.Write); err != nil {
			s.discard()
			return nil, diskFault(fmt.Errorf("writing %s: %w", f.Name, err))
		}
	}
	if err := store.SyncDir(tmp); err != nil {
		s.discard()
		return nil, diskFault(err)
	}
	return s, nil
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	return errors.Join(write(w), w.Flush(), f.Sync(), f.Close())
}

// publish moves a staged result into its place, replacing an earlier one.
func (s *staged) publish() error {
	if err := checkOut(s.final); err != nil {
		return err
	}
	old := s.dir + "-old"
	switch err := os.Rename(s.final, old); {
	case err == nil:
		defer os.RemoveAll(old)
	case !errors.Is(err, os.ErrNotExist):
		return diskFault(err)
	}
	if err := os.Rename(s.dir, s.final); err != nil {
		return errors.Join(diskFault(err), os.Rename(old, s.final))
	}
	if err := store.SyncDir(filepath.Dir(s.final)); err != nil {
		return diskFault(err)
	}
	return nil
}

func (s *staged) discard() {
	if s != nil {
		os.RemoveAll(s.dir)
	}
}

func diskFault(err error) error {
	return fault.Wrap(fault.Local, err, "the result cannot be written", "check free space and permissions of the output folder, then run again")
}
