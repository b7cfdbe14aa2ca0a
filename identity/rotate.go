package identity

import (
	"context"
	"time"
)

// When a node certificate is renewed, and when somebody must be told that it was not.
const (
	RenewLeft = NodeValidity / 3    // renewed when less than this is left
	AlarmLeft = 14 * 24 * time.Hour // alarmed when less than this is left, because renewing has failed for weeks

	lookEvery = time.Hour
)

// Due says what a certificate with these dates needs at now: to be renewed, and
// somebody's attention. One that is not valid yet was made by a clock that has
// been set back since, and is renewed at once.
func Due(notBefore, notAfter, now time.Time) (renew, alarm bool) {
	left := notAfter.Sub(now)
	return left < RenewLeft || now.Before(notBefore), left < AlarmLeft || now.Before(notBefore)
}

// Clock is the time for [KeepFresh].
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the clock of this machine.
type SystemClock struct{}

// Now implements [Clock].
func (SystemClock) Now() time.Time { return time.Now() }

// After implements [Clock].
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Alarm is what [KeepFresh] reports.
type Alarm struct {
	Time     time.Time
	NotAfter time.Time // of the certificate that the node has now
	Renewed  bool      // it is a new one
	Urgent   bool      // it ends soon, or is not valid: somebody must act
	Err      error     // why it was not renewed
}

// KeepFresh renews the node certificate of id whenever it is due, so that a node
// can run for years. It looks at once and then every hour, and calls report each
// time that it renewed or could not. report should return soon. KeepFresh returns
// when ctx ends.
func KeepFresh(ctx context.Context, id *Identity, clock Clock, report func(Alarm)) {
	for {
		if a, something := id.freshen(clock.Now()); something && report != nil {
			report(a)
		}
		select {
		case <-ctx.Done():
			return
		case <-clock.After(lookEvery):
		}
	}
}

// freshen renews the certificate if it is due, and says whether it was.
func (id *Identity) freshen(now time.Time) (Alarm, bool) {
	due, _ := Due(id.NotBefore(), id.NotAfter(), now)
	if !due {
		return Alarm{}, false
	}
	err := id.Renew(now)
	_, urgent := Due(id.NotBefore(), id.NotAfter(), now)
	return Alarm{Time: now, NotAfter: id.NotAfter(), Renewed: err == nil, Urgent: urgent, Err: err}, true
}
