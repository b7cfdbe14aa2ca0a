package model

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kontor/store"
)

const (
	maxFiles = 10_000
	maxPath  = 512 // bytes of a path in a model
)

// sum is a file of a model.
type sum struct {
	path   string // with "/"
	sha256 [sha256.Size]byte
}

// lines returns the sums as the program sha256sum writes and checks them.
func lines(sums []sum, prefix string) []byte {
	var b bytes.Buffer
	for _, s := range sums {
		fmt.Fprintf(&b, "%s  %s%s\n", hex.EncodeToString(s.sha256[:]), prefix, s.path)
	}
	return b.Bytes()
}

// total returns the hash over names and content of all files.
func total(sums []sum) string {
	h := sha256.Sum256(lines(sums, ""))
	return hex.EncodeToString(h[:])
}

// checkPath returns an error unless a file of this name may be in a model: on every
// system, in an archive and in a list of sums it must mean the same.
func checkPath(p string) error {
	switch {
	case len(p) > maxPath || !utf8.ValidString(p) || !fs.ValidPath(p):
		return fmt.Errorf("%.80q cannot be the path of a file of a model", p)
	case strings.ContainsFunc(p, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(`\:*?"<>|`, r) }):
		return fmt.Errorf("%.80q holds a character that files of a model must not have in their names", p)
	}
	return nil
}

// scan hashes all files below dir, in the order of their paths, and copies each into what
// create returns for it, if create is not nil. Links and devices are refused, and nothing outside dir is
// reached whatever is in it.
func scan(ctx context.Context, dir string, create func(path string) (*os.File, error)) ([]sum, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var out []sum
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return ctx.Err()
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no plain file", p)
		}
		if err := checkPath(p); err != nil {
			return err
		}
		if len(out) == maxFiles {
			return fmt.Errorf("there are more than %d files", maxFiles)
		}
		s, err := hash(ctx, root, p, create)
		out = append(out, s)
		return err
	})
	slices.SortFunc(out, func(a, b sum) int { return strings.Compare(a.path, b.path) })
	return out, err
}

func hash(ctx context.Context, root *os.Root, p string, create func(string) (*os.File, error)) (sum, error) {
	in, err := root.Open(filepath.FromSlash(p))
	if err != nil {
		return sum{}, err
	}
	defer in.Close()
	h := sha256.New()
	to := io.Writer(h)
	var out *os.File
	if create != nil {
		if out, err = create(p); err != nil {
			return sum{}, err
		}
		to = io.MultiWriter(h, out)
	}
	_, err = io.Copy(to, reader{ctx, in})
	if out != nil {
		if err == nil {
			err = out.Sync()
		}
		err = errors.Join(err, out.Close())
	}
	return sum{path: p, sha256: [sha256.Size]byte(h.Sum(nil))}, err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func create(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// syncTree makes the names in dir and below durable; the files are already.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return store.SyncDir(p)
	})
}

// Export writes the model that ref names as a zip: record.json, SHA256SUMS and
// the files below files/. The same model with the same tags gives the same bytes.
func (r *Registry) Export(ctx context.Context, ref string, w io.Writer) error {
	rec, err := r.Lookup(ctx, ref)
	if err != nil {
		return err
	}
	sums, err := r.verify(ctx, rec)
	if err != nil {
		return err
	}
	doc, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	z := zip.NewWriter(w)
	for _, f := range []struct {
		name string
		r    io.Reader
	}{{recordFile, bytes.NewReader(append(doc, '\n'))}, {sumsFile, bytes.NewReader(lines(sums, filesDir+"/"))}} {
		if err := put(ctx, z, f.name, rec.Created, f.r); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(r.files(rec.ID))
	if err != nil {
		return local(err, "reading a model")
	}
	defer root.Close()
	for _, s := range sums {
		f, err := root.Open(filepath.FromSlash(s.path))
		if err != nil {
			return local(err, "reading a model")
		}
		err = put(ctx, z, path.Join(filesDir, s.path), rec.Created, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return z.Close()
}

func put(ctx context.Context, z *zip.Writer, name string, at time.Time, r io.Reader) error {
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, reader{ctx, r})
	return err
}
