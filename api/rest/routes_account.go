package rest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"kontor/internal/fault"
)

func (s *server) routeAudit() {
	type page struct {
		After int64 `query:"after" minimum:"0" doc:"Only entries after this number"`
		Limit int   `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}
	add(s, route{id: "list-audit", method: "GET", path: "/v1/audit", tag: "audit", summary: "The node's account, oldest entry first"},
		func(ctx context.Context, in *page) (*out[AuditPage], error) {
			return wrap(s.svc.AuditEntries(ctx, in.After, in.Limit))
		})
	add(s, route{id: "export-audit", method: "GET", path: "/v1/audit/export", tag: "audit", media: "application/x-ndjson",
		summary: "The account as JSON lines, to be verified elsewhere"}, s.exportAudit)
	addOne(s, route{id: "verify-audit", method: "GET", path: "/v1/audit/verify", tag: "audit", summary: "Check every hash and signature of the account"}, s.svc.VerifyAudit)
}

func (s *server) routeTokens() {
	addOne(s, route{id: "list-tokens", method: "GET", path: "/v1/tokens", tag: "tokens", summary: "Tokens, without their secrets"},
		func(ctx context.Context) (*Tokens, error) {
			l, err := s.svc.Tokens(ctx)
			return &Tokens{l}, err
		})
	add(s, route{id: "create-token", method: "POST", path: "/v1/tokens", tag: "tokens", status: http.StatusCreated, summary: "Make a token; its secret is shown this once"},
		func(ctx context.Context, in *body[TokenRequest]) (*out[NewToken], error) {
			return wrap(s.createToken(ctx, in.Body))
		})
	type tokenID struct {
		ID string `path:"id" minLength:"1" maxLength:"100"`
	}
	add(s, route{id: "revoke-token", method: "DELETE", path: "/v1/tokens/{id}", tag: "tokens", summary: "Make a token invalid at once"},
		func(ctx context.Context, in *tokenID) (*none, error) { return done(s.svc.RemoveToken(ctx, in.ID)) })
}

func (s *server) createToken(ctx context.Context, r TokenRequest) (*NewToken, error) {
	name := strings.TrimSpace(r.Name)
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return nil, fault.New(fault.Usage, fmt.Sprintf("the name %q cannot stand in the account", r.Name), "give letters, digits and signs only")
	}
	now := s.now().UTC()
	if !r.Expires.IsZero() && !r.Expires.After(now) {
		return nil, fault.New(fault.Usage, "the token would have expired already", "give a time in the future, such as 2030-01-31T00:00:00Z")
	}
	id, secret, hash, err := MakeToken(nil)
	if err != nil {
		return nil, err
	}
	t := Token{ID: id, Name: name, Role: r.Role, Created: now, Expires: r.Expires.UTC()}
	if err := s.svc.AddToken(ctx, t, hash); err != nil {
		return nil, err
	}
	return &NewToken{Token: t, Secret: secret}, nil
}
