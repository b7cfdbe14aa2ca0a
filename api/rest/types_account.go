package rest

import (
	"encoding/json"
	"time"
)

// Role says what the holder of a token may do; the table is in roles.go and docs/api.md.
type Role string

// The roles.
const (
	Admin     Role = "admin"     // everything
	Scientist Role = "scientist" // jobs, models, looking at data
	Approver  Role = "approver"  // deciding on jobs, reading the policy
	Auditor   Role = "auditor"   // reading everything, exporting and verifying the account
)

// Identity is who holds a token.
type Identity struct {
	ID   string `json:"id" doc:"Identifier of the token"`
	Name string `json:"name"`
	Role Role   `json:"role" enum:"admin,scientist,approver,auditor"`
}

// Token describes a token without its secret.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name" doc:"Whose it is"`
	Role    Role      `json:"role" enum:"admin,scientist,approver,auditor"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero" doc:"Absent where it does not expire"`
	Used    time.Time `json:"used,omitzero" doc:"When it was last used, to the hour"`
}

// Tokens is a list of tokens.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name    string    `json:"name" minLength:"1" maxLength:"100" doc:"Whose it is; appears in the account"`
	Role    Role      `json:"role" enum:"admin,scientist,approver,auditor"`
	Expires time.Time `json:"expires,omitzero" doc:"When it ends; never where absent"`
}

// NewToken is the answer to [TokenRequest]: the only time the secret is shown.
type NewToken struct {
	Token  Token  `json:"token"`
	Secret string `json:"secret" doc:"What goes into the Authorization header; kept nowhere"`
}

// AuditEntry is one entry of the node's account.
type AuditEntry struct {
	Seq    int64           `json:"seq"`
	Time   time.Time       `json:"time"`
	Actor  string          `json:"actor"`
	Action string          `json:"action"`
	Object string          `json:"object,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
	Hash   string          `json:"hash" doc:"Hash of this entry and of all before"`
}

// AuditPage is a page of the account, oldest first.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Next    int64        `json:"next,omitempty" doc:"Value of after for the next page; absent on the last"`
}

// AuditProblem is one place where the account does not hold together.
type AuditProblem struct {
	Seq  int64  `json:"seq"`
	What string `json:"what"`
}

// AuditWitness is a peer that signed a state of the account.
type AuditWitness struct {
	Peer string    `json:"peer"`
	Seq  int64     `json:"seq" doc:"Entries up to here cannot have been changed without the peer"`
	Time time.Time `json:"time"`
}

// AuditReport is the result of verifying the account.
type AuditReport struct {
	OK        bool           `json:"ok"`
	Entries   int64          `json:"entries"`
	Head      string         `json:"head,omitempty" doc:"Hash of the last entry"`
	Problems  []AuditProblem `json:"problems"`
	Witnesses []AuditWitness `json:"witnesses"`
}

// Readiness says whether the node can take work.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty" doc:"Why not"`
}
