package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// TestREADME runs what the READMEs tell a newcomer to type: the sh blocks of each as
// one script, in a folder of its own, over a small demo, with the first YAML block as
// job.yaml. Only make demo is replaced, and addresses by ones that are free.
func TestREADME(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs a demo")
	}
	for name, least := range map[string]int{"README.md": 2, "README.zh-CN.md": 2, "docs/quickstart.md": 25} {
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
			script, job := "set -e\n", false
			for _, m := range fence.FindAllStringSubmatch(string(b), -1) {
				switch {
				case m[1] == "yaml" && !job:
					job = true
					if err := os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(m[2]), 0o644); err != nil {
						t.Fatal(err)
					}
				case m[1] == "sh":
					script += m[2]
				}
			}
			script = freeAddresses(t, makeLine.ReplaceAllStringFunc(script, func(l string) string {
				if l == "make demo" {
					return "./bin/kontor demo --customers 3000"
				}
				return ":"
			}))
			if n := strings.Count(script, "./bin/kontor "); n < least {
				t.Errorf("%d commands, want %d or more", n, least)
			}
			runScript(t, dir, script)
		})
	}
}

var (
	makeLine = regexp.MustCompile(`(?m)^make .*$`)
	address  = regexp.MustCompile(`127\.0\.0\.1:77\d\d`)
)

// freeAddresses puts a free port in the place of each that a document uses.
func freeAddresses(t *testing.T, script string) string {
	free := map[string]string{}
	return address.ReplaceAllStringFunc(script, func(a string) string {
		if free[a] == "" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			free[a] = l.Addr().String()
		}
		return free[a]
	})
}

// runScript runs a script and ends what it has left running.
func runScript(t *testing.T, dir, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-x")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(script)
	cmd.Env = append(os.Environ(), "KONTOR_HOME=", "KONTOR_API=", "KONTOR_TOKEN=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = end
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		end() // fails where nothing is left
	}
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, l := range logs {
			b, _ := os.ReadFile(l)
			t.Logf("%s:\n%s", filepath.Base(l), b)
		}
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestDocumentsNameCommandsThatExist checks that what documents call kontor
// with are commands and flags that there are.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	call := regexp.MustCompile(`(?m)kontor ((?:init|up|status|doctor|peer|policy|token|audit|data|job|model|run|sim|demo|bench|version)\b[^\n` + "`" + `|]*)`)
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
		for _, m := range call.FindAllStringSubmatch(strings.ReplaceAll(string(b), `"$(`, "\n"), -1) { // a command within another
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

var flagUsage = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`)

// TestEveryCommandIsDocumented holds docs/commands.md to the commands that there
// are: each has a row that names its flags, and whether it talks to a node.
func TestEveryCommandIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(kontor [a-z ]*[a-z])[^`]*`.*$").FindAllStringSubmatch(string(b), -1) {
		rows[m[1]] = m[0]
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if !c.Runnable() || c.Name() == "help" || c.HasSubCommands() {
			return
		}
		row := rows[c.CommandPath()]
		if row == "" {
			t.Errorf("docs/commands.md has no row for %s", c.CommandPath())
			return
		}
		delete(rows, c.CommandPath())
		node := c.Flag("api") != nil && c.Flag("token") != nil
		for _, f := range flagUsage.FindAllStringSubmatch(c.LocalFlags().FlagUsages(), -1) {
			common := node && (f[1] == "home" || f[1] == "api" || f[1] == "token") || f[1] == "help"
			if !common && !strings.Contains(row, "`--"+f[1]) {
				t.Errorf("the row of %s does not name --%s", c.CommandPath(), f[1])
			}
		}
		if node != strings.Contains(row, "| node") {
			t.Errorf("the row of %s does not say rightly whether it talks to a node", c.CommandPath())
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("the help of %s: %q", c.CommandPath(), c.Short)
		}
	}
	visit((&app{}).root())
	for path := range rows {
		t.Errorf("docs/commands.md has a row for %s, which there is not", path)
	}
}
