package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kontor/api/rest"
)

// TestFullDisk fills the disk of each party: its jobs wait and say so, the node
// stays up, and when there is room again they go on.
func TestFullDisk(t *testing.T) {
	n := NewNet(t)
	for _, name := range []string{"bank", "telecom"} {
		dir := filepath.Join(t.TempDir(), "disk")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
			t.Skipf("a small disk cannot be mounted here, so this is not tested: %v", err)
		}
		t.Cleanup(func() { syscall.Unmount(dir, 0) }) // after the node's own cleanup
		n.Add(name, filepath.Join(dir, name))
	}
	n.Start()
	n.AcceptAll()
	n.Lend(400)
	for _, d := range n.nodes {
		for _, left := range []int64{512 << 10, 0} {
			t.Run(fmt.Sprintf("%s with %d bytes", d.Name, left), func(t *testing.T) { n.fullDisk(t, d, left) })
		}
	}
	n.Account()
}

func (n *Net) fullDisk(t *testing.T, d *Node, left int64) {
	defer n.use(t)()
	bank := n.Node("bank")
	id := n.Submit(n.Spec(40))
	bank.AwaitStep(id, "boost", time.Minute, trained)
	ballast := filepath.Join(filepath.Dir(d.Home), "ballast")
	fill(t, ballast, left)
	if j := d.AwaitWithin(id, rest.Retrying, time.Minute); !strings.Contains(j.WaitingFor, "disk") {
		t.Errorf("the job does not say that the disk is full: %q", j.WaitingFor)
	}
	if j, err := bank.Job(id); err != nil || d != bank && strings.Contains(j.WaitingFor, "disk") {
		t.Errorf("the guest is told why a host's machine fails: %v, %q", err, j.WaitingFor)
	}
	if !d.Up() {
		t.Fatalf("%s has ended", d.Name)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	n.AwaitAll(id, rest.Done, time.Minute)
	n.Examine(id)
}

// fill takes up a disk until so many bytes are left.
func fill(t *testing.T, path string, left int64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &fs); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for n := int64(fs.Bavail)*int64(fs.Bsize) - left; n > 0; n -= int64(len(block)) {
		if _, err := f.Write(block[:min(n, int64(len(block)))]); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
