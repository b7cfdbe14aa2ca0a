// Package report writes what a job came to as one HTML page for people who
// decide about models: how well it ranks, whether its probabilities hold, what it
// looks at, what it cost, what moved between the parties and what each of them
// learned. The page is a single file without scripts and without anything to
// load: it opens offline, prints, and follows the reader's light or dark scheme.
// Machines read result.json instead, not this page.
//
// A [Report] is plain data, in any part of which things may be missing: a
// section without data is left out, a number that is not finite shows as a dash.
// Every text is escaped. The same report gives the same bytes.
//
// An evaluation of few rows can give away single rows (see package metric). The
// page is made for the party that holds the labels.
package report

import "kontor/fed/metric"

// Report is what the page shows.
type Report struct {
	Job       string
	Generated string // when, as it is to be read; the package reads no clock
	Version   string // of Kontor
	Parties   []Party
	Joined    int      // rows that the parties have in common; 0 where not known
	Columns   []Column // those that the reader may see

	Sets       []Set // the one named "test" makes the headline, else the last
	Comparison []Row // the first is the baseline that differences are taken to
	Importance []Importance
	History    History

	Steps    []Step
	Learned  []Learned
	Traffic  []Traffic
	Security []string
	Warnings []string
	Params   [][2]string // name and value
}

// Party is an institution in the job.
type Party struct {
	Name, Role string
	Rows       int      // of its table, 0 where not known
	Columns    int      // features, 0 where not known
	Missing    *float64 // share of the values of its features, nil where not known
	Note       string   // such as the fingerprint of its key
}

// Column is one feature as its owner describes it.
type Column struct {
	Owner, Name, Type string
	Missing           float64 // share of rows without a value
}

// Set is the evaluation of one part of the rows.
type Set struct {
	Name string // "train", "valid", "test"
	Eval *metric.Evaluation
}

// Row is one model of a comparison, measured on the headline's rows.
type Row struct {
	Name    string
	AUC, KS float64
	Note    string
}

// Importance is what one feature added to the model.
type Importance struct {
	Owner, Feature string  // a host's feature bears a number where its name is not known
	Gain           float64 // sum of the gains of its splits, at least 0
	Splits         int
}

// History is the log-loss after each tree grown.
type History struct {
	Train, Valid []float64 // nats a row; Valid may be empty
	Best         int       // trees kept; 0 where not known
}

// Step is a step of the job and its cost.
type Step struct {
	Name, Kind string
	Seconds    float64
	BytesSent  map[string]int64 // by party
	Rounds     int
}

// Learned is what a party learned from a step beyond its own input.
type Learned struct {
	Party, Step string
	Facts       []string // sentences
}

// Traffic is the messages of one kind in one direction.
type Traffic struct {
	From, To, Step, Tag string
	Messages, Bytes     int64
}
