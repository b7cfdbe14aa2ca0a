package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kontor/api/rest"
)

// dialsOut has a node take no connections and keep one to another instead, and
// starts it.
func (n *Net) dialsOut(name, to string) {
	n.t.Helper()
	d := n.Node(name)
	d.Configure(`listen: "127.0.0.1:0"`, `listen: ""`)
	d.Configure("dial_out: []", fmt.Sprintf("dial_out: [{peer: %s, address: %q}]", to, n.Node(to).Peer))
	d.Start()
	if d.Peer != "" {
		n.t.Fatalf("%s takes connections at %s", name, d.Peer)
	}
}

// TestReverse: a host without an open port takes part through the connection that
// it keeps to the guest.
func TestReverse(t *testing.T) {
	n := NewNet(t, "bank", "telecom")
	n.Node("bank").Start()
	n.dialsOut("telecom", "bank")
	n.AcceptAll()
	n.Lend(200)
	id := n.Submit(n.Spec(2))
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)

	// Either may go and come back.
	id = n.Submit(n.Spec(80))
	n.Node("bank").AwaitStep(id, "align", time.Minute, begun)
	n.Node("telecom").Restart()
	n.Node("bank").AwaitStep(id, "boost", time.Minute, underWay)
	n.Node("bank").Restart()
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
}

// underWay: the parties are in the middle of it.
func underWay(st rest.JobStep) bool { return st.State == "running" && st.Done > 0 }

func begun(st rest.JobStep) bool { return st.Attempt > 0 }

// relayed is a net of two institutions that both only dial out to a third, which
// takes no part in their jobs.
func relayed(t *testing.T) (n *Net, relay *Node) {
	n = NewNet(t, "bank", "telecom", "relay")
	relay = n.Node("relay")
	relay.Configure("relay: false", "relay: true")
	relay.Start()
	n.dialsOut("bank", "relay")
	n.dialsOut("telecom", "relay")
	n.AcceptAll()
	n.nodes = n.nodes[:2]
	n.Lend(200)
	return n, relay
}

// TestRelay: two parties without open ports reach each other through a node that
// sees nothing but how much they send, and that may go and come back.
func TestRelay(t *testing.T) {
	n, relay := relayed(t)
	id := n.Submit(n.Spec(2))
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
	for _, d := range n.nodes {
		peers, err := d.Client(rest.Admin).Peers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers.Peers {
			if p.Name == "bank" || p.Name == "telecom" {
				if p.Route != "relay" {
					t.Errorf("%s reaches %s by %s", d.Name, p.Name, p.Route)
				}
			}
		}
	}

	id = n.Submit(n.Spec(80))
	n.Node("bank").AwaitStep(id, "boost", time.Minute, underWay)
	relay.Kill()
	n.Node("bank").AwaitStep(id, "boost", time.Minute, func(st rest.JobStep) bool { return st.LastError != "" || st.Attempt > 1 })
	relay.Start()
	n.AwaitAll(id, rest.Done, time.Minute)
	if out := n.Examine(id); out.attempts < 5 {
		t.Errorf("the relay was away, and all was done in %d attempts", out.attempts)
	}
	jobs, err := relay.Client(rest.Admin).Jobs(t.Context(), rest.JobFilter{})
	if err != nil || len(jobs.Jobs) != 0 {
		t.Errorf("the relay has jobs: %s, %v", pretty(jobs), err)
	}
	for _, row := range []string{"cust-", id} {
		if strings.Contains(string(relay.Log()), row) {
			t.Errorf("the relay's log holds %q", row)
		}
	}
}

// TestSlowLine: over a line on which one transfer lasts much longer than a peer may
// be silent, a job is slow, but nothing times out.
func TestSlowLine(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; not in a short run")
	}
	n := NewNet(t, "bank", "telecom")
	n.Start()
	line := n.Link("bank", "telecom")
	n.AcceptAll()
	n.Lend(6000)
	line.Throttle(1e6)
	id := n.Submit(n.Spec(2))
	n.AwaitAll(id, rest.Done, 4*time.Minute)
	if out := n.Examine(id); out.attempts != 4 {
		t.Errorf("it took %d attempts at 4 steps", out.attempts)
	}
	j, err := n.Node("bank").Job(id)
	if err != nil {
		t.Fatal(err)
	}
	longest := 0.0
	for _, st := range j.Steps {
		longest = max(longest, st.Seconds)
	}
	t.Logf("%d bytes, the longest step took %.1f s", line.Bytes(), longest)
	if line.Bytes() < 1<<20 {
		t.Errorf("only %d bytes were sent: the line was not put to the test", line.Bytes())
	}
}
