package flow

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"kontor/fed/boost"
	"kontor/internal/fault"
)

const (
	stepFile   = "step.json" // written last: a folder without it is not a step's
	stepFormat = "kontor-step-v1"

	maxStepBytes = 16 << 20
	maxFile      = 1 << 30 // of what is read back; also the most of a model
)

// ErrLimit is in the errors of steps that would take more than the job's limits.
// Another attempt would end as this one did.
var ErrLimit = errors.New("a limit of the job")

// content is what step.json says of another file of the folder.
type content struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// storedStep is step.json. Sum is the hash of its own encoding without it.
type storedStep struct {
	Format string `json:"format"`
	StepResult
	Contents map[string]content `json:"contents"`
	Sum      string             `json:"sum,omitempty"`
}

func (s storedStep) sum() string {
	s.Sum = ""
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// folder writes a step's files, within a quota and never outside.
type folder struct {
	root   *os.Root
	dir    string
	quota  int64 // 0 for none
	used   int64
	names  []string
	stored storedStep
}

func newFolder(dir string, quota int64) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, storeFault(err)
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("the step's folder already holds %s", entries[0].Name())
	}
	if err != nil {
		root.Close()
		return nil, storeFault(err)
	}
	return &folder{root: root, dir: dir, quota: quota, stored: storedStep{Format: stepFormat, Contents: map[string]content{}}}, nil
}

// write stores artifact and result, each file synced, the result last.
func (f *folder) write(a artifact, r *StepResult) error {
	var files []artifactFile
	if a != nil {
		files = a.files()
	}
	for _, file := range files {
		c, err := f.file(file.name, file.write)
		if err != nil {
			return err
		}
		f.stored.Contents[file.name] = c
		if file.user {
			r.Files = append(r.Files, file.name)
		}
	}
	f.stored.StepResult = *r
	f.stored.Sum = f.stored.sum()
	if err := f.sync(); err != nil {
		return err
	}
	if _, err := f.file(stepFile, func(w io.Writer) error { return json.NewEncoder(w).Encode(f.stored) }); err != nil {
		return err
	}
	return f.sync()
}

func (f *folder) file(name string, write func(io.Writer) error) (content, error) {
	out, err := f.root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return content{}, storeFault(err)
	}
	f.names = append(f.names, name)
	m := newMeter(&quota{f, out})
	w := bufio.NewWriterSize(m, 1<<16)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return m.content(), storeFault(err)
}

func (f *folder) sync() error {
	d, err := f.root.Open(".")
	if err != nil {
		return storeFault(err)
	}
	return storeFault(errors.Join(d.Sync(), d.Close()))
}

// discard takes back what was written.
func (f *folder) discard() {
	for _, n := range f.names {
		f.root.Remove(n)
	}
}

func (f *folder) close() { f.root.Close() }

// quota holds what goes to disk to the folder's bound.
type quota struct {
	f   *folder
	out io.Writer
}

func (q *quota) Write(b []byte) (int, error) {
	if most := q.f.quota; most > 0 && q.f.used+int64(len(b)) > most {
		return 0, &fault.Error{Kind: fault.Local, Err: ErrLimit, What: fmt.Sprintf("the step writes more than the %s that the job has left on disk here", Bytes(most)),
			Cure: "raise limits.disk in the job, or the node's limit of a job"}
	}
	n, err := q.out.Write(b)
	q.f.used += int64(n)
	return n, err
}

// meter counts and hashes what passes.
type meter struct {
	out io.Writer
	h   hash.Hash
	n   int64
}

func newMeter(out io.Writer) *meter { return &meter{out: out, h: sha256.New()} }

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.out.Write(b)
	m.h.Write(b[:n])
	m.n += int64(n)
	return n, err
}

func (m *meter) content() content { return content{m.n, hex.EncodeToString(m.h.Sum(nil))} }

func storeFault(err error) error {
	if f := new(fault.Error); err == nil || errors.As(err, &f) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.Wrap(fault.Local, err, "the disk is full", "free space on the disk of the node's folder")
	}
	return fault.Wrap(fault.Local, err, "the step's result cannot be written", "check free space and permissions of the node's folder")
}

// sealed is a step's folder, for reading.
type sealed struct {
	dir string
	*storedStep
}

// ReadStep returns the result of a step that Execute left in dir. A folder that
// is not complete, or altered, is an error of kind [fault.Local].
func ReadStep(dir string) (*StepResult, error) {
	s, err := openStep(dir)
	if err != nil {
		return nil, err
	}
	return &s.StepResult, nil
}

func openStep(dir string) (*sealed, error) {
	b, err := readFile(dir, stepFile, maxStepBytes)
	if err != nil {
		return nil, damaged(dir, stepFile, err)
	}
	st, err := decodeStep(b)
	if err != nil {
		return nil, damaged(dir, stepFile, err)
	}
	return &sealed{dir, st}, nil
}

func decodeStep(b []byte) (*storedStep, error) {
	st := &storedStep{}
	if err := strict(b, st); err != nil {
		return nil, err
	}
	switch {
	case st.Format != stepFormat:
		return nil, fmt.Errorf("%w: its format is %.40q", errArtifact, st.Format)
	case st.Sum == "" || st.Sum != st.sum():
		return nil, fmt.Errorf("%w: it is altered", errArtifact)
	}
	for name := range st.Contents {
		if name != filepath.Base(name) || name == stepFile {
			return nil, fmt.Errorf("%w: it names the file %.40q", errArtifact, name)
		}
	}
	for _, name := range st.Files {
		if _, ok := st.Contents[name]; !ok {
			return nil, fmt.Errorf("%w: it lacks the hash of %.40q", errArtifact, name)
		}
	}
	return st, nil
}

// read returns a file of the step, held to its hash.
func (s *sealed) read(name string) ([]byte, error) {
	want, ok := s.Contents[name]
	if !ok {
		return nil, damaged(s.dir, name, fmt.Errorf("%w: the step did not leave it", errArtifact))
	}
	b, err := readFile(s.dir, name, maxFile)
	if err == nil {
		if h := sha256.Sum256(b); int64(len(b)) != want.Bytes || hex.EncodeToString(h[:]) != want.SHA256 {
			err = fmt.Errorf("%w: it is cut or altered", errArtifact)
		}
	}
	if err != nil {
		return nil, damaged(s.dir, name, err)
	}
	return b, nil
}

func readFile(dir, name string, most int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%w: it has more than %d bytes", errArtifact, most)
	}
	return b, err
}

func damaged(dir, name string, err error) error {
	return fault.Wrap(fault.Local, err, fmt.Sprintf("%s of the step in %s cannot be used", name, filepath.Base(dir)),
		"check the disk, then run the job again from its beginning")
}

// load reads an artifact of a type back. role is that of the party.
func (s *sealed) load(typ string) (artifact, error) {
	name, decode := s.decoder(typ)
	if decode == nil {
		return nil, fmt.Errorf("flow: nothing of type %q can be read back", typ)
	}
	b, err := s.read(name)
	if err != nil {
		return nil, err
	}
	a, err := decode(b)
	if err != nil {
		return nil, damaged(s.dir, name, err)
	}
	return a, nil
}

func (s *sealed) decoder(typ string) (name string, decode func([]byte) (artifact, error)) {
	switch typ {
	case TypeRows:
		return rowsFile, func(b []byte) (artifact, error) { return decodeRows(b) }
	case TypeParts:
		return partsFile, func(b []byte) (artifact, error) { return decodeParts(b) }
	case TypeModel:
		return ModelFile, func(b []byte) (artifact, error) {
			m, err := decodeModel(b)
			if err != nil || !slices.Contains(keys(s.Contents), historyFile) {
				return m, err
			}
			h, err := s.read(historyFile)
			if err == nil {
				m.history, err = decodeHistory(h)
			}
			return m, err
		}
	case TypeMetrics:
		return evaluationFile, func(b []byte) (artifact, error) {
			sets, err := decodeSets(b)
			return &measured{sets: sets}, err
		}
	}
	return "", nil
}

func keys[V any](m map[string]V) (ks []string) {
	for k := range m {
		ks = append(ks, k)
	}
	return ks
}

// decodeModel reads either part of a model; only a guest's has trees.
func decodeModel(b []byte) (*trained, error) {
	g, err := boost.ParseGuestModel(b)
	if err == nil {
		return &trained{guest: g}, nil
	}
	h, hostErr := boost.ParseHostModel(b)
	if hostErr == nil {
		return &trained{host: h}, nil
	}
	var head struct {
		Party string `json:"party"`
	}
	if json.Unmarshal(b, &head) == nil && head.Party != "" {
		return nil, hostErr
	}
	return nil, err
}

func decodeHistory(b []byte) (*boost.History, error) {
	h := &boost.History{}
	if err := strict(b, h); err != nil {
		return nil, err
	}
	if len(h.Train) > maxGrown || len(h.Valid) > maxGrown || h.Best < 0 || h.Best > maxGrown {
		return nil, fmt.Errorf("%w: a history of %d trees", errArtifact, len(h.Train))
	}
	return h, nil
}

// loadModel reads this party's part of a model from a folder that Execute left,
// or a copy of it. Where the folder has no step.json the decoder's checks are
// what there is.
func loadModel(dir string) (*trained, error) {
	if _, err := os.Lstat(filepath.Join(dir, stepFile)); err == nil {
		s, err := openStep(dir)
		if err != nil {
			return nil, err
		}
		a, err := s.load(TypeModel)
		if err != nil {
			return nil, err
		}
		return a.(*trained), nil
	}
	b, err := readFile(dir, ModelFile, maxFile)
	if err != nil {
		return nil, damaged(dir, ModelFile, err)
	}
	m, err := decodeModel(b)
	if err != nil {
		return nil, damaged(dir, ModelFile, err)
	}
	return m, nil
}

// ModelColumns returns the names of the party's own columns that its part of
// the model in dir reads. A prediction needs no others.
func ModelColumns(dir string) ([]string, error) {
	m, err := loadModel(dir)
	if err != nil {
		return nil, err
	}
	return slices.Clone(m.features()), nil
}
