package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// TestBenchFlow measures once, with real processes. What it finds is not looked
// at, only that it is there.
func TestBenchFlow(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary(t, "kontor"), "bench", "flow", "--json", "--runs", "1", "--steps", "2", "--settle", "1ms")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	var r map[string]any
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r["bench"] != "flow" || r["runs"] != 1.0 || r["steps"] != 2.0 {
		t.Errorf("got %s", out)
	}
	for _, figure := range []string{"startup_ms", "idle_rss_bytes", "job_overhead_ms"} {
		if v, ok := r[figure].(float64); !ok || v <= 0 && (figure != "idle_rss_bytes" || onLinux()) {
			t.Errorf("%s is %v", figure, r[figure])
		}
	}
	if left, err := os.ReadDir(cmd.Env[len(cmd.Env)-1][len("TMPDIR="):]); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func onLinux() bool {
	_, err := os.Stat("/proc/self/statm")
	return err == nil
}
