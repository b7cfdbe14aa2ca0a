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
	"slices"
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

// victim is kontor that sends itself a signal when its job comes to a certain
// point: $VICTIM is SIGNAL:EVENT:STEP.
func victim() {
	var sig int
	how := strings.Split(os.Getenv("VICTIM"), ":")
	if _, err := fmt.Sscan(how[0], &sig); err != nil {
		panic(err)
	}
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, tap: func(e flow.Event) {
		if e.Kind == how[1] && e.Step == how[2] && (e.Kind != flow.EventProgress || e.Done > 1) {
			syscall.Kill(os.Getpid(), syscall.Signal(sig))
			select {} // stopped and gone on: not meant to be
		}
	}}
	os.Exit(a.run(os.Args[1:]))
}

// binary returns this test binary under a name by which TestMain knows what it
// is to be.
func binary(t *testing.T, name string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if os.Link(exe, link) == nil { // a symbolic link would not give the process that name
		return link
	}
	b, err := os.ReadFile(exe)
	if err == nil {
		err = os.WriteFile(link, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func startInstitution(t *testing.T, name string, doom doom, args ...string) *institution {
	t.Helper()
	exe := binary(t, "kontor")
	if doom.party == name {
		exe = binary(t, "kontor-victim")
	}
	p := &institution{name: name, events: make(chan flow.Event, 1<<16), ended: make(chan struct{})}
	p.cmd = exec.Command(exe, append([]string{"run"}, args...)...)
	p.cmd.Stderr = &p.stderr
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("VICTIM=%d:%s:%s", doom.sig, doom.event, doom.step))
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

// doom says which party gets which signal, and when.
type doom struct {
	party       string
	sig         syscall.Signal
	event, step string
}

// startPair starts the sample job at both institutions.
func startPair(t *testing.T, dir, job string, d doom) (bank, telecom *institution) {
	t.Helper()
	exe := binary(t, "kontor")
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
		kontor("init", "--home", homes[name], "--name", name, "--listen", "127.0.0.1:0")
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
	telecom = startInstitution(t, "telecom", d, args("telecom", "host.csv")...)
	addr := telecom.until(t, func(e flow.Event) bool { return e.Kind == "listening" }).Text
	bank = startInstitution(t, "bank", d, args("bank", "guest.csv", "--peer", "telecom="+addr)...)
	return bank, telecom
}

// lostWithin is how soon the other party must have stopped.
const lostWithin = 10 * time.Second

// TestPeerLostInAnyStep kills a party, or stops it so that it falls silent, at
// the beginning, in the middle and at the end of steps; the other must end in
// time with one line that names it, and leave nothing.
func TestPeerLostInAnyStep(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts four dozen processes")
	}
	// The other party names the step that it is in itself, which may be the one
	// before: the parties are never more than a step apart.
	for _, at := range []struct {
		event, step string
		named       []string
	}{
		{flow.EventStart, "align", []string{"load", "align"}},
		{flow.EventProgress, "align", []string{"align"}},
		{flow.EventStart, "boost", []string{"align", "boost"}},
		{flow.EventProgress, "boost", []string{"boost"}},
		{flow.EventStart, "evaluate", []string{"boost", "evaluate"}},
		{flow.EventDone, "evaluate", []string{"evaluate", "finish", "consent"}}, // before all agree that all are done
	} {
		for _, party := range []string{"bank", "telecom"} {
			for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
				t.Run(fmt.Sprintf("%s %s/%s/%v", at.event, at.step, party, sig), func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					sample(t, dir)
					bank, telecom := startPair(t, dir, sampleJob, doom{party, sig, at.event, at.step})
					victim, other := telecom, bank
					if party == "bank" {
						victim, other = bank, telecom
					}
					victim.until(t, func(e flow.Event) bool { return e.Kind == at.event && e.Step == at.step })
					endsNaming(t, other, party, at.named)
					leftNothing(t, dir, other.name)
				})
			}
		}
	}
}

func sample(t *testing.T, dir string) {
	t.Helper()
	writeSample(dir, 400, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
}

// endsNaming waits until p has ended because of a lost peer.
func endsNaming(t *testing.T, p *institution, peer string, steps []string) {
	t.Helper()
	begin := time.Now()
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
	t.Logf("%s ended %.1f s later", p.name, time.Since(begin).Seconds())
	text := strings.TrimSpace(p.stderr.String())
	if p.code != fault.Peer.ExitCode() || strings.Count(text, "\n") != 0 || !strings.Contains(text, "party "+peer) || !strings.Contains(text, "; ") ||
		!slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(text, "step "+s) }) {
		t.Errorf("%s ended with code %d: %q; want code %d and one line with party %s, one of the steps %v and a cure", p.name, p.code, text, fault.Peer.ExitCode(), peer, steps)
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
	sample(t, dir)
	bank, telecom := startPair(t, dir, strings.Replace(sampleJob, "trees: 5", "trees: 2000", 1), doom{})
	bank.until(t, func(e flow.Event) bool { return e.Unit == "trees" && e.Done > 1 })
	if err := bank.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	endsNaming(t, telecom, "bank", []string{"boost"})
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
	sample(t, dir)
	_, telecom := startPair(t, dir, strings.Replace(sampleJob, "trees: 5", "trees: 2000", 1), doom{})
	telecom.until(t, func(e flow.Event) bool { return e.Kind == flow.EventStart })
	telecom.stdin.Close()
	for range telecom.events {
	}
	<-telecom.ended
	if telecom.code != fault.Cancelled.ExitCode() {
		t.Errorf("ended with code %d: %s", telecom.code, telecom.stderr.String())
	}
}
