package flow

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
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
		"later step":          {"- split: {test: 0.25}", "- split: {test: 0.25, rows: boost}", []string{"line 7", "does not stand before it", "earlier steps only"}},
		"itself":              {"- split: {test: 0.25}", "- split: {test: 0.25, rows: split}", []string{"line 7", "earlier steps only"}},
		"unknown input step":  {"- evaluate:", "- evaluate: {model: bost}", []string{"line 9", `no earlier step is named "bost"`, `did you mean "boost"`}},
		"input of other type": {"- evaluate:", "- evaluate: {model: split}", []string{"line 9", "model must be a model", "step split makes a split", "boost"}},
		"parts of other rows": {"- boost: {trees: 10}", "- align: {as: again}\n  - boost: {trees: 10, parts: split}", []string{"line 9", "rows of again", "write rows: align"}},
		"input is a list":     {"- evaluate:", "- evaluate: {model: [boost]}", []string{"line 9", "must be a text"}},
		"predict what":        {"- evaluate:", "- predict: {model: Bad Name}", []string{"line 9", "no earlier step"}},
		"purpose with spaces": {"job: credit", "job: credit\npurpose: to see", []string{"line 2", "cannot be a purpose"}},
		"priority too high":   {"job: credit", "job: credit\npriority: 10", []string{"line 2", "from 0 to 9"}},
		"limits without unit": {"job: credit", "job: credit\nlimits: {memory: 2 gigs}", []string{"line 2", "limits.memory", "2GiB"}},
		"tiny limit":          {"job: credit", "job: credit\nlimits: {disk: 1kB}", []string{"line 2", "limits.disk", "at least 1MiB"}},
		"unknown limit":       {"job: credit", "job: credit\nlimits: {core: 2}", []string{"line 2", `did you mean "cores"`}},
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

// TestGraph follows inputs, named and not.
func TestGraph(t *testing.T) {
	s := mustParse(t, twoModels)
	want := map[string][]string{"align": nil, "split": {"align"}, "boost": {"align", "split"}, "wide": {"align", "split"},
		"first": {"align", "split", "boost"}, "second": {"align", "split", "wide"}, "predict": {"align", "boost"}}
	if got := s.Graph(); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	// Without a word, evaluate takes the nearest model, and a split of other rows does not count.
	s = mustParse(t, strings.Replace(good, "  - evaluate:", "  - boost: {as: b2}\n  - evaluate:\n  - align: {as: all}\n  - evaluate: {as: e2, rows: all}", 1))
	last := s.Steps[len(s.Steps)-1]
	if s.Steps[3].Name != "b2" || s.Steps[4].From["model"] != "b2" || !reflect.DeepEqual(last.From, map[string]string{"rows": "all", "model": "b2"}) {
		t.Errorf("%+v", s.Steps)
	}
	if s.Steps[2].Line != 8 {
		t.Errorf("boost is said to be on line %d", s.Steps[2].Line)
	}
}

func TestPurposePriorityLimits(t *testing.T) {
	text := "purpose: credit-risk\npriority: 9\nlimits: {cores: 2, memory: 1.5GiB, disk: 500MB}\n" + good
	s := mustParse(t, text)
	if s.Purpose != "credit-risk" || s.Priority != 9 || s.Limits != (Limits{2, 3 << 29, 500e6}) || string(s.Bytes) != text {
		t.Errorf("%+v", s)
	}
	if s := mustParse(t, good); s.Priority != DefaultPriority || s.Limits != (Limits{}) {
		t.Errorf("%+v", s)
	}
	for n, want := range map[int64]string{0: "0B", 1000: "1000B", 3 << 29: "1.5GiB", 1 << 20: "1MiB", 5 << 42: "20TiB"} {
		got := Bytes(n)
		if back, ok := parseBytes(got); got != want || !ok || back != n {
			t.Errorf("%d is written %s and read %d", n, got, back)
		}
	}
}

func TestComponentsForPrograms(t *testing.T) {
	b, err := json.Marshal(Components())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "null") || !strings.Contains(string(b), `"name":"min_rows"`) {
		t.Errorf("%s", b)
	}
	for _, c := range Components() {
		if c.Version < 1 || c.Doc == "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestHashOfAJobOfTheFirstVersion(t *testing.T) {
	h := mustParse(t, good).Hash()
	if got := hex.EncodeToString(h[:]); got != "2e6448c3935f64bbb26c802f2aba527c7e12cf3fa9e7db14ef056b9a0a64435e" {
		t.Errorf("the hash is %s", got)
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
	for _, same := range [][2]string{{"id: id", "id: other"}, {"label: y", "label: z"}, {"{role: host}", "{role: host, data: x.csv, ignore: [a]}"}, {"{trees: 10}", "{trees: 10.0}"}, {"- evaluate:", "- evaluate: {}"}, {"- evaluate:", "- evaluate: {model: boost, rows: align}"}, {"job: credit", "job: credit\npriority: 5\nlimits: {}"}} {
		if hash(same[0], same[1]) != base {
			t.Errorf("%q for %q changes the hash, though it concerns one party alone", same[1], same[0])
		}
	}
	for _, other := range [][2]string{{"trees: 10", "trees: 11"}, {"job: credit", "job: other"}, {"telecom:", "insurer:"}, {"- align", "- align: {min_rows: 60}"}, {"- evaluate:", "- evaluate: {as: final}"}, {"job: credit", "job: credit\npurpose: x"}, {"job: credit", "job: credit\npriority: 4"}, {"job: credit", "job: credit\nlimits: {cores: 1}"}} {
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
	f.Add([]byte(twoModels))
	f.Add([]byte("job: a\npurpose: p\npriority: 3\nlimits: {cores: 1, memory: 1GiB}\nparties: {b: {role: guest}, c: {role: host}}\nsteps: [ping, align, {predict: {model: tag-1}}]"))
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
		comp := Describe(kind)
		want := []string{inputsLine(comp)}
		for _, p := range comp.Params {
			want = append(want, "| `"+p.Name+"` | "+Number(p.Default)+" |")
			if p.Doc == "" || p.check(p.Default) != "" {
				t.Errorf("%s.%s: undocumented, or the default is out of range", kind, p.Name)
			}
		}
		for _, d := range comp.Texts {
			want = append(want, "`"+d.Name+"`", d.Doc)
		}
		for _, d := range comp.Discloses {
			want = append(want, disclosureRow(d))
		}
		if strings.Count(section, "| guest | ")+strings.Count(section, "| host | ")+strings.Count(section, "| all | ") != len(comp.Discloses) || len(comp.Discloses) == 0 {
			t.Errorf("docs/jobs.md, %s: not as many disclosures as the component has", kind)
		}
		for _, w := range want {
			if !strings.Contains(section, w) {
				t.Errorf("docs/jobs.md, %s: it does not say %q", kind, w)
			}
		}
	}
}

func inputsLine(c *Component) string {
	var in []string
	for _, p := range c.Inputs {
		text := "`" + p.Name + "`"
		if p.Optional {
			text += " (may be left out)"
		}
		in = append(in, text)
	}
	line := "Takes nothing."
	if len(in) > 0 {
		line = "Takes " + strings.Join(in, ", ") + "."
	}
	if c.Output != "" {
		line += " Makes `" + c.Output + "`."
	}
	return line
}

func disclosureRow(d Disclosure) string {
	kind := "`" + d.Kind + "`"
	if d.MinRows > 0 {
		kind += fmt.Sprintf(" (%d row)", d.MinRows)
	}
	return "| " + d.To + " | " + kind + " | " + d.Text + " |"
}

func TestDisclosuresAreWellFormed(t *testing.T) {
	kinds := []string{DiscloseNothing, DiscloseSize, DiscloseMembership, DiscloseAggregate, DisclosePartition, DiscloseFeatureUse, DiscloseModelOutput}
	for _, c := range Components() {
		for _, d := range c.Discloses {
			if !slices.Contains(kinds, d.Kind) || !slices.Contains([]string{ToGuest, ToHost, ToAll}, d.To) || d.Text == "" || (d.Kind == DiscloseAggregate) != (d.MinRows > 0) {
				t.Errorf("%s: %+v", c.Kind, d)
			}
		}
	}
	s, err := Parse("job.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, d := range s.Disclosures() {
		got[d.Step+" "+d.To+" "+d.Kind] = true
	}
	for _, want := range []string{"align guest membership", "align host membership", "boost guest aggregate", "boost guest partition", "boost host feature-use", "evaluate guest model-output", "evaluate guest partition"} {
		if !got[want] {
			t.Errorf("the job does not disclose %q", want)
		}
	}
	if got["evaluate host model-output"] || got["boost host aggregate"] {
		t.Errorf("hosts learn too much: %v", got)
	}
}
