package flow

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"sync"

	"kontor/fed/boost"
)

// artifact is what a step leaves for later ones, at one party.
type artifact interface {
	files() []artifactFile
}

// artifactFile is a file of an artifact in the step's folder.
type artifactFile struct {
	name  string
	user  bool // it is part of what the job leaves for people
	write func(io.Writer) error
}

// Names of files in a step's folder.
const (
	rowsFile       = "rows.bin"
	partsFile      = "parts.bin"
	ModelFile      = "model.json" // this party's part of a model
	historyFile    = "history.json"
	evaluationFile = "evaluation.json"
	scoresFile     = "scores.csv"
)

// rowSet is the joint rows: for each, in the common order, its place in this
// party's own table. It holds no value and no id.
type rowSet struct {
	table [32]byte // fingerprint of the table
	of    int      // its rows
	rows  []int

	once sync.Once
	data joint
}

// joint is the party's own data in the joint rows.
type joint struct {
	ids   []string
	cols  []boost.Column
	label []float64 // nil where it was not read
}

// take returns the joint rows of in, the table that s was made of.
func (s *rowSet) take(in *Input) *joint {
	s.once.Do(func() {
		s.data.ids = make([]string, len(s.rows))
		for i, r := range s.rows {
			s.data.ids[i] = in.IDs[r]
		}
		s.data.cols = make([]boost.Column, len(in.Columns))
		for c := range in.Columns {
			s.data.cols[c] = boost.Column{Name: in.Columns[c].Name, Values: take(in.Columns[c].Values, s.rows)}
		}
		if in.Label != nil {
			s.data.label = take(in.Label, s.rows)
		}
	})
	return &s.data
}

func (s *rowSet) files() []artifactFile {
	return []artifactFile{{name: rowsFile, write: func(w io.Writer) error { _, err := w.Write(s.encode()); return err }}}
}

// division is the joint rows in parts. of is the digest of the rows divided.
type division struct {
	of    [32]byte
	n     int
	parts []part
}

// part is a named set of rows, by their place in the common order: train, valid or test.
type part struct {
	name string
	rows []int
}

// rows returns the rows of a part, nil if there is none of that name.
func (d *division) rows(name string) []int {
	if d == nil {
		return nil
	}
	for _, p := range d.parts {
		if p.name == name {
			return p.rows
		}
	}
	return nil
}

func (d *division) files() []artifactFile {
	return []artifactFile{{name: partsFile, write: func(w io.Writer) error { _, err := w.Write(d.encode()); return err }}}
}

// trained is one party's part of a model.
type trained struct {
	guest   *boost.GuestModel // one of the two is nil
	host    *boost.HostModel
	history *boost.History // the guest's; nil for a model from elsewhere
}

func (m *trained) id() string {
	if m.guest != nil {
		return m.guest.ID
	}
	return m.host.ID
}

// features returns the names of the party's own columns that the model reads.
func (m *trained) features() []string {
	if m.guest != nil {
		return m.guest.Features
	}
	return m.host.Features
}

func (m *trained) files() []artifactFile {
	var part any = m.guest
	if m.guest == nil {
		part = m.host
	}
	fs := []artifactFile{{name: ModelFile, user: true, write: func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(part)
	}}}
	if m.history != nil {
		fs = append(fs, artifactFile{name: historyFile, write: func(w io.Writer) error { return json.NewEncoder(w).Encode(m.history) }})
	}
	return fs
}

// measured is what an evaluation leaves at the guest.
type measured struct {
	sets   []Set
	scores func(io.Writer) error // nil for one read back from disk
}

func (m *measured) files() []artifactFile {
	return []artifactFile{
		{name: evaluationFile, write: func(w io.Writer) error { return encodeSets(w, m.sets) }},
		{name: scoresFile, user: true, write: m.scores},
	}
}

// predicted is what a prediction leaves at the guest.
type predicted struct{ scores func(io.Writer) error }

func (p *predicted) files() []artifactFile {
	return []artifactFile{{name: scoresFile, user: true, write: p.scores}}
}

// writeScores writes one row for each joint row of the parts; label is nil
// where there is none.
func writeScores(w io.Writer, ids []string, label []float64, parts []part, scores []float64) error {
	out := csv.NewWriter(w)
	head := []string{"id", "score"}
	if label != nil {
		head = []string{"id", "part", "label", "score"}
	}
	if err := out.Write(head); err != nil {
		return err
	}
	for _, p := range parts {
		for _, r := range p.rows {
			rec := []string{ids[r]}
			if label != nil {
				rec = append(rec, p.name, strconv.FormatFloat(label[r], 'f', 0, 64))
			}
			if err := out.Write(append(rec, strconv.FormatFloat(scores[r], 'g', 8, 64))); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

func take(v []float64, rows []int) []float64 {
	out := make([]float64, len(rows))
	for i, r := range rows {
		out[i] = v[r]
	}
	return out
}

func upTo(n int) []int {
	rows := make([]int, n)
	for i := range rows {
		rows[i] = i
	}
	return rows
}
