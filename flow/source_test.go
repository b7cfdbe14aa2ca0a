package flow

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kontor/internal/fault"
	"kontor/session"
	"kontor/table"
)

// named is a source that is no file.
type named struct {
	table.Source
	name string
}

func (n named) String() string { return n.name }

func TestLoadInputFromASource(t *testing.T) {
	t.Parallel()
	text := "id,y,x,city\n1,0,1,a\n2,1,2,b\n3,1,2.5,c\n"
	path := csvFile(t, text)
	p := Party{Name: "bank", Role: session.Guest}
	file, err := LoadInput(t.Context(), p, path)
	if err != nil {
		t.Fatal(err)
	}
	src := named{table.File(path), "customers"}
	in, err := LoadInputFrom(t.Context(), p, src)
	if err != nil || in.File != "customers" || in.Fingerprint() != file.Fingerprint() || !reflect.DeepEqual(in.Notes, file.Notes) {
		t.Errorf("%+v, %v", in, err)
	}
	if err := CheckInputFrom(t.Context(), Party{Name: "bank", Role: session.Guest, ID: "key"}, src); fault.KindOf(err) != fault.Data || !strings.Contains(err.Error(), "customers") {
		t.Errorf("%v", err)
	}
}

// TestOnlyWhatStepsReadIsLoaded gives the parties of jobs that read less tables
// that have less.
func TestOnlyWhatStepsReadIsLoaded(t *testing.T) {
	t.Parallel()
	const head = "job: a\nparties: {bank: {role: guest}, telecom: {role: host}}\nsteps: "
	ids := csvFile(t, "id,name\n1,a\n2,b\n")
	for steps, ok := range map[string]map[string]bool{
		"[align]":                        {"bank": true, "telecom": true},
		"[align, {predict: {model: m}}]": {"bank": true, "telecom": false}, // a host brings features
		"[align, boost]":                 {"bank": false, "telecom": false},
	} {
		spec := mustParse(t, head+steps)
		for party, want := range ok {
			in, err := LoadInput(context.Background(), spec.PartyView(party), ids)
			if (err == nil) != want || err == nil && (in.Label != nil || len(in.Columns) != 0 || len(in.IDs) != 2) {
				t.Errorf("%s, %s: %+v, %v", steps, party, in, err)
			}
		}
	}
	// A label that no step reads is no feature either, where the job names it.
	spec := mustParse(t, strings.Replace(head, "role: guest", "role: guest, label: y", 1)+"[align, {predict: {model: m}}]")
	in, err := LoadInput(t.Context(), spec.PartyView("bank"), csvFile(t, "id,y,x\n1,0,5\n2,1,6\n"))
	if err != nil || in.Label != nil || len(in.Columns) != 1 || in.Columns[0].Name != "x" {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestResolveFeatures(t *testing.T) {
	t.Parallel()
	schema := table.Schema{{Name: "id", Type: table.String}, {Name: "y", Type: table.Int}, {Name: "age", Type: table.Int}, {Name: "income", Type: table.Float}, {Name: "city", Type: table.String}}
	notIncome := func(c string) bool { return c != "income" }
	none := func(string) bool { return false }
	guest, host := Party{Name: "bank", Role: session.Guest}, Party{Name: "telecom", Role: session.Host, Data: "people"}
	with := func(p Party, f ...string) Party { p.Features = f; return p }
	for name, c := range map[string]struct {
		p       Party
		allowed func(string) bool
		want    []string // nil for an error
	}{
		"all numeric":            {guest, nil, []string{"age", "income"}},
		"a host has no label":    {host, nil, []string{"y", "age", "income"}},
		"what is allowed":        {guest, notIncome, []string{"age"}},
		"named, allowed or not":  {with(guest, "income"), notIncome, []string{"income"}},
		"a guest without":        {guest, none, []string{}},
		"a host without":         {host, none, nil},
		"named and text":         {with(guest, "city"), nil, nil},
		"named and not there":    {with(guest, "wage"), nil, nil},
		"no step reads features": {Party{Name: "telecom", Role: session.Host, NoFeatures: true}, none, []string{}},
	} {
		got, err := ResolveFeatures(c.p, schema, c.allowed)
		if (err != nil) != (c.want == nil) || err == nil && (!slices.Equal(got, c.want) || got == nil) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if err != nil && fault.KindOf(err) != fault.Data {
			t.Errorf("%s: %v", name, err)
		}
	}
	if id, label, err := ResolveKeys(guest, schema); id != "id" || label != "y" || err != nil {
		t.Errorf("%s, %s, %v", id, label, err)
	}
	if _, label, err := ResolveKeys(Party{Name: "bank", Role: session.Guest, NoLabel: true}, schema); label != "" || err != nil {
		t.Errorf("%s, %v", label, err)
	}
}
