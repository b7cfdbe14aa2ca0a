package kontor

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers lists the folders from the top down; a package may import what stands
// below it, never what stands above. Packages of one layer do not know each other.
var layers = [][]string{
	{"cmd", ".ci", "e2e"},
	{"demo"},
	{"node"},
	{"report", "flow", "bench"},
	{"examples"},
	{"policy", "model", "audit", "data"},
	{"fed"},
	{"engine"},
	{"table"},
	{"store"},
	{"session", "transport"},
	{"api"},
	{"identity"},
	{"psi", "matvec"},
	{"ring"},
	{"internal"},
}

// only says which of our packages and which foreign modules a folder may use at
// most, beyond the standard library.
var only = map[string][]string{
	"ring":     {"kontor/internal/parallel"},
	"matvec":   {"kontor/ring", "kontor/internal/parallel"},
	"psi":      {"kontor/ring", "kontor/internal/parallel", "github.com/gtank/ristretto255"},
	"session":  {"kontor/internal/fault"},
	"identity": {"kontor/internal/fault"},
	"fed":      {"kontor/"},
	"report":   {"kontor/fed/metric"},
}

// onlyFrom says who alone may import a package.
var onlyFrom = map[string][]string{
	"kontor/transport": {"node"},
	"kontor/node":      {"cmd", "demo"},
	"kontor/flow":      {"node", "cmd", "demo"},
}

type source struct {
	dir     string // folder, slash-separated, "." for the root
	file    string
	imports []string
	doc     string
	name    string
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), "demo-out")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{dir: filepath.ToSlash(filepath.Dir(p)), file: p, name: f.Name.Name}
		if f.Doc != nil {
			s.doc = f.Doc.Text()
		}
		for _, i := range f.Imports {
			v, _ := strconv.Unquote(i.Path.Value)
			s.imports = append(s.imports, v)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d Go files found: the walk is broken", len(out))
	}
	return out
}

func top(dir string) string { t, _, _ := strings.Cut(dir, "/"); return t }

func layer(folder string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, folder) })
}

func TestEveryPackageIsDocumented(t *testing.T) {
	docs := map[string]string{}
	for _, s := range sources(t) {
		if strings.HasSuffix(s.file, "_test.go") {
			continue
		}
		docs[s.dir] += s.doc
	}
	for dir, doc := range docs {
		if len(doc) < 60 {
			t.Errorf("package %s has no doc comment that says what it is for", dir)
		}
	}
}

func TestArrowsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == "." {
			continue
		}
		from := top(s.dir)
		if layer(from) < 0 {
			t.Errorf("%s: folder %s is in no layer; add it to law_test.go and docs/architecture.md", s.file, from)
			continue
		}
		for _, imp := range s.imports {
			rest, ours := strings.CutPrefix(imp, "kontor/")
			if !ours {
				continue
			}
			to := top(rest)
			test := strings.HasSuffix(s.file, "_test.go")
			if to == from {
				continue
			}
			if test && (to == "examples" || from == "examples") {
				continue // tests may borrow sample data, and measure it
			}
			if layer(to) <= layer(from) {
				t.Errorf("%s imports %s: arrows point down only", s.file, imp)
			}
			if who, limited := onlyFrom[imp]; limited && !slices.Contains(who, from) && !test {
				t.Errorf("%s imports %s, which only %v may", s.file, imp, who)
			}
		}
	}
}

func TestLimitedImports(t *testing.T) {
	for _, s := range sources(t) {
		allowed, limited := only[top(s.dir)]
		if !limited || strings.HasSuffix(s.file, "_test.go") {
			continue
		}
		for _, imp := range s.imports {
			first, _, _ := strings.Cut(imp, "/")
			std := !strings.Contains(first, ".") && first != "kontor"
			if std || strings.HasPrefix(imp, "kontor/"+top(s.dir)) {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return imp == a || strings.HasSuffix(a, "/") && strings.HasPrefix(imp, a) }) {
				t.Errorf("%s imports %s; %s may use %v", s.file, imp, top(s.dir), allowed)
			}
		}
	}
}

func TestCryptographyDoesNoIO(t *testing.T) {
	banned := []string{"os", "log", "log/slog", "net", "time", "math/rand"}
	for _, s := range sources(t) {
		if !slices.Contains([]string{"ring", "matvec", "psi"}, top(s.dir)) || strings.HasSuffix(s.file, "_test.go") {
			continue
		}
		for _, imp := range s.imports {
			if slices.Contains(banned, imp) {
				t.Errorf("%s imports %s: protocol packages do no I/O and take randomness from the caller", s.file, imp)
			}
		}
	}
}

func TestNoCgo(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains(s.imports, "C") {
			t.Errorf("%s uses cgo", s.file)
		}
	}
}

func TestDocsLinkToFilesThatExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "*/PROTOCOL.md", "fed/*/PROTOCOL.md", "examples/*/*.md"} {
		m, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, m...)
	}
	if len(files) < 10 {
		t.Fatalf("only %d documents found", len(files))
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(path.Join(path.Dir(filepath.ToSlash(f)), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", f, m[1])
			}
		}
	}
}
