package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"kontor/api/rest"
	"kontor/audit"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/store"
)

// TestNodeScripts holds the commands to a node's API that a fake serves: what a
// user types and what comes back.
func TestNodeScripts(t *testing.T) {
	type key struct{}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/node",
		Setup: func(env *testscript.Env) error {
			f, url, secrets, stop, err := startFake()
			if err != nil {
				return err
			}
			env.Defer(stop)
			env.Values[key{}] = f
			env.Setenv("KONTOR_API", url)
			for role, secret := range secrets {
				env.Setenv(strings.ToUpper(string(role)), secret)
			}
			env.Setenv("KONTOR_TOKEN", secrets[rest.Admin])
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"gen":      genData,
			"exitcode": exitCode,
			"jsonhas":  jsonHas,
			"oneline":  oneLine,
			"empty":    emptyDir,
			"words":    words,
			"export":   exportAccount,
			"sick": func(ts *testscript.TestScript, neg bool, _ []string) {
				f := ts.Value(key{}).(*fakeNode)
				defer f.lock()()
				f.sick, f.broken = true, true
			},
		},
	})
}

// exportAccount writes the exported account of a node with three entries, and puts
// the words of its key into $WORDS and its fingerprint into $FINGERPRINT: export FILE
func exportAccount(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs("account")
	id, err := identity.Create(filepath.Join(dir, "home"), "shop", time.Now())
	ts.Check(err)
	db, err := store.Open(dir)
	ts.Check(err)
	log, err := audit.Open(db, id)
	ts.Check(err)
	ctx := context.Background()
	for _, action := range []string{"job.submit", "job.approve", "job.end"} {
		ts.Check(db.Write(ctx, func(t *store.Tx) error {
			return log.Append(t, audit.Event{Time: day, Actor: "alice", Action: action, Object: "job 1"})
		}))
	}
	var b bytes.Buffer
	ts.Check(log.Export(ctx, &b, 0, 0))
	ts.Check(db.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o600))
	ts.Setenv("WORDS", id.Words())
	ts.Setenv("FINGERPRINT", id.Fingerprint())
}

// TestWordsAreAskedFor types what a peer reads out.
func TestWordsAreAskedFor(t *testing.T) {
	id, err := identity.Create(t.TempDir(), "telecom", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := id.Invite("", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	inv, err := identity.ParseInvitation(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		typed string
		kind  fault.Kind
	}{
		"words":       {inv.Words() + "\n", 0},
		"fingerprint": {inv.Fingerprint() + "\n", 0},
		"third time":  {"a b c\n\n" + strings.ToUpper(inv.Words()) + "\n", 0},
		"never":       {"a\nb\nc\n" + inv.Words() + "\n", fault.Trust},
		"end":         {"", fault.Cancelled},
	} {
		var shown bytes.Buffer
		got, err := promptWords(strings.NewReader(c.typed), &shown, inv)
		if c.kind == 0 && (err != nil || !identity.MatchFingerprint(got, inv.Key)) || c.kind != 0 && fault.KindOf(err) != c.kind {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if strings.Contains(shown.String(), inv.Words()) || strings.Contains(shown.String(), inv.Fingerprint()) {
			t.Errorf("%s: the words are shown to the person who is to hear them: %q", name, shown.String())
		}
	}
}
