package flow

import (
	"context"

	"kontor/fed/ping"
	"kontor/session"
)

var pingComponent = &Component{
	Kind:      "ping",
	Version:   1,
	Doc:       "Exchanges one small message between the guest and each host, to try a consortium out. No data is needed.",
	NoData:    true,
	Discloses: []Disclosure{{To: ToAll, Kind: DiscloseNothing, Text: "that the party's node runs the job"}},
	Run: func(ctx context.Context, e *env) (artifact, error) {
		side := ping.Host
		if e.self.Role == session.Guest {
			side = ping.Guest
		}
		if err := side(ctx, e.session, e.rand); err != nil {
			return nil, err
		}
		e.learned(ping.Learned())
		return nil, nil
	},
}
