package flow

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"kontor/fed/boost"
	"kontor/fed/metric"
	"kontor/internal/fault"
)

const twoModels = `job: credit
parties:
  bank:    {role: guest}
  telecom: {role: host}
  insurer: {role: host}
steps:
  - align
  - split: {test: 0.25, valid: 0.1}
  - boost: {trees: 3, depth: 2, bins: 8}
  - boost: {as: wide, trees: 2, depth: 3, bins: 6, parts: split, early_stopping: 2}
  - evaluate: {model: boost, as: first}
  - evaluate: {model: wide, as: second, threshold: 0.4}
  - predict: {model: boost}
`

func mustParse(t testing.TB, text string) *Spec {
	t.Helper()
	s, err := Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// comparable is what of a result must not depend on how a job was run.
func comparable(t *testing.T, r *Result) (string, map[string]string) {
	t.Helper()
	c := *r
	c.Steps = slices.Clone(r.Steps)
	for i := range c.Steps {
		c.Steps[i].Seconds, c.Steps[i].Rounds = 0, 0 // rounds depend on which host is heard first
	}
	b, err := json.Marshal(struct {
		Result  Result
		Sets    []Set
		History *boost.History
	}{c, c.Sets, c.History})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range r.Files {
		var w bytes.Buffer
		if err := f.Write(&w); err != nil {
			t.Fatal(err)
		}
		files[f.Name] = w.String()
	}
	return string(b), files
}

// TestFoldersGiveWhatMemoryGives runs one job both ways, with two models of which
// each is evaluated.
func TestFoldersGiveWhatMemoryGives(t *testing.T) {
	t.Parallel()
	spec := mustParse(t, twoModels)
	in := inputs(spec, 400)
	want := inMemory(t, spec, in)
	g := newStage(t, spec, in)
	g.all(t)
	for _, p := range spec.Parties {
		got, err := Collect(spec, p.Name, g.dirs[p.Name])
		if err != nil {
			t.Fatal(err)
		}
		wantText, wantFiles := comparable(t, want[p.Name])
		gotText, gotFiles := comparable(t, got)
		if wantText != gotText {
			i := 0
			for i < min(len(gotText), len(wantText)) && gotText[i] == wantText[i] {
				i++
			}
			t.Errorf("%s: folders and memory differ after %s: %.80q and %.80q", p.Name, gotText[max(0, i-200):i], gotText[i:], wantText[i:])
		}
		if !reflect.DeepEqual(wantFiles, gotFiles) {
			t.Errorf("%s: the files differ", p.Name)
		}
	}
	bank := want["bank"]
	var names []string
	for _, f := range bank.Files {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "boost-model.json wide-model.json first-scores.csv second-scores.csv predict-scores.csv" {
		t.Errorf("the guest's files are %s", got)
	}
	first, second := readStep(t, g.dirs["bank"]["first"]), readStep(t, g.dirs["bank"]["second"])
	if reflect.DeepEqual(first.Metrics, second.Metrics) || first.ModelID == second.ModelID || first.ModelID == "" {
		t.Error("two models have the same metrics or identifier")
	}
	if !reflect.DeepEqual(bank.Metrics, second.Metrics) || len(bank.Sets) != 3 || bank.Metrics["test"].Threshold != 0.4 {
		t.Errorf("the report is not of the last evaluation: %v", bank.Metrics)
	}
	if host := readStep(t, g.dirs["telecom"]["boost"]); !host.Model || host.ModelID != first.ModelID || host.Metrics != nil {
		t.Errorf("a host's part: %+v", host)
	}
	// A score is the same whether it was measured or predicted.
	if a, b := column(t, g.dirs["bank"]["first"], 3), column(t, g.dirs["bank"]["predict"], 1); !reflect.DeepEqual(a, b) || len(a) < 300 {
		t.Errorf("evaluate and predict score %d and %d rows, not alike", len(a), len(b))
	}
}

func readStep(t *testing.T, dir string) *StepResult {
	t.Helper()
	r, err := ReadStep(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// column returns the scores of a step by id.
func column(t *testing.T, dir string, at int) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, scoresFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range rows[1:] {
		out[r[0]] = r[at]
	}
	return out
}

const training = `job: train
parties:
  bank:    {role: guest}
  telecom: {role: host}
steps:
  - align
  - split
  - boost: {trees: 2, depth: 2, bins: 8}
  - evaluate
`

// TestPredictLater scores with the model of an earlier job: the guest has no
// label, the columns stand in another order, and some are too many.
func TestPredictLater(t *testing.T) {
	t.Parallel()
	spec := mustParse(t, training)
	in := inputs(spec, 300)
	first := newStage(t, spec, in)
	first.all(t)
	later := mustParse(t, strings.Replace(training[:strings.Index(training, "  - split")], "job: train", "job: use", 1)+"  - predict: {model: credit-2026}\n")
	if p := later.PartyView("bank"); !p.NoLabel || p.NoFeatures || later.Steps[1].Texts["model"] != "credit-2026" {
		t.Fatalf("the guest of a prediction: %+v, %+v", p, later.Steps[1])
	}
	other := map[string]*Input{}
	for name, i := range in {
		c := slices.Clone(i.Columns)
		slices.Reverse(c)
		extra := boost.Column{Name: "extra", Values: make([]float64, len(i.IDs))}
		other[name] = &Input{File: i.File, IDs: i.IDs, Columns: append(c, extra)}
	}
	g := newStage(t, later, other)
	g.models = map[string]string{"bank": first.dirs["bank"]["boost"], "telecom": first.dirs["telecom"]["boost"]}
	g.all(t)
	want, got := column(t, first.dirs["bank"]["evaluate"], 3), column(t, g.dirs["bank"]["predict"], 1)
	if !reflect.DeepEqual(want, got) {
		t.Error("the model scores differently in a later job")
	}
	if r := readStep(t, g.dirs["bank"]["predict"]); r.ModelID != readStep(t, first.dirs["bank"]["boost"]).ModelID || len(r.Files) != 1 {
		t.Errorf("result of the prediction: %+v", r)
	}

	cols, err := ModelColumns(g.models["telecom"])
	if err != nil || len(cols) == 0 {
		t.Fatalf("the host's model reads %v: %v", cols, err)
	}
	// Without these columns the host says which, and the guest does not hang.
	less := other["telecom"]
	h := &Input{File: less.File, IDs: less.IDs, Columns: slices.DeleteFunc(slices.Clone(less.Columns), func(c boost.Column) bool { return slices.Contains(cols, c.Name) })}
	g2 := newStage(t, later, map[string]*Input{"bank": other["bank"], "telecom": h})
	g2.models = g.models
	noErrors(t, g2.step(t, "align"))
	errs := g2.step(t, "predict")
	for _, c := range cols {
		if err := errs["telecom"]; fault.KindOf(err) != fault.Data || !strings.Contains(err.Error(), c) {
			t.Errorf("column %s is missing: %v", c, err)
		}
	}
	if errs["bank"] == nil {
		t.Error("the guest went on alone")
	}
	// A guest with the host's part, or a host with another's, is told at once.
	g2.inputs, g2.models = other, map[string]string{"bank": g.models["telecom"], "telecom": g.models["bank"]}
	for p, err := range g2.step(t, "predict") {
		if fault.KindOf(err) != fault.Data || !strings.Contains(err.Error(), "part") {
			t.Errorf("%s with a part of the other role: %v", p, err)
		}
	}
}

func TestPingNeedsNoData(t *testing.T) {
	t.Parallel()
	spec := mustParse(t, "job: hello\nparties:\n  bank: {role: guest}\n  telecom: {role: host}\n  insurer: {role: host}\nsteps: [ping]\n")
	if spec.NeedsData() {
		t.Error("a ping needs data")
	}
	g := newStage(t, spec, nil)
	g.adjust = func(x *Execution) {
		x.Input = func(context.Context) (*Input, error) { return nil, errors.New("nobody should ask") }
	}
	g.all(t)
	r := readStep(t, g.dirs["bank"]["ping"])
	if r.Rows != 0 || len(r.Files) != 0 || r.Report.Rounds != 2 || len(r.Learned) != 1 {
		t.Errorf("%+v", r)
	}
	if res := inMemory(t, spec, nil)["bank"]; len(res.Steps) != 1 {
		t.Errorf("%+v", res)
	}
}

// TestDamageIsFound cuts and alters every file that a later step reads.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	spec := mustParse(t, training)
	g := newStage(t, spec, inputs(spec, 200))
	for _, st := range []string{"align", "split", "boost"} {
		noErrors(t, g.step(t, st))
	}
	host := func() error { // the host alone notices before it would talk
		st, _ := spec.Step("evaluate")
		w := wired(t, spec, st)
		g.n++
		x := g.execution("bank", st)
		x.Session = w.sessions["bank"]
		if err := os.Mkdir(x.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		close(w.gone["telecom"])
		_, err := Execute(t.Context(), x)
		return err
	}
	if err := host(); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Fatalf("with files as they were: %v", err)
	}
	for _, step := range []string{"align", "split", "boost"} {
		files, err := os.ReadDir(g.dirs["bank"][step])
		if err != nil || len(files) < 2 {
			t.Fatal(err, files)
		}
		for _, f := range files {
			path := filepath.Join(g.dirs["bank"][step], f.Name())
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if info, _ := f.Info(); info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", f.Name(), info.Mode())
			}
			flipped := bytes.Clone(whole)
			flipped[len(whole)/2] ^= 1
			for how, b := range map[string][]byte{"cut": whole[:len(whole)/2], "altered": flipped, "empty": {}, "longer": append(bytes.Clone(whole), "{}"...)} {
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := host(); fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), f.Name()) || !strings.Contains(err.Error(), "bank") {
					t.Errorf("%s/%s %s: %v", step, f.Name(), how, err)
				}
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	g.dirs["bank"]["boost"], g.dirs["bank"]["align"] = g.dirs["bank"]["align"], g.dirs["bank"]["boost"]
	if err := host(); fault.KindOf(err) != fault.Local {
		t.Errorf("folders of two steps exchanged: %v", err)
	}
	g.dirs["bank"]["boost"], g.dirs["bank"]["align"] = g.dirs["bank"]["align"], g.dirs["bank"]["boost"]
	changed := g.inputs["bank"]
	g.inputs["bank"] = &Input{File: changed.File, IDs: changed.IDs, Columns: changed.Columns, Label: slices.Clone(changed.Label)}
	g.inputs["bank"].Label[3] = 1 - g.inputs["bank"].Label[3]
	if err := host(); fault.KindOf(err) != fault.Data || !strings.Contains(err.Error(), "no longer the table") {
		t.Errorf("another table: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	spec := mustParse(t, training)
	for name, c := range map[string]struct {
		adjust func(*Execution)
		want   string
	}{
		"disk":   {func(x *Execution) { x.Disk = 300 }, "limits.disk"},
		"memory": {func(x *Execution) { x.Memory = 1000 }, "limits.memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newStage(t, spec, inputs(spec, 100))
			g.adjust = c.adjust
			for p, err := range g.step(t, "align") {
				if fault.KindOf(err) != fault.Local || !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), p) {
					t.Errorf("%s: %v", p, err)
				}
			}
			err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					t.Errorf("%s was left", path)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	g := newStage(t, spec, inputs(spec, 100))
	g.adjust = func(x *Execution) { x.Disk, x.Memory = 1<<20, 1<<30 }
	noErrors(t, g.step(t, "align"))
	g.n-- // the same folder again
	st, _ := spec.Step("split")
	x := g.execution("bank", st)
	x.Dir = g.dirs["bank"]["align"]
	if _, err := Execute(t.Context(), x); fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), "already holds") {
		t.Errorf("a folder that is not empty: %v", err)
	}
}

// TestCancelEndsAStep has one party wait for another that never comes.
func TestCancelEndsAStep(t *testing.T) {
	spec := mustParse(t, training)
	g := newStage(t, spec, inputs(spec, 200))
	noErrors(t, g.step(t, "align"))
	noErrors(t, g.step(t, "split"))
	before := runtime.NumGoroutine()
	st, _ := spec.Step("boost")
	g.n++
	x := g.execution("bank", st)
	x.Session = wired(t, spec, st).sessions["bank"]
	if err := os.Mkdir(x.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	x.Observe = func(ev Event) {
		if ev.Kind == EventNote { // training is about to begin
			cancel(fault.New(fault.Peer, "the line was cut", "wait"))
		}
	}
	if _, err := Execute(ctx, x); fault.KindOf(err) != fault.Peer || !strings.Contains(err.Error(), "the line was cut") || !strings.Contains(err.Error(), "step boost") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(x.Dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

func TestFingerprintIsOfEverythingRead(t *testing.T) {
	t.Parallel()
	make := func(change func(*Input)) [32]byte {
		in := inputs(mustParse(t, training), 50)["bank"]
		change(in)
		return in.Fingerprint()
	}
	base := make(func(*Input) {})
	if make(func(in *Input) { in.File, in.Notes = "other.csv", []string{"x"} }) != base {
		t.Error("the name of the file counts")
	}
	for name, change := range map[string]func(*Input){
		"an id":         func(in *Input) { in.IDs[7] += "x" },
		"two ids":       func(in *Input) { in.IDs[0], in.IDs[1] = in.IDs[0]+in.IDs[1][:1], in.IDs[1][1:] },
		"a long id":     func(in *Input) { in.IDs[0] = strings.Repeat("x", 10000) },
		"a value":       func(in *Input) { in.Columns[1].Values[49]++ },
		"a name":        func(in *Input) { in.Columns[1].Name += "2" },
		"a column":      func(in *Input) { in.Columns = in.Columns[:2] },
		"the label":     func(in *Input) { in.Label[0] = 1 - in.Label[0] },
		"no label":      func(in *Input) { in.Label = nil },
		"order of rows": func(in *Input) { slices.Reverse(in.IDs) },
	} {
		if make(change) == base {
			t.Errorf("%s does not count", name)
		}
	}
}

func TestEvaluationsSurviveJSON(t *testing.T) {
	t.Parallel()
	ev, err := metric.Evaluate([]float64{0.1, 0.4, 0.35, 0.8, 1. / 3}, []float64{0, 0, 1, 1, 1})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := encodeSets(&b, []Set{{"test", ev}}); err != nil {
		t.Fatal(err)
	}
	got, err := decodeSets(b.Bytes())
	if err != nil || !reflect.DeepEqual(got, []Set{{"test", ev}}) {
		t.Errorf("%v: %s", err, fmt.Sprint(got))
	}
}
