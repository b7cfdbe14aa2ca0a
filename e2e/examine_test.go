package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kontor/api/rest"
	"kontor/audit"
	"kontor/identity"
)

// outcome is what a job has come to.
type outcome struct {
	metrics  string // the guest's figures
	attempts int    // over all steps
}

// Examine holds a job that is done to what must be so at all parties, whatever
// happened on the way.
func (n *Net) Examine(id string) outcome {
	n.t.Helper()
	keys := n.keys()
	var first []byte
	artifacts := map[string]string{}
	out := outcome{}
	for k, d := range n.nodes {
		j, err := d.Job(id)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, st := range j.Steps {
			if st.State != "done" {
				n.t.Errorf("%s: step %s is %s", d.Name, st.Name, st.State)
			}
			if k == 0 {
				artifacts[st.Name] = st.Artifact
				out.attempts += st.Attempt
			} else if st.Artifact != artifacts[st.Name] {
				n.t.Errorf("%s: step %s left %s, and %s at the guest", d.Name, st.Name, st.Artifact, artifacts[st.Name])
			}
		}
		if k == 0 {
			out.metrics = pretty(j.Metrics)
		}
		raw := d.signed(id, keys)
		if k == 0 {
			first = raw
		} else if !bytes.Equal(raw, first) {
			n.t.Errorf("%s has another manifest than the guest:\n%s\n%s", d.Name, raw, first)
		}
		d.tidy(j)
	}
	return out
}

// Account verifies every node's audit log.
func (n *Net) Account() {
	n.t.Helper()
	for _, d := range n.nodes {
		d.accounted()
	}
}

// keys returns the nodes' public keys, by name.
func (n *Net) keys() map[string]ed25519.PublicKey {
	n.t.Helper()
	keys := map[string]ed25519.PublicKey{}
	for _, d := range n.nodes {
		id, err := identity.Load(d.Home)
		if err != nil {
			n.t.Fatal(err)
		}
		keys[d.Name] = id.PublicKey()
	}
	return keys
}

// signed returns the manifest's bytes after checking every party's signature.
func (d *Node) signed(id string, keys map[string]ed25519.PublicKey) []byte {
	d.t.Helper()
	ctx, stop := within(10 * time.Second)
	defer stop()
	b, err := d.Client(rest.Auditor).Manifest(ctx, id)
	if err != nil {
		d.t.Fatalf("%s: %v", d.Name, err)
	}
	var m struct {
		Manifest   json.RawMessage   `json:"manifest"`
		Signatures map[string]string `json:"signatures"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		d.t.Fatal(err)
	}
	h := sha256.Sum256(m.Manifest)
	if len(m.Signatures) != len(keys) {
		d.t.Errorf("%s: the manifest has %d signatures", d.Name, len(m.Signatures))
	}
	for name, key := range keys {
		sig, err := hex.DecodeString(m.Signatures[name])
		if err != nil || !identity.Verify(key, "kontor result v1", h[:], sig) {
			d.t.Errorf("%s: the signature of %s under the manifest is wrong", d.Name, name)
		}
	}
	return m.Manifest
}

// tidy checks that a job's folder holds one artifact a step, and that nothing half
// is left, soon after the job has ended.
func (d *Node) tidy(j *rest.Job) {
	d.t.Helper()
	want := []string{"result"}
	for _, st := range j.Steps {
		want = append(want, folderOf(st))
	}
	slices.Sort(want)
	eventually(d.t, 10*time.Second, func() error { return d.holdsOnly(j.ID, want) })
	err := filepath.WalkDir(d.Home, func(path string, e fs.DirEntry, err error) error {
		if os.IsNotExist(err) || path == d.Home {
			return nil // another job is at work
		}
		if name := e.Name(); strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".new") {
			d.t.Errorf("%s is left over", path)
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// holdsOnly checks what is in a job's folder.
func (d *Node) holdsOnly(id string, want []string) error {
	entries, err := os.ReadDir(filepath.Join(d.Home, "jobs", id))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s: the job's folder holds %v instead of %v", d.Name, got, want)
	}
	return nil
}

func folderOf(st rest.JobStep) string { return st.Name + "-" + pretty(st.Attempt) }

// accounted verifies the node's audit log, both as it says itself and as exported.
func (d *Node) accounted() {
	d.t.Helper()
	ctx, stop := within(20 * time.Second)
	defer stop()
	c := d.Client(rest.Auditor)
	r, err := c.VerifyAudit(ctx)
	if err != nil || !r.OK {
		d.t.Errorf("%s: the audit log: %v %s", d.Name, err, pretty(r))
	}
	var b bytes.Buffer
	if err := c.ExportAudit(ctx, &b, 0, 0); err != nil {
		d.t.Fatal(err)
	}
	id, err := identity.Load(d.Home)
	if err != nil {
		d.t.Fatal(err)
	}
	if rep, err := audit.Verify(bytes.NewReader(b.Bytes()), id.PublicKey()); err != nil || !rep.OK() {
		d.t.Errorf("%s: the exported audit log: %v %s", d.Name, err, pretty(rep))
	}
}
