package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kontor/api/rest"
	"kontor/flow"
	"kontor/flow/job"
	"kontor/identity"
	"kontor/node"
	"kontor/transport"
)

// oddEnv has the program of these tests run a node instead of tests: one that is
// not quite as this version of Kontor is.
const oddEnv = "KONTOR_E2E_ODD"

func init() {
	if how := os.Getenv(oddEnv); how != "" {
		if err := odd(how, os.Getenv(oddEnv+"_HOME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// odd runs the node of a folder until it gets a signal or its input ends. how is
// "clock 1h", "wire 1", "without boost/1" or "silent".
func odd(how, home string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	o := node.InstitutionOptions{Home: home, Log: os.Stderr, LogFormat: "json"}
	what, value, _ := strings.Cut(how, " ")
	switch what {
	case "clock":
		by, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		o.Now = func() time.Time { return time.Now().Add(by) }
		id, err := identity.Load(home) // whose certificate is of that clock too
		if err == nil {
			err = id.Renew(o.Now())
		}
		if err != nil {
			return err
		}
	case "wire":
		node.Version = "0.1.0"
		o.Transport = func(t *transport.Options) { t.Version.WireMin, t.Version.WireMax = 1, 1 }
	case "without":
		node.Version = "0.1.9"
		o.Capabilities = slices.DeleteFunc(append(flow.AllCapabilities(), job.Capability), func(c string) bool { return c == value })
	case "silent":
		o.Transport = func(t *transport.Options) { t.OnAsk = nil }
	default:
		return fmt.Errorf("unknown: %s", how)
	}
	return node.Up(ctx, o, func(at node.Addresses) {
		json.NewEncoder(os.Stdout).Encode(map[string]string{"peer_address": at.Peer, "api_address": at.API})
	})
}

// TestClocksApart: clocks that are an hour ahead and behind stop nothing, but the
// doctor speaks of them.
func TestClocksApart(t *testing.T) {
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Node("telecom").Odd, n.Node("insurer").Odd = "clock 1h", "clock -1h"
	n.Start()
	n.AcceptAll()
	n.Lend(200)
	id := n.Submit(n.Spec(2))
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
	ctx, stop := within(30 * time.Second)
	defer stop()
	d, err := n.Node("bank").Client(rest.Admin).Doctor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, c := range d.Checks {
		if strings.Contains(c.Name, "clock") && (c.Warning || !c.OK) {
			said += pretty(c)
		}
	}
	if !strings.Contains(said, "telecom") && !strings.Contains(said, "insurer") {
		t.Errorf("the doctor does not speak of the clocks: %s", pretty(d))
	}
}

// TestGuestsClockApart is the same with the guest's clock.
func TestGuestsClockApart(t *testing.T) {
	for _, by := range []string{"1h", "-1h"} {
		t.Run(by, func(t *testing.T) {
			n := NewNet(t, "bank", "telecom")
			n.Node("bank").Odd = "clock " + by
			n.Start()
			n.AcceptAll()
			n.Lend(100)
			id := n.Submit(n.SpecOf("late", "  - align:\n  - split:\n"))
			n.AwaitAll(id, rest.Done, time.Minute)
			n.Examine(id)
		})
	}
}

// TestOlderPeer: a peer that is too old for a job ends it at once, with its name,
// its version and what to do; one that is old enough for another job runs that.
func TestOlderPeer(t *testing.T) {
	for _, c := range []struct {
		odd  string
		says []string // in the error at the guest
		can  string   // steps that it can take part in all the same
	}{
		{odd: "wire 1", says: []string{"0.1.0", "wire protocol 1"}},
		{odd: "without job/1", says: []string{"0.1.9", "job/1"}},
		{odd: "silent", says: []string{"does not know a call"}},
		{odd: "without boost/1", says: []string{"0.1.9", "boost/1"}, can: "  - align:\n  - split:\n"},
	} {
		t.Run(c.odd, func(t *testing.T) {
			n := NewNet(t, "bank", "telecom", "insurer")
			n.Node("telecom").Odd = c.odd
			n.Start()
			n.AcceptAll()
			n.Lend(100)
			id := n.Submit(n.Spec(2))
			j := n.Node("bank").Await(id, rest.Failed)
			e := j.Error
			if e == nil || e.Kind != "version" || e.Party != "telecom" || !strings.Contains(e.Cure, "pgrade Kontor") {
				t.Fatalf("the error is %s", pretty(e))
			}
			for _, s := range c.says {
				if !strings.Contains(e.What, s) {
					t.Errorf("the error does not say %q: %s", s, pretty(e))
				}
			}
			eventually(t, 20*time.Second, func() error { // whoever knew of it hears that it ended
				if j, err := n.Node("insurer").Job(id); err == nil && !j.State.Final() {
					return fmt.Errorf("at insurer the job is %s", j.State)
				}
				return nil
			})
			if c.can != "" {
				id := n.Submit(n.SpecOf("old", c.can))
				n.AwaitAll(id, rest.Done, time.Minute)
				n.Examine(id)
			}
		})
	}
}
