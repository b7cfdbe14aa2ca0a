package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kontor/flow"
	"kontor/internal/fault"
)

// institution is one party's kontor in a process of its own.
type institution struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events chan flow.Event
	stderr bytes.Buffer
	ended  chan struct{}
	code   int
}

// binary returns this test binary under the name by which TestMain knows that
// it is to be kontor.
func binary(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "kontor")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	return link
}

func startInstitution(t *testing.T, exe, name string, args ...string) *institution {
	t.Helper()
	p := &institution{name: name, events: make(chan flow.Event, 1<<16), ended: make(chan struct{})}
	p.cmd = exec.Command(exe, append([]string{"run"}, args...)...)
	p.cmd.Stderr = &p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, 1<<24)
		for sc.Scan() {
			var e flow.Event
			if json.Unmarshal(sc.Bytes(), &e) == nil {
				p.events <- e
			}
		}
		close(p.events)
		err := p.cmd.Wait()
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			p.code = exit.ExitCode()
		}
	}()
	t.Cleanup(func() {
		p.cmd.Process.Signal(syscall.SIGCONT)
		p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// until returns the first event that fits.
func (p *institution) until(t *testing.T, fits func(flow.Event) bool) flow.Event {
	t.Helper()
	for e := range p.events {
		if fits(e) {
			return e
		}
	}
	<-p.ended
	t.Fatalf("%s ended with code %d before the event: %s", p.name, p.code, p.stderr.String())
	return flow.Event{}
}

// pair starts the sample job at both institutions.
func startPair(t *testing.T, dir, job string) (bank, telecom *institution) {
	t.Helper()
	exe := binary(t)
	kontor := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(exe, args...).Output()
		if err != nil {
			t.Fatalf("kontor %v: %v", args, err)
		}
		return string(out)
	}
	homes := map[string]string{}
	for _, name := range []string{"bank", "telecom"} {
		homes[name] = filepath.Join(dir, name+"-home")
		kontor("init", "--home", homes[name], "--name", name)
	}
	for from, to := range map[string]string{"bank": "telecom", "telecom": "bank"} {
		var inv struct{ Invitation, Fingerprint string }
		if err := json.Unmarshal([]byte(kontor("peer", "invite", "--home", homes[from], "--json")), &inv); err != nil {
			t.Fatal(err)
		}
		kontor("peer", "accept", inv.Invitation, "--fingerprint", inv.Fingerprint, "--home", homes[to])
	}
	jobFile := filepath.Join(dir, "job.yaml")
	if err := os.WriteFile(jobFile, []byte(job), 0o644); err != nil {
		t.Fatal(err)
	}
	args := func(name, file string, more ...string) []string {
		return append([]string{jobFile, "--party", name + "=" + filepath.Join(dir, file), "--home", homes[name],
			"--out", filepath.Join(dir, name+"-out"), "--events"}, more...)
	}
	telecom = startInstitution(t, exe, "telecom", args("telecom", "host.csv")...)
	addr := telecom.until(t, func(e flow.Event) bool { return e.Kind == "listening" }).Text
	bank = startInstitution(t, exe, "bank", args("bank", "guest.csv", "--peer", "telecom="+addr)...)
	return bank, telecom
}

// lostWithin is how soon the other party must have stopped.
const lostWithin = 10 * time.Second

// TestPeerLostInAnyStep kills a party, or stops it so that it falls silent, in
// every step; the other must end in time with one line that names it.
func TestPeerLostInAnyStep(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two dozen processes")
	}
	long := strings.Replace(sampleJob, "trees: 5", "trees: 2000", 1)
	for _, c := range []struct {
		step string
		job  string
		rows int
		at   func(flow.Event) bool
	}{
		{"align", sampleJob, 4000, func(e flow.Event) bool { return e.Kind == flow.EventStart && e.Step == "align" }},
		{"boost", long, 400, func(e flow.Event) bool {
			return e.Kind == flow.EventProgress && e.Step == "boost" && e.Unit == "trees" && e.Done > 1
		}},
	} {
		for _, victimName := range []string{"bank", "telecom"} {
			for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
				t.Run(fmt.Sprintf("%s/%s/%v", c.step, victimName, sig), func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					writeSample(dir, c.rows, func(err error) {
						if err != nil {
							t.Fatal(err)
						}
					})
					bank, telecom := startPair(t, dir, c.job)
					victim, other := telecom, bank
					if victimName == "bank" {
						victim, other = bank, telecom
					}
					victim.until(t, c.at)
					if err := victim.cmd.Process.Signal(sig); err != nil {
						t.Fatal(err)
					}
					endsNaming(t, other, victim.name, c.step)
					leftNothing(t, dir, other.name)
				})
			}
		}
	}
}

// endsNaming waits until p has ended because of a lost peer.
func endsNaming(t *testing.T, p *institution, peer, step string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), lostWithin)
	defer cancel()
	for running := true; running; {
		select {
		case _, running = <-p.events:
		case <-ctx.Done():
			t.Fatalf("%s has not stopped within %v", p.name, lostWithin)
		}
	}
	<-p.ended
	text := strings.TrimSpace(p.stderr.String())
	if p.code != fault.Peer.ExitCode() || strings.Count(text, "\n") != 0 || !strings.Contains(text, "party "+peer) || !strings.Contains(text, "step "+step) || !strings.Contains(text, "; ") {
		t.Errorf("%s ended with code %d: %q; want code %d and one line with party %s, step %s and a cure", p.name, p.code, text, fault.Peer.ExitCode(), peer, step)
	}
}

// leftNothing checks that a party that failed has left neither result nor
// temporary folder.
func leftNothing(t *testing.T, dir, party string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), party+"-out") {
			t.Errorf("%s has left %s", party, e.Name())
		}
	}
}

// TestInterruptStopsBoth interrupts one party: it ends as cancelled, the other
// hears why.
func TestInterruptStopsBoth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeSample(dir, 400, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	bank, telecom := startPair(t, dir, strings.Replace(sampleJob, "trees: 5", "trees: 2000", 1))
	bank.until(t, func(e flow.Event) bool { return e.Unit == "trees" && e.Done > 1 })
	if err := bank.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	endsNaming(t, telecom, "bank", "boost")
	if !strings.Contains(telecom.stderr.String(), "its user stopped the job") {
		t.Errorf("telecom was not told why: %q", telecom.stderr.String())
	}
	for range bank.events {
	}
	<-bank.ended
	if bank.code != fault.Cancelled.ExitCode() {
		t.Errorf("bank ended with code %d: %s", bank.code, bank.stderr.String())
	}
	leftNothing(t, dir, "bank")
}

// TestStarterGone closes the standard input of a party that a program started:
// it must not live on as an orphan.
func TestStarterGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeSample(dir, 400, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	_, telecom := startPair(t, dir, strings.Replace(sampleJob, "trees: 5", "trees: 2000", 1))
	telecom.until(t, func(e flow.Event) bool { return e.Kind == flow.EventStart })
	telecom.stdin.Close()
	for range telecom.events {
	}
	<-telecom.ended
	if telecom.code != fault.Cancelled.ExitCode() {
		t.Errorf("ended with code %d: %s", telecom.code, telecom.stderr.String())
	}
}
