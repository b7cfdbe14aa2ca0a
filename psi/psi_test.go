package psi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gtank/ristretto255"
)

var testSalt = [32]byte{1, 2, 3}

// seeded returns a deterministic source of randomness.
func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

// run is the whole protocol in chunks of the given size, with both streams of
// the sender interleaved.
func run(t testing.TB, r *Receiver, s *Sender, chunk int) []Match {
	t.Helper()
	nr, ns := len(r.set.items), len(s.set.items)
	m, err := r.Match(ns)
	check(t, err)
	check(t, s.Expect(nr))
	for lo := 0; lo < max(nr, ns); lo += chunk {
		if lo < nr {
			masked, err := r.Mask(t.Context(), lo, min(nr, lo+chunk))
			check(t, err)
			tags, err := s.Double(t.Context(), lo, masked)
			check(t, err)
			check(t, m.TakeDoubled(lo, tags))
		}
		if lo < ns {
			masked, err := s.Mask(t.Context(), lo, min(ns, lo+chunk))
			check(t, err)
			check(t, m.TakeMasked(t.Context(), lo, masked))
		}
	}
	ms, err := m.Matches()
	check(t, err)
	return ms
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pair(t testing.TB, xs, ys []string, seed byte) (*Receiver, *Sender) {
	t.Helper()
	r, err := NewReceiver(testSalt, xs, seeded(seed))
	check(t, err)
	s, err := NewSender(testSalt, ys, seeded(seed+100))
	check(t, err)
	return r, s
}

func numbers(prefix string, lo, hi int) []string {
	var s []string
	for i := lo; i < hi; i++ {
		s = append(s, fmt.Sprint(prefix, i))
	}
	return s
}

// want computes the intersection with a map, in terms of both parties' items.
func want(xs, ys []string) [][2]int {
	at := map[string]int{}
	for j, y := range ys {
		at[y] = j
	}
	var w [][2]int
	for i, x := range xs {
		if j, ok := at[x]; ok {
			w = append(w, [2]int{i, j})
		}
	}
	return w
}

func TestIntersection(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		xs, ys []string
	}{
		{"both empty", nil, nil},
		{"receiver empty", nil, numbers("a", 0, 5)},
		{"sender empty", numbers("a", 0, 5), nil},
		{"one and the same", []string{"a"}, []string{"a"}},
		{"one and another", []string{"a"}, []string{"b"}},
		{"empty item", []string{"", "b"}, []string{"c", ""}},
		{"all equal", numbers("a", 0, 40), numbers("a", 0, 40)},
		{"disjoint", numbers("a", 0, 30), numbers("b", 0, 30)},
		{"half", numbers("a", 0, 40), numbers("a", 20, 60)},
		{"small in large", numbers("a", 7, 9), numbers("a", 0, 100)},
		{"large and small", numbers("a", 0, 100), numbers("a", 7, 9)},
		{"items of many lengths", []string{"x", string(make([]byte, MaxItemLen)), "ü", "x\x00"}, []string{"x\x00", string(make([]byte, MaxItemLen)), "xx"}},
	}
	for seed, c := range cases {
		for _, chunk := range []int{1, 7, 1000} {
			t.Run(fmt.Sprint(c.name, " by ", chunk), func(t *testing.T) {
				t.Parallel()
				r, s := pair(t, c.xs, c.ys, byte(seed))
				order := s.Order()
				var got [][2]int
				for _, m := range run(t, r, s, chunk) {
					got = append(got, [2]int{m.Item, order[m.Position]})
				}
				if w := want(c.xs, c.ys); !slices.Equal(got, w) {
					t.Errorf("got %v, want %v", got, w)
				}
			})
		}
	}
}

func TestIntersectionOfRandomSets(t *testing.T) {
	t.Parallel()
	rnd := rand.New(seeded(9))
	for n := range 12 {
		var sets [2][]string
		for k := range sets {
			for i := range 60 {
				if rnd.IntN(12) < n {
					sets[k] = append(sets[k], fmt.Sprint(i))
				}
			}
			rnd.Shuffle(len(sets[k]), func(i, j int) { sets[k][i], sets[k][j] = sets[k][j], sets[k][i] })
		}
		r, s := pair(t, sets[0], sets[1], byte(n))
		order := s.Order()
		var got [][2]int
		for _, m := range run(t, r, s, 16) {
			got = append(got, [2]int{m.Item, order[m.Position]})
		}
		if w := want(sets[0], sets[1]); !slices.Equal(got, w) {
			t.Errorf("%d: got %v, want %v", n, got, w)
		}
	}
}

// One Receiver serves several senders with the same masked items.
func TestTwoSenders(t *testing.T) {
	t.Parallel()
	xs := numbers("a", 0, 20)
	r, s1 := pair(t, xs, numbers("a", 10, 30), 1)
	s2, err := NewSender(testSalt, numbers("a", 5, 8), seeded(77))
	check(t, err)
	if got := len(run(t, r, s1, 8)); got != 10 {
		t.Errorf("first sender: %d matches, want 10", got)
	}
	if got := len(run(t, r, s2, 8)); got != 3 {
		t.Errorf("second sender: %d matches, want 3", got)
	}
}

func TestDeterministic(t *testing.T) {
	t.Parallel()
	xs := numbers("a", 0, 20)
	mask := func(salt [32]byte, seed byte) []byte {
		r, err := NewReceiver(salt, xs, seeded(seed))
		check(t, err)
		b, err := r.Mask(t.Context(), 0, len(xs))
		check(t, err)
		return b
	}
	a := mask(testSalt, 1)
	if !bytes.Equal(a, mask(testSalt, 1)) {
		t.Error("the same salt and randomness gave different masks")
	}
	share := func(x, y []byte) bool {
		seen := map[string]bool{}
		for e := range slices.Chunk(x, ElementLen) {
			seen[string(e)] = true
		}
		for e := range slices.Chunk(y, ElementLen) {
			if seen[string(e)] {
				return true
			}
		}
		return false
	}
	if share(a, mask(testSalt, 2)) {
		t.Error("different secrets gave a common masked item")
	}
	if share(a, mask([32]byte{9}, 1)) {
		t.Error("different salts gave a common masked item")
	}
}

// A Mask is the item hashed, times the secret, in the order drawn, and the order
// is not that of the items.
func TestMaskIsSecretTimesHash(t *testing.T) {
	t.Parallel()
	xs := numbers("a", 0, 50)
	r, s := pair(t, xs, xs, 4)
	if slices.IsSorted(r.set.order) || slices.IsSorted(s.set.order) {
		t.Error("the items were not shuffled")
	}
	b, err := r.Mask(t.Context(), 3, 50)
	check(t, err)
	h := newHasher(hashTag, testSalt[:])
	for p := 3; p < 50; p++ {
		var e ristretto255.Element
		h.element(&e, xs[r.set.order[p]])
		e.ScalarMult(r.set.secret, &e)
		if got := b[(p-3)*ElementLen : (p-2)*ElementLen]; !bytes.Equal(got, e.Encode(nil)) {
			t.Fatalf("masked item at position %d: got %x, want %x", p, got, e.Encode(nil))
		}
	}
}

func TestPermutation(t *testing.T) {
	t.Parallel()
	p, err := Permutation(100, seeded(1))
	check(t, err)
	if slices.IsSorted(p) {
		t.Error("not shuffled")
	}
	slices.SortFunc(p, cmp.Compare[int])
	for i, v := range p {
		if i != v {
			t.Fatalf("no permutation: %v", p)
		}
	}
	if _, err := Permutation(3, nil); !errors.Is(err, ErrRandom) {
		t.Errorf("nil reader: got %v, want %v", err, ErrRandom)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r, s := pair(t, numbers("a", 0, 9), numbers("a", 0, 9), 1)
	masked, err := r.Mask(t.Context(), 0, 9)
	check(t, err)
	check(t, s.Expect(9))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Mask(ctx, 0, 9); !errors.Is(err, context.Canceled) {
		t.Errorf("Mask: got %v, want %v", err, context.Canceled)
	}
	if _, err := s.Double(ctx, 0, masked); !errors.Is(err, context.Canceled) || errors.Is(err, ErrPeer) {
		t.Errorf("Double: got %v, want %v", err, context.Canceled)
	}
}

func BenchmarkMask(b *testing.B) {
	const n = 2048
	r, err := NewReceiver(testSalt, numbers("customer-", 0, n), seeded(1))
	check(b, err)
	for b.Loop() {
		if _, err := r.Mask(b.Context(), 0, n); err != nil {
			b.Fatal(err)
		}
	}
	perItem(b, n)
}

func BenchmarkDouble(b *testing.B) {
	const n = 2048
	r, s := pair(b, numbers("customer-", 0, n), nil, 1)
	masked, err := r.Mask(b.Context(), 0, n)
	check(b, err)
	for b.Loop() {
		if _, err := s.set.double(b.Context(), masked); err != nil {
			b.Fatal(err)
		}
	}
	perItem(b, n)
}

// BenchmarkRun is both parties one after the other on this machine's cores, half
// of the items in common.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{1000, 30000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			xs, ys := numbers("customer-", 0, n), numbers("customer-", n/2, n+n/2)
			for b.Loop() {
				r, s := pair(b, xs, ys, 1)
				if got := len(run(b, r, s, 2048)); got != n/2 {
					b.Fatalf("%d matches, want %d", got, n/2)
				}
			}
			perItem(b, 2*n)
			b.ReportMetric(float64(2*ElementLen+TagLen), "bytes/item")
		})
	}
}

func perItem(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/item")
}
