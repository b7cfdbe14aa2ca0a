package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kontor/api/rest"
)

// trained waits until the training has come some way.
func trained(s rest.JobStep) bool { return s.State == "running" && s.Done >= 1 }

// pair is a guest and a host that run a long training: its identifier.
func pair(t *testing.T, trees int) (*Net, string) {
	t.Helper()
	n := NewNet(t, "bank", "telecom")
	n.Start()
	n.AcceptAll()
	n.Lend(600)
	return n, n.Submit(n.Spec(trees))
}

// endless is a number of trees that no test waits for.
const endless = 3000

// TestPartition holds back everything between two institutions for longer than
// either waits for a sign of life; then the line is whole again.
func TestPartition(t *testing.T) {
	t.Parallel()
	lasts := time.Minute
	if testing.Short() {
		lasts = 12 * time.Second
	}
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	wire := n.Link("bank", "telecom")
	n.AcceptAll()
	n.Lend(600)
	id := n.Submit(n.Spec(20))
	bank := n.Node("bank")
	bank.AwaitStep(id, "boost", time.Minute, trained)
	wire.Blackhole()
	over := time.Now().Add(lasts)
	bank.AwaitWithin(id, rest.Retrying, 40*time.Second)
	if j, err := bank.Job(id); err != nil || j.State == rest.Retrying && !strings.Contains(j.WaitingFor, "telecom") {
		t.Errorf("it does not say whom it waits for: %v, %q", err, j.WaitingFor)
	}
	time.Sleep(time.Until(over))
	wire.Heal()
	n.AwaitAll(id, rest.Done, 90*time.Second)
	if got := n.Examine(id); got.attempts <= 4 {
		t.Errorf("nothing was interrupted: %d attempts at 4 steps", got.attempts)
	}
	n.Account()
}

// TestCutLine resets every connection between two institutions again and again.
func TestCutLine(t *testing.T) {
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	wire := n.Link("bank", "telecom")
	n.AcceptAll()
	n.Lend(400)
	id := n.Submit(n.Spec(6))
	bank := n.Node("bank")
	for cuts := 0; cuts < 3; cuts++ {
		attempt := bank.AwaitStep(id, "boost", time.Minute, trained).Attempt
		wire.Cut()
		bank.AwaitStep(id, "boost", time.Minute, func(s rest.JobStep) bool { return s.State != "running" || s.Attempt > attempt })
		wire.Heal()
	}
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
	n.Account()
}

// TestStoppedInGoodOrder ends each party with SIGTERM while it trains; the job goes
// on when it is back.
func TestStoppedInGoodOrder(t *testing.T) {
	n, id := pair(t, 8)
	for _, name := range []string{"telecom", "bank"} {
		d := n.Node(name)
		n.Node("bank").AwaitStep(id, "boost", time.Minute, trained)
		began := time.Now()
		if code := d.Stop(); code != 0 {
			t.Errorf("%s ended with code %d", name, code)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %v to stop", name, took)
		}
		d.Start()
	}
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
	n.Account()
}

// TestCancelledEverywhere cancels a job in the middle of its training, once at the
// guest and once at a host: soon nothing of it runs anywhere, or is left.
func TestCancelledEverywhere(t *testing.T) {
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	n.AcceptAll()
	n.Lend(600)
	for _, by := range []string{"bank", "telecom"} {
		id := n.Submit(n.Spec(endless))
		n.Node("bank").AwaitStep(id, "boost", time.Minute, trained)
		ctx, stop := within(10 * time.Second)
		defer stop()
		if _, err := n.Node(by).Client(rest.Scientist).Cancel(ctx, id, "no longer needed"); err != nil {
			t.Fatalf("%s cancels: %v", by, err)
		}
		n.AwaitAll(id, rest.Cancelled, 20*time.Second)
		for _, d := range n.nodes {
			eventually(t, 20*time.Second, d.idle)
			eventually(t, 10*time.Second, func() error { return d.holdsOnly(id, []string{"align-1", "split-1"}) })
			j, err := d.Job(id)
			if err != nil || j.Error == nil || j.Error.Kind != "cancelled" || j.Error.Party != by {
				t.Errorf("%s: %v, the job's error is %s", d.Name, err, pretty(j.Error))
			}
		}
	}
	done := n.Submit(n.Spec(2)) // and the next job finds everything free
	n.AwaitAll(done, rest.Done, time.Minute)
	n.Account()
}

// idle says what runs here for others.
func (d *Node) idle() error {
	v, err := d.Metric("kontor_steps_hosted")
	if err == nil && v != 0 {
		err = fmt.Errorf("%s runs %v steps for others", d.Name, v)
	}
	return err
}

// TestSecondProcess starts a node's folder twice: the second one ends and says who
// has it, the first goes on.
func TestSecondProcess(t *testing.T) {
	n, id := pair(t, 4)
	for _, d := range n.nodes {
		cmd := exec.Command(kontor, "up", "--home", d.Home)
		out, err := cmd.CombinedOutput()
		exit := new(exec.ExitError)
		if !errors.As(err, &exit) || exit.ExitCode() != 10 {
			t.Errorf("a second process for %s ended with %v: %s", d.Name, err, out)
		}
		if !strings.Contains(string(out), fmt.Sprint("process ", d.Pid())) {
			t.Errorf("it does not say that process %d has the folder: %s", d.Pid(), out)
		}
		if !d.Up() {
			t.Errorf("the first process of %s has ended", d.Name)
		}
	}
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
}
