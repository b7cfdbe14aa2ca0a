package rest

import (
	"encoding/json"
	"time"
)

// State is where a job stands.
type State string

// The states of a job. Done, Failed, Rejected and Cancelled are final.
const (
	Proposed  State = "proposed" // sent to the parties, not all have received it
	Waiting   State = "waiting"  // some party's person has to approve
	Approved  State = "approved" // every party signed; waits for its turn
	Running   State = "running"
	Retrying  State = "retrying" // an attempt failed for a passing reason
	Done      State = "done"
	Failed    State = "failed"
	Rejected  State = "rejected"
	Cancelled State = "cancelled"
)

// Final reports whether a job in state s will not change any more.
func (s State) Final() bool {
	return s == Done || s == Failed || s == Rejected || s == Cancelled
}

// JobParty is one party of a job and whether it agreed.
type JobParty struct {
	Name    string    `json:"name"`
	Role    string    `json:"role" enum:"guest,host"`
	Data    string    `json:"data,omitempty" doc:"Name in that party's catalogue"`
	Consent string    `json:"consent" enum:"none,waiting,initiator,standing,person,denied" doc:"none: not asked yet; initiator: it submitted the job; standing: a rule of its policy allowed it; person: somebody approved it; denied: by rule or person"`
	Rule    string    `json:"rule,omitempty" doc:"The rule that decided, as far as the party says it"`
	Reason  string    `json:"reason,omitempty" doc:"Why it was denied, or the approver's note"`
	By      string    `json:"by,omitempty" doc:"Who approved or denied, as that party says"`
	At      time.Time `json:"at,omitzero" doc:"When it decided"`
}

// JobStep is one step of a job and how far it is.
type JobStep struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Needs     []string  `json:"needs,omitempty" doc:"Steps whose results it takes"`
	State     string    `json:"state" enum:"pending,running,done,reused,failed"`
	Attempt   int       `json:"attempt,omitempty" doc:"Sessions begun for it, from 1"`
	Done      int64     `json:"done,omitempty" doc:"Units done in the phase under way"`
	Total     int64     `json:"total,omitempty" doc:"Units in the phase, 0 where unknown"`
	Unit      string    `json:"unit,omitempty" doc:"Such as rows, trees or bytes"`
	Rate      float64   `json:"rate,omitempty" doc:"Units a second"`
	ETA       float64   `json:"eta_seconds,omitempty" doc:"Seconds still to go, estimated"`
	Seconds   float64   `json:"seconds,omitempty" doc:"Time it took"`
	Rounds    int64     `json:"rounds,omitempty" doc:"Times the direction of traffic changed"`
	Sent      int64     `json:"bytes_sent,omitempty"`
	Received  int64     `json:"bytes_received,omitempty"`
	Artifact  string    `json:"artifact,omitempty" doc:"Identifier of what it left, the same at all parties"`
	Model     bool      `json:"model,omitempty" doc:"Whether the artifact is a model"`
	Error     *JobError `json:"error,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
	ReusedOf  string    `json:"reused_of,omitempty" doc:"Job whose result was taken"`
	LastError string    `json:"last_error,omitempty" doc:"Why the attempt before failed"`
}

// JobError is why a job or step failed: the fields of a fault.
type JobError struct {
	Kind     string `json:"kind" doc:"As in docs/errors.md"`
	ExitCode int    `json:"exit_code" doc:"What the command line ends with"`
	Party    string `json:"party,omitempty"`
	Step     string `json:"step,omitempty"`
	What     string `json:"what"`
	Cure     string `json:"cure,omitempty"`
}

// Job is a job as this node sees it.
type Job struct {
	ID         string                        `json:"id"`
	Name       string                        `json:"name"`
	State      State                         `json:"state" enum:"proposed,waiting,approved,running,retrying,done,failed,rejected,cancelled"`
	Role       string                        `json:"role" enum:"guest,host" doc:"Role of this node"`
	Initiator  string                        `json:"initiator" doc:"Party that asked for it"`
	By         string                        `json:"by,omitempty" doc:"Who submitted it, where that was here"`
	Purpose    string                        `json:"purpose,omitempty"`
	Note       string                        `json:"note,omitempty" doc:"From the initiator to the approvers"`
	Priority   int                           `json:"priority" doc:"0 to 9, higher first"`
	Created    time.Time                     `json:"created"`
	Updated    time.Time                     `json:"updated"`
	Started    time.Time                     `json:"started,omitzero"`
	Finished   time.Time                     `json:"finished,omitzero"`
	Spec       string                        `json:"spec,omitempty" doc:"The specification as submitted; left out of lists"`
	SpecHash   string                        `json:"spec_hash" doc:"What the parties sign"`
	Run        string                        `json:"run,omitempty" doc:"Identifier of the agreed run: hash over all signatures"`
	Parties    []JobParty                    `json:"parties"`
	Steps      []JobStep                     `json:"steps"`
	Discloses  []Disclosure                  `json:"discloses,omitempty" doc:"What the steps let the parties learn; left out of lists"`
	Columns    map[string][]string           `json:"columns,omitempty" doc:"Columns of this node's dataset that the job would use, by use; left out of lists"`
	WaitingFor string                        `json:"waiting_for,omitempty" doc:"What it waits for now, and what to do"`
	Error      *JobError                     `json:"error,omitempty"`
	Metrics    map[string]map[string]float64 `json:"metrics,omitempty" doc:"Figures by step and name, such as auc; only what is finite"`
	Warnings   []string                      `json:"warnings,omitempty"`
	Models     []string                      `json:"models,omitempty" doc:"Identifiers of models it made"`
	Resumed    int                           `json:"resumed,omitempty" doc:"Times it went on after a restart or a lost connection"`
	RerunOf    string                        `json:"rerun_of,omitempty"`
	LastEvent  int64                         `json:"last_event,omitempty" doc:"Number of its latest event"`
}

// Jobs is one page of jobs, newest first.
type Jobs struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next,omitempty" doc:"Value of before for the next page; absent on the last"`
}

// JobFilter says which jobs to list.
type JobFilter struct {
	State  string // one state, or active (not final) or attention (a person here has to act)
	Role   string // guest or host
	Limit  int
	Before string // id of a job: only older ones
}

// SubmitRequest asks for a job.
type SubmitRequest struct {
	Spec  string `json:"spec" maxLength:"1048576" doc:"Job file, YAML; signed as it is, byte for byte"`
	Note  string `json:"note,omitempty" maxLength:"2000" doc:"For the people who are asked to approve"`
	Reuse *bool  `json:"reuse,omitempty" doc:"Take results of unchanged steps from earlier jobs; default true"`
}

// SpecRequest carries a job file to be checked.
type SpecRequest struct {
	Spec string `json:"spec" maxLength:"1048576" doc:"Job file, YAML"`
}

// SpecCheck is what can be said of a job file without asking the peers.
type SpecCheck struct {
	OK        bool         `json:"ok"`
	Findings  []Finding    `json:"findings" doc:"Errors with their lines"`
	Warnings  []string     `json:"warnings,omitempty"`
	Name      string       `json:"name,omitempty"`
	Hash      string       `json:"hash,omitempty"`
	Parties   []JobParty   `json:"parties,omitempty"`
	Steps     []JobStep    `json:"steps,omitempty"`
	Discloses []Disclosure `json:"discloses,omitempty"`
}

// NoteRequest carries an approver's note.
type NoteRequest struct {
	Note string `json:"note,omitempty" maxLength:"2000"`
}

// ReasonRequest carries why a job is rejected or cancelled.
type ReasonRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"2000"`
}

// The types of [Event], each with its data.
const (
	EventState    = "state"    // StateEvent
	EventStep     = "step"     // JobStep
	EventProgress = "progress" // JobStep
	EventLog      = "log"      // LogLine
	EventEnd      = "end"      // StateEvent with a final state; nothing follows
)

// Event is one thing that happened to a job. Seq numbers a job's events from 1
// without gaps. Progress is not kept and has no number of its own: its Seq is that
// of the event before it.
type Event struct {
	Seq  int64           `json:"seq"`
	Type string          `json:"type" enum:"state,step,progress,log,end"`
	Data json.RawMessage `json:"data"`
}

// StateEvent says that a job came into a state.
type StateEvent struct {
	Time       time.Time `json:"time"`
	State      State     `json:"state"`
	WaitingFor string    `json:"waiting_for,omitempty"`
	Party      string    `json:"party,omitempty" doc:"Whose consent changed, if that is the event"`
	Consent    string    `json:"consent,omitempty"`
	Error      *JobError `json:"error,omitempty"`
}

// LogLine is one line of a job's log.
type LogLine struct {
	Seq     int64     `json:"seq"`
	Time    time.Time `json:"time"`
	Level   string    `json:"level" enum:"debug,info,warn,error"`
	Step    string    `json:"step,omitempty"`
	Party   string    `json:"party,omitempty"`
	Session string    `json:"session,omitempty"`
	Text    string    `json:"text"`
}

// Log is a page of a job's log, oldest first.
type Log struct {
	Lines []LogLine `json:"lines"`
	Next  int64     `json:"next,omitempty" doc:"Value of after for the next page; absent on the last"`
}

// FileInfo describes a file that a job left at this party.
type FileInfo struct {
	Name   string `json:"name" doc:"Name within the job; a slash in it is written %2F in the address"`
	Step   string `json:"step,omitempty"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

// Files is a list of files.
type Files struct {
	Files []FileInfo `json:"files"`
}
