package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kontor/api/rest"
)

// Node is one institution: a folder, and the process that runs it, if one does.
type Node struct {
	t    *testing.T
	Name string
	Home string
	Peer string // where peers connect, once started
	API  string // base address of the API, once started
	Odd  string // how its program differs from ours, see odd; empty if it does not

	log    string // file with the log of all its processes
	mu     sync.Mutex
	tokens map[rest.Role]string
	run    *process
}

// process is one run of a node.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
}

// Start starts the node and returns once it can be reached.
func (d *Node) Start() {
	d.t.Helper()
	if err := d.TryStart(); err != nil {
		d.t.Fatal(err)
	}
}

// TryStart starts the node, again and again for some seconds where a port that it
// had before is still taken by a connection that goes.
func (d *Node) TryStart() error {
	for end := time.Now().Add(15 * time.Second); ; {
		err := d.start()
		if err == nil || !strings.Contains(err.Error(), "address already in use") || time.Now().After(end) {
			return err
		}
	}
}

func (d *Node) start() error {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	p := &process{cmd: exec.Command(kontor, "up", "--home", d.Home, "--json", "--log", "json", "--attached"), ended: make(chan struct{})}
	p.cmd.Stderr = log
	p.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=0")
	if d.Odd != "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		p.cmd.Path, p.cmd.Args = self, []string{self}
		p.cmd.Env = append(p.cmd.Env, oddEnv+"="+d.Odd, oddEnv+"_HOME="+d.Home)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	var at struct {
		Peer string `json:"peer_address"`
		API  string `json:"api_address"`
	}
	said := bufio.NewReader(out)
	line, err := said.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &at)
	}
	if err != nil || at.API == "" {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		text, _ := os.ReadFile(d.log)
		return fmt.Errorf("%s does not start: %v: %s%s", d.Name, err, line, text[min(int(before), len(text)):])
	}
	go func() {
		io.Copy(io.Discard, said)
		p.cmd.Wait()
		close(p.ended)
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.run, d.Peer, d.API = p, at.Peer, at.API
	return d.keepPorts()
}

// keepPorts writes the ports that the node has taken into its configuration.
func (d *Node) keepPorts() error {
	path := filepath.Join(d.Home, "kontor.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b = regexp.MustCompile(`(?m)^listen: "127.0.0.1:0"`).ReplaceAll(b, []byte("listen: "+strconv.Quote(d.Peer)))
	b = regexp.MustCompile(`(?m)^  listen: "127.0.0.1:0"`).ReplaceAll(b, []byte("  listen: "+strconv.Quote(strings.TrimPrefix(d.API, "http://"))))
	return os.WriteFile(path, b, 0o600)
}

// Configure replaces text in kontor.yaml; it counts from the next start.
func (d *Node) Configure(old, text string) {
	d.t.Helper()
	path := filepath.Join(d.Home, "kontor.yaml")
	b, err := os.ReadFile(path)
	if err == nil && !bytes.Contains(b, []byte(old)) {
		err = fmt.Errorf("%s does not hold %q", path, old)
	}
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(text), 1), 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// Signal sends the node a signal.
func (d *Node) Signal(s os.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != nil {
		d.run.cmd.Process.Signal(s)
	}
}

// Kill ends the node as a power cut would.
func (d *Node) Kill() { d.t.Helper(); d.await(syscall.SIGKILL, 10*time.Second) }

// Stop ends the node in good order and returns its exit code.
func (d *Node) Stop() int { d.t.Helper(); return d.await(syscall.SIGTERM, 40*time.Second) }

// Restart kills the node and starts it again on the same ports.
func (d *Node) Restart() { d.t.Helper(); d.Kill(); d.Start() }

// Up reports whether the node's process lives.
func (d *Node) Up() bool {
	p := d.process()
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (d *Node) process() *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.run
}

// Pid is the number of the node's process.
func (d *Node) Pid() int { return d.process().cmd.Process.Pid }

func (d *Node) await(s syscall.Signal, most time.Duration) int {
	d.t.Helper()
	p := d.process()
	if p == nil {
		return 0
	}
	p.cmd.Process.Signal(s)
	select {
	case <-p.ended:
	case <-time.After(most):
		p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.ended
		d.t.Errorf("%s has not ended %v after %v", d.Name, most, s)
	}
	d.mu.Lock()
	d.run = nil
	d.mu.Unlock()
	return p.cmd.ProcessState.ExitCode()
}

// end is the node's cleanup: it stops it and looks for what must not be in a log,
// whatever the test was about.
func (d *Node) end() {
	if d.t.Failed() && d.Up() && os.Getenv("KONTOR_STACKS") != "" {
		d.await(syscall.SIGQUIT, 10*time.Second) // the log then ends with all its goroutines
	}
	if d.Up() {
		if code := d.Stop(); code != 0 {
			d.t.Errorf("%s ended with code %d", d.Name, code)
		}
	}
	d.reveals(d.t, append(d.secrets(), "cust-"))
	text := d.Log()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if bytes.Contains(text, []byte(bad)) {
			d.t.Errorf("the log of %s holds %q", d.Name, bad)
		}
	}
	if d.t.Failed() {
		d.t.Logf("log of %s:\n%s", d.Name, text[max(0, len(text)-12_000):])
	}
}

// Log returns the log of all runs so far.
func (d *Node) Log() []byte { b, _ := os.ReadFile(d.log); return b }

// Client calls the node's API in a role.
func (d *Node) Client(role rest.Role) *rest.Client {
	d.t.Helper()
	d.mu.Lock()
	base, token := d.API, d.tokens[role]
	d.mu.Unlock()
	if token == "" && role == rest.Admin {
		b, err := os.ReadFile(filepath.Join(d.Home, "admin.token"))
		if err != nil {
			d.t.Fatal(err)
		}
		token = strings.TrimSpace(string(b))
	} else if token == "" {
		ctx, stop := within(10 * time.Second)
		defer stop()
		made, err := d.Client(rest.Admin).CreateToken(ctx, rest.TokenRequest{Name: "a " + string(role), Role: role})
		if err != nil {
			d.t.Fatal(err)
		}
		token = made.Secret
	}
	d.mu.Lock()
	d.tokens[role] = token
	d.mu.Unlock()
	return &rest.Client{Base: base, Token: token}
}

// Policy puts a policy in force.
func (d *Node) Policy(text string) {
	d.t.Helper()
	ctx, stop := within(10 * time.Second)
	defer stop()
	got, err := d.Client(rest.Admin).CheckPolicy(ctx, text)
	if err != nil || !got.OK {
		d.t.Fatalf("the policy of %s: %v %+v", d.Name, err, got)
	}
	path := filepath.Join(d.Home, "policy.yaml")
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		d.t.Fatal(err)
	}
}

// AddData registers a CSV file of this text, beside the node's folder.
func (d *Node) AddData(name, text string) {
	d.t.Helper()
	path := filepath.Join(filepath.Dir(d.log), d.Name+"-"+name+".csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	ctx, stop := within(30 * time.Second)
	defer stop()
	if _, err := d.Client(rest.Admin).AddDataset(ctx, rest.AddData{Name: name, Path: path, Options: rest.DataOptions{ID: "id"}}); err != nil {
		d.t.Fatalf("%s: data set %s: %v", d.Name, name, err)
	}
}

// Job returns a job as this node sees it, or why it cannot be seen.
func (d *Node) Job(id string) (*rest.Job, error) {
	ctx, stop := within(10 * time.Second)
	defer stop()
	return d.Client(rest.Admin).Job(ctx, id)
}

// Await waits for a minute until a job is in a state here.
func (d *Node) Await(id string, s rest.State) *rest.Job {
	d.t.Helper()
	return d.AwaitWithin(id, s, time.Minute)
}

// AwaitWithin waits until a job is in a state here; another final state ends the test.
func (d *Node) AwaitWithin(id string, s rest.State, most time.Duration) *rest.Job {
	d.t.Helper()
	var got *rest.Job
	eventually(d.t, most, func() error {
		j, err := d.Job(id)
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		if got = j; j.State == s {
			return nil
		}
		if j.State.Final() {
			d.t.Fatalf("%s: the job is %s instead of %s: %s", d.Name, j.State, s, pretty(j.Error))
		}
		return fmt.Errorf("%s: the job is %s, waiting for %q: %s", d.Name, j.State, j.WaitingFor, pretty(j.Steps))
	})
	return got
}

// AwaitStep waits until a step of a job fits.
func (d *Node) AwaitStep(id, step string, most time.Duration, fits func(rest.JobStep) bool) rest.JobStep {
	d.t.Helper()
	var got rest.JobStep
	eventually(d.t, most, func() error {
		j, err := d.Job(id)
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		for _, st := range j.Steps {
			if st.Name == step && fits(st) {
				got = st
				return nil
			}
		}
		if j.State.Final() {
			d.t.Fatalf("%s: the job is %s before step %s fits: %s", d.Name, j.State, step, pretty(j))
		}
		return fmt.Errorf("%s: %s", d.Name, pretty(j.Steps))
	})
	return got
}

// Metric returns the sum of a metric over its labels.
func (d *Node) Metric(name string) (float64, error) {
	c := d.Client(rest.Admin)
	req, err := http.NewRequest(http.MethodGet, c.Base+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	sum, found := 0.0, false
	sc := bufio.NewScanner(res.Body)
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s (status %s)", name, res.Status)
	}
	return sum, sc.Err()
}

func pretty(v any) string { b, _ := json.Marshal(v); return string(b) }
