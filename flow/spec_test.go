package flow

import (
	"os"
	"strings"
	"testing"

	"kontor/internal/fault"
)

const good = `job: credit
parties:
  bank:    {role: guest, id: id, label: y}
  telecom: {role: host}
steps:
  - align
  - split: {test: 0.25}
  - boost: {trees: 10}
  - evaluate:
`

func TestParse(t *testing.T) {
	s, err := Parse("job.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if s.Guest() != "bank" || len(s.Steps) != 4 || s.Steps[2].Params["trees"] != 10 || s.Steps[2].Params["depth"] == 0 || s.Steps[1].Params["test"] != 0.25 {
		t.Errorf("parsed %+v", s)
	}
	if got := strings.Join(s.Capabilities(), " "); got != "align/1 boost/1 evaluate/1" {
		t.Errorf("capabilities %q", got)
	}
}

func TestParseSaysWhereAndWhatInstead(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		want     []string
	}{
		"unknown step":        {"- align", "- algin", []string{"line 6", `no step "algin"`, `did you mean "align"`}},
		"unknown parameter":   {"{trees: 10}", "{treees: 10}", []string{"line 8", `no setting "treees"`, `did you mean "trees"`}},
		"unknown setting":     {"job: credit", "jobb: credit", []string{"line 1", `did you mean "job"`}},
		"unknown role":        {"{role: host}", "{role: hots}", []string{"line 4", `did you mean "host"`}},
		"unknown type":        {"{role: host}", "{role: host, types: {a: flaot}}", []string{"line 4", `did you mean "float"`}},
		"not a number":        {"{trees: 10}", "{trees: ten}", []string{"line 8", "trees must be a number"}},
		"fraction":            {"{trees: 10}", "{trees: 1.5}", []string{"line 8", "whole numbers"}},
		"too large":           {"{trees: 10}", "{trees: 1e9}", []string{"line 8", "the most is 5000"}},
		"not finite":          {"{trees: 10}", "{trees: .nan}", []string{"line 8", "not a number"}},
		"split of all":        {"{test: 0.25}", "{test: 0.6, valid: 0.4}", []string{"line 7", "too few rows to train"}},
		"host with label":     {"{role: host}", "{role: host, label: y}", []string{"line 4", "host with a label"}},
		"two guests":          {"{role: host}", "{role: guest}", []string{"2 guests"}},
		"no role":             {"{role: host}", "{id: x}", []string{"line 4", "no role"}},
		"bad party name":      {"telecom:", "Tele Com:", []string{"line 4", "cannot be a party's name"}},
		"no align":            {"  - align\n", "", []string{"step split needs joint rows", "align"}},
		"no model":            {"  - boost: {trees: 10}\n", "", []string{"step evaluate needs a model", "boost"}},
		"twice":               {"- evaluate:", "- evaluate:\n  - evaluate:", []string{`two steps are named "evaluate"`, "as:"}},
		"setting twice":       {"{trees: 10}", "{trees: 10, trees: 11}", []string{"line 8"}},
		"step of two kinds":   {"- split: {test: 0.25}", "- split: {test: 0.25}\n    boost:", []string{"line 7", "one kind"}},
		"steps no list":       {"  - align\n", "  align:\n", []string{"job.yaml"}},
		"early without valid": {"{trees: 10}", "{early_stopping: 3}", []string{"valid rows", "valid: 0.1"}},
		"broken YAML":         {"job: credit", "job: [credit", []string{"job.yaml"}},
		"no job name":         {"job: credit\n", "", []string{"no name"}},
		"one party":           {"  telecom: {role: host}\n", "", []string{"1 parties"}},
		"path as job's name":  {"job: credit", "job: ../x", []string{"cannot be a job's name"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatal("the case changes nothing")
			}
			_, err := Parse("job.yaml", []byte(text))
			if fault.KindOf(err) != fault.Spec || err == nil {
				t.Fatalf("got %v, want a fault of the specification", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
		})
	}
}

func TestHashIsOfWhatIsAgreed(t *testing.T) {
	hash := func(old, new string) [32]byte {
		t.Helper()
		s, err := Parse("job.yaml", []byte(strings.Replace(good, old, new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return s.Hash()
	}
	base := hash("", "")
	for _, same := range [][2]string{{"id: id", "id: other"}, {"label: y", "label: z"}, {"{role: host}", "{role: host, data: x.csv, ignore: [a]}"}, {"{trees: 10}", "{trees: 10.0}"}, {"- evaluate:", "- evaluate: {}"}} {
		if hash(same[0], same[1]) != base {
			t.Errorf("%q for %q changes the hash, though it concerns one party alone", same[1], same[0])
		}
	}
	for _, other := range [][2]string{{"trees: 10", "trees: 11"}, {"job: credit", "job: other"}, {"telecom:", "insurer:"}, {"- align", "- align: {min_rows: 60}"}, {"- evaluate:", "- evaluate: {as: final}"}} {
		if hash(other[0], other[1]) == base {
			t.Errorf("%q for %q does not change the hash", other[1], other[0])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("job: a\nparties: &p {bank: *p}\nsteps: [align]"))
	f.Add([]byte("- - -"))
	f.Add([]byte("job: !!binary x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse("f", b)
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v", s, err)
		}
		if err != nil && fault.KindOf(err) != fault.Spec {
			t.Fatalf("a bad job gave %v", err)
		}
	})
}

// TestReferenceIsComplete holds docs/jobs.md to the steps that there are.
func TestReferenceIsComplete(t *testing.T) {
	b, err := os.ReadFile("../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, doc, _ := strings.Cut(string(b), "## ")
	for _, kind := range Kinds() {
		_, section, ok := strings.Cut(doc, "\n### "+kind+"\n")
		if !ok {
			t.Errorf("docs/jobs.md has no section on %s", kind)
			continue
		}
		section, _, _ = strings.Cut(section, "\n##")
		for _, p := range Describe(kind).Params {
			if want := "| `" + p.Name + "` | " + Number(p.Default) + " |"; !strings.Contains(section, want) {
				t.Errorf("docs/jobs.md, %s: no row that begins with %s", kind, want)
			}
			if p.Doc == "" || p.check(p.Default) != "" {
				t.Errorf("%s.%s: undocumented, or the default is out of range", kind, p.Name)
			}
		}
	}
}
