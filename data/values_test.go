package data

import (
	"encoding/json"
	"math"
	"path/filepath"
	"testing"

	"kontor/internal/fault"
	"kontor/table"
)

func TestRound2(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]int64{0: 0, 7: 7, 99: 99, 100: 100, 104: 100, 105: 110, 1249: 1200, 1250: 1300, 999: 1000, 123_456_789: 120_000_000, math.MaxInt64: 9_200_000_000_000_000_000} {
		if got := round2(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}

func TestDistinct(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, exactDistinct, exactDistinct + 1, 5000, 20_000, 1_000_000} {
		var a, b distinct // b sees the odd ones and some of the others
		for i := range n {
			if i%2 == 0 {
				a.add(hashInt(int64(i)))
			}
			if i%2 == 1 || i%3 == 0 {
				b.add(hashNumber(float64(i)))
			}
		}
		a.merge(&b)
		got, approx := a.count()
		if approx != (n > exactDistinct) || math.Abs(float64(got)-float64(n)) > .05*float64(n) || !approx && got != int64(n) {
			t.Errorf("%d values: counted %d, estimate %v", n, got, approx)
		}
	}
}

// FuzzSpec reads specifications as the API does: what passes is a name that can
// stand in a path, a known kind and options that package table takes.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"name":"a","path":"/x.csv","options":{"id":"id","missing":["-9"],"types":{"a":"int"}}}`))
	f.Add([]byte(`{"name":"../a","dsn":"postgres://u:p@h/d","query":"SELECT 1"}`))
	f.Add([]byte(`{"name":"b","kind":"mysql","dsn":"${X}","query":"q","options":{"types":{"":""}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Spec
		if json.Unmarshal(b, &s) != nil {
			return
		}
		n, err := s.normalise()
		if err != nil {
			if k := fault.KindOf(err); k != fault.Usage && k != fault.Local {
				t.Errorf("%s: %v is of kind %v", b, err, k)
			}
			return
		}
		if CheckName(n.Name) != nil || filepath.Base(n.Name) != n.Name || n.Name == "." || (n.Path == "") == (n.DSN == "") || n.Path != "" && !filepath.IsAbs(n.Path) {
			t.Errorf("%s passed as %+v", b, n)
		}
		for _, typ := range n.Options.table().Types {
			if typ < table.Int || typ > table.Time {
				t.Errorf("%s: type %d", b, typ)
			}
		}
	})
}
