package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
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
// moment later, the victims are gone.
type blow struct {
	victims []string
	watcher string
	event   int64
	wait    time.Duration
}

func (b blow) String() string {
	return fmt.Sprintf("%s killed %v after event %d at %s", strings.Join(b.victims, ", "), b.wait, b.event, b.watcher)
}

// draw chooses a point at random: half of them at once after something was
// journalled, when others are being told of it.
func (n *Net) draw(rng *rand.Rand, seen, last map[string]int64) blow {
	name := func() string { return n.nodes[rng.IntN(len(n.nodes))].Name }
	b := blow{victims: []string{name()}, watcher: name(), wait: time.Duration(rng.IntN(3000)) * time.Microsecond}
	if rng.IntN(2) == 0 {
		b.wait = time.Duration(rng.IntN(60)) * time.Millisecond
	}
	if rng.IntN(5) == 0 {
		b.victims = nil
		for _, d := range n.nodes {
			b.victims = append(b.victims, d.Name)
		}
	}
	b.event = seen[b.watcher] + 1 + rng.Int64N(max(1, last[b.watcher]-seen[b.watcher]))
	seen[b.watcher] = b.event
	return b
}

// strike waits for the moment, kills, and starts the victims again.
func (n *Net) strike(id string, b blow) {
	n.t.Helper()
	n.awaitEvent(b.watcher, id, b.event)
	time.Sleep(b.wait) // a point at random, not one to wait for
	for _, v := range b.victims {
		n.Node(v).Signal(os.Kill)
	}
	for _, v := range b.victims {
		n.Node(v).Kill()
	}
	for _, v := range b.victims {
		n.Node(v).Start()
	}
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
	n := NewNet(t, "bank", "telecom", "insurer")
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
	attempts := 0
	for k := 0; k < kills && !t.Failed(); k += aJob {
		id := n.Submit(n.Spec(3))
		seen := map[string]int64{}
		for range aJob {
			b := n.draw(rng, seen, last)
			t.Logf("job %.8s: %v", id, b)
			n.strike(id, b)
		}
		n.AwaitAll(id, rest.Done, time.Minute)
		got := n.Examine(id)
		if attempts += got.attempts - want.attempts; got.metrics != want.metrics {
			t.Errorf("job %.8s gave %s, undisturbed %s", id, got.metrics, want.metrics)
		}
	}
	n.Account()
	t.Logf("%d attempts at steps were interrupted", attempts)
	if kills >= 50 && attempts == 0 {
		t.Error("no step was interrupted: the kills come at the wrong time")
	}
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
