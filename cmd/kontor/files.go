package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/internal/fault"
)

// documentCmd makes a command that prints a JSON document of a job as it is.
func (a *app) documentCmd(use, short string, get func(*rest.Client, context.Context, string) ([]byte, error)) *cobra.Command {
	return a.nodeCmd(use, short, cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		b, err := get(n.Client, ctx, args[0])
		if err != nil {
			return err
		}
		if _, err := a.out.Write(b); err != nil {
			return fault.Wrap(fault.Local, err, "the document cannot be written", "check where standard output goes")
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			fmt.Fprintln(a.out)
		}
		return nil
	})
}

func (a *app) filesCmd() *cobra.Command {
	return a.nodeCmd("files JOB", "List the files that a job has left at this node", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		fs, err := n.Files(ctx, args[0])
		if err != nil {
			return err
		}
		return a.show(fs, func(w io.Writer) {
			var rows [][]string
			for _, f := range fs.Files {
				rows = append(rows, []string{f.Name, f.Step, bytesText(f.Size), f.SHA256[:min(16, len(f.SHA256))]})
			}
			grid(w, rows...)
			if len(rows) == 0 {
				fmt.Fprintln(w, "no files")
			}
		})
	})
}

func (a *app) getCmd() *cobra.Command {
	var out string
	var force bool
	c := a.nodeCmd("get JOB [FILE...]", "Copy files of a job to this machine; all of them if none is named", cobra.MinimumNArgs(1), func(ctx context.Context, n *conn, args []string) error {
		fs, err := n.Files(ctx, args[0])
		if err != nil {
			return err
		}
		files, err := chosen(fs.Files, args[1:])
		if err != nil {
			return err
		}
		if out == "-" {
			if len(files) != 1 {
				return fault.New(fault.Usage, fmt.Sprintf("%d files do not go to standard output", len(files)), "name one, or a folder with --out")
			}
			return fetch(ctx, n, args[0], files[0], a.out)
		}
		saved := []string{}
		for _, f := range files {
			path, err := local(out, f.Name)
			if err != nil {
				return err
			}
			if err := saveFile(path, force, func(w io.Writer) error { return fetch(ctx, n, args[0], f, w) }); err != nil {
				return err
			}
			saved = append(saved, path)
		}
		return a.show(map[string]any{"saved": saved}, func(w io.Writer) {
			for _, p := range saved {
				fmt.Fprintln(w, p)
			}
		})
	})
	c.Flags().StringVar(&out, "out", ".", "folder to write to; - is standard output")
	c.Flags().BoolVar(&force, "force", false, "overwrite files that are there")
	return c
}

// chosen returns the files that are named, or all.
func chosen(all []rest.FileInfo, names []string) ([]rest.FileInfo, error) {
	if len(names) == 0 {
		if len(all) == 0 {
			return nil, fault.New(fault.Usage, "the job has left no files here", "see kontor job show for where it stands")
		}
		return all, nil
	}
	var out []rest.FileInfo
	for _, name := range names {
		i := slices.IndexFunc(all, func(f rest.FileInfo) bool { return f.Name == name })
		if i < 0 {
			var have []string
			for _, f := range all {
				have = append(have, f.Name)
			}
			return nil, fault.New(fault.Usage, fmt.Sprintf("the job has left no file %q here", name), "choose of: "+orNone(strings.Join(have, ", "), "none"))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// local returns where a file of a job goes: within the folder, whatever a node
// calls its files.
func local(dir, name string) (string, error) {
	rel := filepath.FromSlash(name)
	if !filepath.IsLocal(rel) || clean(name) != name {
		return "", fault.New(fault.Protocol, fmt.Sprintf("the node names a file %q, which would not stay in the folder", name), "look at the node: it may not be the one you think")
	}
	return filepath.Join(dir, rel), nil
}

// fetch copies a file of a job and checks that it has arrived as it was listed.
func fetch(ctx context.Context, n *conn, job string, f rest.FileInfo, w io.Writer) error {
	h := sha256.New()
	if err := n.File(ctx, job, f.Name, io.MultiWriter(w, h)); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); f.SHA256 != "" && !strings.EqualFold(sum, f.SHA256) {
		return fault.New(fault.Protocol, fmt.Sprintf("%s has arrived with the hash %s, not %s", f.Name, sum, f.SHA256), "get it again; look for a proxy between this machine and the node")
	}
	return nil
}

// saveFile lets write fill a file, which appears whole or not at all. What jobs
// leave is about customers: nobody else may read it.
func saveFile(path string, force bool, write func(io.Writer) error) error {
	failed := func(err error) error {
		return fault.Wrap(fault.Local, err, "the file cannot be written", "check permissions and free space, or name another place")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return failed(err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kontor-*") // mode 0600
	if err != nil {
		return failed(err)
	}
	defer os.Remove(tmp.Name()) // gone already if all went well
	werr := write(tmp)
	serr := tmp.Sync()
	if err := errors.Join(serr, tmp.Close()); err != nil && werr == nil {
		werr = failed(err)
	}
	var f *fault.Error
	switch {
	case errors.As(werr, &f) || errors.Is(werr, context.Canceled):
		return werr
	case werr != nil:
		return failed(werr)
	case force:
		err = os.Rename(tmp.Name(), path)
	default:
		err = os.Link(tmp.Name(), path) // fails where a file is, unlike a renaming
		if err != nil && !errors.Is(err, os.ErrExist) {
			err = renameNew(tmp.Name(), path)
		}
	}
	if errors.Is(err, os.ErrExist) {
		return fault.New(fault.Local, path+" is there already", "move it away, or name another place with --out")
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// renameNew is for file systems without links.
func renameNew(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return os.ErrExist
	}
	return os.Rename(from, to)
}
