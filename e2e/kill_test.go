package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"kontor/api/rest"
)

// seed is random unless $KONTOR_SEED repeats a run.
func seed(t *testing.T) *rand.Rand {
	s := rand.Uint64()
	if text := os.Getenv("KONTOR_SEED"); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("KONTOR_SEED=%d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// blow is one kill: when the watcher has seen so many events of the job, and a
// moment later, the victim is gone.
type blow struct {
	victim, watcher string
	event           int64
	wait            time.Duration
}

func (b blow) String() string {
	return fmt.Sprintf("%s is killed %v after event %d at %s", b.victim, b.wait, b.event, b.watcher)
}

// strike waits for the moment, kills, and starts the victim again.
func (n *Net) strike(id string, b blow) {
	n.t.Helper()
	n.awaitEvent(b.watcher, id, b.event)
	time.Sleep(b.wait) // a point at random, not one to wait for
	n.Node(b.victim).Kill()
	n.Node(b.victim).Start()
}

var errSeen = errors.New("seen")

// awaitEvent returns when a node has event number seq of a job, or the job has ended there.
func (n *Net) awaitEvent(node, id string, seq int64) {
	n.t.Helper()
	ctx, stop := within(time.Minute)
	defer stop()
	for ctx.Err() == nil {
		err := n.Node(node).Client(rest.Admin).Watch(ctx, id, 0, func(e rest.Event) error {
			if e.Type != rest.EventProgress && e.Seq >= seq {
				return errSeen
			}
			return nil
		})
		if err == nil || errors.Is(err, errSeen) {
			return
		}
		if !errors.Is(err, rest.ErrNotFound) { // it may not have heard of the job yet
			n.t.Fatalf("%s: %v", node, err)
		}
	}
	n.t.Fatalf("%s has not come to event %d within a minute", node, seq)
}

// TestKilledAtAnyPoint kills institutions again and again at points drawn at
// random: every job ends well all the same, at all parties, with one result.
func TestKilledAtAnyPoint(t *testing.T) {
	rng, kills, aJob := seed(t), 50, 2
	if testing.Short() {
		kills = 6
	}
	names := []string{"bank", "telecom", "insurer"}
	n := NewNet(t, names...)
	n.Start()
	n.AcceptAll()
	n.Lend(400)
	plain := n.Submit(n.Spec(3))
	n.AwaitAll(plain, rest.Done, time.Minute)
	want := n.Examine(plain)
	last := map[string]int64{}
	for _, d := range n.nodes {
		j, err := d.Job(plain)
		if err != nil {
			t.Fatal(err)
		}
		last[d.Name] = j.LastEvent
	}
	for k := 0; k < kills && !t.Failed(); k += aJob {
		id := n.Submit(n.Spec(3))
		seen := map[string]int64{}
		for range aJob {
			b := blow{victim: names[rng.IntN(3)], watcher: names[rng.IntN(3)], wait: time.Duration(rng.IntN(40)) * time.Millisecond}
			b.event = seen[b.watcher] + 1 + rng.Int64N(max(1, last[b.watcher]-seen[b.watcher]))
			seen[b.watcher] = b.event
			t.Logf("job %.8s: %v", id, b)
			n.strike(id, b)
		}
		n.AwaitAll(id, rest.Done, time.Minute)
		if got := n.Examine(id); got.metrics != want.metrics {
			t.Errorf("job %.8s gave %s, undisturbed %s", id, got.metrics, want.metrics)
		}
	}
	n.Account()
}

// TestKilledWhileAPersonIsAsked kills every party while a host's approver thinks
// about it.
func TestKilledWhileAPersonIsAsked(t *testing.T) {
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	n.AcceptAll()
	n.Lend(400)
	telecom := n.Node("telecom")
	telecom.Policy(byHand)
	id := n.Submit(n.Spec(2))
	for _, d := range n.nodes {
		telecom.Await(id, rest.Waiting)
		n.Node("bank").Await(id, rest.Waiting)
		d.Restart()
	}
	ctx, stop := within(10 * time.Second)
	defer stop()
	if j, err := telecom.Client(rest.Approver).Approve(ctx, id, "fine"); err != nil || j.State == rest.Waiting {
		t.Fatalf("approving: %v %s", err, pretty(j))
	}
	telecom.Restart()
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
	n.Account()
}

// TestPowerCut kills all institutions at once in the middle of the training.
func TestPowerCut(t *testing.T) {
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	n.AcceptAll()
	n.Lend(600)
	id := n.Submit(n.Spec(12))
	n.Node("bank").AwaitStep(id, "boost", time.Minute, func(s rest.JobStep) bool { return s.Done >= 2 })
	for _, d := range n.nodes {
		d.Signal(os.Kill)
	}
	for _, d := range n.nodes {
		d.Kill()
	}
	n.Start()
	n.AwaitAll(id, rest.Done, time.Minute)
	if got := n.Examine(id); got.attempts <= 4 {
		t.Errorf("nothing was interrupted: %d attempts at 4 steps", got.attempts)
	}
	n.Account()
}
