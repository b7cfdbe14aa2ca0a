package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/transport"
)

const jobText = `job: sample
parties:
  bank:    {role: guest, id: id, label: y}
  telecom: {role: host, id: id}
steps:
  - align:
  - split: {test: 0.3}
  - boost: {trees: 4, depth: 3}
  - evaluate:
`

func parse(t *testing.T, text string) *flow.Spec {
	t.Helper()
	s, err := flow.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writeTables writes a small guest.csv and hosts' CSVs over the same customers.
func writeTables(t *testing.T, dir string, rows int, hosts ...string) map[string]string {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	var guest strings.Builder
	guest.WriteString("id,y,a,b\n")
	others := make([]strings.Builder, len(hosts))
	for k := range others {
		others[k].WriteString("id,u,v\n")
	}
	for i := range rows {
		risk, y := rng.NormFloat64(), 0
		if risk+rng.NormFloat64() > 0.7 {
			y = 1
		}
		fmt.Fprintf(&guest, "%d,%d,%.4f,%d\n", i, y, rng.NormFloat64(), rng.IntN(9))
		for k := range others {
			fmt.Fprintf(&others[k], "%d,%.4f,%.4f\n", i, risk+rng.NormFloat64(), rng.NormFloat64())
		}
	}
	files := map[string]string{"bank": filepath.Join(dir, "guest.csv")}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(files["bank"], guest.String())
	for k, h := range hosts {
		files[h] = filepath.Join(dir, h+".csv")
		write(files[h], others[k].String())
	}
	return files
}

// side is what makes one party of a test unlike the others.
type side struct {
	born      time.Time // clock when its certificate was made; zero is now
	transport func(*transport.Options)
	can       []string   // what its software can; nil is everything
	spec      *flow.Spec // its own copy of the job
	stranger  bool       // the peers have pinned another key under its name
	unknown   bool       // the peers have not pinned it
}

// play runs a job over real sockets, every party with its own node, and returns
// each party's error. It fails the test if a party does not end in time, or if a
// goroutine outlives the nodes.
func play(t *testing.T, spec *flow.Spec, files map[string]string, sides map[string]side) map[string]error {
	t.Helper()
	before := runtime.NumGoroutine()
	ids := map[string]*identity.Identity{}
	for _, p := range spec.PartyNames() {
		born := sides[p].born
		if born.IsZero() {
			born = time.Now()
		}
		id, err := identity.Ephemeral(p, born)
		if err != nil {
			t.Fatal(err)
		}
		ids[p] = id
	}
	nodes, addrs := map[string]*Node{}, map[string]string{}
	for _, p := range spec.PartyNames() {
		peers := identity.MemoryPeers()
		for q, id := range ids {
			switch {
			case q == p || sides[q].unknown:
				continue
			case sides[q].stranger:
				var err error
				if id, err = identity.Ephemeral(q, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if err := introduce(peers, id); err != nil {
				t.Fatal(err)
			}
		}
		n, err := New(Options{Identity: ids[p], Peers: peers, Listen: "127.0.0.1:0", Wait: 4 * time.Second, Transport: sides[p].transport, Capabilities: sides[p].can})
		if err != nil {
			t.Fatal(err)
		}
		nodes[p], addrs[p] = n, n.Addr()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var jobs, serving sync.WaitGroup
	serve, stop := context.WithCancel(context.Background())
	errs := map[string]error{}
	var mu sync.Mutex
	for p, n := range nodes {
		own := spec
		if sides[p].spec != nil {
			own = sides[p].spec
		}
		serving.Go(func() { n.Run(serve) })
		jobs.Go(func() {
			_, err := n.Job(ctx, Job{Spec: own, Data: files[p], Addrs: addrs, Out: filepath.Join(filepath.Dir(files["bank"]), "out-"+p)})
			mu.Lock()
			defer mu.Unlock()
			errs[p] = err
		})
	}
	jobs.Wait()
	stop()
	serving.Wait()
	if ctx.Err() != nil {
		t.Fatalf("a party did not end: %v", errs)
	}
	noneLeft(t, before)
	return errs
}

// noneLeft waits until there are no more goroutines than before.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("goroutines left: %s", buf[:runtime.Stack(buf, true)])
		}
	}
}

func wantFault(t *testing.T, who string, err error, kind fault.Kind, texts ...string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != kind || f.Cure == "" {
		t.Errorf("%s: got %v (kind %v), want a fault of kind %v with a cure", who, err, fault.KindOf(err), kind)
		return
	}
	for _, x := range texts {
		if !strings.Contains(err.Error(), x) {
			t.Errorf("%s: %q does not say %q", who, err, x)
		}
	}
}

// These tests count goroutines, so they do not run in parallel with one another.
func TestFaultsOfPeers(t *testing.T) {
	spec := parse(t, jobText)
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		sides map[string]side
		kinds map[string]fault.Kind
		texts map[string][]string
	}{
		"another version": {
			map[string]side{"telecom": {transport: func(o *transport.Options) { o.Version.WireMin, o.Version.WireMax = 9, 9 }}},
			map[string]fault.Kind{"bank": fault.Version, "telecom": fault.Version},
			map[string][]string{"bank": {"party telecom", "upgrade"}, "telecom": {"party bank"}},
		},
		"a step it cannot": {
			map[string]side{"telecom": {can: []string{"align/1"}}},
			map[string]fault.Kind{"bank": fault.Version, "telecom": fault.Version},
			map[string][]string{"bank": {"party telecom", "boost/1"}, "telecom": {"party bank"}},
		},
		"expired certificate": {
			map[string]side{"telecom": {born: time.Now().Add(-200 * day)}},
			map[string]fault.Kind{"bank": fault.Trust, "telecom": fault.Peer},
			map[string][]string{"bank": {"party telecom", "expired"}, "telecom": {"bank"}},
		},
		"expired certificate of the guest": {
			map[string]side{"bank": {born: time.Now().Add(-200 * day)}},
			map[string]fault.Kind{"bank": fault.Trust, "telecom": fault.Trust},
			map[string][]string{"bank": {"expired"}, "telecom": {"party bank", "expired"}},
		},
		"certificate of tomorrow": {
			map[string]side{"bank": {born: time.Now().Add(3 * day)}},
			map[string]fault.Kind{"bank": fault.Trust, "telecom": fault.Trust},
			map[string][]string{"bank": {"clock"}, "telecom": {"party bank", "clock"}},
		},
		"unknown guest": {
			map[string]side{"bank": {unknown: true}},
			map[string]fault.Kind{"bank": fault.Trust, "telecom": fault.Peer},
			map[string][]string{"bank": {"party telecom", "invitation"}, "telecom": {"party bank"}},
		},
		"another key than the one pinned": {
			map[string]side{"telecom": {stranger: true}},
			map[string]fault.Kind{"bank": fault.Trust, "telecom": fault.Peer},
			map[string][]string{"bank": {"party telecom"}, "telecom": {"bank"}},
		},
		"another job": {
			map[string]side{"telecom": {spec: parse(t, strings.Replace(jobText, "trees: 4", "trees: 5", 1))}},
			map[string]fault.Kind{"bank": fault.Consent, "telecom": fault.Consent},
			map[string][]string{"bank": {"party telecom", "step consent", "same job file"}, "telecom": {"party bank", "step consent", "same job file"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := writeTables(t, t.TempDir(), 200, "telecom")
			errs := play(t, spec, files, c.sides)
			for p, k := range c.kinds {
				wantFault(t, p, errs[p], k, c.texts[p]...)
			}
			if out, _ := filepath.Glob(filepath.Join(filepath.Dir(files["bank"]), "*out-*")); len(out) > 0 {
				t.Errorf("left behind: %v", out)
			}
		})
	}
}

// TestRefusedBeforeTheJobWaits: a peer of an unfit version may call, and go,
// before the job that needs it is ready to wait.
func TestRefusedBeforeTheJobWaits(t *testing.T) {
	n := &Node{o: Options{Log: func(string) {}}, awaits: map[string][]context.CancelCauseFunc{}, turned: map[string]turnedDown{}}
	unfit := &fault.Error{Kind: fault.Version, Party: "bank", What: "it speaks wire version 9", Cure: "upgrade"}
	n.refused(unfit)
	ctx, stop := n.awaiting(t.Context(), "bank")
	defer stop()
	if err := context.Cause(ctx); !errors.Is(err, unfit) {
		t.Errorf("the wait for a peer that was refused goes on: %v", err)
	}
	again, stop := n.awaiting(t.Context(), "bank")
	defer stop()
	if err := again.Err(); err != nil {
		t.Errorf("the refusal ended a second wait: %v", err)
	}
}

func TestThreeParties(t *testing.T) {
	spec := parse(t, strings.Replace(jobText, "  telecom: {role: host, id: id}\n", "  telecom: {role: host, id: id}\n  insurer: {role: host, id: id}\n", 1))
	dir := t.TempDir()
	files := writeTables(t, dir, 400, "telecom", "insurer")
	out := filepath.Join(dir, "out")
	sum, err := Simulation{Spec: spec, Data: files, Out: out, Compare: true}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if sum.Metrics["test"].AUC < 0.6 || len(sum.Learned) != 3 || len(sum.Consent.Parties) != 3 {
		t.Errorf("result %+v", sum)
	}
	for _, st := range sum.Steps {
		if st.Kind == "split" {
			continue
		}
		if st.Sent != st.SentBy["bank"]+st.SentBy["telecom"]+st.SentBy["insurer"] || st.SentBy["insurer"] == 0 || st.Rounds == 0 {
			t.Errorf("step %+v", st)
		}
	}
	for _, p := range spec.PartyNames() {
		if _, err := os.Stat(filepath.Join(out, p, "result.json")); err != nil {
			t.Error(err)
		}
	}
}

func TestThreshold(t *testing.T) {
	files := writeTables(t, t.TempDir(), 300, "telecom")
	run := func(eval string) map[string]int {
		t.Helper()
		spec := parse(t, strings.Replace(jobText, "- evaluate:", "- evaluate: "+eval, 1))
		sum, err := Simulation{Spec: spec, Data: files}.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := sum.Metrics["test"]
		return map[string]int{"flagged": m.Confusion.TP + m.Confusion.FP, "rows": m.Rows}
	}
	if all := run("{threshold: 0}"); all["flagged"] != all["rows"] {
		t.Errorf("threshold 0 flags %v", all)
	}
	if none := run("{threshold: 1}"); none["flagged"] != 0 {
		t.Errorf("threshold 1 flags %v", none)
	}
}

// TestSameJobSameModel runs a job twice: alignment is random on the wire, the
// model is not.
func TestSameJobSameModel(t *testing.T) {
	spec := parse(t, jobText)
	files := writeTables(t, t.TempDir(), 300, "telecom")
	var first *Summary
	for range 2 {
		sum, err := Simulation{Spec: spec, Data: files}.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = sum
			continue
		}
		if first.Run == sum.Run {
			t.Error("two runs have one identifier")
		}
		if first.Metrics["train"] != sum.Metrics["train"] || first.Metrics["test"] != sum.Metrics["test"] {
			t.Errorf("two runs of a job differ: %+v and %+v", first.Metrics, sum.Metrics)
		}
	}
}

// dataDir returns the folder of the real datasets.
func dataDir(t *testing.T, files ...string) string {
	t.Helper()
	dir := os.Getenv("KONTOR_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Skipf("no real data: %v; set KONTOR_DATA to the folder that holds it", err)
		}
	}
	return dir
}

// TestRealCredit is the promise of the main job on real data: as good as the
// plaintext booster on the pooled columns, better than the guest alone.
func TestRealCredit(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: aligns 30,000 rows")
	}
	dir := dataDir(t, "default_credit_hetero_guest.csv", "default_credit_hetero_host.csv")
	spec := parse(t, strings.Replace(jobText, "{trees: 4, depth: 3}", "{trees: 50}", 1))
	sum, err := Simulation{Spec: spec, Compare: true, Data: map[string]string{
		"bank":    filepath.Join(dir, "default_credit_hetero_guest.csv"),
		"telecom": filepath.Join(dir, "default_credit_hetero_host.csv"),
	}}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fed, alone, pooled := sum.Metrics["test"].AUC, sum.Baselines[0].Metrics["test"].AUC, sum.Baselines[1].Metrics["test"].AUC
	t.Logf("test AUC: alone %.4f, federation %.4f, pooled %.4f; %d test rows", alone, fed, pooled, sum.Metrics["test"].Rows)
	if sum.Parties[0].Joint != 30_000 {
		t.Errorf("%d joint rows, the files have 30,000 in common", sum.Parties[0].Joint)
	}
	if math.Abs(fed-pooled) > 0.003 {
		t.Errorf("the federation's AUC %.4f is not within 0.003 of the pooled plaintext's %.4f", fed, pooled)
	}
	if fed <= alone {
		t.Errorf("the federation's AUC %.4f is not above the guest's alone, %.4f", fed, alone)
	}
}
