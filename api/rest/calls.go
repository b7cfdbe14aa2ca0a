package rest

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

func number(n int64) string { return strconv.FormatInt(n, 10) }

// Ready says whether the node can take work; it needs no token.
func (c *Client) Ready(ctx context.Context) (*Readiness, error) {
	return get[Readiness](ctx, c, nil, "/readyz")
}

// Node says what the node is and whose the token is.
func (c *Client) Node(ctx context.Context) (*Node, error) { return get[Node](ctx, c, nil, "/v1/node") }

// Doctor looks at the node and each of its peers.
func (c *Client) Doctor(ctx context.Context) (*Diagnosis, error) {
	return get[Diagnosis](ctx, c, nil, "/v1/doctor")
}

// Components lists the kinds of steps.
func (c *Client) Components(ctx context.Context) (*Components, error) {
	return get[Components](ctx, c, nil, "/v1/components")
}

// Policy returns the policy file and whether it is in force.
func (c *Client) Policy(ctx context.Context) (*Policy, error) {
	return get[Policy](ctx, c, nil, "/v1/policy")
}

// CheckPolicy checks the text of a policy.
func (c *Client) CheckPolicy(ctx context.Context, text string) (*TextCheck, error) {
	return do[TextCheck](ctx, c, call{method: http.MethodPost, path: "/v1/policy/check", body: TextRequest{text}})
}

// Peers lists the institutions that the node trusts.
func (c *Client) Peers(ctx context.Context) (*Peers, error) {
	return get[Peers](ctx, c, nil, "/v1/peers")
}

// Invite makes an invitation to hand to a peer.
func (c *Client) Invite(ctx context.Context, r InviteRequest) (*Invitation, error) {
	return do[Invitation](ctx, c, call{method: http.MethodPost, path: "/v1/peers/invite", body: r})
}

// Accept trusts the institution that an invitation names.
func (c *Client) Accept(ctx context.Context, r AcceptRequest) (*Peer, error) {
	return do[Peer](ctx, c, call{method: http.MethodPost, path: "/v1/peers", body: r})
}

// RemovePeer no longer trusts a peer.
func (c *Client) RemovePeer(ctx context.Context, name string) error {
	return c.nothing(ctx, http.MethodDelete, "/v1/peers/%s", name)
}

// PeerData returns what a peer published about its datasets.
func (c *Client) PeerData(ctx context.Context, name string) (*PeerData, error) {
	return get[PeerData](ctx, c, nil, "/v1/peers/%s/data", name)
}

// Datasets lists the catalogue.
func (c *Client) Datasets(ctx context.Context) (*Datasets, error) {
	return get[Datasets](ctx, c, nil, "/v1/data")
}

// AddDataset reads a source once and registers it.
func (c *Client) AddDataset(ctx context.Context, r AddData) (*Dataset, error) {
	return do[Dataset](ctx, c, call{method: http.MethodPost, path: "/v1/data", body: r})
}

// Dataset returns a dataset with the profile of its columns.
func (c *Client) Dataset(ctx context.Context, name string) (*Dataset, error) {
	return get[Dataset](ctx, c, nil, "/v1/data/%s", name)
}

// RemoveDataset takes a dataset from the catalogue.
func (c *Client) RemoveDataset(ctx context.Context, name string) error {
	return c.nothing(ctx, http.MethodDelete, "/v1/data/%s", name)
}

// Publish says which peers may see a dataset's metadata.
func (c *Client) Publish(ctx context.Context, name string, peers []string) (*Dataset, error) {
	return do[Dataset](ctx, c, call{method: http.MethodPut, path: escape("/v1/data/%s/published", []string{name}),
		body: PublishRequest{append([]string{}, peers...)}})
}

// CheckJob checks a job file.
func (c *Client) CheckJob(ctx context.Context, spec string) (*SpecCheck, error) {
	return do[SpecCheck](ctx, c, call{method: http.MethodPost, path: "/v1/jobs/check", body: SpecRequest{spec}})
}

// Submit signs a job and proposes it. key may be empty; with one the same call
// can be repeated after a lost answer.
func (c *Client) Submit(ctx context.Context, r SubmitRequest, key string) (*Job, error) {
	return do[Job](ctx, c, call{method: http.MethodPost, path: "/v1/jobs", body: r, key: key})
}

// Jobs lists jobs, newest first.
func (c *Client) Jobs(ctx context.Context, f JobFilter) (*Jobs, error) {
	q := url.Values{}
	for k, v := range map[string]string{"state": f.State, "role": f.Role, "before": f.Before} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return get[Jobs](ctx, c, q, "/v1/jobs")
}

// Job returns a job by its identifier or a unique prefix of it.
func (c *Client) Job(ctx context.Context, id string) (*Job, error) {
	return get[Job](ctx, c, nil, "/v1/jobs/%s", id)
}

// Approve allows a job that waits for a person at this node.
func (c *Client) Approve(ctx context.Context, id, note string) (*Job, error) {
	return do[Job](ctx, c, call{method: http.MethodPost, path: escape("/v1/jobs/%s/approve", []string{id}), body: NoteRequest{note}})
}

// Reject refuses a job that waits for a person at this node.
func (c *Client) Reject(ctx context.Context, id, reason string) (*Job, error) {
	return do[Job](ctx, c, call{method: http.MethodPost, path: escape("/v1/jobs/%s/reject", []string{id}), body: ReasonRequest{reason}})
}

// Cancel stops a job at all parties.
func (c *Client) Cancel(ctx context.Context, id, reason string) (*Job, error) {
	return do[Job](ctx, c, call{method: http.MethodPost, path: escape("/v1/jobs/%s/cancel", []string{id}), body: ReasonRequest{reason}})
}

// Rerun submits the specification of a job again.
func (c *Client) Rerun(ctx context.Context, id, key string) (*Job, error) {
	return do[Job](ctx, c, call{method: http.MethodPost, path: escape("/v1/jobs/%s/rerun", []string{id}), key: key})
}

// JobLog returns the lines of a job's log after a number; limit 0 is the default.
func (c *Client) JobLog(ctx context.Context, id string, after int64, limit int) (*Log, error) {
	q := url.Values{"after": {number(after)}}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return get[Log](ctx, c, q, "/v1/jobs/%s/log", id)
}

// Manifest returns a job's privacy manifest, byte for byte as it was signed.
func (c *Client) Manifest(ctx context.Context, id string) ([]byte, error) {
	return c.bytes(ctx, call{method: http.MethodGet, path: escape("/v1/jobs/%s/manifest", []string{id})})
}

// Result returns what a job gave this party.
func (c *Client) Result(ctx context.Context, id string) ([]byte, error) {
	return c.bytes(ctx, call{method: http.MethodGet, path: escape("/v1/jobs/%s/result", []string{id})})
}

// Files lists the files that a job left here.
func (c *Client) Files(ctx context.Context, id string) (*Files, error) {
	return get[Files](ctx, c, nil, "/v1/jobs/%s/files", id)
}

// File copies a file of a job to w.
func (c *Client) File(ctx context.Context, id, name string, w io.Writer) error {
	return c.copyTo(ctx, w, nil, "/v1/jobs/%s/files/%s", id, name)
}

// Models lists the models, newest first.
func (c *Client) Models(ctx context.Context) (*Models, error) {
	return get[Models](ctx, c, nil, "/v1/models")
}

// Model returns a model by its identifier, a unique prefix or a tag.
func (c *Client) Model(ctx context.Context, id string) (*Model, error) {
	return get[Model](ctx, c, nil, "/v1/models/%s", id)
}

// TagModel gives a model a tag.
func (c *Client) TagModel(ctx context.Context, id, tag string) (*Model, error) {
	return do[Model](ctx, c, call{method: http.MethodPut, path: escape("/v1/models/%s/tags/%s", []string{id, tag})})
}

// UntagModel takes a tag from a model.
func (c *Client) UntagModel(ctx context.Context, id, tag string) (*Model, error) {
	return do[Model](ctx, c, call{method: http.MethodDelete, path: escape("/v1/models/%s/tags/%s", []string{id, tag})})
}

// ExportModel writes this party's part of a model to w, as a zip file.
func (c *Client) ExportModel(ctx context.Context, id string, w io.Writer) error {
	return c.copyTo(ctx, w, nil, "/v1/models/%s/export", id)
}

// Predict submits a job that scores rows with a model.
func (c *Client) Predict(ctx context.Context, id string, r PredictRequest, key string) (*Job, error) {
	return do[Job](ctx, c, call{method: http.MethodPost, path: escape("/v1/models/%s/predict", []string{id}), body: r, key: key})
}

// Audit returns entries of the node's account after a number; limit 0 is the default.
func (c *Client) Audit(ctx context.Context, after int64, limit int) (*AuditPage, error) {
	q := url.Values{"after": {number(after)}}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return get[AuditPage](ctx, c, q, "/v1/audit")
}

// ExportAudit writes the account to w as JSON lines; to 0 is its end.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer, from, to int64) error {
	return c.copyTo(ctx, w, url.Values{"from": {number(from)}, "to": {number(to)}}, "/v1/audit/export")
}

// VerifyAudit checks every hash and signature of the account.
func (c *Client) VerifyAudit(ctx context.Context) (*AuditReport, error) {
	return get[AuditReport](ctx, c, nil, "/v1/audit/verify")
}

// Tokens lists the tokens without their secrets.
func (c *Client) Tokens(ctx context.Context) (*Tokens, error) {
	return get[Tokens](ctx, c, nil, "/v1/tokens")
}

// CreateToken makes a token; its secret is in this answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (*NewToken, error) {
	return do[NewToken](ctx, c, call{method: http.MethodPost, path: "/v1/tokens", body: r})
}

// RevokeToken makes a token invalid at once.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.nothing(ctx, http.MethodDelete, "/v1/tokens/%s", id)
}
