package rest

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"kontor/internal/fault"
)

func newJob(j *Job, err error) (*created, error) {
	if err != nil {
		return nil, err
	}
	return &created{Location: "/v1/jobs/" + j.ID, Body: *j}, nil
}

// orZero is for bodies that may be left out.
func orZero[T any](v *T) T {
	if v == nil {
		return *new(T)
	}
	return *v
}

type jobList struct {
	State  string `query:"state" enum:"proposed,waiting,approved,running,retrying,done,failed,rejected,cancelled,active,attention" doc:"One state; active: not ended; attention: somebody here has to act"`
	Role   string `query:"role" enum:"guest,host" doc:"Role of this node"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Before string `query:"before" maxLength:"100" doc:"Only jobs older than this one, as next of the page before says"`
}

func (s *server) routeJobs() {
	add(s, route{id: "check-job", method: "POST", path: "/v1/jobs/check", tag: "jobs", summary: "Check a job file without submitting it"},
		func(ctx context.Context, in *body[SpecRequest]) (*out[SpecCheck], error) {
			return wrap(s.svc.CheckJob(ctx, in.Body.Spec))
		})
	add(s, route{id: "submit-job", method: "POST", path: "/v1/jobs", tag: "jobs", status: http.StatusCreated, summary: "Sign a job and propose it to its parties"},
		func(ctx context.Context, in *body[SubmitRequest]) (*created, error) {
			return newJob(s.svc.Submit(ctx, in.Body))
		})
	add(s, route{id: "list-jobs", method: "GET", path: "/v1/jobs", tag: "jobs", summary: "Jobs, newest first"},
		func(ctx context.Context, in *jobList) (*out[Jobs], error) {
			return wrap(s.svc.Jobs(ctx, JobFilter{State: in.State, Role: in.Role, Limit: in.Limit, Before: in.Before}))
		})
	add(s, route{id: "show-job", method: "GET", path: "/v1/jobs/{id}", tag: "jobs", summary: "A job"},
		func(ctx context.Context, in *jobID) (*out[Job], error) { return wrap(s.svc.Job(ctx, in.ID)) })
	type noted struct {
		ID   string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier or unique prefix of one"`
		Body *NoteRequest
	}
	add(s, route{id: "approve-job", method: "POST", path: "/v1/jobs/{id}/approve", tag: "jobs", summary: "Allow a job that waits for a person here"},
		func(ctx context.Context, in *noted) (*out[Job], error) {
			return wrap(s.svc.Approve(ctx, in.ID, orZero(in.Body).Note))
		})
	type reasoned struct {
		ID   string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier or unique prefix of one"`
		Body *ReasonRequest
	}
	add(s, route{id: "reject-job", method: "POST", path: "/v1/jobs/{id}/reject", tag: "jobs", summary: "Refuse a job that waits for a person here"},
		func(ctx context.Context, in *reasoned) (*out[Job], error) {
			return wrap(s.svc.Reject(ctx, in.ID, orZero(in.Body).Reason))
		})
	add(s, route{id: "cancel-job", method: "POST", path: "/v1/jobs/{id}/cancel", tag: "jobs", summary: "Stop a job at all parties"},
		func(ctx context.Context, in *reasoned) (*out[Job], error) {
			return wrap(s.svc.Cancel(ctx, in.ID, orZero(in.Body).Reason))
		})
	add(s, route{id: "rerun-job", method: "POST", path: "/v1/jobs/{id}/rerun", tag: "jobs", status: http.StatusCreated, summary: "Submit the same specification again"},
		func(ctx context.Context, in *jobID) (*created, error) { return newJob(s.svc.Rerun(ctx, in.ID)) })
}

type document struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

type stream struct {
	Body func(huma.Context)
}

func asDocument(b []byte, err error) (*document, error) {
	if err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, fault.New(fault.Internal, "a document of the job is not JSON", "look at the job's folder on the node's machine")
	}
	return &document{"application/json", b}, nil
}

func (s *server) routeJobParts() {
	add(s, route{id: "job-events", method: "GET", path: "/v1/jobs/{id}/events", tag: "jobs", media: "text/event-stream",
		summary: "What happens to a job, as server-sent events: state, step, progress, log, end"}, s.watch)
	type logPage struct {
		ID    string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier or unique prefix of one"`
		After int64  `query:"after" minimum:"0" doc:"Only lines after this number"`
		Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"1000"`
	}
	add(s, route{id: "job-log", method: "GET", path: "/v1/jobs/{id}/log", tag: "jobs", summary: "A job's log, oldest line first"},
		func(ctx context.Context, in *logPage) (*out[Log], error) {
			return wrap(s.svc.JobLog(ctx, in.ID, in.After, in.Limit))
		})
	add(s, route{id: "job-manifest", media: jsonMedia, method: "GET", path: "/v1/jobs/{id}/manifest", tag: "jobs", summary: "The privacy manifest: what each party learned, the same at all parties"},
		func(ctx context.Context, in *jobID) (*document, error) { return asDocument(s.svc.Manifest(ctx, in.ID)) })
	add(s, route{id: "job-result", media: jsonMedia, method: "GET", path: "/v1/jobs/{id}/result", tag: "jobs", summary: "What the job gave this party: metrics, importances, curves"},
		func(ctx context.Context, in *jobID) (*document, error) { return asDocument(s.svc.Result(ctx, in.ID)) })
	add(s, route{id: "list-files", method: "GET", path: "/v1/jobs/{id}/files", tag: "jobs", summary: "Files that the job left here"},
		func(ctx context.Context, in *jobID) (*out[Files], error) {
			l, err := s.svc.Files(ctx, in.ID)
			return wrap(&Files{l}, err)
		})
	add(s, route{id: "job-file", method: "GET", path: "/v1/jobs/{id}/files/{name}", tag: "jobs", media: "application/octet-stream",
		summary: "The content of a file; ranges are served"}, s.file)
}

type modelTag struct {
	ID  string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier, unique prefix of one, or tag"`
	Tag string `path:"tag" minLength:"1" maxLength:"64" doc:"One tag names one model: setting it takes it from another"`
}

func (s *server) routeModels() {
	addOne(s, route{id: "list-models", method: "GET", path: "/v1/models", tag: "models", summary: "Models, newest first"},
		func(ctx context.Context) (*Models, error) {
			l, err := s.svc.Models(ctx)
			return &Models{l}, err
		})
	add(s, route{id: "show-model", method: "GET", path: "/v1/models/{id}", tag: "models", summary: "A model with its lineage"},
		func(ctx context.Context, in *modelID) (*out[Model], error) { return wrap(s.svc.Model(ctx, in.ID)) })
	add(s, route{id: "tag-model", method: "PUT", path: "/v1/models/{id}/tags/{tag}", tag: "models", summary: "Give a model a tag"},
		func(ctx context.Context, in *modelTag) (*out[Model], error) {
			return wrap(s.svc.TagModel(ctx, in.ID, in.Tag))
		})
	add(s, route{id: "untag-model", method: "DELETE", path: "/v1/models/{id}/tags/{tag}", tag: "models", status: http.StatusOK, summary: "Take a tag from a model"},
		func(ctx context.Context, in *modelTag) (*out[Model], error) {
			return wrap(s.svc.UntagModel(ctx, in.ID, in.Tag))
		})
	add(s, route{id: "export-model", method: "GET", path: "/v1/models/{id}/export", tag: "models", media: "application/zip",
		summary: "This party's part of a model with its record"}, s.exportModel)
	type predict struct {
		ID   string `path:"id" minLength:"1" maxLength:"100" doc:"Identifier, unique prefix of one, or tag"`
		Body PredictRequest
	}
	add(s, route{id: "predict-model", method: "POST", path: "/v1/models/{id}/predict", tag: "models", status: http.StatusCreated, summary: "Submit a job that scores rows with a model"},
		func(ctx context.Context, in *predict) (*created, error) {
			return newJob(s.svc.Predict(ctx, in.ID, in.Body))
		})
}
