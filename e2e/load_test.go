package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/api/rest"
)

const pings = "  - ping: {as: one}\n  - ping: {as: two}\n  - ping: {as: three}\n"

// withPriority returns a job with a priority.
func withPriority(spec string, p int) string {
	return strings.Replace(spec, "purpose:", fmt.Sprintf("priority: %d\npurpose:", p), 1)
}

// submitAll hands jobs in at once, each under its key, and returns their identifiers.
func submitAll(t *testing.T, c *rest.Client, specs, keys []string) []string {
	t.Helper()
	ids := make([]string, len(specs))
	errs := make([]error, len(specs))
	var wg sync.WaitGroup
	for i := range specs {
		wg.Go(func() {
			ctx, stop := within(time.Minute)
			defer stop()
			reuse := false
			j, err := c.Submit(ctx, rest.SubmitRequest{Spec: specs[i], Reuse: &reuse}, keys[i])
			if errs[i] = err; err == nil {
				ids[i] = j.ID
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("job %d: %v", i, err)
		}
	}
	return ids
}

// TestHundredJobs submits a hundred jobs at once, some of them twice under one
// key: each runs, and none runs twice.
func TestHundredJobs(t *testing.T) {
	n := NewNet(t, "bank", "telecom")
	n.Start()
	n.AcceptAll()
	n.Lend(60)
	const jobs, twice = 100, 20
	ping, boost := n.SpecOf("small", pings), n.Spec(1)
	var specs, keys []string
	for i := range jobs + twice {
		spec := ping
		if i%jobs%25 == 24 {
			spec = boost
		}
		specs, keys = append(specs, withPriority(spec, i%jobs%10)), append(keys, fmt.Sprintf("load-%d", i%jobs))
	}
	bank := n.Node("bank")
	began := time.Now()
	ids := submitAll(t, bank.Client(rest.Admin), specs, keys)
	for i := range twice {
		if ids[jobs+i] != ids[i] {
			t.Errorf("key %s made two jobs: %s and %s", keys[i], ids[i], ids[jobs+i])
		}
	}
	ids = ids[:jobs]
	if u := slices.Compact(slices.Sorted(slices.Values(ids))); len(u) != jobs {
		t.Fatalf("%d keys made %d jobs", jobs, len(u))
	}
	for _, d := range n.nodes {
		eventually(t, 3*time.Minute, func() error {
			if open := d.unfinished(ids); open > 0 {
				return fmt.Errorf("%d jobs are open at %s", open, d.Name)
			}
			return nil
		})
		for _, id := range ids {
			if j, err := d.Job(id); err != nil || j.State != rest.Done {
				t.Fatalf("%s: %v %s", d.Name, err, pretty(j))
			}
		}
		if all := d.unfinished(nil); all != jobs {
			t.Errorf("%s knows %d jobs, want %d", d.Name, all, jobs)
		}
	}
	took := time.Since(began)
	t.Logf("%d jobs took %v", jobs, took.Round(time.Millisecond))
	if took > 90*time.Second {
		t.Errorf("%d small jobs took %v", jobs, took)
	}
	for _, id := range ids[20:30] { // among them one with a table
		n.Examine(id)
	}
	did := bank.actions()
	if did["job.submitted"] != jobs || did["job.done"] != jobs || did["step.done"] != 3*96+4*4 {
		t.Errorf("the guest's account says %v", did)
	}
	if did := n.Node("telecom").actions(); did["job.done"] != jobs || did["step.done"] != 3*96+4*4 {
		t.Errorf("the host's account says %v", did)
	}
	// And once more, under a key that is known: nothing happens.
	again := submitAll(t, bank.Client(rest.Admin), specs[:1], keys[:1])
	if again[0] != ids[0] || bank.unfinished(nil) != jobs {
		t.Errorf("a known key made a new job: %s, not %s", again[0], ids[0])
	}
}

// unfinished counts the jobs of a list that have not ended here; without a list,
// all jobs that there are.
func (d *Node) unfinished(ids []string) int {
	d.t.Helper()
	ctx, stop := within(20 * time.Second)
	defer stop()
	list, err := d.Client(rest.Admin).Jobs(ctx, rest.JobFilter{Limit: 500})
	if err != nil {
		d.t.Fatal(err)
	}
	if ids == nil {
		return len(list.Jobs)
	}
	open := len(ids)
	for _, j := range list.Jobs {
		if j.State.Final() && slices.Contains(ids, j.ID) {
			open--
		}
	}
	return open
}

// actions counts what the node's account says, by action.
func (d *Node) actions() map[string]int {
	d.t.Helper()
	out := map[string]int{}
	ctx, stop := within(30 * time.Second)
	defer stop()
	for after := int64(0); ; {
		page, err := d.Client(rest.Admin).Audit(ctx, after, 500)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, e := range page.Entries {
			out[e.Action]++
			after = e.Seq
		}
		if len(page.Entries) == 0 {
			return out
		}
	}
}

// TestPriorities: of the jobs that wait for a place the one with the highest
// priority begins first, then the oldest.
func TestPriorities(t *testing.T) {
	n := NewNet(t, "bank", "insurer")
	bank := n.Node("bank")
	bank.Configure("parallel: 4", "parallel: 1")
	n.Start()
	n.AcceptAll()
	n.Node("insurer").Policy(standing)
	h := newRogueHost(t, bank) // honest, but for the time that it takes
	release := make(chan struct{})
	h.begin("job/begin", func(ctx context.Context, _, _ string, body []byte) ([]byte, error) {
		select { // the first job holds the only place meanwhile
		case <-release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return json.Marshal(map[string]any{"nonce": freshNonce()})
	})
	first := submitTo(t, bank, rogueJob)
	bank.AwaitStep(first, "one", time.Minute, begun)
	one := strings.Replace(strings.Replace(rogueJob, "  - ping: {as: two}\n", "", 1), "telecom", "insurer", 1)
	var specs, keys []string
	for i := range 30 {
		specs, keys = append(specs, withPriority(one, i*7%10)), append(keys, fmt.Sprintf("priority-%d", i))
	}
	ids := submitAll(t, bank.Client(rest.Admin), specs, keys)
	eventually(t, time.Minute, func() error {
		queued, err := bank.Metric("kontor_jobs_queued")
		if err == nil && int(queued) != len(ids) {
			err = fmt.Errorf("%v of %d jobs wait for a place", queued, len(ids))
		}
		return err
	})
	close(release)
	var jobs []*rest.Job
	for _, id := range ids {
		jobs = append(jobs, bank.Await(id, rest.Done))
	}
	slices.SortFunc(jobs, func(a, b *rest.Job) int { return a.Started.Compare(b.Started) })
	order := slices.Clone(jobs)
	slices.SortStableFunc(order, func(a, b *rest.Job) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Created.Compare(b.Created))
	})
	for i := range jobs {
		if jobs[i].ID != order[i].ID {
			t.Errorf("job %d to begin has priority %d and was made at %v, want priority %d and %v", i, jobs[i].Priority, jobs[i].Created, order[i].Priority, order[i].Created)
		}
	}
}
