package rest

import (
	"context"
	"io"
	"time"
)

// Service is the node behind the API. Errors are *fault.Error where a user can
// do something about them; a thing that does not exist is one from [NotFound].
// Who asks is in the context, see [Caller]; its role has been checked.
type Service interface {
	Gate
	Home
	Peering
	Catalogue
	Work
	Registry
	Account
}

// Gate is what the API needs before it lets a request through.
type Gate interface {
	// Authenticate returns the SHA-256 of the secret of the token with this id
	// and whose it is. A token that is unknown or has expired is an error from [NotFound].
	Authenticate(ctx context.Context, id string) (hash [32]byte, who Identity, err error)
	// Admitted hears of every request with a valid token, from the address of a
	// client. It records logins as it sees fit and stops no request.
	Admitted(ctx context.Context, who Identity, from string)
	// Audit records that actor is about to do action on object, was refused
	// (action "api.denied") or showed no valid token ("api.login-failed"). An error
	// stops the request: nothing is done that is not on record.
	Audit(ctx context.Context, actor, action, object string) error
	// StoredAnswer returns the answer stored under key, nil where there is none;
	// StoreAnswer keeps one for at least 24 hours.
	StoredAnswer(ctx context.Context, key string) (*Answer, error)
	StoreAnswer(ctx context.Context, key string, a Answer) error
	// Ready says why the node cannot take work; nothing where it can.
	Ready(ctx context.Context) []string
}

// Answer is the answer to a request with an idempotency key. Keys are at most 400
// bytes and include the token; Request is a hash of what was asked.
type Answer struct {
	Request     [32]byte  `json:"request"`
	Status      int       `json:"status"`
	ContentType string    `json:"content_type"`
	Location    string    `json:"location,omitempty"`
	Body        []byte    `json:"body"`
	Time        time.Time `json:"time"`
}

// Home is the node itself and its policy.
type Home interface {
	Node(ctx context.Context) (*Node, error)
	Doctor(ctx context.Context) (*Diagnosis, error)
	Components(ctx context.Context) ([]Component, error)
	Policy(ctx context.Context) (*Policy, error)
	CheckPolicy(ctx context.Context, text string) (*TextCheck, error)
}

// Peering is the node's peers.
type Peering interface {
	Peers(ctx context.Context) ([]Peer, error)
	Invite(ctx context.Context, r InviteRequest) (*Invitation, error)
	Accept(ctx context.Context, r AcceptRequest) (*Peer, error)
	RemovePeer(ctx context.Context, name string) error
	PeerData(ctx context.Context, name string) ([]PublishedData, error)
}

// Catalogue is the node's datasets.
type Catalogue interface {
	Datasets(ctx context.Context) ([]Dataset, error)
	AddDataset(ctx context.Context, r AddData) (*Dataset, error)
	Dataset(ctx context.Context, name string) (*Dataset, error)
	RemoveDataset(ctx context.Context, name string) error
	Publish(ctx context.Context, name string, peers []string) (*Dataset, error)
}

// Work is the node's jobs. An id may be a unique prefix of one.
type Work interface {
	CheckJob(ctx context.Context, spec string) (*SpecCheck, error)
	// Submit, Rerun and Predict make a job. Where [IdempotencyKey] of the context is
	// set, a job made under it before is returned instead: so a crash between
	// the job and its stored answer does not make two.
	Submit(ctx context.Context, r SubmitRequest) (*Job, error)
	Rerun(ctx context.Context, id string) (*Job, error)
	Jobs(ctx context.Context, f JobFilter) (*Jobs, error)
	Job(ctx context.Context, id string) (*Job, error)
	Approve(ctx context.Context, id, note string) (*Job, error)
	Reject(ctx context.Context, id, reason string) (*Job, error)
	Cancel(ctx context.Context, id, reason string) (*Job, error)
	// Events calls send for each event of the job after number after, in order,
	// as they happen, and returns nil when it has sent the one of type end or when
	// the job had ended before after; else when ctx ends or send fails.
	Events(ctx context.Context, id string, after int64, send func(Event) error) error
	JobLog(ctx context.Context, id string, after int64, limit int) (*Log, error)
	// Manifest and Result return JSON documents as they were signed or written.
	Manifest(ctx context.Context, id string) ([]byte, error)
	Result(ctx context.Context, id string) ([]byte, error)
	Files(ctx context.Context, id string) ([]FileInfo, error)
	File(ctx context.Context, id, name string) (*File, error)
}

// File is an open file of a job. The API closes it, and serves ranges of it
// where it is an io.Seeker.
type File struct {
	FileInfo
	Content io.ReadCloser
}

// Registry is the node's models. An id may be a tag or a unique prefix.
type Registry interface {
	Models(ctx context.Context) ([]Model, error)
	Model(ctx context.Context, id string) (*Model, error)
	TagModel(ctx context.Context, id, tag string) (*Model, error)
	UntagModel(ctx context.Context, id, tag string) (*Model, error)
	ExportModel(ctx context.Context, id string, w io.Writer) error // zip
	Predict(ctx context.Context, id string, r PredictRequest) (*Job, error)
}

// Account is the node's audit log and its API tokens.
type Account interface {
	AuditEntries(ctx context.Context, after int64, limit int) (*AuditPage, error)
	ExportAudit(ctx context.Context, w io.Writer, from, to int64) error // JSON lines; to 0 is the end
	VerifyAudit(ctx context.Context) (*AuditReport, error)
	Tokens(ctx context.Context) ([]Token, error)
	// AddToken keeps a token with the SHA-256 of its secret.
	AddToken(ctx context.Context, t Token, hash [32]byte) error
	RemoveToken(ctx context.Context, id string) error
}

type callerKey struct{}
type idempotencyKey struct{}

// Caller returns who asked for what runs under ctx; the zero Identity outside
// of a request.
func Caller(ctx context.Context) Identity {
	who, _ := ctx.Value(callerKey{}).(Identity)
	return who
}

// WithCaller returns a context for calls to a [Service] on behalf of who.
func WithCaller(ctx context.Context, who Identity) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

// IdempotencyKey returns the key of the request under ctx, made unique by its
// token; "" where it has none.
func IdempotencyKey(ctx context.Context) string {
	k, _ := ctx.Value(idempotencyKey{}).(string)
	return k
}
