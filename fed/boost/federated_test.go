package boost

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"kontor/session"
)

// small are parameters of trainings that take a moment with encryption.
func small() Params {
	p := DefaultParams()
	p.Trees, p.Depth, p.Bins, p.Seed = 4, 3, 8, 42
	return p
}

func worlds(t testing.TB) map[string]world {
	t.Helper()
	w := map[string]world{}
	cols, label := table(1, 400, 8)
	train, valid := span(0, 300), span(300, 400)
	w["one host"] = world{cols[:4], [][]Column{cols[4:]}, label, Rows{Train: train}}
	w["two hosts"] = world{cols[:2], [][]Column{cols[2:5], cols[5:]}, label, Rows{Train: train}}
	w["guest without features"] = world{nil, [][]Column{cols}, label, Rows{Train: train}}
	w["validation"] = world{cols[1:5], [][]Column{{cols[0], cols[6], cols[7]}}, label, Rows{Train: train, Valid: valid}}
	w["rows in any order"] = world{cols[:4], [][]Column{cols[4:]}, label, Rows{Train: []int{9, 3, 77, 5, 120, 121, 4, 19, 33, 31, 200}, Valid: []int{8, 1}}}
	few, y := table(2, 60, 5)
	w["few rows"] = world{few[:2], [][]Column{few[2:]}, y, Rows{Train: span(0, 60)}}
	odd := []Column{constant("constant", 400, 3), constant("missing", 400, math.NaN()), cols[4], {"again", cols[4].Values}, cols[3]}
	w["odd columns"] = world{[]Column{cols[1], constant("c", 400, 1)}, [][]Column{odd}, label, Rows{Train: train, Valid: valid}}
	w["host without use"] = world{cols[:3], [][]Column{{constant("constant", 400, 3)}, cols[3:]}, label, Rows{Train: train}}
	w["one label"] = world{cols[:4], [][]Column{cols[4:]}, make([]float64, 400), Rows{Train: train}}
	return w
}

// sameModel checks that a federated model is the local one on pooled columns,
// tree by tree, but for who owns a split and what it is called.
func sameModel(t *testing.T, w *world, o *outcome, local *GuestModel) {
	t.Helper()
	if len(o.guest.Trees) != len(local.Trees) || o.guest.Base != local.Base {
		t.Fatalf("%d trees and base %v, local %d and %v", len(o.guest.Trees), o.guest.Base, len(local.Trees), local.Base)
	}
	for k, tree := range o.guest.Trees {
		if len(tree.Nodes) != len(local.Trees[k].Nodes) {
			t.Fatalf("tree %d: %d nodes, local %d", k, len(tree.Nodes), len(local.Trees[k].Nodes))
		}
		for i, n := range tree.Nodes {
			want := local.Trees[k].Nodes[i]
			if n.Left != want.Left || n.Right != want.Right || n.Gain != want.Gain || n.Leaf != want.Leaf {
				t.Fatalf("tree %d node %d: %+v, local %+v", k, i, n, want)
			}
			if n.Left == 0 {
				continue
			}
			name, at, def := "", n.Threshold, n.DefaultLeft
			if n.Host == 0 {
				name = o.guest.Features[n.Feature]
			} else {
				h := o.hosts[n.Host-1]
				s := h.Splits[n.Split]
				name, at, def = fmt.Sprintf("h%d/%s", n.Host-1, h.Features[s.Feature]), s.Threshold, s.DefaultLeft
			}
			if name != local.Features[want.Feature] || at != want.Threshold || def != want.DefaultLeft {
				t.Fatalf("tree %d node %d: %s <= %v, local %s <= %v", k, i, name, at, local.Features[want.Feature], want.Threshold)
			}
		}
	}
}

func TestFederatedIsLocalOnPooledColumns(t *testing.T) {
	t.Parallel()
	for name, w := range worlds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := small()
			if len(w.rows.Valid) > 50 {
				p.Trees, p.LearningRate, p.EarlyStopping, p.MinChildWeight = 8, 1, 2, 0
			}
			o := w.mustTrain(t, p)
			pooled := w.pooled(t, p)
			local, hist, err := TrainLocal(context.Background(), pooled, w.label, w.rows, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			sameModel(t, &w, o, local)
			o.hist.Kernel = ""
			if !reflect.DeepEqual(o.hist, hist) {
				t.Errorf("history %+v, local %+v", o.hist, hist)
			}
			want, err := local.PredictLocal(pooled)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.predict(t, o); !slices.Equal(got, want) {
				t.Error("predictions differ from the local model's")
			}
			checkParts(t, &w, o)
		})
	}
}

// checkParts checks what the parts of one model have in common, and that they
// survive being stored.
func checkParts(t *testing.T, w *world, o *outcome) {
	t.Helper()
	b, err := json.Marshal(o.guest)
	if err != nil {
		t.Fatal(err)
	}
	g, err := ParseGuestModel(b)
	if err != nil || !reflect.DeepEqual(g, o.guest) {
		t.Fatalf("the guest's part read back: %v\n%s", err, b)
	}
	used := make([]map[int]bool, len(o.hosts))
	for k, h := range o.hosts {
		used[k] = map[int]bool{}
		if h.ID != o.guest.ID || h.Party != w.hostName(k) || len(h.Splits) != len(o.guest.Hosts[k].Splits) {
			t.Fatalf("part of host %d: %+v", k, h)
		}
		if b, err = json.Marshal(h); err != nil {
			t.Fatal(err)
		}
		stored := *h
		stored.Kernel = "" // for the account of the job, not for the file
		back, err := ParseHostModel(b)
		if err != nil || !reflect.DeepEqual(back, &stored) || h.Kernel == "" {
			t.Fatalf("host %d's part read back: %v\n%s", k, err, b)
		}
	}
	for _, tree := range o.guest.Trees {
		for _, n := range tree.Nodes {
			if n.Host > 0 {
				used[n.Host-1][n.Split] = true
			}
		}
	}
	for k, h := range o.hosts {
		if len(used[k]) != len(h.Splits) {
			t.Errorf("host %d keeps %d splits, the trees use %d", k, len(h.Splits), len(used[k]))
		}
	}
}

func (w *world) hostName(k int) string { return fmt.Sprintf("h%d", k) }

func TestSessionWithoutHosts(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 200, 4)
	w := world{cols, nil, label, Rows{Train: span(0, 200)}}
	o := w.mustTrain(t, small())
	local, _, err := TrainLocal(context.Background(), cols, label, w.rows, small(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.hist.Kernel != "" || !reflect.DeepEqual(o.guest.Trees, local.Trees) || o.guest.ID == local.ID {
		t.Error("a session without hosts differs from local training")
	}
	if got, _ := o.guest.PredictLocal(cols); !slices.Equal(got, w.predict(t, o)) {
		t.Error("predictions differ")
	}
}

// What a host sees of the guest does not depend on labels, on the guest's
// columns, nor on the shape of the trees, but for the splits it must answer.
func TestTrafficDoesNotDependOnLabels(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 200, 6)
	rows := Rows{Train: span(0, 200)}
	p := small()
	p.Trees, p.Depth = 2, 6 // 32 vectors at the last level: two messages
	zero := make([]float64, 200)
	flat := world{nil, [][]Column{cols[3:]}, zero, rows} // no tree splits
	deep := world{cols[:3], [][]Column{cols[3:]}, label, rows}
	traffic := func(w world) (out []session.Traffic) {
		for _, tr := range w.mustTrain(t, p).stats["h0"].Traffic {
			if tr.Tag == tagSplits || tr.Tag == tagSides {
				tr.Bytes = 0
			}
			out = append(out, tr)
		}
		return out
	}
	a, b := traffic(flat), traffic(deep)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("traffic differs:\n%+v\n%+v", a, b)
	}
	for _, tr := range a {
		if tr.Tag == tagQuery && tr.Messages != 2*7 {
			t.Errorf("%d queries in 2 trees of depth 6", tr.Messages)
		}
	}
}

// A host is asked for each split once in a training, in an order that tells
// nothing of the nodes.
func TestSplitsAreAskedOnce(t *testing.T) {
	t.Parallel()
	cols, label := table(1, 300, 2)
	for i := range cols[0].Values { // one column with two values: its only split recurs in every tree
		cols[0].Values[i] = math.Round(sigmoid(cols[0].Values[i]))
	}
	w := world{nil, [][]Column{cols[:1]}, label, Rows{Train: span(0, 300)}}
	o := w.mustTrain(t, small())
	nodes := 0
	for _, im := range o.guest.Importance() {
		nodes += im.Splits
		if im.Party != "h0" || im.Feature != "#0" || im.Gain <= 0 {
			t.Errorf("importance %+v", im)
		}
	}
	if nodes < 3 || len(o.hosts[0].Splits) != 1 {
		t.Errorf("%d nodes use the split, the host was asked for %d", nodes, len(o.hosts[0].Splits))
	}
	if im := o.hosts[0].Importance(); len(im) != 1 || im[0] != (Importance{"h0", "x0", 0, 1}) {
		t.Errorf("the host's importance: %+v", im)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	w := worlds(t)["one host"]
	n := newNetwork(1, 1)
	type key struct{ self, unit string }
	last := map[key]int64{}
	ch := make(chan func(), 1<<12)
	n.onProg = func(self string, done int64, unit string) {
		ch <- func() { last[key{self, unit}] = done }
	}
	_, errs := w.train(t, n, small())
	noErrors(t, errs)
	close(ch)
	for f := range ch {
		f()
	}
	for _, k := range []key{{"bank", "trees"}, {"h0", "trees"}} {
		if last[k] != 4 {
			t.Errorf("%v ended at %d of 4", k, last[k])
		}
	}
	if last[key{"bank", "setup"}] != 1 || last[key{"h0", "setup"}] == 0 {
		t.Errorf("setup: %v", last)
	}
}

func TestLearned(t *testing.T) {
	t.Parallel()
	for _, role := range []string{session.Guest, session.Host} {
		for _, phase := range []Phase{Training, Prediction} {
			if len(Learned(role, phase)) == 0 {
				t.Errorf("no account of %s in phase %d", role, phase)
			}
		}
	}
	if Learned("nobody", Training) != nil {
		t.Error("an account for no role")
	}
}
