package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kontor/api/rest"
	"kontor/internal/fault"
)

// flowNode is a node in a process of its own.
type flowNode struct {
	exe, name, home string

	at     flowAddress
	client *rest.Client
	cmd    *exec.Cmd // nil while it does not run
	stdin  io.Closer // the node stops when this ends
	ended  chan struct{}
	log    bytes.Buffer // of the last start; not to be read before ended
}

// flowAddress is what kontor up prints.
type flowAddress struct {
	Peer string `json:"peer_address"`
	API  string `json:"api_address"`
}

// patience is how long a node may take to start or stop before that is an error.
const patience = 30 * time.Second

func (n *flowNode) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, n.exe, args...)
	cmd.Args[0] = "kontor" // what the program calls itself, whatever its file is called
	return cmd
}

// create makes the node's folder, with a policy that lets a peer ask for pings.
func (n *flowNode) create(ctx context.Context) error {
	const anyPort = "127.0.0.1:0"
	out, err := n.command(ctx, "init", "--home", n.home, "--name", n.name, "--listen", anyPort, "--api", anyPort).CombinedOutput()
	if err != nil {
		return n.failed(err, "cannot be made", out)
	}
	if err := os.WriteFile(filepath.Join(n.home, "policy.yaml"), []byte(pingPolicy), 0o600); err != nil {
		return fault.Wrap(fault.Local, err, "the node's policy cannot be written", "check free space and TMPDIR")
	}
	return nil
}

// start runs the node and returns the time from then to when it said that it is
// up and its API that it is ready.
func (n *flowNode) start(ctx context.Context) (time.Duration, error) {
	n.cmd, n.ended = n.command(context.WithoutCancel(ctx), "up", "--home", n.home, "--attached", "--json"), make(chan struct{})
	n.log.Reset()
	n.cmd.Stderr = &n.log
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	n.stdin = stdin
	begun := time.Now()
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		return 0, n.failed(err, "cannot be started", nil)
	}
	up := make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		up <- json.NewDecoder(out).Decode(&n.at)
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // how it ended shows in its log
	}(n.cmd, n.ended)
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	select {
	case err := <-up:
		if err != nil {
			return 0, errors.Join(n.failed(err, "did not come up", nil), n.stop())
		}
	case <-ctx.Done():
		return 0, n.late(ctx, "come up")
	}
	token, err := os.ReadFile(filepath.Join(n.home, "admin.token"))
	if err != nil {
		return 0, fault.Wrap(fault.Local, err, "the node's token cannot be read", "check TMPDIR")
	}
	n.client = &rest.Client{Base: n.at.API, Token: strings.TrimSpace(string(token))}
	for {
		r, err := n.client.Ready(ctx)
		if err == nil && r.Ready {
			return time.Since(begun), nil
		}
		select {
		case <-n.ended:
			return 0, n.failed(err, "ended", nil)
		case <-ctx.Done():
			return 0, n.late(ctx, "become ready")
		case <-time.After(time.Millisecond):
		}
	}
}

// stop has the node stop in good order.
func (n *flowNode) stop() error {
	if n.cmd == nil {
		return nil
	}
	n.stdin.Close()
	defer func() { n.cmd = nil }()
	select {
	case <-n.ended:
		if state := n.cmd.ProcessState; state == nil || !state.Success() {
			return n.failed(fmt.Errorf("%v", state), "ended", n.log.Bytes())
		}
		return nil
	case <-time.After(patience):
		err := n.cmd.Process.Kill()
		<-n.ended
		return errors.Join(n.failed(err, "did not stop", n.log.Bytes()), err)
	}
}

func (n *flowNode) late(ctx context.Context, what string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return n.failed(ctx.Err(), fmt.Sprintf("did not %s within %v", what, patience), nil)
	}
	return ctx.Err()
}

// failed is what went wrong with the node, with the last that it said.
func (n *flowNode) failed(err error, what string, said []byte) error {
	f := &fault.Error{Kind: fault.Local, Party: n.name, What: "its node " + what, Cure: "start a node by hand: kontor init, kontor up", Err: err}
	if lines := strings.Split(strings.TrimSpace(string(said)), "\n"); lines[len(lines)-1] != "" {
		f.What += ": " + lines[len(lines)-1]
	}
	return f
}

// rss returns the bytes of memory that the node holds, 0 if the system does not tell.
func (n *flowNode) rss() int64 {
	f := n.proc("statm")
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// cpu returns how long the node has used a processor, in steps of 10 ms, 0 if
// the system does not tell.
func (n *flowNode) cpu() time.Duration {
	f := n.proc("stat")
	if len(f) < 15 {
		return 0
	}
	user, errU := strconv.ParseInt(f[13], 10, 64)
	system, errS := strconv.ParseInt(f[14], 10, 64)
	if errU != nil || errS != nil {
		return 0
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all that Go runs on
	return time.Duration(user+system) * tick
}

func (n *flowNode) proc(file string) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", n.cmd.Process.Pid, file))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b)) // the name in stat is kontor's: one word
}
