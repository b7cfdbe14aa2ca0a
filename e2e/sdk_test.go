package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/api/rest"
)

// TestPython has the Python package lead a job of three institutions: submitted at
// the bank, approved by a person at telecom, by a standing rule at insurer.
// KONTOR_PYTHON names the interpreter; with KONTOR_REQUIRE_PYTHON=1 it is an error
// if there is none, or none with pandas.
func TestPython(t *testing.T) {
	python, err := exec.LookPath(pythonName())
	if err != nil {
		without(t, "there is no "+pythonName())
	}
	script, err := filepath.Abs("../sdk/python/tests/real_nodes.py")
	if err != nil {
		t.Fatal(err)
	}
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	n.AcceptAll()
	n.Lend(600)
	n.Node("telecom").Policy(byHand)
	job, err := json.Marshal(map[string]any{
		"purpose": "testing",
		"parties": map[string]any{
			"bank":    map[string]any{"data": "rows", "id": "id", "label": "y"},
			"telecom": map[string]any{"data": "rows", "id": "id"},
			"insurer": map[string]any{"data": "rows", "id": "id"},
		},
		"align": map[string]any{"min_rows": 20}, "split": map[string]any{"test": 0.3}, "boost": map[string]any{"trees": 4, "depth": 3}, "min_auc": 0.6,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, python, "-B", script)
	cmd.Env = append(os.Environ(), "KONTOR_SDK_JOB="+string(job))
	for _, d := range n.nodes {
		key := "KONTOR_" + strings.ToUpper(d.Name)
		cmd.Env = append(cmd.Env, key+"_API="+d.API, key+"_TOKEN="+d.Client(rest.Admin).Token)
	}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		without(t, strings.TrimSpace(out.String()))
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.Bytes(), log.Bytes())
	}
	var got struct {
		OK   bool    `json:"ok"`
		Job  string  `json:"job"`
		Rows int     `json:"rows"`
		AUC  float64 `json:"auc"`
	}
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &got); err != nil || !got.OK || got.Rows != 600 {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	n.Examine(got.Job)
}

func pythonName() string {
	if p := os.Getenv("KONTOR_PYTHON"); p != "" {
		return p
	}
	return "python3"
}

// without skips a test for want of Python, unless it must run.
func without(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("KONTOR_REQUIRE_PYTHON") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// TestPythonAlone runs the Python package's own tests, against a server that
// answers badly.
func TestPythonAlone(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath(pythonName())
	if err != nil {
		without(t, "there is no "+pythonName())
	}
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, python, "-B", "-m", "unittest", "discover", "-s", "tests", "-t", ".")
	cmd.Dir = "../sdk/python"
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\nOK")) || bytes.Contains(out, []byte("Ran 0 tests")) {
		t.Fatalf("%v\n%s", err, out)
	}
}
