package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kontor/internal/fault"
	"kontor/table"
)

// findData finds a job over the files of a folder: its job.yaml with one file
// per party named after it, or else one file of a guest and one of a host, for
// which a job is written into dir.
func findData(folder, dir string) (*source, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fault.Wrap(fault.Data, err, "the data folder cannot be read", "name a folder with a CSV or Parquet file of each party")
	}
	var files []string
	for _, e := range entries {
		if ext := strings.ToLower(filepath.Ext(e.Name())); !e.IsDir() && (ext == ".csv" || ext == ".parquet") {
			files = append(files, e.Name())
		}
	}
	src := &source{job: filepath.Join(folder, "job.yaml"), files: map[string]string{}}
	pick := func(party string, words ...string) error {
		var found []string
		for _, f := range files {
			if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(f), w) }) {
				found = append(found, f)
			}
		}
		if len(found) != 1 {
			return fault.New(fault.Data, fmt.Sprintf("%s has %d files for %s (%s), it needs one", folder, len(found), party, strings.Join(found, ", ")),
				"keep in it one file whose name has guest or bank and one whose name has host or telecom")
		}
		src.files[party] = filepath.Join(folder, found[0])
		return nil
	}
	if err := pick("bank", "guest", "bank"); err != nil {
		return nil, err
	}
	if err := pick("telecom", "host", "telecom"); err != nil {
		return nil, err
	}
	if _, err := os.Stat(src.job); err == nil {
		return src, nil
	}
	src.job = filepath.Join(dir, "job.yaml")
	return src, writeJob(src)
}

// writeJob writes the demo's job for columns with usual names.
func writeJob(src *source) error {
	guest, err := table.Infer(context.Background(), src.files["bank"], table.Options{})
	if err != nil {
		return fault.Wrap(fault.Data, err, "", "correct the file")
	}
	host, err := table.Infer(context.Background(), src.files["telecom"], table.Options{})
	if err != nil {
		return fault.Wrap(fault.Data, err, "", "correct the file")
	}
	find := func(s table.Schema, file, what string, usual ...string) (string, error) {
		for _, u := range usual {
			for _, n := range s.Names() {
				if strings.EqualFold(n, u) {
					return n, nil
				}
			}
		}
		return "", fault.New(fault.Data, fmt.Sprintf("%s: none of the columns %s looks like the %s", filepath.Base(file), strings.Join(s.Names(), ", "), what),
			"put a job.yaml with parties bank and telecom into the folder, or rename the column")
	}
	ids := []string{"id", "customer_id", "subscriber", "idx"}
	gid, err := find(guest, src.files["bank"], "id", ids...)
	if err != nil {
		return err
	}
	hid, err := find(host, src.files["telecom"], "id", ids...)
	if err != nil {
		return err
	}
	label, err := find(guest, src.files["bank"], "label", "label", "y", "default", "target")
	if err != nil {
		return err
	}
	job := fmt.Sprintf(`job: demo
parties:
  bank:    {role: guest, id: %q, label: %q}
  telecom: {role: host, id: %q}
steps:
  - align:
  - split: {test: 0.3, valid: 0.1}
  - boost: {trees: 120, depth: 3, early_stopping: 15}
  - evaluate:
`, gid, label, hid)
	if err := os.WriteFile(src.job, []byte(job), 0o644); err != nil {
		return fault.Wrap(fault.Local, err, "the job cannot be written", "check free space")
	}
	return nil
}
