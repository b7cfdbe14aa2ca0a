package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"kontor/identity"
	"kontor/table"
)

func TestMain(m *testing.M) {
	// What these tests wait for is mostly other processes' silence, not this
	// machine's cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"kontor": main, "kontor-victim": victim})
}

// The scripts under testdata are the command line's contract: what a user types
// and what comes back, for every fault that docs/errors.md lists.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"gen":         genData,
			"exitcode":    exitCode,
			"jsonhas":     jsonHas,
			"oneline":     oneLine,
			"empty":       emptyDir,
			"portinuse":   portInUse,
			"toparquet":   toParquet,
			"fingerprint": fingerprint,
			"words":       words,
			"wait-for":    waitFor,
		},
	})
}

// genData writes guest.csv and host.csv with N joint customers: gen N [FOLDER].
func genData(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	dir := "."
	if len(args) > 1 {
		dir = args[1]
		ts.Check(os.MkdirAll(ts.MkAbs(dir), 0o755))
	}
	writeSample(ts.MkAbs(dir), n, ts.Check)
}

func writeSample(dir string, n int, check func(error)) {
	rng := rand.New(rand.NewPCG(1, 2))
	var guest, host strings.Builder
	guest.WriteString("id,y,income,age\n")
	host.WriteString("id,bill,late\n")
	for i := range n {
		risk := rng.NormFloat64()
		y := 0
		if risk+rng.NormFloat64()*0.5 > 0.8 {
			y = 1
		}
		fmt.Fprintf(&guest, "c%05d,%d,%.3f,%d\n", i, y, rng.NormFloat64()-risk*0.3, 20+rng.IntN(50))
		fmt.Fprintf(&host, "c%05d,%.3f,%d\n", i, rng.NormFloat64()+risk, rng.IntN(6))
	}
	for i := range n / 5 { // customers of one side only
		fmt.Fprintf(&guest, "g%05d,0,0.5,30\n", i)
		fmt.Fprintf(&host, "h%05d,0.5,1\n", i)
	}
	check(os.WriteFile(dir+"/guest.csv", []byte(guest.String()), 0o644))
	check(os.WriteFile(dir+"/host.csv", []byte(host.String()), 0o644))
	check(os.WriteFile(dir+"/job.yaml", []byte(sampleJob), 0o644))
}

const sampleJob = `job: sample
parties:
  bank:    {role: guest, id: id, label: y}
  telecom: {role: host, id: id}
steps:
  - align:
  - split: {test: 0.3}
  - boost: {trees: 5, depth: 3}
  - evaluate:
`

// exitCode runs a command that must end with a code: exitcode N COMMAND ARGS...
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// jsonHas checks that standard output is one JSON object with a value at each
// path: jsonhas metrics.test.auc learned.bank
func jsonHas(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, path := range args {
		at := v
		for _, key := range strings.Split(path, ".") {
			switch x := at.(type) {
			case map[string]any:
				at = x[key]
			case []any:
				i, err := strconv.Atoi(key)
				if err != nil || i >= len(x) {
					ts.Fatalf("%s: no element %s", path, key)
				}
				at = x[i]
			default:
				at = nil
			}
		}
		if at == nil {
			ts.Fatalf("the JSON has nothing at %s", path)
		}
	}
}

// oneLine checks that the last command's error was one line and names what it must.
func oneLine(ts *testscript.TestScript, neg bool, args []string) {
	var lines []string
	for _, l := range strings.Split(strings.TrimSpace(ts.ReadFile("stderr")), "\n") {
		if strings.HasPrefix(l, "kontor: ") {
			lines = append(lines, l)
		}
	}
	if len(lines) != 1 {
		ts.Fatalf("%d lines of error, want one", len(lines))
	}
	for _, want := range args {
		if !strings.Contains(lines[0], want) {
			ts.Fatalf("%q does not name %q", lines[0], want)
		}
	}
}

// emptyDir checks that a folder is absent or empty, hidden files included.
func emptyDir(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		entries, err := os.ReadDir(ts.MkAbs(dir))
		if err == nil && len(entries) > 0 {
			ts.Fatalf("%s has %d entries, the first is %s", dir, len(entries), entries[0].Name())
		}
	}
}

// portInUse runs a command that must end with a code, with the address of a
// port that is taken as its last argument.
func portInUse(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	exitCode(ts, false, append(args, l.Addr().String()))
	oneLine(ts, false, []string{"party bank", l.Addr().String(), "choose another address"})
}

// fingerprint puts the fingerprint of an invitation into $FINGERPRINT, as a
// phone call would.
func fingerprint(ts *testscript.TestScript, neg bool, args []string) {
	inv, err := identity.ParseInvitation(ts.ReadFile(args[0]))
	ts.Check(err)
	ts.Setenv("FINGERPRINT", inv.Fingerprint())
}

// waitFor waits until a file is there.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

// words puts the words of an invitation into $WORDS.
func words(ts *testscript.TestScript, neg bool, args []string) {
	inv, err := identity.ParseInvitation(ts.ReadFile(args[0]))
	ts.Check(err)
	ts.Setenv("WORDS", inv.Words())
}

// toParquet writes a CSV file as Parquet: toparquet IN.csv OUT.parquet
func toParquet(ts *testscript.TestScript, neg bool, args []string) {
	t, err := table.Read(context.Background(), ts.MkAbs(args[0]), table.Options{})
	ts.Check(err)
	w, err := table.Create(ts.MkAbs(args[1]), t.Schema())
	ts.Check(err)
	ts.Check(w.Write(t))
	ts.Check(w.Close())
}
