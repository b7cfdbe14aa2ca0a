package parallel

import (
	"context"
	"runtime"
	"sync/atomic"
)

type limitKey struct{}

// limit is a number of cores that all calls under one context share. Whoever
// calls [For] works itself and needs none of them; helpers take what is free, so
// that calls within calls never wait for one another.
type limit struct{ free atomic.Int64 }

// WithLimit returns a context under which [For] and [Workers] together use at
// most n-1 goroutines besides their callers. A limit within a limit counts
// alone. n below 1 is no limit.
func WithLimit(ctx context.Context, n int) context.Context {
	if n < 1 {
		return ctx
	}
	l := &limit{}
	l.free.Store(int64(n - 1))
	return context.WithValue(ctx, limitKey{}, l)
}

// helpers returns how many goroutines besides the caller may work on n indexes,
// and a function that gives them back.
func helpers(ctx context.Context, n int) (int, func()) {
	want := min(runtime.GOMAXPROCS(0), n) - 1
	l, _ := ctx.Value(limitKey{}).(*limit)
	if l == nil || want <= 0 {
		return max(want, 0), func() {}
	}
	for {
		free := l.free.Load()
		got := min(int64(want), free)
		if got <= 0 {
			return 0, func() {}
		}
		if l.free.CompareAndSwap(free, free-got) {
			return int(got), func() { l.free.Add(got) }
		}
	}
}
