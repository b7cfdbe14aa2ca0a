package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// bodies has a valid request for each operation that takes one.
var bodies = map[string]string{
	"check-policy": `{"text":"x"}`, "invite-peer": `{"address":"a:1"}`, "accept-peer": `{"invitation":"i","fingerprint":"f"}`,
	"add-data": `{"name":"d","path":"/x.csv"}`, "publish-data": `{"peers":["telecom"]}`, "check-job": `{"spec":"x"}`,
	"submit-job": `{"spec":"x"}`, "reject-job": `{"reason":"no"}`, "predict-model": `{"data":{"bank":"d"}}`,
	"create-token": `{"name":"ann","role":"auditor"}`,
}

type operation struct {
	id, method, path string
	template         string // the path with its parameters
	doc              map[string]any
}

// operations reads what there is from the document that users see.
func operations(t *testing.T, h http.Handler) []operation {
	t.Helper()
	res, b := send(t, h, "", "GET", "/openapi.json", "")
	if res.StatusCode != 200 {
		t.Fatalf("openapi.json without a token: %s", res.Status)
	}
	var doc struct {
		OpenAPI string                               `json:"openapi"`
		Paths   map[string]map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(b, &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("openapi %q: %v", doc.OpenAPI, err)
	}
	var all []operation
	for path, methods := range doc.Paths {
		for method, op := range methods {
			id, _ := op["operationId"].(string)
			filled := strings.NewReplacer("{id}", "0123abcd", "{name}", "boost%2Fscores.csv", "{tag}", "best").Replace(path)
			all = append(all, operation{id, strings.ToUpper(method), filled, path, op})
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.id, b.id) })
	return all
}

func send(t *testing.T, h http.Handler, token, method, path, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), method, "http://node"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := InProcess(h).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, b
}

// TestEveryOperationHasARule goes through the document: no operation without
// a rule, no rule without an operation, and each role gets what the table says.
func TestEveryOperationHasARule(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := NewHandler(Options{Service: f})
	seen := map[string]bool{}
	for _, op := range operations(t, h) {
		rule, ok := rules[op.id]
		if !ok || seen[op.id] {
			t.Errorf("%s %s: operation %q has no rule of its own", op.method, op.path, op.id)
			continue
		}
		seen[op.id] = true
		if rule.public {
			if res, _ := send(t, h, "", op.method, op.path, ""); res.StatusCode != 200 {
				t.Errorf("%s without a token: %s", op.id, res.Status)
			}
			continue
		}
		if len(rule.roles) == 0 || !rule.allows(Admin) {
			t.Errorf("%s: an administrator may do everything, its roles are %v", op.id, rule.roles)
		}
		before := len(f.record())
		if res, b := send(t, NewHandler(Options{Service: f}), "", op.method, op.path, bodies[op.id]); res.StatusCode != 401 ||
			res.Header.Get("WWW-Authenticate") == "" || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s without a token: %s %s", op.id, res.Status, b)
		}
		for _, role := range everyone {
			res, b := send(t, h, f.secrets[role], op.method, op.path, bodies[op.id])
			if allowed := slices.Contains(rule.roles, role); allowed != (res.StatusCode < 300) || !allowed && res.StatusCode != 403 {
				t.Errorf("%s as %s: %s, allowed %v: %s", op.id, role, res.Status, allowed, b)
			}
			f.restore(t)
		}
		for _, entry := range f.record()[before:] {
			if strings.Contains(entry, "api."+op.id) && !rule.mutates(op.method) {
				t.Errorf("%s changes nothing and is on record: %s", op.id, entry)
			}
		}
		if want := len(rule.roles); rule.mutates(op.method) && strings.Count(strings.Join(f.record()[before:], "\n"), " api."+op.id+" ") != want {
			t.Errorf("%s is not on record for each time it was carried out: %q", op.id, f.record()[before:])
		}
	}
	for id := range rules {
		if !seen[id] {
			t.Errorf("rule %s is for no operation", id)
		}
	}
	if len(Operations()) != len(rules) {
		t.Error("Operations leaves some out")
	}
}

// restore brings back a token that revoke-token took.
func (f *fake) restore(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens["0123abcd"] = fakeToken{}
	f.tokens["boost/scores.csv"] = fakeToken{}
}

// TestDocumentIsWhole holds the OpenAPI document to what is sent.
func TestDocumentIsWhole(t *testing.T) {
	t.Parallel()
	h := NewHandler(Options{Service: newFake(t)})
	_, b := send(t, h, "", "GET", "/openapi.json", "")
	for _, not := range []string{`"null"`, "ErrorModel", "$schema"} {
		if bytes.Contains(b, []byte(not)) {
			t.Errorf("the document holds %s", not)
		}
	}
	for _, op := range operations(t, h) {
		js, _ := json.Marshal(op.doc)
		if !bytes.Contains(js, []byte(`"application/problem+json"`)) || op.doc["summary"] == "" {
			t.Errorf("%s: no problem or summary: %s", op.id, js)
		}
		if r := rules[op.id]; bytes.Contains(js, []byte("Idempotency-Key")) != (r.mutates(op.method) && !r.secret && !r.public) {
			t.Errorf("%s: Idempotency-Key is documented wrongly", op.id)
		}
		for _, name := range []string{"id", "name", "tag"} {
			if in := bytes.Contains(js, []byte(`"in":"path","name":"`+name+`"`)) || bytes.Contains(js, []byte(`"name":"`+name+`","in":"path"`)); in != strings.Contains(op.template, "{"+name+"}") {
				t.Errorf("%s: parameter %s of %s: documented %v: %s", op.id, name, op.template, in, js)
			}
		}
		if rules[op.id].public != bytes.Contains(js, []byte(`"security":[]`)) {
			t.Errorf("%s: security is documented wrongly: %s", op.id, js)
		}
	}
}

// TestGuideListsEveryOperation holds docs/api.md to the table of rules.
func TestGuideListsEveryOperation(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	h := NewHandler(Options{Service: newFake(t)})
	for _, op := range operations(t, h) {
		roles := "none"
		if r := rules[op.id]; !r.public {
			roles = strings.ReplaceAll(roleList(r.roles), " or ", ", ")
			if len(r.roles) == len(everyone) {
				roles = "all"
			}
		}
		if row := fmt.Sprintf("| `%s %s` | %s |", op.method, op.template, roles); !bytes.Contains(doc, []byte(row)) {
			t.Errorf("docs/api.md has no row %s", row)
		}
	}
	for kind, status := range statuses {
		if row := fmt.Sprintf("| `%s` | %d |", kind, status); !bytes.Contains(doc, []byte(row)) {
			t.Errorf("docs/api.md has no row %s", row)
		}
	}
}
