package node

import (
	"testing"
)

// TestAJobWithoutData runs a step that reads nothing, over real connections.
func TestAJobWithoutData(t *testing.T) {
	t.Parallel()
	spec := parse(t, "job: hello\nparties: {bank: {role: guest}, telecom: {role: host}}\nsteps: [ping, {ping: {as: again}}]\n")
	sum, err := Simulation{Spec: spec}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Steps) != 2 || sum.Steps[1].Name != "again" || sum.Steps[0].Sent == 0 || len(sum.Metrics) != 0 {
		t.Errorf("%+v", sum)
	}
}
