package demo

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
	"slices"
	"strings"
	"sync"
	"time"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/node"
	"kontor/session"
)

// line is what a party's process prints on standard output.
type line struct {
	flow.Event
	Result *node.Summary `json:"result"`
}

// process is one party's node in a process of its own.
type process struct {
	party  string
	cmd    *exec.Cmd
	stdin  io.Closer // its end stops the process
	addr   chan string
	result *node.Summary
	errors bytes.Buffer
	ended  chan struct{}
	err    error
}

// processes runs every party and returns the guest's result. The hosts start
// first; the guest is told where they listen.
func (o Options) processes(ctx context.Context, spec *flow.Spec, src *source) (*node.Summary, error) {
	asked := ctx // ends if the user stops the demo
	ctx, cancel := context.WithCancel(ctx)
	var all []*process
	defer func() {
		cancel()
		for _, p := range all {
			p.stdin.Close()
			<-p.ended
		}
	}()
	var mu sync.Mutex
	observe := func(e flow.Event) {
		mu.Lock()
		defer mu.Unlock()
		o.event(e)
	}
	var peers []string
	guestLast := slices.Clone(spec.Parties)
	slices.SortStableFunc(guestLast, func(a, b flow.Party) int { return strings.Compare(b.Role, a.Role) })
	for _, party := range guestLast {
		args := []string{"run", src.job, "--party", party.Name + "=" + src.files[party.Name], "--home", o.home(party.Name),
			"--out", o.result(party.Name), "--listen", "127.0.0.1:0", "--wait", "1m", "--events"}
		if party.Role == session.Guest {
			args = append(args, peers...)
		}
		p, err := start(ctx, o.Kontor, party.Name, args, observe)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
		select {
		case addr := <-p.addr:
			peers = append(peers, "--peer", party.Name+"="+addr)
		case <-p.ended:
			return nil, p.failure()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	for _, p := range all {
		go func() {
			// A party that fails tells the others, unless it has not met them yet.
			if <-p.ended; p.failure() != nil {
				time.AfterFunc(lastWords, cancel)
			}
		}()
	}
	for _, p := range all {
		<-p.ended
	}
	return outcome(asked, all)
}

// lastWords is how long parties get to end by themselves once one has failed.
const lastWords = 3 * time.Second

// outcome returns the guest's result, which is the last process's, or the error
// that the others followed from.
func outcome(ctx context.Context, all []*process) (*node.Summary, error) {
	if ctx.Err() != nil {
		return nil, fault.Wrap(fault.Cancelled, ctx.Err(), "the demo was stopped", "run it again")
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, p.failure())
	}
	if err := node.RootCause(errs); err != nil {
		return nil, err
	}
	sum := all[len(all)-1].result
	for _, p := range all {
		for name, facts := range p.result.Learned {
			sum.Learned[name] = facts
		}
		for i, ps := range p.result.Parties {
			if ps.Name == p.party {
				sum.Parties[i] = ps
			}
		}
	}
	return sum, nil
}

func start(ctx context.Context, exe, party string, args []string, observe func(flow.Event)) (*process, error) {
	p := &process{party: party, addr: make(chan string, 1), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, exe, args...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.Stderr = &p.errors
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the node of "+party+" cannot be started", "check that the kontor binary may be executed")
	}
	go func() {
		defer close(p.ended)
		readErr := p.read(out, observe)
		p.err = errors.Join(p.cmd.Wait(), readErr)
	}()
	return p, nil
}

func (p *process) read(out io.Reader, observe func(flow.Event)) error {
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return fmt.Errorf("reading what %s prints: %w", p.party, err)
		}
		switch l.Kind {
		case "listening":
			p.addr <- l.Text
		case "result":
			p.result = l.Result
		default:
			observe(l.Event)
		}
	}
	return sc.Err()
}

// failure returns the process's error as the fault that it printed, or nil.
func (p *process) failure() error {
	if p.err == nil && p.result != nil {
		return nil
	}
	f := &fault.Error{Kind: fault.Internal, Party: p.party, What: "its node ended", Err: p.err}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		f.Kind = fault.KindOfExit(exit.ExitCode())
	}
	if text := strings.TrimSpace(p.errors.String()); text != "" {
		f.What, f.Err = strings.TrimPrefix(text, "kontor: "), nil
		f.Party = "" // the text names it
	}
	return f
}
