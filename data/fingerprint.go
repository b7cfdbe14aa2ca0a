package data

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"time"

	"kontor/engine"
	"kontor/table"
)

// fingerprint hashes the bytes of a file, or of the Parquet files of a folder.
func fingerprint(ctx context.Context, path string) (print string, size int64, err error) {
	if !isFolder(path) {
		sum, n, err := hashFile(ctx, path)
		return "sha256:" + hex.EncodeToString(sum), n, err
	}
	files, err := table.FolderFiles(path)
	if err != nil {
		return "", 0, err
	}
	type hashed struct {
		sum  []byte
		size int64
	}
	sums, err := engine.Map(ctx, files, func(ctx context.Context, f string) (h hashed, err error) {
		h.sum, h.size, err = hashFile(ctx, f)
		return h, err
	})
	if err != nil {
		return "", 0, err
	}
	all := sha256.New()
	for i, s := range sums {
		fmt.Fprintf(all, "%x %d %s\n", s.sum, s.size, filepath.Base(files[i]))
		size += s.size
	}
	return "folder-sha256:" + hex.EncodeToString(all.Sum(nil)), size, nil
}

func hashFile(ctx context.Context, path string) ([]byte, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, &table.FileError{File: path, Err: err, What: "opening: " + err.Error(), Cure: "check that it is there and may be read"}
	}
	defer f.Close() // only read
	h := sha256.New()
	buf := make([]byte, 1<<20)
	total := int64(0)
	for {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		total += int64(n)
		if err == io.EOF {
			return h.Sum(nil), total, nil
		}
		if err != nil {
			return nil, 0, &table.FileError{File: path, Err: err, What: "reading: " + err.Error(), Cure: "check the disk"}
		}
	}
}

// stamp lets a later look at files tell without reading them that they are still
// those that were hashed. It is empty where that cannot be told.
type stamp struct {
	Sum string `json:"sum,omitempty"`
}

// sight is what the file system says of files.
type sight struct {
	all    [sha256.Size]byte
	newest time.Time // last change of any of them
	sure   bool      // the file system notes changes in a way that users cannot undo
	at     time.Time
}

// settled is how old a change must be before the files' times are believed: two
// changes within the clock's step have the same time.
const settled = 2 * time.Second

func look(path string) (sight, error) {
	files := []string{path}
	if isFolder(path) {
		var err error
		if files, err = table.FolderFiles(path); err != nil {
			return sight{}, err
		}
	}
	s := sight{sure: true, at: time.Now()}
	h := sha256.New()
	for _, f := range files {
		info, err := os.Stat(f)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return s, &table.FileError{File: f, Err: fs.ErrNotExist, What: "there is no such file", Cure: "check the path"}
		case err != nil:
			return s, &table.FileError{File: f, Err: err, What: err.Error(), Cure: "check that it may be read"}
		}
		changed, inode, ok := identify(info)
		s.sure = s.sure && ok
		for _, t := range []time.Time{info.ModTime(), changed} {
			if t.After(s.newest) {
				s.newest = t
			}
		}
		fmt.Fprintf(h, "%d %d %d %d %q\n", info.Size(), info.ModTime().UnixNano(), changed.UnixNano(), inode, f)
	}
	h.Sum(s.all[:0])
	return s, nil
}

func (s sight) stamp() stamp {
	if !s.sure || s.newest.After(s.at.Add(-settled)) {
		return stamp{}
	}
	return stamp{Sum: hex.EncodeToString(s.all[:])}
}

// rowSum sums up rows regardless of their order, which a database does not
// promise: the hashes of the rows are added as numbers of 256 bits. It tells of
// changes that happen, not of some that the owner of the database would calculate.
type rowSum struct {
	rows uint64
	sum  [4]uint64
	row  []byte
}

func (s *rowSum) add(b *table.Table) {
	for i := range b.Len() {
		s.row = s.row[:0]
		for _, c := range b.Columns() {
			if c.Missing(i) {
				s.row = append(s.row, 0)
				continue
			}
			text := c.Text(i)
			s.row = append(s.row, 1)
			s.row = binary.AppendUvarint(s.row, uint64(len(text)))
			s.row = append(s.row, text...)
		}
		h := sha256.Sum256(s.row)
		carry := uint64(0)
		for k := range s.sum {
			s.sum[k], carry = bits.Add64(s.sum[k], binary.LittleEndian.Uint64(h[8*k:]), carry)
		}
		s.rows++
	}
}

func (s *rowSum) fingerprint(schema table.Schema) string {
	h := sha256.New()
	for _, f := range schema {
		fmt.Fprintf(h, "%q %s\n", f.Name, f.Type)
	}
	fmt.Fprintf(h, "%d %016x%016x%016x%016x\n", s.rows, s.sum[3], s.sum[2], s.sum[1], s.sum[0])
	return "rows-sha256:" + hex.EncodeToString(h.Sum(nil))
}
