package align

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"kontor/internal/fault"
	"kontor/psi"
	"kontor/session"
)

// joint computes the ids that all have, with maps.
func joint(ms []member) map[string]bool {
	count := map[string]int{}
	for _, m := range ms {
		for _, x := range m.ids {
			count[x]++
		}
	}
	all := map[string]bool{}
	for x, n := range count {
		if n == len(ms) {
			all[x] = true
		}
	}
	return all
}

func TestAgainstMap(t *testing.T) {
	t.Parallel()
	rnd := mrand.New(mrand.NewPCG(1, 2))
	random := func(n, of int) []string {
		var s []string
		for _, i := range rnd.Perm(of)[:n] {
			s = append(s, fmt.Sprint("id", i))
		}
		return s
	}
	cases := map[string][]member{
		"one host":               members(random(70, 100), random(60, 100)),
		"two hosts":              members(random(70, 100), random(60, 100), random(80, 100)),
		"three hosts":            members(random(90, 100), random(90, 100), random(80, 100), random(95, 100)),
		"all equal":              members(numbers("a", 0, 60), numbers("a", 0, 60)),
		"one row":                members([]string{"a"}, []string{"a"}, []string{"a"}),
		"small guest, two parts": members(numbers("a", 100, 130), numbers("a", 0, chunkItems+100)),
		"large guest, two parts": members(numbers("a", 0, chunkItems+1), numbers("a", 2000, 2100), numbers("a", 1990, 2050)),
		"a whole part":           members(numbers("a", 0, 10), numbers("a", 0, chunkItems)),
	}
	for name, ms := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := play(t, t.Context(), &network{}, ms)
			want := joint(ms)
			for i, o := range out {
				if o.err != nil {
					t.Fatalf("party %d: %v", i, o.err)
				}
				st := o.res.Stats
				if len(o.res.Rows) != len(want) || st.Joint != len(want) || st.Own != len(ms[i].ids) || !st.Compared {
					t.Fatalf("party %d: %d rows, %+v; want %d joint rows", i, len(o.res.Rows), st, len(want))
				}
				if rounds := o.stats.Rounds; rounds != 4 {
					t.Errorf("party %d: %d rounds, want 4", i, rounds)
				}
			}
			guest := out[0].res
			seen := map[string]bool{}
			for k, row := range guest.Rows {
				id := ms[0].ids[row]
				if !want[id] || seen[id] {
					t.Fatalf("joint row %d is %s, which not all have or which came before", k, id)
				}
				seen[id] = true
				for i, o := range out {
					if got := ms[i].ids[o.res.Rows[k]]; got != id {
						t.Fatalf("joint row %d is %s at party %d and %s at the guest", k, got, i, id)
					}
				}
			}
			for i := 1; i < len(ms); i++ {
				name := fmt.Sprint("host", i)
				pair := len(joint([]member{ms[0], ms[i]}))
				if guest.Stats.Peers[name] != len(ms[i].ids) || guest.Stats.Pairs[name] != pair {
					t.Errorf("%s: got %+v, want %d rows and %d in common", name, guest.Stats, len(ms[i].ids), pair)
				}
				if got := out[i].res.Stats; got.Peers["bank"] != len(ms[0].ids) || len(got.Peers) != 1 || got.Pairs != nil {
					t.Errorf("%s learned %+v", name, got)
				}
			}
		})
	}
}

// The common order must not be that of any party's table.
func TestOrderIsRandom(t *testing.T) {
	t.Parallel()
	ms := members(numbers("a", 0, 60), numbers("a", 0, 60))
	ms[0].opt, ms[1].opt = Options{}, Options{}
	orders := map[string]bool{}
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) { // the name seeds the randomness
			for i, o := range play(t, t.Context(), &network{}, ms) {
				if o.err != nil {
					t.Fatal(o.err)
				}
				if slices.IsSorted(o.res.Rows) {
					t.Errorf("party %d: the rows are in the order of its table", i)
				}
				orders[fmt.Sprint(o.res.Rows)] = true
			}
		})
	}
	if len(orders) != 2 {
		t.Errorf("%d orders in two runs with equal tables, want 2", len(orders))
	}
}

// Every party ends with an error of kind Data that says the same, whoever's data
// is at fault, and no party gets a row.
func TestDataEndsTheStep(t *testing.T) {
	t.Parallel()
	sixty := numbers("a", 0, 60)
	long := string(make([]byte, psi.MaxItemLen+1))
	cases := []struct {
		name     string
		ids      [][]string
		min      []int
		culprit  int    // -1: none
		want     string // at the others
		own      string // at the culprit, if it differs
		compared bool
	}{
		{"guest empty", [][]string{nil, sixty, sixty}, []int{0, 0, 0}, 0,
			"party bank: its table has 0 rows, at least 50 are needed; " + fewRows.cure(), "", false},
		{"host empty", [][]string{sixty, sixty, nil}, []int{0, 0, 0}, 2,
			"party host2: its table has 0 rows, at least 50 are needed; " + fewRows.cure(), "", false},
		{"both empty", [][]string{nil, nil}, []int{1, 1}, 0,
			"party bank: its table has 0 rows, at least 1 are needed; " + fewRows.cure(), "", false},
		{"host small", [][]string{sixty, sixty[:49]}, []int{0, 0}, 1,
			"party host1: its table has 49 rows, at least 50 are needed; " + fewRows.cure(), "", false},
		{"duplicate at guest", [][]string{append(slices.Clone(sixty), "a7"), sixty}, []int{0, 0}, 0,
			"party bank: its table has an id more than once; " + duplicateID.cure(),
			"party bank: rows 8 and 61 have the same id; " + duplicateID.cure(), false},
		{"duplicate at host", [][]string{sixty, append(slices.Clone(sixty), "a7"), sixty}, []int{0, 0, 0}, 1,
			"party host1: its table has an id more than once; " + duplicateID.cure(),
			"party host1: rows 8 and 61 have the same id; " + duplicateID.cure(), false},
		{"no id", [][]string{sixty, append(slices.Clone(sixty), "")}, []int{0, 0}, 1,
			"party host1: its table has rows without an id; " + emptyID.cure(),
			"party host1: row 61 has no id; give every row an id, or remove the row", false},
		{"long id", [][]string{sixty, append(slices.Clone(sixty), long)}, []int{0, 0}, 1,
			"party host1: its table has an id that is too long; " + longID.cure(),
			"party host1: an id is too long: psi: item too long: item 60 has 4097 bytes, at most 4096 are allowed; " + longID.cure(), false},
		{"disjoint", [][]string{sixty, numbers("b", 0, 60)}, []int{0, 0}, -1,
			"the intersection has 0 rows, at least 50 are needed; " + fewJoint.cure(), "", true},
		{"one row in common", [][]string{sixty, append(numbers("b", 0, 60), "a3")}, []int{0, 0}, -1,
			"the intersection has 1 row, at least 50 are needed; " + fewJoint.cure(), "", true},
		{"pairs but not all", [][]string{sixty, numbers("a", 0, 55), numbers("a", 5, 60)}, []int{51, 51, 51}, -1,
			"the intersection has 50 rows, at least 51 are needed; " + fewJoint.cure(), "", true},
		{"one host wants more", [][]string{sixty, sixty[:55], sixty}, []int{1, 1, 56}, 1,
			"party host1: its table has 55 rows, at least 56 are needed; " + fewRows.cure(), "", false},
		{"one host wants more of the intersection", [][]string{sixty, sixty[:55], numbers("a", 1, 60)}, []int{1, 55, 1}, -1,
			"the intersection has 54 rows, at least 55 are needed; " + fewJoint.cure(), "", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ms := members(c.ids...)
			for i := range ms {
				ms[i].opt.MinRows = c.min[i]
			}
			for i, o := range play(t, t.Context(), &network{}, ms) {
				if fault.KindOf(o.err) != fault.Data {
					t.Fatalf("party %d: got %v, want an error of kind data", i, o.err)
				}
				want := c.want
				if i == c.culprit && c.own != "" {
					want = c.own
				}
				if o.err.Error() != want {
					t.Errorf("party %d: got %q, want %q", i, o.err, want)
				}
				if o.res == nil || o.res.Rows != nil || o.res.Stats.Compared != c.compared {
					t.Errorf("party %d: got result %+v, want one without rows", i, o.res)
				}
			}
		})
	}
}

func TestOwnDefects(t *testing.T) {
	t.Parallel()
	conns := map[string]session.Conn{}
	n := &network{}
	conns["host1"], _ = n.connect("bank", "host1")
	open := func(ps []session.Party) *session.Session {
		s, err := session.New(session.Config{Step: "align", Self: "bank", Parties: ps, Conns: conns})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if _, err := Guest(t.Context(), open(parties(2)), []string{"a"}, Options{}, nil); !errors.Is(err, psi.ErrRandom) {
		t.Errorf("nil random: got %v, want %v", err, psi.ErrRandom)
	}
	if _, err := Guest(t.Context(), open(parties(1)), []string{"a"}, Options{}, rand.Reader); err == nil {
		t.Error("no host: got no error")
	}
	for _, min := range []int{-1, psi.MaxItems + 1} {
		if _, err := Guest(t.Context(), open(parties(2)), []string{"a"}, Options{MinRows: min}, rand.Reader); fault.KindOf(err) != fault.Spec {
			t.Errorf("minimum %d: got %v, want an error of kind spec", min, err)
		}
	}
}

// A cancelled context ends every party, at whatever message it comes.
func TestCancel(t *testing.T) {
	t.Parallel()
	ms := members(numbers("a", 0, chunkItems+50), numbers("a", 0, 60), numbers("a", 0, 60))
	for _, at := range []int{1, 4, 9} {
		t.Run(fmt.Sprint("at message ", at), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sent := 0
			n := &network{tamper: func(f frame) [][]byte {
				if sent++; sent >= at {
					cancel()
					return nil
				}
				return [][]byte{f.body}
			}}
			for i, o := range play(t, ctx, n, ms) {
				if fault.KindOf(o.err) != fault.Cancelled {
					t.Errorf("party %d: got %v, want an error of kind cancelled", i, o.err)
				}
			}
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	ms := members(numbers("a", 0, chunkItems+10), numbers("a", 0, 30), numbers("a", 0, 40))
	totals := []int64{3*(chunkItems+10) + 70, 30 + chunkItems + 10, 40 + chunkItems + 10}
	last := make([]atomic.Int64, len(ms))
	for i := range ms {
		ms[i].progress = func(done, total int64, unit string) {
			if total != totals[i] || unit != "masked ids" {
				t.Errorf("party %d: got a total of %d %s, want %d ids", i, total, unit, totals[i])
			}
			if before := last[i].Swap(done); done <= before || done > total {
				t.Errorf("party %d: got %d after %d of %d", i, done, before, total)
			}
		}
	}
	for i, o := range play(t, t.Context(), &network{}, ms) {
		if o.err != nil {
			t.Fatal(o.err)
		}
		if got := last[i].Load(); got != totals[i] {
			t.Errorf("party %d: ended at %d of %d", i, got, totals[i])
		}
	}
}

// What goes over the wire must depend on the sizes alone: of the tables and, in
// the last message, of the joint intersection.
func TestTrafficDependsOnSizesOnly(t *testing.T) {
	t.Parallel()
	shape := func(ms []member) []string {
		n := &network{}
		for _, o := range play(t, t.Context(), n, ms) {
			if o.err != nil {
				t.Fatal(o.err)
			}
		}
		var s []string
		for _, f := range n.frames {
			s = append(s, fmt.Sprint(f.from, f.to, f.tag, len(f.body)))
			if bytes.Contains(f.body, []byte("customer-")) {
				t.Errorf("%s from %s holds an id", f.tag, f.from)
			}
		}
		slices.Sort(s) // the two streams of a host may mix in any way
		return s
	}
	a := shape(members(numbers("customer-", 0, 70), numbers("customer-", 10, 70), numbers("customer-", 0, 60)))
	b := shape(members(numbers("x", 0, 70), append(numbers("x", 0, 50), numbers("a-long-prefix-of-an-id", 0, 10)...), numbers("x", 0, 60)))
	if !slices.Equal(a, b) {
		t.Errorf("different traffic for tables of equal sizes:\n%v\n%v", a, b)
	}
}

func TestLearned(t *testing.T) {
	t.Parallel()
	ps := parties(3)
	peers := map[string]int{"host1": 40, "host2": 30}
	pairs := map[string]int{"host1": 20, "host2": 10}
	cases := []struct {
		name    string
		self    int
		parties []session.Party
		r       Result
		want    []string
	}{
		{"guest, two hosts", 0, ps, Result{Rows: make([]int, 5), Stats: Stats{50, peers, true, pairs, 5}}, []string{
			"That the table of host1 has 40 rows.",
			"That the table of host2 has 30 rows.",
			"Which 20 of its own 50 ids host1 has too.",
			"Which 10 of its own 50 ids host2 has too.",
			"Which 5 of its own 50 ids all 3 parties have."}},
		{"guest, one host", 0, ps[:2], Result{Rows: make([]int, 20), Stats: Stats{50, map[string]int{"host1": 40}, true, map[string]int{"host1": 20}, 20}}, []string{
			"That the table of host1 has 40 rows.",
			"Which 20 of its own 50 ids host1 has too."}},
		{"guest, too few", 0, ps[:2], Result{Stats: Stats{50, map[string]int{"host1": 1}, false, nil, 0}}, []string{
			"That the table of host1 has 1 row."}},
		{"host", 1, ps, Result{Rows: make([]int, 5), Stats: Stats{40, map[string]int{"bank": 50}, true, nil, 5}}, []string{
			"That the table of bank has 50 rows.",
			"Which 5 of its own 40 ids all 3 parties have."}},
		{"host, too few", 1, ps, Result{Stats: Stats{40, map[string]int{"bank": 50}, true, nil, 3}}, []string{
			"That the table of bank has 50 rows.",
			"That all 3 parties have 3 ids in common, not which."}},
	}
	for _, c := range cases {
		if got := Learned(c.parties[c.self], c.parties, &c.r); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func BenchmarkAlign(b *testing.B) {
	const rows = 30000
	ms := members(numbers("customer-", 0, rows), numbers("customer-", rows/2, rows+rows/2))
	for b.Loop() {
		for _, o := range play(b, b.Context(), &network{}, ms) {
			if o.err != nil {
				b.Fatal(o.err)
			}
			b.ReportMetric(float64(o.stats.BytesSent+o.stats.BytesReceived)/(2*rows), "bytes/id")
			b.ReportMetric(float64(o.stats.Rounds), "rounds")
		}
	}
}
