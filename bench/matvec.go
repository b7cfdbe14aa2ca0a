// Package bench measures the pieces of the product on the machine it runs on and
// returns figures with a stable JSON form. `kontor bench` prints them. It is not
// for tests of correctness, though every measurement checks its own results.
//
// # Specification
//
// A measurement makes its own inputs from a seed, runs one batch through the
// real code with every message in its encoding, times each phase by the wall
// clock, and measures the same computation in the clear in the same run. Times
// are in seconds, sizes in bytes.
package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"time"

	"kontor/internal/parallel"
	"kontor/matvec"
)

// DefaultMeanBits is the resolution of the vectors that [Matvec] makes: entries
// of magnitude up to 2^4.
const DefaultMeanBits = 4

// ErrConfig says that a measurement was asked for something it cannot make.
var ErrConfig = errors.New("bench: unusable configuration")

// MatvecConfig says what [Matvec] measures: a table of Rows rows and Features
// features of Bins bins each, and one batch of Queries vectors.
type MatvecConfig struct {
	Rows, Features, Bins, Queries int
	Seed                          uint64
}

// MatvecResult is a measurement of the matrix-vector kernel. Encrypt, answer and
// open include encoding what they send and decoding what they get.
type MatvecResult struct {
	Bench             string  `json:"bench"`
	Rows              int     `json:"rows"`
	Features          int     `json:"features"`
	Bins              int     `json:"bins"`
	Queries           int     `json:"queries"`
	SetupSeconds      float64 `json:"setup_seconds"`   // both parties' work before the first query
	EncryptSeconds    float64 `json:"encrypt_seconds"` // the whole batch
	AnswerSeconds     float64 `json:"answer_seconds"`
	OpenSeconds       float64 `json:"open_seconds"`
	BytesSetup        int     `json:"bytes_setup"`
	BytesQuery        int     `json:"bytes_query"`
	BytesAnswer       int     `json:"bytes_answer"`
	PlaintextSeconds  float64 `json:"plaintext_seconds"` // the same sums in the clear, best of several
	Ratio             float64 `json:"ratio"`             // encrypt + answer + open to plaintext
	Wrong             int     `json:"wrong"`             // sums that differ from the plaintext
	PeakRSSBytes      int64   `json:"peak_rss_bytes"`    // of the process so far; 0 where the system does not say
	Sums              int     `json:"sums"`
	PayloadBits       int     `json:"payload_bits"`
	PerWord           int     `json:"per_word"`
	HintBits          int     `json:"hint_bits"`
	LogDistance       float64 `json:"log2_distance"`
	LogFailure        float64 `json:"log2_failure"`
	EncryptNanosecond float64 `json:"encrypt_ns_per_row_query"`
}

// Matvec measures one batch of queries against one hint, both parties in this
// process on all of its cores, one after the other. progress, if not nil, is told
// the stage and how far it is.
func Matvec(ctx context.Context, c MatvecConfig, progress func(stage string, done, total int)) (MatvecResult, error) {
	if progress == nil {
		progress = func(string, int, int) {}
	}
	if c.Bins < 1 || c.Bins > matvec.Missing || c.Features < 1 || c.Rows < 1 || c.Queries < 1 {
		return MatvecResult{}, fmt.Errorf("%w: rows, features and queries must be at least 1, bins from 1 to %d", ErrConfig, matvec.Missing)
	}
	params, err := matvec.Plan(matvec.Spec{
		Rows: c.Rows, Features: c.Features, Bins: c.Features * c.Bins,
		Queries: c.Queries + c.Queries&1, MeanBits: DefaultMeanBits,
	})
	if err != nil {
		return MatvecResult{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	b := &matvecRun{
		p: params,
		r: MatvecResult{
			Bench: "matvec", Rows: c.Rows, Features: c.Features, Bins: c.Bins, Queries: c.Queries,
			Sums: c.Features * c.Bins * c.Queries, PayloadBits: params.PayloadBits(), PerWord: params.PerWord(),
			HintBits: params.HintBits(), LogDistance: params.LogDistance(), LogFailure: params.LogFailure(),
		},
	}
	progress("data", 0, 1)
	if err := b.makeData(ctx, c); err != nil {
		return MatvecResult{}, err
	}
	progress("data", 1, 1)
	if err := b.run(ctx, c, progress); err != nil {
		return MatvecResult{}, fmt.Errorf("measuring matvec: %w", err)
	}
	return b.r, nil
}

type matvecRun struct {
	p matvec.Params
	m matvec.OneHot
	v [][]int64
	r MatvecResult
}

// makeData draws a matrix and vectors, each column from a stream of its own.
func (b *matvecRun) makeData(ctx context.Context, c MatvecConfig) error {
	b.m = matvec.OneHot{Rows: c.Rows, Bins: make([]int, c.Features), Index: make([][]uint8, c.Features)}
	err := parallel.For(ctx, c.Features, func(f int) error {
		rng := mathrand.New(mathrand.NewPCG(c.Seed, uint64(f)))
		col := make([]uint8, c.Rows)
		for i := range col {
			col[i] = uint8(rng.IntN(c.Bins))
		}
		b.m.Bins[f], b.m.Index[f] = c.Bins, col
		return nil
	})
	if err != nil {
		return err
	}
	b.v = make([][]int64, c.Queries)
	return parallel.For(ctx, c.Queries, func(t int) error {
		rng := mathrand.New(mathrand.NewPCG(c.Seed, 1<<32+uint64(t)))
		const most = 1 << DefaultMeanBits
		b.v[t] = make([]int64, c.Rows)
		for i := range b.v[t] {
			b.v[t][i] = rng.Int64N(2*most+1) - most
		}
		return nil
	})
}

// stopwatch returns the seconds since it was last asked.
func stopwatch() func() float64 {
	last := time.Now()
	return func() float64 {
		now := time.Now()
		defer func() { last = now }()
		return now.Sub(last).Seconds()
	}
}

func (b *matvecRun) run(ctx context.Context, c MatvecConfig, progress func(string, int, int)) error {
	r, bins := &b.r, c.Features*c.Bins
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return err
	}
	lap := stopwatch()
	holder, err := matvec.NewHolder(ctx, b.p, seed, b.m, rand.Reader, func(done, total int) { progress("setup", done, total) })
	if err != nil {
		return err
	}
	message, err := holder.Hint().MarshalBinary()
	if err != nil {
		return err
	}
	hint, err := matvec.ParseHint(b.p, bins, message)
	if err != nil {
		return err
	}
	querier, err := matvec.NewQuerier(b.p, seed, rand.Reader)
	if err != nil {
		return err
	}
	r.SetupSeconds, r.BytesSetup = lap(), len(message)

	query, key, err := querier.Encrypt(ctx, b.v)
	if err != nil {
		return err
	}
	defer key.Erase()
	if message, err = query.MarshalBinary(); err != nil {
		return err
	}
	r.EncryptSeconds, r.BytesQuery = lap(), len(message)
	r.EncryptNanosecond = r.EncryptSeconds * 1e9 / (float64(c.Rows) * float64(c.Queries))
	progress("encrypt", 1, 1)

	lap()
	if query, err = matvec.ParseQuery(b.p, c.Queries, message); err != nil {
		return err
	}
	answer, err := holder.Answer(ctx, query)
	if err != nil {
		return err
	}
	if message, err = answer.MarshalBinary(); err != nil {
		return err
	}
	r.AnswerSeconds, r.BytesAnswer = lap(), len(message)
	progress("answer", 1, 1)

	lap()
	if answer, err = matvec.ParseAnswer(b.p, bins, c.Queries, message); err != nil {
		return err
	}
	sums, err := key.Open(ctx, hint, answer)
	if err != nil {
		return err
	}
	r.OpenSeconds = lap()
	progress("open", 1, 1)
	r.PeakRSSBytes = peakRSS()
	return b.compare(ctx, sums, progress)
}

// compare measures the sums in the clear and counts the differences. The vectors
// are laid side by side before the clock starts, and the best of several runs
// counts: both favour the plaintext.
func (b *matvecRun) compare(ctx context.Context, sums [][]int64, progress func(string, int, int)) error {
	lanes := len(b.v)
	rows := make([]uint64, b.m.Rows*lanes)
	for t, v := range b.v {
		for i, x := range v {
			rows[i*lanes+t] = uint64(x)
		}
	}
	const tries = 5
	h, err := b.m.Prepare()
	if err != nil {
		return err
	}
	var plain []uint64
	for try := range tries {
		lap := stopwatch()
		if plain, err = h.Histogram(ctx, lanes, rows); err != nil {
			return err
		}
		if s := lap(); try == 0 || s < b.r.PlaintextSeconds {
			b.r.PlaintextSeconds = s
		}
		progress("plaintext", try+1, tries)
	}
	for t := range sums {
		for i, got := range sums[t] {
			if got != int64(plain[i*lanes+t]) {
				b.r.Wrong++
			}
		}
	}
	b.r.Ratio = (b.r.EncryptSeconds + b.r.AnswerSeconds + b.r.OpenSeconds) / b.r.PlaintextSeconds
	return nil
}

// peakRSS reads the most memory that the process has held, 0 if the system does
// not keep it in /proc.
func peakRSS() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				kb, _ := strconv.ParseInt(string(f[0]), 10, 64)
				return kb << 10
			}
		}
	}
	return 0
}
