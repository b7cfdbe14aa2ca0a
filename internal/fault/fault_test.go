package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func TestKindsHaveNamesAndExitCodesOfTheirOwn(t *testing.T) {
	names, codes := map[string]bool{}, map[int]bool{}
	for k := Internal; k <= Cancelled; k++ {
		if names[k.String()] || codes[k.ExitCode()] || k.ExitCode() == 0 || strings.Contains(k.String(), "(") {
			t.Errorf("kind %d: name %q, exit code %d", k, k, k.ExitCode())
		}
		names[k.String()], codes[k.ExitCode()] = true, true
		if KindOfExit(k.ExitCode()) != k {
			t.Errorf("exit code %d reads as %v, not %v", k.ExitCode(), KindOfExit(k.ExitCode()), k)
		}
		if kind, text := Public(New(k, "secret", "")); kind != k.String() || text == "" || strings.Contains(text, "secret") {
			t.Errorf("public form of %v: %q, %q", k, kind, text)
		}
	}
	if Kind(99).ExitCode() != 1 || Kind(-1).String() == "" || KindOfExit(77) != Internal {
		t.Error("kinds out of range must read as internal")
	}
}

func TestErrorIsOneLine(t *testing.T) {
	err := At(fmt.Errorf("doing: %w", Wrap(Data, errors.New("line one\nline two"), "bad\tcell", "mend it")), "bank", "align")
	if got, want := err.Error(), "party bank, step align: bad cell: line one line two; mend it"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if KindOf(err) != Data || !errors.As(err, new(*Error)) {
		t.Errorf("kind %v", KindOf(err))
	}
	again := At(err, "telecom", "boost")
	if again.Error() != err.Error() {
		t.Errorf("party and step of a fault are set once: %q", again)
	}
}

func TestAtKeepsCauses(t *testing.T) {
	if At(nil, "a", "b") != nil {
		t.Error("no error became one")
	}
	if err := At(io.ErrUnexpectedEOF, "bank", ""); KindOf(err) != Internal || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if err := At(fmt.Errorf("x: %w", context.Canceled), "bank", "align"); KindOf(err) != Cancelled {
		t.Errorf("%v", err)
	}
	if KindOf(context.Canceled) != Cancelled || KindOf(io.EOF) != Internal {
		t.Error("kinds of plain errors")
	}
}

// TestExitCodesAreDocumented holds docs/errors.md to the kinds that there are.
func TestExitCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for k := Internal; k <= Cancelled; k++ {
		if row := fmt.Sprintf("| %d | `%s` |", k.ExitCode(), k); !strings.Contains(string(b), row) {
			t.Errorf("docs/errors.md has no row %s", row)
		}
	}
}
