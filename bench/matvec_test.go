package bench

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestMatvecIsRightAndSaysWhatItMeasured(t *testing.T) {
	t.Parallel()
	for _, c := range []MatvecConfig{
		{Rows: 3000, Features: 3, Bins: 8, Queries: 5, Seed: 1},
		{Rows: 1, Features: 1, Bins: 1, Queries: 1, Seed: 2},
	} {
		stages := map[string]bool{}
		r, err := Matvec(t.Context(), c, func(stage string, done, total int) {
			stages[stage] = done == total
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Wrong != 0 || r.Sums != c.Features*c.Bins*c.Queries {
			t.Errorf("%+v: %d of %d sums are wrong", c, r.Wrong, r.Sums)
		}
		for _, s := range []string{"data", "setup", "encrypt", "answer", "open", "plaintext"} {
			if !stages[s] {
				t.Errorf("%+v: stage %q did not end", c, s)
			}
		}
		if r.SetupSeconds <= 0 || r.EncryptSeconds <= 0 || r.AnswerSeconds <= 0 || r.OpenSeconds <= 0 || r.PlaintextSeconds <= 0 || r.Ratio <= 0 {
			t.Errorf("a phase took no time: %+v", r)
		}
		if r.BytesSetup <= 0 || r.BytesQuery < c.Rows*13*((c.Queries+1)/2) || r.BytesAnswer <= 0 {
			t.Errorf("sizes of messages: %+v", r)
		}
		if r.LogDistance > -40 || r.LogFailure > -40 {
			t.Errorf("bounds: %+v", r)
		}
	}
}

// The fields that whoever reads recorded results relies on.
func TestMatvecResultJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(MatvecResult{Bench: "matvec"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"bench":"matvec","rows":0,"features":0,"bins":0,"queries":0,"setup_seconds":0,"encrypt_seconds":0,"answer_seconds":0,"open_seconds":0,` +
		`"bytes_setup":0,"bytes_query":0,"bytes_answer":0,"plaintext_seconds":0,"ratio":0,"wrong":0,"peak_rss_bytes":0`
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("got %s", b)
	}
}

func TestMatvecRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []MatvecConfig{
		{}, {Rows: 10, Features: 1, Bins: 256, Queries: 1}, {Rows: 10, Features: 1, Bins: 0, Queries: 1},
		{Rows: 1 << 27, Features: 1, Bins: 2, Queries: 1}, {Rows: 10, Features: 1, Bins: 2, Queries: -1},
	} {
		if _, err := Matvec(t.Context(), c, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: got %v, want ErrConfig", c, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Matvec(ctx, MatvecConfig{Rows: 10, Features: 1, Bins: 2, Queries: 1}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}
