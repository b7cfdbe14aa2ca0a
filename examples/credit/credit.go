// Package credit makes the data of the credit-default example: a bank that has
// lent and knows who did not pay back, and a telecom operator that serves partly
// the same people. It is for demonstrations and tests. The people are drawn, not
// copied from anyone, so results on them say nothing about a real portfolio.
//
// README.md describes the columns and how a person comes about. In short: a
// few latent traits make a person default, and every column is a noisy, often
// bent measurement of such traits. What a model gains from both sides is that
// they measure the same traits twice; nothing in the columns was made to reward it.
//
// The same [Config] gives the same bytes on every machine: numbers are rounded
// when they are written, far above the last bits in which processors differ.
package credit

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// Config says which population to draw. The zero value stands for the defaults;
// a value out of range is brought to the nearest one in it.
type Config struct {
	Seed         uint64
	Customers    int     // people in all; default 40,000, at least 100, at most 10,000,000
	BankShare    float64 // share of them at the bank; default 0.70, in [0.01, 1]
	TelecomShare float64 // share of them at the telecom; default 0.75, in [0.01, 1]
	DefaultRate  float64 // of all people; default 0.07, in [0.005, 0.5]
}

// Names of the columns that a job has to name.
const (
	BankID    = "customer_id"
	TelecomID = "subscriber"
	Label     = "default"
)

// Names of the files that [WriteCSV] writes.
const (
	BankFile    = "bank.csv"
	TelecomFile = "telecom.csv"
)

// Job is a job specification that fits the data.
//
//go:embed job.yaml
var Job []byte

func within(v, lo, hi, zero float64) float64 {
	if v == 0 || math.IsNaN(v) {
		v = zero
	}
	return min(max(v, lo), hi)
}

func (c Config) withDefaults() Config {
	c.Customers = int(within(float64(c.Customers), 100, 1e7, 40_000))
	c.BankShare = within(c.BankShare, 0.01, 1, 0.70)
	c.TelecomShare = within(c.TelecomShare, 0.01, 1, 0.75)
	c.DefaultRate = within(c.DefaultRate, 0.005, 0.5, 0.07)
	return c
}

// Data is what one institution has: one row a customer, a missing value is the
// empty string.
type Data struct {
	Header []string
	Rows   [][]string
}

// WriteCSV writes the header and the rows, with line feeds.
func (d *Data) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(d.Header); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	if err := out.WriteAll(d.Rows); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// WriteCSV generates and writes bank.csv and telecom.csv into a folder that exists.
func WriteCSV(dir string, c Config) error {
	bank, telecom := Generate(c)
	for _, f := range []struct {
		name string
		data *Data
	}{{BankFile, bank}, {TelecomFile, telecom}} {
		if err := writeFile(filepath.Join(dir, f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, d *Data) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write example data: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write example data: %w", cerr)
		}
	}()
	return d.WriteCSV(f)
}
