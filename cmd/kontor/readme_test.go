package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// TestREADME runs what the READMEs tell a newcomer to type: every line of their
// sh blocks in order, over a small demo, with the first YAML block as job.yaml.
func TestREADME(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs a demo")
	}
	for _, name := range []string{"README.md", "README.zh-CN.md", "docs/quickstart.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(filepath.Join("..", "..", name))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(binary(t, "kontor"), filepath.Join(dir, "bin", "kontor")); err != nil {
				t.Fatal(err)
			}
			ran, job := 0, false
			for _, m := range fence.FindAllStringSubmatch(string(b), -1) {
				if m[1] == "yaml" && !job {
					job = true
					if err := os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(m[2]), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if m[1] != "sh" {
					continue
				}
				for _, line := range strings.Split(strings.ReplaceAll(m[2], "\\\n", " "), "\n") {
					ran += runLine(t, dir, strings.TrimSpace(line))
				}
			}
			if want := map[string]int{"README.md": 2, "README.zh-CN.md": 2}[name]; ran < want {
				t.Errorf("%d commands ran, want %d or more", ran, want)
			}
		})
	}
}

// runLine runs one line of a document and returns 1, or 0 for a line that is not
// for here.
func runLine(t *testing.T, dir, line string) int {
	t.Helper()
	switch word, _, _ := strings.Cut(line, " "); {
	case line == "make demo":
		line = "./bin/kontor demo --customers 3000"
	case word != "./bin/kontor":
		return 0
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return 1
}

// TestDocumentsNameCommandsThatExist checks that what documents call kontor
// with are commands and flags that there are.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	call := regexp.MustCompile(`(?m)kontor ((?:init|peer|run|sim|demo|bench|job|version)\b[^\n` + "`" + `|]*)`)
	flag := regexp.MustCompile(`--([a-z][a-z-]*)`)
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs = append(docs, "../../README.md", "../../README.zh-CN.md")
	seen := 0
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(b), -1) {
			root := (&app{}).root()
			c, _, err := root.Find(strings.Fields(m[1]))
			if err != nil {
				t.Errorf("%s: kontor %s: %v", doc, m[1], err)
				continue
			}
			seen++
			for _, f := range flag.FindAllStringSubmatch(m[1], -1) {
				if c.Flag(f[1]) == nil && f[1] != "help" && f[1] != "version" {
					t.Errorf("%s: kontor %s: %s has no flag --%s", doc, m[1], c.CommandPath(), f[1])
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands found in the documents", seen)
	}
}
