package bench

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/internal/fault"
)

// The fields that whoever reads recorded results relies on.
func TestFlowResultJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(FlowResult{Bench: "flow"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), `{"bench":"flow","startup_ms":0,"idle_rss_bytes":0,"job_overhead_ms":0,"runs":0`) {
		t.Errorf("got %s", b)
	}
}

func TestFlowRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []FlowConfig{{}, {Exe: "kontor", Steps: 3}, {Exe: "kontor", Runs: 1}, {Exe: "kontor", Runs: 1, Steps: 51}, {Runs: 1, Steps: 1}} {
		if _, err := Flow(t.Context(), c, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: got %v, want ErrConfig", c, err)
		}
	}
}

// A binary that is no kontor ends the measurement with what is wrong, and leaves nothing.
func TestFlowWithoutAKontor(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "kontor")
	silent := filepath.Join(t.TempDir(), "kontor")
	if err := os.WriteFile(silent, []byte("#!/bin/sh\necho nothing of the kind >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for exe, want := range map[string]string{none: "its node cannot be made", silent: "nothing of the kind"} {
		dir := t.TempDir()
		_, err := Flow(t.Context(), FlowConfig{Exe: exe, Runs: 1, Steps: 1, Dir: dir}, nil)
		if fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("%v left, %v", left, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Flow(ctx, FlowConfig{Exe: silent, Runs: 1, Steps: 1, Dir: t.TempDir()}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   []time.Duration
		want time.Duration
	}{{[]time.Duration{7}, 7}, {[]time.Duration{9, 1, 4}, 4}, {[]time.Duration{8, 2, 4, 100}, 6}} {
		if got := median(c.of); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.of, got, c.want)
		}
	}
}
