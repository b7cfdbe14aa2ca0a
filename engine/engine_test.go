package engine

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
)

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestMap(t *testing.T) {
	t.Parallel()
	got, err := Map(t.Context(), upTo(1000), func(_ context.Context, i int) (int, error) { return 2 * i, nil })
	if err != nil || len(got) != 1000 {
		t.Fatal(len(got), err)
	}
	for i, v := range got {
		if v != 2*i {
			t.Fatalf("result %d is %d", i, v)
		}
	}
	if got, err := Map(t.Context(), nil, func(context.Context, int) (int, error) { return 0, nil }); err != nil || len(got) != 0 {
		t.Error(got, err)
	}
	bad := errors.New("bad")
	if got, err := Map(t.Context(), upTo(9), func(_ context.Context, i int) (int, error) {
		if i == 5 {
			return 0, bad
		}
		return i, nil
	}); !errors.Is(err, bad) || got != nil {
		t.Error(got, err)
	}
}

// TestReduceIsOrdered joins by something that does not commute, while the first
// part is the last to be done: the others have to wait, and few of them are held.
func TestReduceIsOrdered(t *testing.T) {
	t.Parallel()
	const n = 500
	var done atomic.Int64
	several := runtime.GOMAXPROCS(0) > 1
	got, err := Reduce(t.Context(), upTo(n), func(_ context.Context, i int) ([]int, error) {
		for i == 0 && several && done.Load() < int64(runtime.GOMAXPROCS(0)) {
			runtime.Gosched()
		}
		done.Add(1)
		return []int{i}, nil
	}, func(sum, next []int) ([]int, error) { return append(sum, next...), nil })
	if err != nil || len(got) != n {
		t.Fatal(len(got), err)
	}
	for i, v := range got {
		if v != i {
			t.Fatalf("place %d has %d", i, v)
		}
	}
}

// TestReduceHoldsFewResults blocks the first part until the others can do no more.
func TestReduceHoldsFewResults(t *testing.T) {
	t.Parallel()
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one core does one part after the other")
	}
	window := int64(2 * runtime.GOMAXPROCS(0))
	var begun atomic.Int64
	// The others stop in put at the latest when all cores hold a result beyond the window.
	_, err := Reduce(t.Context(), upTo(1000), func(_ context.Context, i int) (int, error) {
		if i == 0 {
			for begun.Load() < window {
				runtime.Gosched()
			}
			if b := begun.Load(); b > window+int64(runtime.GOMAXPROCS(0)) {
				t.Errorf("%d parts were begun while the first was not done", b)
			}
			return 0, nil
		}
		begun.Add(1)
		return i, nil
	}, func(a, b int) (int, error) { return a + b, nil })
	if err != nil {
		t.Error(err)
	}
}

func TestReduceEndsAtAnError(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	id := func(_ context.Context, i int) (int, error) { return i, nil }
	add := func(a, b int) (int, error) { return a + b, nil }
	if _, err := Reduce(t.Context(), nil, id, add); !errors.Is(err, ErrNothing) {
		t.Errorf("no parts: %v", err)
	}
	if _, err := Reduce(t.Context(), upTo(100), id, func(int, int) (int, error) { return 0, bad }); !errors.Is(err, bad) {
		t.Errorf("merge: %v", err)
	}
	if _, err := Reduce(t.Context(), upTo(100), func(_ context.Context, i int) (int, error) {
		if i == 0 {
			return 0, bad // others may be waiting for it
		}
		return i, nil
	}, add); !errors.Is(err, bad) {
		t.Errorf("first part: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Reduce(ctx, upTo(100), func(ctx context.Context, i int) (int, error) {
		cancel()
		return i, ctx.Err()
	}, add); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
