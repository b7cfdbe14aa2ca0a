package rest

import (
	"encoding/json"
	"time"
)

// Node says what this node is and who is asking.
type Node struct {
	Name         string    `json:"name" doc:"Name of the institution"`
	Version      string    `json:"version" doc:"Version of the software"`
	Fingerprint  string    `json:"fingerprint" doc:"Fingerprint of the identity key, hexadecimal"`
	Words        string    `json:"words" doc:"The same fingerprint as words to compare by phone"`
	Listen       string    `json:"listen,omitempty" doc:"Address that takes peers' connections; empty where none are taken"`
	API          string    `json:"api,omitempty" doc:"Base address of this API; empty where no server runs"`
	CertExpires  time.Time `json:"certificate_expires" doc:"When the certificate in use ends; it is renewed before"`
	Started      time.Time `json:"started,omitzero" doc:"When the node was started; absent where it does not run"`
	Running      bool      `json:"running" doc:"Whether the node takes part in jobs now; false where only its folder was opened"`
	Capabilities []string  `json:"capabilities" doc:"Steps and protocols it can take part in, each with a version"`
	Home         string    `json:"home" doc:"Folder of the node on its machine"`
	You          Identity  `json:"you" doc:"The token that asked"`
}

// Check is one finding of the doctor.
type Check struct {
	Name    string `json:"name" doc:"What was looked at, such as disk, clock or peer bank"`
	OK      bool   `json:"ok" doc:"Whether it works"`
	Warning bool   `json:"warning,omitempty" doc:"Works now, but needs attention"`
	What    string `json:"what" doc:"What was found"`
	Cause   string `json:"cause,omitempty" doc:"Why it is so, as far as can be told"`
	Cure    string `json:"cure,omitempty" doc:"What to do"`
	Detail  string `json:"detail,omitempty" doc:"Figures: latency, bandwidth, dates"`
}

// Diagnosis is what the doctor found.
type Diagnosis struct {
	OK     bool    `json:"ok" doc:"Whether no check failed; warnings do not count"`
	Checks []Check `json:"checks"`
}

// Peer is an institution that this node trusts.
type Peer struct {
	Name         string    `json:"name"`
	Address      string    `json:"address,omitempty" doc:"Where it takes connections; empty where it only dials out"`
	Fingerprint  string    `json:"fingerprint" doc:"Hexadecimal"`
	Words        string    `json:"words" doc:"The fingerprint as words"`
	Added        time.Time `json:"added,omitzero"`
	Route        string    `json:"route,omitempty" enum:"direct,reverse,relay,none" doc:"How it is reached"`
	Seen         time.Time `json:"seen,omitzero" doc:"When it last answered"`
	Version      string    `json:"version,omitempty" doc:"Its software as it said when last seen"`
	Capabilities []string  `json:"capabilities,omitempty"`
	CertExpires  time.Time `json:"certificate_expires,omitzero"`
	Error        string    `json:"error,omitempty" doc:"Why the last attempt to reach it failed"`
}

// Peers is a list of peers.
type Peers struct {
	Peers []Peer `json:"peers"`
}

// InviteRequest asks for an invitation to hand to a peer.
type InviteRequest struct {
	Address string `json:"address,omitempty" maxLength:"300" doc:"Where the peer will reach this node, HOST:PORT; by default the advertised address; empty where this node only dials out"`
}

// Invitation is what a peer needs to trust this node.
type Invitation struct {
	Invitation  string `json:"invitation" doc:"Text to hand to the peer"`
	Name        string `json:"name" doc:"Name of this node"`
	Address     string `json:"address,omitempty"`
	Fingerprint string `json:"fingerprint" doc:"To be compared over another channel, hexadecimal"`
	Words       string `json:"words" doc:"The same as words"`
}

// AcceptRequest trusts the institution that an invitation names.
type AcceptRequest struct {
	Invitation  string `json:"invitation" maxLength:"65536" doc:"Text received from the peer"`
	Fingerprint string `json:"fingerprint" maxLength:"1000" doc:"Fingerprint as compared over another channel: hexadecimal or words"`
	Address     string `json:"address,omitempty" maxLength:"300" doc:"Address to use instead of the one in the invitation"`
}

// Column describes one column of a dataset.
type Column struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Missing  int64    `json:"missing" doc:"Rows without a value"`
	Distinct int64    `json:"distinct,omitempty" doc:"Different values; approximate beyond what is counted exactly"`
	Min      string   `json:"min,omitempty" doc:"Smallest value"`
	Max      string   `json:"max,omitempty" doc:"Largest value"`
	Mean     *float64 `json:"mean,omitempty" doc:"Mean of a numeric column"`
}

// DataOptions say how a source is read.
type DataOptions struct {
	ID      string            `json:"id,omitempty" maxLength:"300" doc:"Column that identifies rows across parties"`
	Label   string            `json:"label,omitempty" maxLength:"300" doc:"Column that holds the label, if any"`
	Missing []string          `json:"missing,omitempty" maxItems:"100" doc:"Texts that stand for no value"`
	Types   map[string]string `json:"types,omitempty" doc:"Types of columns where the inferred one is wrong"`
}

// AddData registers a source in the catalogue. One of path, or dsn with query, is given.
type AddData struct {
	Name    string      `json:"name" minLength:"1" maxLength:"64" doc:"Name in the catalogue: a-z, 0-9, - and _"`
	Kind    string      `json:"kind,omitempty" enum:"csv,parquet,folder,postgres,mysql" doc:"By default inferred from path or dsn"`
	Path    string      `json:"path,omitempty" maxLength:"4096" doc:"File or folder on the node's machine"`
	DSN     string      `json:"dsn,omitempty" maxLength:"4096" doc:"Address of a database; ${NAME} takes a value from the node's environment. Never given back in clear"`
	Query   string      `json:"query,omitempty" maxLength:"65536" doc:"The query whose rows are the dataset"`
	Options DataOptions `json:"options,omitzero"`
	Replace bool        `json:"replace,omitempty" doc:"Replace a dataset of the same name"`
}

// Dataset is an entry of the catalogue.
type Dataset struct {
	Name        string      `json:"name"`
	Kind        string      `json:"kind"`
	Path        string      `json:"path,omitempty"`
	DSN         string      `json:"dsn,omitempty" doc:"Address of the database with its secrets masked"`
	Query       string      `json:"query,omitempty"`
	Options     DataOptions `json:"options,omitzero"`
	Added       time.Time   `json:"added"`
	Rows        int64       `json:"rows"`
	Fingerprint string      `json:"fingerprint" doc:"Hash of the content when it was added"`
	Columns     []Column    `json:"columns,omitempty" doc:"Profile of each column; left out of lists"`
	Published   []string    `json:"published" doc:"Peers that may see names, types and rounded sizes"`
	Problem     string      `json:"problem,omitempty" doc:"Why it cannot be used now, such as a changed file"`
}

// Datasets is a list of datasets.
type Datasets struct {
	Datasets []Dataset `json:"datasets"`
}

// PublishRequest names the peers that may see a dataset's metadata.
type PublishRequest struct {
	Peers []string `json:"peers" maxItems:"1000" doc:"All peers that may see it; an empty list withdraws it"`
}

// PublishedColumn is what a peer may know of a column.
type PublishedColumn struct {
	Name        string  `json:"name"`
	Type        string  `json:"type"`
	MissingRate float64 `json:"missing_rate" doc:"Share of rows without a value, rounded"`
}

// PublishedData is what a peer let this node know of a dataset: no row, no value.
type PublishedData struct {
	Name    string            `json:"name"`
	Rows    int64             `json:"rows" doc:"Rounded to two digits"`
	Columns []PublishedColumn `json:"columns"`
}

// PeerData is what one peer published to this node.
type PeerData struct {
	Peer     string          `json:"peer"`
	Datasets []PublishedData `json:"datasets"`
}

// Policy is the policy file as it stands and as it is in force.
type Policy struct {
	Text   string    `json:"text" doc:"The file as it is on disk"`
	Path   string    `json:"path"`
	Hash   string    `json:"hash,omitempty" doc:"Hash of the policy in force"`
	Loaded time.Time `json:"loaded,omitzero" doc:"When the policy in force was read"`
	Error  string    `json:"error,omitempty" doc:"Why the file on disk is not in force; the one read before stays, or all is denied"`
}

// TextRequest carries a file to be checked.
type TextRequest struct {
	Text string `json:"text" maxLength:"1048576"`
}

// Finding is one error in a text, with its place.
type Finding struct {
	Line   int    `json:"line,omitempty" doc:"Line in the text, from 1"`
	Column int    `json:"column,omitempty"`
	What   string `json:"what"`
	Cure   string `json:"cure,omitempty"`
}

// TextCheck is the answer to a policy check.
type TextCheck struct {
	OK       bool      `json:"ok"`
	Findings []Finding `json:"findings"`
	Hash     string    `json:"hash,omitempty"`
}

// Param documents a parameter of a component. Min, Max and Default are numbers
// for numeric parameters and absent or texts for others.
type Param struct {
	Name    string   `json:"name"`
	Type    string   `json:"type" enum:"number,integer,text" doc:"What the job file gives"`
	Doc     string   `json:"doc"`
	Default any      `json:"default,omitempty"`
	Min     *float64 `json:"min,omitempty"`
	Max     *float64 `json:"max,omitempty"`
	Values  []string `json:"values,omitempty" doc:"The texts allowed, where they are limited"`
}

// Port is an input of a component.
type Port struct {
	Name     string `json:"name" doc:"Key in the job file, such as rows in {rows: align}"`
	Type     string `json:"type" doc:"Type of the artifact it takes"`
	Optional bool   `json:"optional,omitempty"`
}

// Disclosure says what a step lets a party learn.
type Disclosure struct {
	Step    string `json:"step,omitempty"`
	To      string `json:"to" doc:"Who learns it: guest, host or all"`
	Kind    string `json:"kind" doc:"The word that a policy uses"`
	MinRows int    `json:"min_rows,omitempty" doc:"Aggregates cover at least so many rows"`
	Text    string `json:"text"`
}

// Component documents a kind of step.
type Component struct {
	Kind      string       `json:"kind"`
	Version   int          `json:"version"`
	Doc       string       `json:"doc"`
	Params    []Param      `json:"params"`
	Inputs    []Port       `json:"inputs"`
	Output    string       `json:"output,omitempty" doc:"Type of the artifact it leaves"`
	Local     bool         `json:"local,omitempty" doc:"Sends nothing"`
	NoData    bool         `json:"no_data,omitempty" doc:"Needs no table"`
	Discloses []Disclosure `json:"discloses"`
}

// Components is the list of step kinds.
type Components struct {
	Components []Component `json:"components"`
}

// Model is an artifact in the registry: this party's part of it.
type Model struct {
	ID       string          `json:"id" doc:"The same at all parties"`
	Job      string          `json:"job"`
	JobName  string          `json:"job_name,omitempty"`
	Step     string          `json:"step"`
	Kind     string          `json:"kind"`
	Party    string          `json:"party"`
	Role     string          `json:"role"`
	Created  time.Time       `json:"created"`
	Parties  []string        `json:"parties"`
	Spec     string          `json:"spec" doc:"Hash of the job's specification"`
	Software string          `json:"software"`
	Data     []Lineage       `json:"data" doc:"What it was trained on"`
	Metrics  json.RawMessage `json:"metrics,omitempty"`
	Tags     []string        `json:"tags"`
	Files    []string        `json:"files"`
	SHA256   string          `json:"sha256" doc:"Hash of this party's part"`
}

// Lineage names the data of one party that a model was trained on.
type Lineage struct {
	Party       string `json:"party"`
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
}

// Models is a list of models.
type Models struct {
	Models []Model `json:"models"`
}

// PredictRequest asks for scores from a model: it becomes a job that needs the
// consent of all parties like any other.
type PredictRequest struct {
	Data     map[string]string `json:"data" doc:"Dataset of each party, by its name in that party's catalogue"`
	IDs      map[string]string `json:"ids,omitempty" doc:"Column that identifies rows at each party, where it is not that of the training job"`
	Name     string            `json:"name,omitempty" maxLength:"100" doc:"Name of the job"`
	Purpose  string            `json:"purpose,omitempty" maxLength:"200" doc:"Purpose that the policies are asked about; by default that of the training job"`
	Note     string            `json:"note,omitempty" maxLength:"2000" doc:"For the people who are asked to approve"`
	Priority *int              `json:"priority,omitempty" minimum:"0" maximum:"9"`
}
