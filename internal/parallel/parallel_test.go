package parallel

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
)

func TestForCallsEachIndexOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 1000} {
		seen := make([]atomic.Int32, n)
		if err := For(t.Context(), n, func(i int) error { seen[i].Add(1); return nil }); err != nil {
			t.Fatal(err)
		}
		for i := range seen {
			if seen[i].Load() != 1 {
				t.Errorf("n = %d: index %d was called %d times", n, i, seen[i].Load())
			}
		}
	}
}

func TestForStopsAtAnError(t *testing.T) {
	mine := errors.New("mine")
	var calls atomic.Int64
	const n = 1 << 20
	err := For(t.Context(), n, func(i int) error {
		calls.Add(1)
		if i == 5 {
			return mine
		}
		return nil
	})
	if !errors.Is(err, mine) || calls.Load() == n {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestForStopsWithItsContext(t *testing.T) {
	mine := errors.New("mine")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := For(ctx, 1<<20, func(i int) error {
		if i == 3 {
			cancel(mine)
		}
		return nil
	})
	if !errors.Is(err, mine) {
		t.Errorf("%v, want the cause of the end", err)
	}
}

func TestWorkersKeepTheirState(t *testing.T) {
	var sum atomic.Int64
	err := Workers(t.Context(), 100, func() func(int) error {
		own := 0 // not shared: the race detector watches
		return func(i int) error { own += i; sum.Add(int64(i)); _ = own; return nil }
	})
	if err != nil || sum.Load() != 4950 {
		t.Errorf("%v, %d", err, sum.Load())
	}
}

func TestChunks(t *testing.T) {
	n, bounds := Chunks(10, 4)
	lo, hi := bounds(2)
	if n != 3 || lo != 8 || hi != 10 {
		t.Errorf("%d chunks, the last %d to %d", n, lo, hi)
	}
}

// TestLimitIsShared has calls within calls, which take no more goroutines
// together than the limit allows and never wait for one another.
func TestLimitIsShared(t *testing.T) {
	for _, most := range []int{1, 2, 3} {
		var running, peak atomic.Int64
		ctx := WithLimit(t.Context(), most)
		err := For(ctx, 8, func(int) error {
			return For(ctx, 50, func(int) error {
				if n := running.Add(1); n > peak.Load() {
					peak.Store(n)
				}
				for range 1000 {
					runtime.Gosched()
				}
				running.Add(-1)
				return nil
			})
		})
		if err != nil || peak.Load() > int64(most) {
			t.Errorf("limit %d: %d at once, %v", most, peak.Load(), err)
		}
		if l := ctx.Value(limitKey{}); l != nil && l.(*limit).free.Load() != int64(most-1) {
			t.Errorf("limit %d: not all helpers were given back", most)
		}
	}
	if WithLimit(t.Context(), 0) != t.Context() {
		t.Error("0 is a limit")
	}
}
