// Package demo shows the main job on one machine: it makes two institutions,
// lets each run its node in a process of its own, and compares what they learn
// together with what each could alone. Not for production: whoever runs it owns
// both sides.
package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"kontor/examples/credit"
	"kontor/flow"
	"kontor/internal/fault"
	"kontor/node"
)

// Options is what the demo is told.
type Options struct {
	Kontor    string // path of the kontor binary
	Dir       string // everything goes beneath it
	Data      string // folder with the parties' own files; empty makes a population up
	Seed      uint64
	Customers int
	Observe   func(flow.Event)
}

// Run carries the demo out and returns the guest's result, with the baselines.
func Run(ctx context.Context, o Options) (*node.Summary, error) {
	if err := prepareDir(o.Dir); err != nil {
		return nil, err
	}
	src, err := o.source()
	if err != nil {
		return nil, err
	}
	spec, err := flow.Load(src.job)
	if err != nil {
		return nil, err
	}
	if err := o.identities(spec); err != nil {
		return nil, err
	}
	sum, err := o.processes(ctx, spec, src)
	if err != nil {
		return nil, err
	}
	inputs := map[string]*flow.Input{}
	for _, p := range spec.Parties {
		if inputs[p.Name], err = flow.LoadInput(ctx, p, src.files[p.Name]); err != nil {
			return nil, fault.At(err, p.Name, "compare")
		}
	}
	sum.Baselines, err = flow.Compare(ctx, spec, inputs, func(name string, done, total int) {
		o.event(flow.Event{Kind: flow.EventProgress, Step: "compare: " + name, Done: int64(done), Total: int64(total), Unit: "trees"})
	})
	if err != nil {
		return nil, fault.At(err, "", "compare")
	}
	result := o.result(spec.Guest())
	if err := node.AddToResult(result, node.Addition{Baselines: sum.Baselines, Learned: sum.Learned, Parties: sum.Parties}); err != nil {
		return nil, err
	}
	sum.Report = filepath.Join(result, node.ReportFile)
	return sum, nil
}

func (o Options) event(e flow.Event) {
	if o.Observe != nil {
		o.Observe(e)
	}
}

func (o Options) home(party string) string   { return filepath.Join(o.Dir, party, "home") }
func (o Options) result(party string) string { return filepath.Join(o.Dir, party, "result") }

const marker = "kontor-demo.json"

// prepareDir empties the folder of an earlier demo, and no other.
func prepareDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
			return fault.New(fault.Local, dir+" holds files that are not of a demo", "name an empty or new folder with --out")
		}
		if err := os.RemoveAll(dir); err != nil {
			return fault.Wrap(fault.Local, err, "the folder of the earlier demo cannot be removed", "remove it by hand")
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.Wrap(fault.Local, err, "the demo's folder cannot be made", "name another one with --out")
	}
	b, _ := json.Marshal(map[string]string{"kontor": node.Version})
	return os.WriteFile(filepath.Join(dir, marker), b, 0o644)
}

// identities makes a home for every party and lets them exchange invitations,
// each checked by its fingerprint.
func (o Options) identities(spec *flow.Spec) error {
	homes := map[string]*node.Home{}
	for _, p := range spec.Parties {
		h, err := node.CreateHome(o.home(p.Name), p.Name, "127.0.0.1:0", "127.0.0.1:0")
		if err != nil {
			return err
		}
		homes[p.Name] = h
	}
	for _, from := range homes {
		inv, err := from.Invite("")
		if err != nil {
			return err
		}
		for _, to := range homes {
			if to == from {
				continue
			}
			if _, err := to.Accept(inv, from.Identity.Fingerprint()); err != nil {
				return err
			}
		}
	}
	return nil
}

// source is the job and the parties' files.
type source struct {
	job   string
	files map[string]string
}

func (o Options) source() (*source, error) {
	if o.Data != "" {
		return findData(o.Data, o.Dir)
	}
	dir := filepath.Join(o.Dir, "data")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the data folder cannot be made", "check permissions")
	}
	o.event(flow.Event{Kind: flow.EventNote, Party: "demo", Text: fmt.Sprintf("making up %d customers (seed %d)", o.Customers, o.Seed)})
	if err := credit.WriteCSV(dir, credit.Config{Seed: o.Seed, Customers: o.Customers}); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the made-up data cannot be written", "check free space")
	}
	job := filepath.Join(dir, "job.yaml")
	if err := os.WriteFile(job, credit.Job, 0o644); err != nil {
		return nil, fault.Wrap(fault.Local, err, "the job cannot be written", "check free space")
	}
	return &source{job, map[string]string{"bank": filepath.Join(dir, credit.BankFile), "telecom": filepath.Join(dir, credit.TelecomFile)}}, nil
}
