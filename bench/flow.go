package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kontor/api/rest"
	"kontor/internal/fault"
)

// FlowConfig says what [Flow] measures.
type FlowConfig struct {
	Exe    string        // the kontor binary
	Runs   int           // starts of a node, and jobs
	Steps  int           // of a job
	Settle time.Duration // between a peer's answer and the reading of a node's memory
	Dir    string        // parent of the nodes' folders, which are removed at the end; empty for the system's
}

// FlowResult is a measurement of what runs around the steps of a job: the node's
// start, what it holds while it has nothing to do, and a job whose steps compute
// nothing.
type FlowResult struct {
	Bench         string  `json:"bench"`
	StartupMs     float64 `json:"startup_ms"`      // from exec to ready, median
	IdleRSSBytes  int64   `json:"idle_rss_bytes"`  // the larger of the two nodes; 0 where the system does not say
	JobOverheadMs float64 `json:"job_overhead_ms"` // from submission to done, median
	Runs          int     `json:"runs"`
	Steps         int     `json:"steps"`
	StartupMaxMs  float64 `json:"startup_max_ms"`
	JobFirstMs    float64 `json:"job_first_ms"`
	JobMaxMs      float64 `json:"job_max_ms"`
	JobCPUMs      float64 `json:"job_cpu_ms"`     // of a processor, both nodes together, mean; 0 where the system does not say
	BusyRSSBytes  int64   `json:"busy_rss_bytes"` // after the jobs
	SyncMs        float64 `json:"fsync_ms"`       // 4 KiB to the same disk and fsync, median
	RoundTripMs   float64 `json:"round_trip_ms"`  // a request to a node's API and its answer, median
}

const (
	flowGuest = "bank"
	flowHost  = "telecom"

	pingPolicy = `version: 1
without_data:
  - name: connection-test
    peers: ["*"]
    purposes: ["*"]
    components: [ping]
    approve: standing
`
)

// Flow runs two nodes as processes of their own on this machine, connected as two
// institutions' are, and measures them from outside through their APIs. Nothing
// is taken from an earlier job. progress, if not nil, is told the stage and how
// far it is.
func Flow(ctx context.Context, c FlowConfig, progress func(stage string, done, total int)) (_ FlowResult, err error) {
	if progress == nil {
		progress = func(string, int, int) {}
	}
	if c.Exe == "" || c.Runs < 1 || c.Steps < 1 || c.Steps > 50 {
		return FlowResult{}, fmt.Errorf("%w: at least one run, and 1 to 50 steps", ErrConfig)
	}
	dir, err := os.MkdirTemp(c.Dir, "kontor-bench-")
	if err != nil {
		return FlowResult{}, fault.Wrap(fault.Local, err, "no folder can be made for the nodes", "check free space and TMPDIR")
	}
	b := &flowRun{c: c, dir: dir, progress: progress}
	defer func() { err = errors.Join(err, b.stop(), os.RemoveAll(dir)) }()
	err = b.run(ctx)
	if ctx.Err() != nil {
		err = ctx.Err() // and not what followed from it
	}
	return b.r, err
}

type flowRun struct {
	c           FlowConfig
	dir         string
	progress    func(string, int, int)
	guest, host *flowNode
	r           FlowResult
}

func (b *flowRun) run(ctx context.Context) error {
	b.r = FlowResult{Bench: "flow", Runs: b.c.Runs, Steps: b.c.Steps}
	b.guest = &flowNode{exe: b.c.Exe, name: flowGuest, home: filepath.Join(b.dir, flowGuest)}
	b.host = &flowNode{exe: b.c.Exe, name: flowHost, home: filepath.Join(b.dir, flowHost)}
	for _, n := range []*flowNode{b.guest, b.host} {
		if err := n.create(ctx); err != nil {
			return err
		}
		if _, err := n.start(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(introduce(ctx, b.guest, b.host), introduce(ctx, b.host, b.guest)); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{b.starts, b.idle, b.jobs, b.reference} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the nodes that run.
func (b *flowRun) stop() error {
	var errs []error
	for _, n := range []*flowNode{b.guest, b.host} {
		if n != nil {
			errs = append(errs, n.stop())
		}
	}
	return errors.Join(errs...)
}

// introduce has one node trust another.
func introduce(ctx context.Context, to, of *flowNode) error {
	inv, err := of.client.Invite(ctx, rest.InviteRequest{Address: of.at.Peer})
	if err != nil {
		return err
	}
	_, err = to.client.Accept(ctx, rest.AcceptRequest{Invitation: inv.Invitation, Fingerprint: inv.Fingerprint})
	return err
}

// starts restarts the guest's node, whose address nobody needs.
func (b *flowRun) starts(ctx context.Context) error {
	var took []time.Duration
	for i := range b.c.Runs {
		if err := b.guest.stop(); err != nil {
			return err
		}
		d, err := b.guest.start(ctx)
		if err != nil {
			return err
		}
		took = append(took, d)
		b.progress("start", i+1, b.c.Runs)
	}
	b.r.StartupMs, b.r.StartupMaxMs = milliseconds(median(took)), milliseconds(slices.Max(took))
	return nil
}

// idle reads the nodes' memory once they have a connection between them.
func (b *flowRun) idle(ctx context.Context) error {
	if _, err := b.guest.client.PeerData(ctx, flowHost); err != nil {
		return err
	}
	select {
	case <-time.After(b.c.Settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	b.r.IdleRSSBytes = max(b.guest.rss(), b.host.rss())
	b.progress("idle", 1, 1)
	return nil
}

func (b *flowRun) jobs(ctx context.Context) error {
	spec := "job: nothing\nparties:\n  " + flowGuest + ": {role: guest}\n  " + flowHost + ": {role: host}\nsteps:\n"
	for i := range b.c.Steps {
		spec += fmt.Sprintf("  - ping: {as: ping-%d}\n", i+1)
	}
	cpu := b.guest.cpu() + b.host.cpu()
	var took []time.Duration
	for i := range b.c.Runs {
		d, err := b.job(ctx, spec)
		if err != nil {
			return err
		}
		took = append(took, d)
		b.progress("job", i+1, b.c.Runs)
	}
	b.r.JobFirstMs, b.r.JobMaxMs = milliseconds(took[0]), milliseconds(slices.Max(took))
	b.r.JobOverheadMs = milliseconds(median(took))
	b.r.JobCPUMs = milliseconds((b.guest.cpu() + b.host.cpu() - cpu) / time.Duration(b.c.Runs))
	b.r.BusyRSSBytes = max(b.guest.rss(), b.host.rss())
	return nil
}

// job submits a job and returns how long it took to be done, as who follows it sees it.
func (b *flowRun) job(ctx context.Context, spec string) (took time.Duration, err error) {
	no := false
	begun := time.Now()
	j, err := b.guest.client.Submit(ctx, rest.SubmitRequest{Spec: spec, Reuse: &no}, "")
	if err != nil {
		return 0, err
	}
	err = b.guest.client.Watch(ctx, j.ID, 0, func(e rest.Event) error {
		var s rest.StateEvent
		if e.Type != rest.EventEnd {
			return nil
		}
		if err := json.Unmarshal(e.Data, &s); err != nil {
			return fmt.Errorf("reading an event of the job: %w", err)
		}
		if s.State == rest.Done {
			took = time.Since(begun)
		}
		return nil
	})
	if err == nil && took == 0 {
		err = b.why(ctx, j.ID)
	}
	return took, err
}

// why returns the error of a job that was not done.
func (b *flowRun) why(ctx context.Context, id string) error {
	j, err := b.guest.client.Job(ctx, id)
	if err != nil {
		return err
	}
	f := &fault.Error{Kind: fault.Internal, What: "the job is " + string(j.State), Cure: "measure again on a machine that does less meanwhile"}
	if j.Error != nil {
		f.Party, f.Step, f.What = j.Error.Party, j.Error.Step, f.What+": "+j.Error.What
	}
	return f
}

// reference measures what the disk and a request cost by themselves.
func (b *flowRun) reference(ctx context.Context) error {
	const tries = 50
	f, err := os.OpenFile(filepath.Join(b.dir, "sync"), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return fault.Wrap(fault.Local, err, "the disk cannot be measured", "check free space and TMPDIR")
	}
	defer f.Close()
	var disk, trip []time.Duration
	block := make([]byte, 4096)
	for range tries {
		begun := time.Now()
		_, err := f.Write(block)
		if err := errors.Join(err, f.Sync()); err != nil {
			return fault.Wrap(fault.Local, err, "the disk cannot be measured", "check free space and TMPDIR")
		}
		disk = append(disk, time.Since(begun))
		begun = time.Now()
		if _, err := b.guest.client.Ready(ctx); err != nil {
			return err
		}
		trip = append(trip, time.Since(begun))
	}
	b.r.SyncMs, b.r.RoundTripMs = milliseconds(median(disk)), milliseconds(median(trip))
	return nil
}

// median returns the middle of what was measured, of an even number the mean of the two.
func median(of []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(of))
	m := len(s) / 2
	if len(s)%2 == 1 {
		return s[m]
	}
	return (s[m-1] + s[m]) / 2
}

// milliseconds keeps microseconds and drops what is below.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
