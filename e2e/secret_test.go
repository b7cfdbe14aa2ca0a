package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kontor/api/rest"
)

// TestNothingSecretIsTold has good and bad things happen, and then looks for what
// must not be in any log, account, manifest, or answer of the API: keys, tokens,
// passwords of databases, and what identifies a row.
func TestNothingSecretIsTold(t *testing.T) {
	const password, fromEnv = "hunter2-in-clear", "hunter2-from-environment"
	t.Setenv("KONTOR_E2E_PASSWORD", fromEnv)
	n := NewNet(t, "bank", "telecom", "insurer")
	n.Start()
	n.AcceptAll()
	n.Lend(300)
	n.Node("insurer").Policy(byHand)
	told := &bytes.Buffer{} // everything that the API says
	for _, d := range n.nodes {
		for _, secret := range []string{password, "${KONTOR_E2E_PASSWORD}"} {
			ctx, stop := within(30 * time.Second)
			defer stop()
			_, err := d.Client(rest.Admin).AddDataset(ctx, rest.AddData{Name: "warehouse", DSN: "postgres://reader:" + secret + "@127.0.0.1:1/rows?sslmode=disable", Query: "select * from t"})
			if err == nil {
				t.Error("a database that is not there was added")
			}
			fmt.Fprintln(told, err)
		}
		ctx, stop := within(10 * time.Second)
		defer stop()
		_, err := (&rest.Client{Base: d.API, Token: "kontor_" + strings.Repeat("wrong0", 7)}).Node(ctx)
		if err == nil {
			t.Error("a wrong token is let in")
		}
		fmt.Fprintln(told, err)
	}
	var ids []string
	ids = append(ids, n.Submit(n.Spec(2)))
	insurer := n.Node("insurer")
	insurer.Await(ids[0], rest.Waiting)
	ctx, stop := within(10 * time.Second)
	defer stop()
	if _, err := insurer.Client(rest.Approver).Approve(ctx, ids[0], ""); err != nil {
		t.Fatal(err)
	}
	n.AwaitAll(ids[0], rest.Done, time.Minute)
	n.Examine(ids[0])
	insurer.Policy(standing)
	ids = append(ids, n.badRows(t)...)
	ids = append(ids, n.tooFew(t))
	n.Node("telecom").Restart()
	for _, d := range n.nodes {
		d.account(told, ids)
	}
	if told.Len() < 5000 || !strings.Contains(told.String(), "job.done") {
		t.Fatalf("the search is in too little: %d bytes", told.Len())
	}
	secrets := append(n.secrets(), password, fromEnv)
	for _, d := range n.nodes {
		d.reveals(t, secrets)
	}
	for _, s := range secrets {
		if strings.Contains(told.String(), s) {
			t.Errorf("the API tells %s", masked(s))
		}
	}
}

// badRows has jobs end because of rows that cannot be used, and returns them.
func (n *Net) badRows(t *testing.T) (ids []string) {
	t.Helper()
	telecom := n.Node("telecom")
	for name, row := range map[string]string{"twice": rowID(1) + ",1,1\n", "void": ",1,1\n"} {
		telecom.AddData(name, "id,u,v\n"+rowID(1)+",1,2\n"+rowID(2)+",1,2\n"+row)
		telecom.Policy(strings.Replace(standing, "  rows:", "  "+name+":", 1))
		id := n.Submit(strings.Replace(n.Spec(2), "telecom: {role: host, data: rows", "telecom: {role: host, data: "+name, 1))
		eventually(t, time.Minute, func() error {
			j, err := n.nodes[0].Job(id)
			if err == nil && !j.State.Final() {
				err = fmt.Errorf("the job is %s, %s", j.State, j.WaitingFor)
			}
			if err == nil && j.State == rest.Done {
				t.Fatalf("rows like %q were used", name)
			}
			return err
		})
		ids = append(ids, id)
	}
	telecom.Policy(standing)
	return ids
}

// tooFew has a job end because the parties share too few rows.
func (n *Net) tooFew(t *testing.T) string {
	t.Helper()
	id := n.Submit(strings.Replace(n.Spec(2), "min_rows: 20", "min_rows: 5000", 1))
	for _, d := range n.nodes {
		d.Await(id, rest.Failed)
	}
	return id
}

// account adds what the API says of everything that has happened.
func (d *Node) account(out *bytes.Buffer, ids []string) {
	d.t.Helper()
	ctx, stop := within(20 * time.Second)
	defer stop()
	c := d.Client(rest.Auditor)
	for _, id := range ids {
		j, err := c.Job(ctx, id)
		if err != nil {
			d.t.Fatal(err)
		}
		fmt.Fprintln(out, pretty(j))
		l, err := c.JobLog(ctx, id, 0, 0)
		if err != nil {
			d.t.Fatal(err)
		}
		fmt.Fprintln(out, pretty(l))
		if j.State == rest.Done {
			m, err := c.Manifest(ctx, id)
			if err != nil {
				d.t.Fatal(err)
			}
			out.Write(m)
		}
	}
	if err := c.ExportAudit(ctx, out, 0, 0); err != nil {
		d.t.Fatal(err)
	}
	for _, f := range []func() (any, error){
		func() (any, error) { return c.Node(ctx) },
		func() (any, error) { return c.Datasets(ctx) },
		func() (any, error) { return c.Models(ctx) },
		func() (any, error) { return c.Peers(ctx) },
		func() (any, error) { return c.VerifyAudit(ctx) },
		func() (any, error) { return d.Client(rest.Admin).Tokens(ctx) },
		func() (any, error) { return c.Jobs(ctx, rest.JobFilter{}) },
		func() (any, error) { return d.Client(rest.Admin).Doctor(ctx) },
	} {
		v, err := f()
		if err != nil {
			d.t.Fatal(err)
		}
		fmt.Fprintln(out, pretty(v))
	}
}

// secrets is what no log may hold, of all nodes.
func (n *Net) secrets() []string {
	out := []string{"cust-"} // what every row's identifier begins with
	for _, d := range n.nodes {
		out = append(out, d.secrets()...)
	}
	return out
}

// secrets are this node's keys, as they stand in its files and as bytes, and the
// tokens of its API.
func (d *Node) secrets() (out []string) {
	d.mu.Lock()
	for _, token := range d.tokens {
		out = append(out, token)
	}
	d.mu.Unlock()
	for _, name := range []string{"identity.pem", "node.pem"} {
		b, err := os.ReadFile(filepath.Join(d.Home, name))
		if err != nil {
			d.t.Fatal(err)
		}
		found := false
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			if !strings.Contains(block.Type, "PRIVATE KEY") {
				continue
			}
			found = true
			text := strings.Split(strings.TrimSpace(string(pem.EncodeToMemory(block))), "\n")
			key := d.private(block.Bytes)
			// The first bytes of a key's encoding are the same in every key.
			out = append(out, text[1][len(text[1])-24:], hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), string(key))
		}
		if !found {
			d.t.Fatalf("%s of %s holds no private key", name, d.Name)
		}
	}
	return out
}

// private returns the bytes of a private key that nobody else may know.
func (d *Node) private(der []byte) []byte {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		d.t.Fatal(err)
	}
	switch k := k.(type) {
	case ed25519.PrivateKey:
		return k.Seed()
	case *ecdsa.PrivateKey:
		b, err := k.Bytes()
		if err != nil {
			d.t.Fatal(err)
		}
		return b
	}
	d.t.Fatalf("%s has a key of type %T", d.Name, k)
	return nil
}

// reveals looks for secrets in the node's log.
func (d *Node) reveals(t *testing.T, secrets []string) {
	t.Helper()
	text := d.Log()
	for _, s := range secrets {
		if bytes.Contains(text, []byte(s)) {
			t.Errorf("the log of %s holds %s", d.Name, masked(s))
		}
	}
}

func masked(s string) string { return fmt.Sprintf("%.4q... (%d bytes)", s, len(s)) }
