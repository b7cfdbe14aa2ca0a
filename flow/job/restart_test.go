package job_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"kontor/flow/job"
)

// before runs f before telecom is first asked method for step "two".
func (n *network) before(method string, f func(from string, body []byte) error) {
	var asked atomic.Bool
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ask = func(from, to, m string, body []byte) ([]byte, error) {
		if to != "telecom" || m != method || !bytes.Contains(body, []byte(`"two"`)) || asked.Swap(true) {
			return nil, nil
		}
		return nil, f(from, body)
	}
}

// TestANonceSurvivesARestart loses a host's answer to begin with the host itself:
// the guest asks for the same attempt again, and it is one.
func TestANonceSurvivesARestart(t *testing.T) {
	n := newNetwork(t, three...)
	n.before("job/begin", func(from string, body []byte) error {
		if _, err := n.nodes["telecom"].Answer(context.Background(), from, "job/begin", body); err != nil {
			t.Error(err)
		}
		n.halt("telecom")
		n.start("telecom")
		return away("telecom")
	})
	for _, s := range n.agree(n.submit(spec)).Steps {
		if s.State != job.StepDone || s.Name == "two" && s.Attempt != 1 { // others ran when it was halted
			t.Errorf("step %s is %s at attempt %d", s.Name, s.State, s.Attempt)
		}
	}
}

// TestReuseSurvivesARestart restarts a host between the question whether it can
// reuse a step and the word that it is reused.
func TestReuseSurvivesARestart(t *testing.T) {
	n := newNetwork(t, three...)
	n.agree(n.submit(spec))
	n.before("job/commit", func(string, []byte) error {
		n.halt("telecom")
		n.start("telecom")
		return nil
	})
	for _, s := range n.agree(n.submit(spec)).Steps {
		if s.State != job.StepReused {
			t.Errorf("step %s is %s", s.Name, s.State)
		}
	}
}
