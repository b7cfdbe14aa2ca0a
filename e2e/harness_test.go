package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/api/rest"
)

// kontor is the program under test.
var kontor string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kontor-e2e-")
	if err != nil {
		panic(err)
	}
	kontor = filepath.Join(dir, "kontor")
	args := []string{"build", "-buildvcs=false", "-o", kontor}
	if raced {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "kontor/cmd/kontor")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building kontor: %v\n%s", err, out)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Net is a set of institutions on this machine.
type Net struct {
	t     *testing.T
	dir   string
	nodes []*Node // in the order of their names as given
	links map[string]*Proxy
}

// NewNet makes the folders of nodes. They listen on free ports of this machine,
// and keep these ports once they have been started.
func NewNet(t *testing.T, names ...string) *Net {
	t.Helper()
	n := &Net{t: t, dir: t.TempDir(), links: map[string]*Proxy{}}
	for _, name := range names {
		n.Add(name, filepath.Join(n.dir, name))
	}
	// The nodes' own cleanups run before this one: their logs are complete.
	return n
}

// Add makes one more node, in a folder of the caller's choice.
func (n *Net) Add(name, home string) *Node {
	n.t.Helper()
	d := &Node{t: n.t, Name: name, Home: home, log: filepath.Join(n.dir, name+".log"), tokens: map[rest.Role]string{}}
	if out, err := exec.Command(kontor, "init", "--home", home, "--name", name, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0").CombinedOutput(); err != nil {
		n.t.Fatalf("kontor init: %v\n%s", err, out)
	}
	d.Configure("reserve: 1GiB", "reserve: 1MiB") // so that a machine with a full disk can run the tests
	n.nodes = append(n.nodes, d)
	n.t.Cleanup(d.end)
	return d
}

// Node returns a node by its name.
func (n *Net) Node(name string) *Node {
	for _, d := range n.nodes {
		if d.Name == name {
			return d
		}
	}
	n.t.Fatalf("there is no node %s", name)
	return nil
}

// Start starts all nodes.
func (n *Net) Start() {
	n.t.Helper()
	for _, d := range n.nodes {
		d.Start()
	}
}

// Link puts a wire between two running nodes over which from reaches to, from the
// next [Net.AcceptAll] on.
func (n *Net) Link(from, to string) *Proxy {
	n.t.Helper()
	p := newProxy(n.t, n.Node(to).Peer)
	n.links[from+">"+to] = p
	return p
}

// AcceptAll makes all running nodes peers of one another.
func (n *Net) AcceptAll() {
	n.t.Helper()
	for _, to := range n.nodes {
		for _, from := range n.nodes {
			if from == to {
				continue
			}
			addr := to.Peer
			if p := n.links[from.Name+">"+to.Name]; p != nil {
				addr = p.Addr()
			}
			n.Accept(from.Name, to.Name, addr)
		}
	}
}

// Accept has from trust to, reached at addr; empty where it only dials out.
func (n *Net) Accept(from, to, addr string) {
	n.t.Helper()
	ctx, stop := within(10 * time.Second)
	defer stop()
	inv, err := n.Node(to).Client(rest.Admin).Invite(ctx, rest.InviteRequest{Address: addr})
	if err == nil {
		_, err = n.Node(from).Client(rest.Admin).Accept(ctx, rest.AcceptRequest{Invitation: inv.Invitation, Fingerprint: inv.Words})
	}
	if err != nil {
		n.t.Fatalf("%s accepts %s: %v", from, to, err)
	}
}

// Lend gives every node a table of the same customers under the name "rows": the
// first one with a label y, the others with columns that foretell it. Every node
// allows jobs for testing without asking.
func (n *Net) Lend(rows int) {
	n.t.Helper()
	rng := rand.New(rand.NewPCG(11, 12))
	text := make([]strings.Builder, len(n.nodes))
	text[0].WriteString("id,y,a,b\n")
	for k := 1; k < len(text); k++ {
		text[k].WriteString("id,u,v\n")
	}
	for i := range rows {
		risk, y := rng.NormFloat64(), 0
		if risk+rng.NormFloat64() > 0.7 {
			y = 1
		}
		fmt.Fprintf(&text[0], "%s,%d,%.4f,%d\n", rowID(i), y, rng.NormFloat64(), rng.IntN(9))
		for k := 1; k < len(text); k++ {
			fmt.Fprintf(&text[k], "%s,%.4f,%.4f\n", rowID(i), risk+rng.NormFloat64(), rng.NormFloat64())
		}
	}
	for k, d := range n.nodes {
		d.AddData("rows", text[k].String())
		d.Policy(standing)
	}
}

// rowID is the identifier of a customer, of a form that appears nowhere else.
func rowID(i int) string { return fmt.Sprintf("cust-%08x", uint32(i)*2654435761) }

// standing is a policy under which every job runs at once.
const standing = `version: 1
without_data:
  - {name: any, peers: ["*"], purposes: ["*"], components: ["*"], approve: standing}
datasets:
  rows:
    rules:
      - name: any
        peers: ["*"]
        purposes: ["*"]
        columns:
          id: [join]
          "*": [feature]
        components: [align, split, boost, evaluate, predict]
        reveal: [size, membership, aggregate, partition, feature-use, model-output]
        min_rows: 1
        approve: standing
`

// byHand is the same policy, but a person looks at every job.
var byHand = strings.Replace(standing, "min_rows: 1\n        approve: standing", "min_rows: 1\n        approve: person", 1)

// Spec is a job over the tables of [Net.Lend]: the first node is its guest.
func (n *Net) Spec(trees int) string {
	return n.SpecOf("e2e", fmt.Sprintf("  - align: {min_rows: 20}\n  - split: {test: 0.3}\n  - boost: {trees: %d, depth: 3}\n  - evaluate:\n", trees))
}

// SpecOf is a job of other steps.
func (n *Net) SpecOf(name, steps string) string {
	s := "job: " + name + "\npurpose: testing\nparties:\n"
	for i, d := range n.nodes {
		if i == 0 {
			s += "  " + d.Name + ": {role: guest, data: rows, id: id, label: y}\n"
		} else {
			s += "  " + d.Name + ": {role: host, data: rows, id: id}\n"
		}
	}
	return s + "steps:\n" + steps
}

// Submit hands a job in at its guest, the first node; nothing of earlier jobs is used.
func (n *Net) Submit(spec string) string {
	n.t.Helper()
	ctx, stop := within(20 * time.Second)
	defer stop()
	reuse := false
	j, err := n.nodes[0].Client(rest.Admin).Submit(ctx, rest.SubmitRequest{Spec: spec, Reuse: &reuse}, "")
	if err != nil {
		n.t.Fatalf("submitting: %v", err)
	}
	return j.ID
}

// AwaitAll waits until a job is in a state at every node.
func (n *Net) AwaitAll(id string, s rest.State, most time.Duration) {
	n.t.Helper()
	end := time.Now().Add(most)
	for _, d := range n.nodes {
		d.AwaitWithin(id, s, time.Until(end))
	}
}

// use has a subtest fail instead of its parent until the returned function is called.
func (n *Net) use(t *testing.T) (back func()) {
	was := n.t
	set := func(t *testing.T) {
		n.t = t
		for _, d := range n.nodes {
			d.t = t
		}
	}
	set(t)
	return func() { set(was) }
}

// within returns a context that ends after d.
func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// eventually waits until f is nil, and fails the test with what it said last otherwise.
func eventually(t *testing.T, most time.Duration, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(most); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", most, err)
		}
	}
}
