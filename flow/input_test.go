package flow

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kontor/internal/fault"
	"kontor/session"
	"kontor/table"
)

func csvFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.csv")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadInput(t *testing.T) {
	path := csvFile(t, "id, y,age,city,active,seen\n007,1,30,Lübeck,true,2024-01-02\n8,0,,Bergen,false,2024-01-03\n9,1,31.5,Riga,,2024-01-04\n")
	in, err := LoadInput(t.Context(), Party{Name: "bank", Role: session.Guest}, path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range in.Columns {
		names = append(names, c.Name)
	}
	if !slices.Equal(names, []string{"age", "active"}) || in.IDs[0] != "007" || !slices.Equal(in.Label, []float64{1, 0, 1}) || in.Columns[0].Values[2] != 31.5 {
		t.Errorf("%v: %+v", names, in)
	}
	if len(in.Notes) != 1 || !strings.Contains(in.Notes[0], "city, seen") {
		t.Errorf("notes %q, want what was left out", in.Notes)
	}
	host, err := LoadInput(t.Context(), Party{Name: "telecom", Role: session.Host, Features: []string{"age"}}, path)
	if err != nil || host.Label != nil || len(host.Columns) != 1 {
		t.Errorf("%v: %+v", err, host)
	}
}

func TestLabels(t *testing.T) {
	for name, c := range map[string]struct {
		values   []string
		positive string
		want     string // ones and zeros, or a part of the error
	}{
		"numbers":            {[]string{"0", "1", "1.0", " 0"}, "", "0110"},
		"minus one and one":  {[]string{"-1", "1"}, "", "01"},
		"words":              {[]string{"good", "bad"}, "bad", "01"},
		"true and false":     {[]string{"TRUE", "false"}, "", "10"},
		"yes and no":         {[]string{"no", "yes"}, "", "01"},
		"several, one meant": {[]string{"a", "b", "c"}, "b", "010"},
		"words, none named":  {[]string{"good", "bad"}, "", "positive: VALUE"},
		"positive is absent": {[]string{"good", "bad"}, "bda", `did you mean "bad"`},
		"one class":          {[]string{"1", "1"}, "", "one class"},
		"three classes":      {[]string{"1", "2", "3"}, "", "more than two"},
		"missing":            {[]string{"1", "NA", "0", ""}, "", "missing in 2 rows (line 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "id,y,x\n"
			for i, v := range c.values {
				text += fmt.Sprintf("%d,%s,1\n", i, v)
			}
			in, err := LoadInput(t.Context(), Party{Name: "bank", Role: session.Guest, Positive: c.positive}, csvFile(t, text))
			got := ""
			if err != nil {
				if fault.KindOf(err) != fault.Data {
					t.Errorf("%v is no fault of the data", err)
				}
				got = err.Error()
			} else {
				for _, v := range in.Label {
					got += fmt.Sprint(v)
				}
			}
			if err == nil && got != c.want || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestInputFaults(t *testing.T) {
	const good = "id,y,x\n1,0,0.5\n2,1,0.7\n"
	for name, c := range map[string]struct {
		text string
		p    Party
		want []string
	}{
		"no id column":         {strings.Replace(good, "id,", "key,", 1), Party{}, []string{"no id column", "id=COLUMN"}},
		"named id is absent":   {good, Party{ID: "idd"}, []string{`"idd"`, `did you mean "id"`}},
		"id is the label":      {good, Party{ID: "y"}, []string{"both id and label"}},
		"feature is absent":    {good, Party{Features: []string{"xx"}}, []string{`"xx"`, `did you mean "x"`}},
		"ignored is absent":    {good, Party{Ignore: []string{"xx"}}, []string{`"xx"`}},
		"feature is text":      {"id,y,x\n1,0,a\n2,1,b\n", Party{Features: []string{"x"}}, []string{"x is not numeric", "types:"}},
		"declared a number":    {"id,y,x\n1,0,a\n2,1,0.5\n", Party{Types: map[string]table.Type{"x": table.Float}}, []string{"line 2", "column x", `"a"`}},
		"infinite":             {"id,y,x\n1,0,0.5\n2,1,inf\n", Party{}, []string{"line 3", "column x is infinite"}},
		"host without feature": {"id,x\n1,a\n2,b\n", Party{Role: session.Host}, []string{"no numeric feature"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.p.Name = "bank"
			if c.p.Role == "" {
				c.p.Role = session.Guest
			}
			_, err := LoadInput(t.Context(), c.p, csvFile(t, c.text))
			if fault.KindOf(err) != fault.Data || err == nil {
				t.Fatalf("%v, want a fault of the data", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestSplit(t *testing.T) {
	split := func(ids []string, p Params) map[string][]int {
		out := map[string][]int{}
		for _, p := range divide(ids, p) {
			out[p.name] = p.rows
		}
		return out
	}
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprint(i))
	}
	p := Params{"test": 0.3, "valid": 0.1, "seed": 1}
	a := split(ids, p)
	seen := map[int]bool{}
	for _, rows := range a {
		for _, r := range rows {
			if seen[r] {
				t.Fatalf("row %d is in two parts", r)
			}
			seen[r] = true
		}
	}
	if len(seen) != 1000 || len(a["test"]) != 300 || len(a["valid"]) != 100 {
		t.Errorf("%d rows, %d test, %d valid", len(seen), len(a["test"]), len(a["valid"]))
	}
	// The same customers are in the test whatever the order of the rows.
	back := slices.Clone(ids)
	slices.Reverse(back)
	b := split(back, p)
	inTest := map[string]bool{}
	for _, r := range a["test"] {
		inTest[ids[r]] = true
	}
	for _, r := range b["test"] {
		if !inTest[back[r]] {
			t.Fatalf("customer %s is in the test of one order and not of the other", back[r])
		}
	}
	if c := split(ids, Params{"test": 0.3, "valid": 0.1, "seed": 2}); slices.Equal(a["test"], c["test"]) {
		t.Error("another seed gives the same division")
	}
	if d := split(ids, Params{"test": 0, "valid": 0}); len(d) != 1 || len(d["train"]) != 1000 {
		t.Errorf("no test, no valid: %v", len(d))
	}
}
