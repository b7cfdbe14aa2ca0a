package node

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"kontor/api/rest"
)

func manual(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pythons returns the environments in which a script that needs the package
// cryptography can run here.
func pythons(t *testing.T) [][]string {
	t.Helper()
	if err := exec.Command("python3", "-c", "import sys; sys.exit(sys.version_info < (3, 10))").Run(); err != nil {
		t.Skip("there is no Python 3.10 or later here")
	}
	own, err := filepath.Abs(filepath.Join("testdata", "python"))
	if err != nil {
		t.Fatal(err)
	}
	envs := [][]string{append(os.Environ(), "PYTHONPATH="+own, "PYTHONDONTWRITEBYTECODE=1")}
	if exec.Command("python3", "-c", "import cryptography.hazmat.primitives.asymmetric.ed25519").Run() == nil {
		envs = append(envs, os.Environ())
	}
	return envs
}

// TestTheManualVerifiesManifests runs the script of docs/formats/manifest.md over
// what a job has left, and over what somebody has changed of it.
func TestTheManualVerifiesManifests(t *testing.T) {
	t.Parallel()
	envs := pythons(t)
	script := regexp.MustCompile("(?s)```python\n(.*?)```").FindStringSubmatch(manual(t, "formats/manifest.md"))
	if script == nil {
		t.Fatal("no script found")
	}
	bank, telecom := startLive(t, "bank"), startLive(t, "telecom")
	acquaint(t, bank, telecom)
	telecom.policy(t, "version: 1\nwithout_data:\n  - {name: test, peers: [bank], purposes: [\"*\"], components: [ping], approve: standing}\n")
	j, err := bank.Submit(t.Context(), rest.SubmitRequest{Spec: "job: hello\nparties: {bank: {role: guest}, telecom: {role: host}}\nsteps: [ping]\n", Note: "<ä & \u2028>"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if j = bank.ended(t, j.ID); j.State != rest.Done {
		t.Fatalf("%+v", j)
	}
	peers, err := bank.Peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p := peers.Peers[0]; p.Error != "" || p.Seen.IsZero() {
		t.Errorf("after a job with it the peer is %+v", p)
	}
	manifest, err := bank.Manifest(t.Context(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	var result bytes.Buffer
	if err := bank.File(t.Context(), j.ID, "result.json", &result); err != nil {
		t.Fatal(err)
	}
	run := func(env []string, manifest, result string) (string, error) {
		dir := t.TempDir()
		for name, text := range map[string]string{"verify.py": script[1], "manifest.json": manifest, "result.json": result} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "python3", "verify.py", "manifest.json", "result.json")
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, env := range envs {
		out, err := run(env, string(manifest), result.String())
		if err != nil || !strings.Contains(out, peers.Peers[0].Fingerprint) {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, change := range []struct{ in, from, to string }{
		{"manifest", `"attempts":1`, `"attempts":2`},
		{"manifest", `"consent":"standing"`, `"consent":"person"`},
		{"manifest", `"seq":`, `"seq":1`},
		{"manifest", `"signatures":{"bank":"`, `"signatures":{"bank":"00`},
		{"result", `steps: [ping]`, `steps: [pong]`},
		{"result", `"nonce": "`, `"nonce": "00`},
	} {
		m, r := string(manifest), result.String()
		on := &m
		if change.in == "result" {
			on = &r
		}
		if !strings.Contains(*on, change.from) {
			t.Errorf("%s has no %s", change.in, change.from)
		}
		*on = strings.Replace(*on, change.from, change.to, 1)
		if out, err := run(envs[0], m, r); err == nil {
			t.Errorf("%s for %s in the %s: %s", change.to, change.from, change.in, out)
		}
	}
}

// TestTheManualListsTheMetrics holds docs/operations.md to what the node registers.
func TestTheManualListsTheMetrics(t *testing.T) {
	t.Parallel()
	var registered []string
	descs := make(chan *prometheus.Desc)
	go func() {
		newGauges(&Institution{}).reg.Describe(descs)
		close(descs)
	}()
	desc := regexp.MustCompile(`fqName: "(kontor_\w+)".*variableLabels: \{([^}]*)\}`)
	for d := range descs {
		if m := desc.FindStringSubmatch(d.String()); m != nil {
			registered = append(registered, m[1]+" "+m[2])
		}
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(kontor_\\w+)` \\|([^|]*)\\|").FindAllStringSubmatch(manual(t, "operations.md"), -1) {
		listed = append(listed, m[1]+" "+strings.NewReplacer("`", "", " ", "").Replace(m[2]))
	}
	slices.Sort(registered)
	slices.Sort(listed)
	if len(registered) < 10 || !slices.Equal(registered, listed) {
		t.Errorf("registered:\n%s\nlisted:\n%s", strings.Join(registered, "\n"), strings.Join(listed, "\n"))
	}
}
