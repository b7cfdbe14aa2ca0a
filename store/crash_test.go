package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"kontor/internal/fault"
)

// childEnv makes the test binary a process of its own that works on the state in
// the folder it names, see child.
const childEnv = "KONTOR_STORE_CHILD"

func TestMain(m *testing.M) {
	if what, dir, ok := strings.Cut(os.Getenv(childEnv), ":"); ok {
		child(what, dir)
		return
	}
	os.Exit(m.Run())
}

// child opens the state and says so. To "hold" it waits until its input ends; to
// "write" it counts until it is killed, in two tables at once, and says each number
// that Write has confirmed.
func child(what, dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	d, err := Open(dir)
	if err != nil {
		fail(err)
	}
	if err := d.Migrate("test", counters, "CREATE TABLE twin (n INTEGER PRIMARY KEY, text TEXT) STRICT"); err != nil {
		fail(err)
	}
	fmt.Println("open")
	if what == "hold" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if err := d.Close(); err != nil {
			fail(err)
		}
		return
	}
	ctx := context.Background()
	var n int
	if err := d.Read(ctx, func(t *Tx) error {
		return t.QueryRow(ctx, "SELECT coalesce(max(n), 0) FROM counter").Scan(&n)
	}); err != nil {
		fail(err)
	}
	text := strings.Repeat("x", 6000) // more than a page: a write has many parts
	for {
		n++
		err := d.Write(ctx, func(t *Tx) error {
			if _, err := t.Exec(ctx, "INSERT INTO counter (n, text) VALUES (?, ?)", n, text); err != nil {
				return err
			}
			_, err := t.Exec(ctx, "INSERT INTO twin (n, text) VALUES (?, ?)", n, text)
			return err
		})
		if err != nil {
			fail(err)
		}
		fmt.Println(n)
	}
}

type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, what, dir string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), childEnv+"="+what+":"+dir)
	p.Stderr = os.Stderr
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	if line := p.line(); line != "open" {
		t.Fatalf("the other process says %q", line)
	}
	return p
}

func (p *process) line() string {
	if !p.out.Scan() {
		return ""
	}
	return p.out.Text()
}

func TestASecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, "hold", dir)
	_, err := Open(dir)
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Local || !strings.Contains(f.What, fmt.Sprintf("process %d uses", p.Process.Pid)) {
		t.Fatalf("%v, want one that names process %d", err, p.Process.Pid)
	}
	_ = p.in.Close()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatalf("after it has ended: %v", err)
	}
	if _, err := Open(dir); fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("twice in one process: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestKillLosesNothing kills a process in the middle of its writes, again and again.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	dir, ctx, said := t.TempDir(), context.Background(), 0
	for round := range 20 {
		p := start(t, "write", dir)
		for range 3 + round*7%23 {
			n, err := strconv.Atoi(p.line())
			if err != nil || n != said+1 {
				t.Fatalf("round %d: it says %d after %d, %v", round, n, said, err)
			}
			said = n
		}
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for line := p.line(); line != ""; line = p.line() { // what it said before it died counts
			if n, err := strconv.Atoi(line); err == nil {
				said = n
			}
		}
		_ = p.Wait()
		d, err := Open(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var rows, most, twins int
		if err := d.Read(ctx, func(t *Tx) error {
			return t.QueryRow(ctx, "SELECT count(*), max(n), (SELECT count(*) FROM twin JOIN counter USING (n, text)) FROM counter").Scan(&rows, &most, &twins)
		}); err != nil {
			t.Fatal(err)
		}
		// The last write may have held without that it came to say so.
		if most < said || most > said+1 || rows != most || twins != most {
			t.Fatalf("round %d: %d were confirmed; %d rows, the largest %d, %d in both tables", round, said, rows, most, twins)
		}
		said = most
		if err := d.Check(ctx); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
