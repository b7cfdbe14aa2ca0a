package rest

import (
	"net/http"
	"slices"
)

// rule says who may use an operation and how the gate treats it.
type rule struct {
	roles  []Role
	public bool // needs no token
	reads  bool // changes nothing although it is no GET: not recorded in the account
	secret bool // the answer holds a secret: it is not stored under an idempotency key
	stream bool // the answer is sent as it is made
}

var (
	everyone = []Role{Admin, Scientist, Approver, Auditor}
	lookers  = []Role{Admin, Scientist, Auditor}
	workers  = []Role{Admin, Scientist}
	deciders = []Role{Admin, Approver}
	auditors = []Role{Admin, Auditor}
	admins   = []Role{Admin}
)

// rules is the one table of what each role may do, by operation. An operation
// that is not in it is refused to everyone; docs/api.md shows it.
var rules = map[string]rule{
	"health": {public: true},
	"ready":  {public: true},

	"node":         {roles: everyone},
	"doctor":       {roles: auditors},
	"components":   {roles: everyone},
	"policy":       {roles: []Role{Admin, Approver, Auditor}},
	"check-policy": {roles: deciders, reads: true},

	"list-peers":  {roles: everyone},
	"invite-peer": {roles: admins, secret: true},
	"accept-peer": {roles: admins},
	"remove-peer": {roles: admins},
	"peer-data":   {roles: lookers},

	"list-data":    {roles: lookers},
	"add-data":     {roles: admins},
	"show-data":    {roles: lookers},
	"remove-data":  {roles: admins},
	"publish-data": {roles: admins},

	"check-job":    {roles: []Role{Admin, Scientist, Approver}, reads: true},
	"submit-job":   {roles: workers},
	"list-jobs":    {roles: everyone},
	"show-job":     {roles: everyone},
	"approve-job":  {roles: deciders},
	"reject-job":   {roles: deciders},
	"cancel-job":   {roles: []Role{Admin, Scientist, Approver}}, // an approver can take back what was allowed
	"rerun-job":    {roles: workers},
	"job-events":   {roles: everyone, stream: true},
	"job-log":      {roles: everyone},
	"job-manifest": {roles: everyone},
	"job-result":   {roles: lookers},
	"list-files":   {roles: lookers},
	"job-file":     {roles: lookers, stream: true},

	"list-models":   {roles: lookers},
	"show-model":    {roles: lookers},
	"tag-model":     {roles: workers},
	"untag-model":   {roles: workers},
	"export-model":  {roles: lookers, stream: true},
	"predict-model": {roles: workers},

	"list-audit":   {roles: auditors},
	"export-audit": {roles: auditors, stream: true},
	"verify-audit": {roles: auditors},

	"list-tokens":  {roles: auditors},
	"create-token": {roles: admins, secret: true},
	"revoke-token": {roles: admins},
}

func (r rule) allows(role Role) bool { return slices.Contains(r.roles, role) }

// mutates reports whether a request of this method under the rule changes something.
func (r rule) mutates(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && !r.reads
}
