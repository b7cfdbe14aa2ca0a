package model

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
	"kontor/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type fixture struct {
	*Registry
	t   testing.TB
	db  *store.DB
	dir string
}

func setup(t testing.TB) *fixture {
	t.Helper()
	db, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	f := &fixture{t: t, db: db, dir: filepath.Join(t.TempDir(), "models")}
	f.reopen()
	return f
}

// reopen does what a restart does.
func (f *fixture) reopen() {
	f.t.Helper()
	r, err := Open(f.db, f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Registry = r
}

// folder makes a folder with files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func id(n int) string {
	h := sha256.Sum256([]byte{byte(n)})
	return hex.EncodeToString(h[:])
}

func record(n int) Record {
	return Record{
		ID: id(n), Job: fmt.Sprintf("job%d", n%2), JobName: "credit", Step: "boost", Kind: "boost", Party: "bank", Role: "guest", Created: noon.Add(time.Duration(n) * time.Hour),
		Parties: []string{"bank", "shop"}, Spec: "abc", Software: "1.2.3", Data: []Lineage{{"bank", "customers", "f00"}}, Metrics: json.RawMessage(`{"auc":0.75}`),
	}
}

func (f *fixture) add(rec Record, src string, fail error) (Record, error) {
	ctx := context.Background()
	var out Record
	err := f.db.Write(ctx, func(t *store.Tx) (err error) {
		out, err = f.Add(ctx, t, rec, src)
		return errors.Join(err, fail)
	})
	return out, err
}

func (f *fixture) must(n int, files map[string]string) Record {
	f.t.Helper()
	rec, err := f.add(record(n), folder(f.t, files), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return rec
}

// entries returns what is in the folder of models.
func (f *fixture) entries() []string {
	f.t.Helper()
	list, err := os.ReadDir(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

var sample = map[string]string{"model.json": "{}", "parts/a/b.bin": "b", "step.json": "[]"}

func TestAModelIsKeptAsItWas(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), context.Background()
	src := folder(t, sample)
	added, err := f.add(record(1), src, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "model.json"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.reopen()
	got, err := f.Get(ctx, id(1))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(added)
	g, _ := json.Marshal(got)
	if string(a) != string(g) || got.Format != Format || !slices.Equal(got.Files, []string{"model.json", "parts/a/b.bin", "step.json"}) || string(got.Metrics) != `{"auc":0.75}` || !got.Created.Equal(noon.Add(time.Hour)) {
		t.Errorf("%s\n%s", a, g)
	}
	dir, err := f.Dir(ctx, id(1)[:6])
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range sample {
		b, err := os.ReadFile(filepath.Join(dir, name))
		info, _ := os.Stat(filepath.Join(dir, name))
		if err != nil || string(b) != text || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %q, %v, %v", name, b, err, info.Mode())
		}
	}
	// The content hash is what sha256sum gives, see docs/formats/state.md.
	var sums strings.Builder
	for _, name := range got.Files {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256([]byte(sample[name])), name)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(sums.String()))); got.SHA256 != want {
		t.Errorf("hash %s, want %s", got.SHA256, want)
	}
}

func TestAddIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), context.Background()
	sour := errors.New("sour")
	if _, err := f.add(record(1), folder(t, sample), sour); !errors.Is(err, sour) {
		t.Fatal(err)
	}
	if _, err := f.Get(ctx, id(1)); fault.KindOf(err) != fault.Usage || len(f.entries()) != 0 {
		t.Errorf("after a transaction that did not hold: %v, %v", err, f.entries())
	}
	first := f.must(1, sample)
	if again := f.must(1, sample); again.SHA256 != first.SHA256 || len(f.entries()) != 1 {
		t.Errorf("the same again: %+v, %v", again, f.entries())
	}
	if _, err := f.add(record(1), folder(t, map[string]string{"model.json": "other"}), nil); fault.KindOf(err) != fault.Internal {
		t.Errorf("another model under the same id: %v", err)
	}
	if _, err := f.add(record(1), folder(t, sample), sour); !errors.Is(err, sour) {
		t.Fatal(err)
	}
	if got, err := f.Get(ctx, id(1)); err != nil || got.SHA256 != first.SHA256 {
		t.Errorf("the first has suffered: %v", err)
	}
	// What a killed process leaves: a copy under way, and a folder whose record was not committed.
	for _, name := range []string{staging + "123", id(7)} {
		if err := os.MkdirAll(filepath.Join(f.dir, name, "files"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(f.dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := f.must(7, sample); len(got.Files) != 3 {
		t.Errorf("in the place of a leftover: %+v", got)
	}
	if err := os.MkdirAll(filepath.Join(f.dir, id(8), "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.reopen()
	want := []string{id(1), id(7), "lost+found"}
	slices.Sort(want)
	if got := f.entries(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestWhatCannotBeAdded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	outside := folder(t, map[string]string{"secret": "x"})
	link := folder(t, sample)
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(link, "link")); err != nil {
		t.Fatal(err)
	}
	tree := folder(t, sample)
	if err := os.Symlink(outside, filepath.Join(tree, "parts", "more")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "x", "..", "../../../etc", strings.Repeat("a", 65), strings.ToUpper(id(1)), id(1)[:15]} {
		rec := record(1)
		rec.ID = name
		if _, err := f.add(rec, folder(t, sample), nil); fault.KindOf(err) != fault.Internal {
			t.Errorf("id %q: %v", name, err)
		}
	}
	for name, dir := range map[string]string{
		"a link": link, "a link to a folder": tree, "nothing": t.TempDir(), "no folder": filepath.Join(outside, "none"),
		"a backslash": folder(t, map[string]string{`a\..\b`: ""}), "a line end": folder(t, map[string]string{"a\nb": ""}), "a colon": folder(t, map[string]string{"c:x": ""}),
	} {
		if _, err := f.add(record(1), dir, nil); fault.KindOf(err) != fault.Local {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := record(1)
	bad.Metrics = json.RawMessage("{")
	if _, err := f.add(bad, folder(t, sample), nil); fault.KindOf(err) != fault.Internal {
		t.Errorf("metrics that are no JSON: %v", err)
	}
	if got := f.entries(); len(got) != 0 {
		t.Errorf("what was refused left %v", got)
	}
	ending, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Stage(ending, record(1), folder(t, sample)); !errors.Is(err, context.Canceled) || len(f.entries()) != 0 {
		t.Errorf("cancelled: %v, %v", err, f.entries())
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(dir string) error{
		"changed": func(dir string) error { return os.WriteFile(filepath.Join(dir, "model.json"), []byte("[]"), 0o600) },
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "step.json")) },
		"added":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "more"), nil, 0o600) },
		"renamed": func(dir string) error {
			return os.Rename(filepath.Join(dir, "step.json"), filepath.Join(dir, "s.json"))
		},
		"all gone": os.RemoveAll,
		"linked": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "model.json"), filepath.Join(dir, "..", "m")), os.Symlink("../m", filepath.Join(dir, "model.json")))
		},
	} {
		f, ctx := setup(t), context.Background()
		f.must(1, sample)
		dir, err := f.Dir(ctx, id(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_, get := f.Get(ctx, id(1))
		_, path := f.Dir(ctx, id(1))
		for _, err := range []error{get, path, f.Export(ctx, id(1), &out)} {
			if fault.KindOf(err) != fault.Local {
				t.Errorf("%s: %v", name, err)
			}
		}
		if out.Len() != 0 {
			t.Errorf("%s: it was exported", name)
		}
		if rec, err := f.Lookup(ctx, id(1)); err != nil || rec.ID != id(1) {
			t.Errorf("%s: its record: %v", name, err)
		}
	}
}

func TestModelsAreFound(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), context.Background()
	for n := range 5 {
		f.must(n, sample)
	}
	twin := record(9)
	twin.ID, twin.Kind = id(0)[:20], "glm"
	if _, err := f.add(twin, folder(t, sample), nil); err != nil {
		t.Fatal(err)
	}
	f.tag(id(3), "prod")
	for ref, want := range map[string]string{
		id(2): id(2), id(2)[:4]: id(2), id(2)[:63]: id(2), "prod": id(3), id(0)[:20]: id(0)[:20], id(0)[:21]: id(0),
		id(0)[:10]: "", id(2)[:3]: "", "": "", "nothing": "", strings.Repeat("0", 64): "", "%": "", "____": "", strings.ToUpper(id(2)): "",
	} {
		rec, err := f.Get(ctx, ref)
		if rec.ID != want || (err == nil) != (want != "") || err != nil && fault.KindOf(err) != fault.Usage {
			t.Errorf("%q: %q, %v", ref, rec.ID, err)
		}
	}
	for _, c := range []struct {
		f    Filter
		want []string
	}{
		{Filter{}, []string{id(0)[:20], id(4), id(3), id(2), id(1), id(0)}}, {Filter{Limit: 1}, []string{id(0)[:20]}},
		{Filter{Job: "job0"}, []string{id(4), id(2), id(0)}}, {Filter{Kind: "glm"}, []string{id(0)[:20]}}, {Filter{Tag: "prod"}, []string{id(3)}}, {Filter{Tag: "no"}, nil},
	} {
		list, err := f.List(ctx, c.f)
		var got []string
		for _, r := range list {
			got = append(got, r.ID)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v", c.f, got, err)
		}
	}
}

func (f *fixture) tag(ref, tag string) (before string) {
	f.t.Helper()
	ctx := context.Background()
	if err := f.db.Write(ctx, func(t *store.Tx) (err error) {
		before, err = f.Tag(ctx, t, ref, tag)
		return err
	}); err != nil {
		f.t.Fatal(err)
	}
	return before
}

func TestTagsMove(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), context.Background()
	f.must(1, sample)
	f.must(2, sample)
	if got := f.tag(id(1), "prod"); got != "" {
		t.Errorf("a new tag was at %q", got)
	}
	f.tag("prod", "a.first")
	if got := f.tag(id(2), "prod"); got != id(1) {
		t.Errorf("a moved tag was at %q", got)
	}
	one, err1 := f.Get(ctx, id(1))
	two, err2 := f.Get(ctx, "prod")
	if err := errors.Join(err1, err2); err != nil || !slices.Equal(one.Tags, []string{"a.first"}) || two.ID != id(2) || !slices.Equal(two.Tags, []string{"prod"}) {
		t.Errorf("%v, %v, %v", one.Tags, two, err)
	}
	for _, bad := range []string{"", "Prod", "a b", "-a", ".a", "../x", "abcd", id(1), strings.Repeat("x", 65), "a\n", "é"} {
		if err := f.db.Write(ctx, func(t *store.Tx) error { _, err := f.Tag(ctx, t, id(1), bad); return err }); fault.KindOf(err) != fault.Usage {
			t.Errorf("tag %q: %v", bad, err)
		}
	}
	untag := func() (id string, err error) {
		err = f.db.Write(ctx, func(t *store.Tx) error { id, err = f.Untag(ctx, t, "prod"); return err })
		return id, err
	}
	if was, err := untag(); err != nil || was != id(2) {
		t.Errorf("%q, %v", was, err)
	}
	if _, err := untag(); fault.KindOf(err) != fault.Usage {
		t.Errorf("a tag taken away twice: %v", err)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	f, ctx := setup(t), context.Background()
	f.must(1, sample)
	f.tag(id(1), "prod")
	var a, b bytes.Buffer
	if err := errors.Join(f.Export(ctx, "prod", &a), f.Export(ctx, id(1), &b)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two exports of one model differ")
	}
	z, err := zip.NewReader(bytes.NewReader(a.Bytes()), int64(a.Len()))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range z.File {
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name] = string(text)
	}
	var rec Record
	if err := json.Unmarshal([]byte(got[recordFile]), &rec); err != nil || rec.ID != id(1) || !slices.Equal(rec.Tags, []string{"prod"}) {
		t.Errorf("%+v, %v", rec, err)
	}
	sums := 0
	for line := range strings.Lines(got[sumsFile]) {
		hash, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if text, ok := got[name]; !ok || fmt.Sprintf("%x", sha256.Sum256([]byte(text))) != hash || text != sample[strings.TrimPrefix(name, "files/")] {
			t.Errorf("%s: %q", line, text)
		}
		sums++
	}
	if sums != 3 || len(got) != 5 {
		t.Errorf("%d sums, %d files", sums, len(got))
	}
	if total := sha256.Sum256([]byte(strings.ReplaceAll(got[sumsFile], "  files/", "  "))); hex.EncodeToString(total[:]) != rec.SHA256 {
		t.Error("the sums do not give the record's hash")
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"model.json", "a/b", "../x", "/etc", `a\b`, "a//b", "c:", ".", "a\x00", "é"} {
		f.Add(s)
	}
	base := f.TempDir()
	f.Fuzz(func(t *testing.T, p string) {
		if checkPath(p) != nil {
			return
		}
		full := filepath.Join(base, filepath.FromSlash(p))
		if !filepath.IsLocal(p) || !strings.HasPrefix(full, base) || strings.ContainsAny(p, "\n\\:") {
			t.Errorf("%q", p)
		}
	})
}
