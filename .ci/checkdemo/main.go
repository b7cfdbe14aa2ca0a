// Command checkdemo reads the JSON that make demo prints and exits with 1 unless
// the federation beat the bank alone and came near the pooled plaintext.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

type summary struct {
	Metrics   map[string]struct{ AUC, KS float64 }
	Baselines []struct {
		Name    string
		Metrics map[string]struct{ AUC, KS float64 }
	}
	Steps []struct {
		Name    string
		Seconds float64
		Sent    int64 `json:"bytes_sent"`
	}
	Learned map[string][]any
	Report  string
}

func main() {
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "checkdemo:", err)
		os.Exit(1)
	}
}

func check(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s summary
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%s is no result: %w", file, err)
	}
	if len(s.Baselines) != 2 || len(s.Steps) != 4 || len(s.Learned) != 2 {
		return fmt.Errorf("want 2 baselines, 4 steps, 2 accounts; got %d, %d, %d", len(s.Baselines), len(s.Steps), len(s.Learned))
	}
	fed, alone, pooled := s.Metrics["test"].AUC, s.Baselines[0].Metrics["test"].AUC, s.Baselines[1].Metrics["test"].AUC
	total := 0.0
	for _, st := range s.Steps {
		total += st.Seconds
		if st.Name != "split" && st.Sent == 0 {
			return fmt.Errorf("step %s moved nothing", st.Name)
		}
	}
	fmt.Printf("test AUC: alone %.4f, federation %.4f, pooled %.4f; steps took %.1f s\n", alone, fed, pooled, total)
	switch {
	case fed < alone+0.01:
		return fmt.Errorf("the federation (%.4f) is not visibly better than the bank alone (%.4f)", fed, alone)
	case fed < pooled-0.01:
		return fmt.Errorf("the federation (%.4f) is not near the pooled plaintext (%.4f)", fed, pooled)
	case total > 60:
		return fmt.Errorf("the steps took %.1f s, they may take 60", total)
	}
	_, err = os.Stat(s.Report)
	return err
}
