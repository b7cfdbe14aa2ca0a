package rest

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// route is what an operation is registered with.
type route struct {
	id, method, path string
	tag, summary     string
	status           int    // of success; 0 for 200, or 204 without a body
	media            string // of a stream or a document that is sent as it is
}

const jsonMedia = "application/json"

type none struct{}

type out[T any] struct{ Body T }

type created struct {
	Location string `header:"Location" doc:"Where the job is"`
	Body     Job
}

type (
	jobID struct {
		ID string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier or unique prefix of one"`
	}
	modelID struct {
		ID string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier, unique prefix of one, or tag"`
	}
	named struct {
		Name string `path:"name" minLength:"1" maxLength:"100"`
	}
	body[T any] struct{ Body T }
)

// add registers an operation.
func add[I, O any](s *server, r route, f func(context.Context, *I) (*O, error)) {
	huma.Register(s.api, s.operation(r), func(ctx context.Context, in *I) (*O, error) {
		o, err := f(ctx, in)
		if err != nil {
			return nil, problemOf(err)
		}
		fillLists(reflect.ValueOf(o))
		return o, nil
	})
}

// addOne registers an operation without input.
func addOne[T any](s *server, r route, f func(context.Context) (*T, error)) {
	add(s, r, func(ctx context.Context, _ *none) (*out[T], error) { return wrap(f(ctx)) })
}

func wrap[T any](v *T, err error) (*out[T], error) {
	if err != nil {
		return nil, err
	}
	return &out[T]{Body: *v}, nil
}

func done(err error) (*none, error) { return &none{}, err }

func (s *server) operation(r route) huma.Operation {
	rule := rules[r.id]
	schemas := s.api.OpenAPI().Components.Schemas
	op := huma.Operation{OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, Tags: []string{r.tag},
		DefaultStatus: r.status, MaxBodyBytes: maxBody + 1, BodyReadTimeout: -1,
		Responses: map[string]*huma.Response{"default": {Description: "Error", Content: map[string]*huma.MediaType{
			"application/problem+json": {Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")}}}}}
	if r.media != "" {
		schema := &huma.Schema{Type: huma.TypeString, Format: "binary"}
		if r.media == jsonMedia {
			schema = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
		}
		op.Responses["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{
			r.media: {Schema: schema}}}
	}
	if rule.public {
		op.Security = []map[string][]string{}
		return op
	}
	op.Description = "Roles: " + strings.ReplaceAll(roleList(rule.roles), " or ", ", ") + "."
	op.Extensions = map[string]any{"x-roles": rule.roles}
	if rule.mutates(r.method) && !rule.secret {
		limit := maxKey
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header",
			Description: "The same key with the same request is carried out once and gets the same answer",
			Schema:      &huma.Schema{Type: huma.TypeString, MaxLength: &limit}})
	}
	return op
}

// fillLists makes nil lists and maps of an answer empty ones, so that no client meets
// null where it expects a list. What is left out when empty stays nil.
func fillLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillLists(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f, t := v.Field(i), v.Type().Field(i)
			if !t.IsExported() || strings.Contains(t.Tag.Get("json"), ",omit") && f.IsZero() {
				continue
			}
			if f.Kind() == reflect.Slice && f.IsNil() && f.Type().Elem().Kind() != reflect.Uint8 {
				f.Set(reflect.MakeSlice(f.Type(), 0, 0))
			}
			fillLists(f)
		}
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.Pointer {
			for i := range v.Len() {
				fillLists(v.Index(i))
			}
		}
	}
}

func (s *server) routes() {
	s.routeNode()
	s.routePeers()
	s.routeData()
	s.routeJobs()
	s.routeJobParts()
	s.routeModels()
	s.routeAudit()
	s.routeTokens()
}

// Operations returns the identifiers of all operations with the roles that may
// use each; none for those that need no token.
func Operations() map[string][]Role {
	all := map[string][]Role{}
	for id, r := range rules {
		all[id] = r.roles
	}
	return maps.Clone(all)
}

type alive struct {
	OK bool `json:"ok"`
}

type readiness struct {
	Status int
	Body   Readiness
}

func (s *server) routeNode() {
	addOne(s, route{id: "health", method: "GET", path: "/healthz", tag: "node", summary: "Whether the process is alive"},
		func(context.Context) (*alive, error) { return &alive{OK: true}, nil })
	add(s, route{id: "ready", method: "GET", path: "/readyz", tag: "node", summary: "Whether the node can take work; 503 with the reasons where it cannot"},
		func(ctx context.Context, _ *none) (*readiness, error) {
			reasons := s.svc.Ready(ctx)
			if len(reasons) > 0 {
				return &readiness{http.StatusServiceUnavailable, Readiness{Reasons: reasons}}, nil
			}
			return &readiness{http.StatusOK, Readiness{Ready: true}}, nil
		})
	addOne(s, route{id: "node", method: "GET", path: "/v1/node", tag: "node", summary: "What this node is and who is asking"},
		func(ctx context.Context) (*Node, error) {
			n, err := s.svc.Node(ctx)
			if err == nil {
				n.You = Caller(ctx)
			}
			return n, err
		})
	addOne(s, route{id: "doctor", method: "GET", path: "/v1/doctor", tag: "node", summary: "Look at disk, clock, ports, certificates and each peer"}, s.svc.Doctor)
	addOne(s, route{id: "components", method: "GET", path: "/v1/components", tag: "node", summary: "The kinds of steps with their parameters, inputs and what they disclose"},
		func(ctx context.Context) (*Components, error) {
			l, err := s.svc.Components(ctx)
			return &Components{l}, err
		})
	addOne(s, route{id: "policy", method: "GET", path: "/v1/policy", tag: "policy", summary: "The policy file and whether it is in force"}, s.svc.Policy)
	add(s, route{id: "check-policy", method: "POST", path: "/v1/policy/check", tag: "policy", summary: "Check the text of a policy"},
		func(ctx context.Context, in *body[TextRequest]) (*out[TextCheck], error) {
			return wrap(s.svc.CheckPolicy(ctx, in.Body.Text))
		})
}

func (s *server) routePeers() {
	addOne(s, route{id: "list-peers", method: "GET", path: "/v1/peers", tag: "peers", summary: "Institutions that this node trusts"},
		func(ctx context.Context) (*Peers, error) {
			l, err := s.svc.Peers(ctx)
			return &Peers{l}, err
		})
	add(s, route{id: "invite-peer", method: "POST", path: "/v1/peers/invite", tag: "peers", summary: "Make an invitation to hand to a peer"},
		func(ctx context.Context, in *body[InviteRequest]) (*out[Invitation], error) {
			return wrap(s.svc.Invite(ctx, in.Body))
		})
	add(s, route{id: "accept-peer", method: "POST", path: "/v1/peers", tag: "peers", status: http.StatusCreated, summary: "Trust the institution that an invitation names"},
		func(ctx context.Context, in *body[AcceptRequest]) (*out[Peer], error) {
			return wrap(s.svc.Accept(ctx, in.Body))
		})
	add(s, route{id: "remove-peer", method: "DELETE", path: "/v1/peers/{name}", tag: "peers", summary: "No longer trust a peer"},
		func(ctx context.Context, in *named) (*none, error) { return done(s.svc.RemovePeer(ctx, in.Name)) })
	add(s, route{id: "peer-data", method: "GET", path: "/v1/peers/{name}/data", tag: "peers", summary: "What a peer published to this node about its datasets"},
		func(ctx context.Context, in *named) (*out[PeerData], error) {
			l, err := s.svc.PeerData(ctx, in.Name)
			return wrap(&PeerData{in.Name, l}, err)
		})
}

func (s *server) routeData() {
	addOne(s, route{id: "list-data", method: "GET", path: "/v1/data", tag: "data", summary: "Datasets of the catalogue"},
		func(ctx context.Context) (*Datasets, error) {
			l, err := s.svc.Datasets(ctx)
			return &Datasets{l}, err
		})
	add(s, route{id: "add-data", method: "POST", path: "/v1/data", tag: "data", status: http.StatusCreated, summary: "Read a source once and register it"},
		func(ctx context.Context, in *body[AddData]) (*out[Dataset], error) {
			return wrap(s.svc.AddDataset(ctx, in.Body))
		})
	add(s, route{id: "show-data", method: "GET", path: "/v1/data/{name}", tag: "data", summary: "A dataset with the profile of its columns"},
		func(ctx context.Context, in *named) (*out[Dataset], error) {
			return wrap(s.svc.Dataset(ctx, in.Name))
		})
	add(s, route{id: "remove-data", method: "DELETE", path: "/v1/data/{name}", tag: "data", summary: "Take a dataset from the catalogue; the source stays as it is"},
		func(ctx context.Context, in *named) (*none, error) { return done(s.svc.RemoveDataset(ctx, in.Name)) })
	type publish struct {
		Name string `path:"name" minLength:"1" maxLength:"100"`
		Body PublishRequest
	}
	add(s, route{id: "publish-data", method: "PUT", path: "/v1/data/{name}/published", tag: "data", summary: "Say which peers may see names, types and rounded sizes"},
		func(ctx context.Context, in *publish) (*out[Dataset], error) {
			return wrap(s.svc.Publish(ctx, in.Name, in.Body.Peers))
		})
}
