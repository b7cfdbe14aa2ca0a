package flow

import (
	"fmt"
	"io"
	"os"
	"slices"

	"kontor/fed/metric"
)

// Collect puts together what this party has of a job from the folders of its
// completed steps, by name of step. Steps without a folder are left out. Files
// are read when the result's Write functions are called.
func Collect(spec *Spec, self string, dirs map[string]string) (*Result, error) {
	party, err := spec.Party(self)
	if err != nil {
		return nil, err
	}
	done := map[string]*outcome{}
	for _, st := range spec.Steps {
		dir, ok := dirs[st.Name]
		if !ok {
			continue
		}
		s, err := openStep(dir)
		if err != nil {
			return nil, err
		}
		out := &outcome{result: &s.StepResult, artifact: &onDisk{s}}
		if typ := components[st.Kind].Output; typ == TypeMetrics && s.has(evaluationFile) || typ == TypeModel {
			a, err := s.load(typ)
			if err != nil {
				return nil, err
			}
			out.artifact = &collected{a, onDisk{s}}
		}
		done[st.Name] = out
	}
	return assemble(spec, party, done), nil
}

func (s *sealed) has(name string) bool { _, ok := s.Contents[name]; return ok }

// onDisk is an artifact whose files for people are copied as they are.
type onDisk struct{ s *sealed }

func (d *onDisk) files() (out []artifactFile) {
	for _, name := range d.s.Files {
		out = append(out, artifactFile{name: name, user: true, write: func(w io.Writer) error { return d.s.copy(w, name) }})
	}
	return out
}

// collected is one of which the content is needed too.
type collected struct {
	artifact
	disk onDisk
}

func (c *collected) files() []artifactFile { return c.disk.files() }

// copy writes a file of the step to w. It has been altered since if it is no
// longer what its hash says, which is found when all is written: the caller then
// has an error and what it wrote is worth nothing.
func (s *sealed) copy(w io.Writer, name string) error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return damaged(s.dir, name, err)
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return damaged(s.dir, name, err)
	}
	defer f.Close()
	m := newMeter(w)
	if _, err := io.Copy(m, f); err != nil {
		return err
	}
	if m.content() != s.Contents[name] {
		return damaged(s.dir, name, fmt.Errorf("%w: it is cut or altered", errArtifact))
	}
	return nil
}

// assemble makes a result of the steps that are done.
func assemble(spec *Spec, self Party, done map[string]*outcome) *Result {
	res := &Result{Job: spec.Job, Party: self.Name, Role: self.Role, Metrics: map[string]metric.Summary{}}
	model := ""
	for _, st := range spec.Steps {
		out := done[st.Name]
		if out == nil {
			continue
		}
		r := out.result
		res.Steps = append(res.Steps, r.Report)
		res.Security = append(res.Security, r.Security...)
		if len(r.Learned) > 0 {
			res.Learned = append(res.Learned, Learned{Step: st.Name, Facts: r.Learned})
		}
		for _, w := range r.Warnings {
			if !slices.Contains(res.Warnings, w) {
				res.Warnings = append(res.Warnings, w)
			}
		}
		res.Rows, res.Columns, res.Joint = max(res.Rows, r.Rows), max(res.Columns, r.Columns), max(res.Joint, r.Joint)
		if out.artifact != nil {
			for _, f := range out.artifact.files() {
				if f.user {
					res.Files = append(res.Files, File{Name: st.Name + "-" + f.name, Write: f.write})
				}
			}
		}
		switch st.Kind {
		case "boost":
			model = st.Name
		case "evaluate":
			model = st.From[TypeModel]
			if r.Metrics != nil {
				res.Metrics = r.Metrics
			}
			if m, ok := contentOf[*measured](out); ok {
				res.Sets = m.sets
			}
		}
	}
	if out := done[model]; out != nil {
		res.Importance = out.result.Importance
		if m, ok := contentOf[*trained](out); ok {
			res.History = m.history
		}
	}
	return res
}

// contentOf returns the artifact of a step as what it is.
func contentOf[T artifact](out *outcome) (T, bool) {
	a := out.artifact
	if c, ok := a.(*collected); ok {
		a = c.artifact
	}
	t, ok := a.(T)
	return t, ok
}
