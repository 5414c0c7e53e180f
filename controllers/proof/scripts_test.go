package proof

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// script is what users do to a Shop. Between two steps all comes to rest.
type script struct {
	name   string
	before string // the spec of a Shop that runs when the script begins; "" for none
	steps  []func(*stage)
}

var scripts = []script{
	{"create", "", []func(*stage){
		func(s *stage) { s.apply(`ingress: {host: shop.example.com}`) },
		(*stage).mustBeReady,
	}},
	{"scale", "{}", []func(*stage){
		func(s *stage) { s.edit(`{api: {replicas: 5}, notifications: {replicas: 3}}`) },
		func(s *stage) { s.edit(`{api: {replicas: 0}}`) },
		func(s *stage) { s.edit(`{api: {replicas: 1}}`) },
		(*stage).mustBeReady,
	}},
	{"upgrade", "{}", []func(*stage){
		func(s *stage) { s.edit(`{version: 0.2.0}`) },
		(*stage).mustBeReady,
		func(s *stage) { s.edit(`{version: 0.4.0, api: {publicCatalog: true}}`) },
		(*stage).mustBeReady,
	}},
	{"failed migration", "{}", []func(*stage){
		func(s *stage) { s.others.fails["0.2.0"] = true; s.edit(`{version: 0.2.0}`) },
		func(s *stage) {
			s.mustSay(shopv1.ConditionMigrated, shopv1.ReasonMigrationFailed)
			s.mustSay(shopv1.ConditionAPIReady, shopv1.ReasonAvailable)
			s.others.fails["0.2.0"] = false
			s.delete("Job", s.jobOf("0.2.0"))
		},
		(*stage).mustBeReady,
		func(s *stage) { s.others.fails["0.3.0"] = true; s.edit(`{version: 0.3.0}`) },
		func(s *stage) { s.edit(`{version: 0.4.0}`) },
		(*stage).mustBeReady,
	}},
	{"rotate", "{}", []func(*stage){
		func(s *stage) { s.wire.rotating = true; s.delete("Secret", "acme-db") },
		func(s *stage) {
			s.mustBeReady()
			if script := s.replica.secret("acme-db")["login.sql"]; !strings.Contains(script, "DROP ROLE") {
				s.t.Errorf("logins of before are left: %s", script)
			}
			s.delete("Secret", "acme-auth")
		},
		func(s *stage) {
			s.mustBeReady()
			if ids := keyIDs(s.replica.secret("acme-keyring")); len(ids) != 2 {
				s.t.Errorf("the ring has the keys %v, want a new one and that of before", ids)
			}
			s.patchObject("Secret", "acme-auth", map[string]any{"stringData": map[string]any{"signing-keys": "mine:0123456789abcdef0123456789abcdef"}})
			s.delete("Secret", "acme-redis")
		},
		func(s *stage) {
			s.mustBeReady()
			if ids := keyIDs(s.replica.secret("acme-keyring")); len(ids) != 3 || ids[0] != "mine" {
				s.t.Errorf("the ring has the keys %v, want mine first and those of before", ids)
			}
		},
	}},
	{"hibernate", "{}", []func(*stage){
		func(s *stage) { s.edit(`{hibernated: true}`) },
		func(s *stage) {
			for _, object := range s.replica.now("Deployment", "StatefulSet") {
				if replicas, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "replicas"); fmt.Sprint(replicas) != "0" {
					s.t.Errorf("%s %s has %v replicas", object.GetKind(), object.GetName(), replicas)
				}
			}
			s.edit(`{hibernated: false}`)
		},
		(*stage).mustBeReady,
	}},
	{"switch databases", "{}", []func(*stage){
		func(s *stage) { s.edit(external) },
		func(s *stage) { // nothing is lost by what does not work
			s.mustSay(shopv1.ConditionDatabaseReady, shopv1.ReasonSecretMissing)
			s.mustHave("StatefulSet", "acme-db")
			s.mustHave("StatefulSet", "acme-redis")
			s.makeSecret("elsewhere", map[string]string{"database": "postgres://db.example.com/shop", "redis": "redis://redis.example.com"}, nil)
		},
		func(s *stage) {
			s.mustBeReady()
			s.edit(`{database: {external: null, managed: {}}, redis: {external: null, managed: {}}}`)
		},
		(*stage).mustBeReady,
	}},
	{"drift", "ingress: {host: shop.example.com}", []func(*stage){
		func(s *stage) { s.delete("Deployment", "acme-api"); s.delete("Service", "acme-db") },
		func(s *stage) { s.delete("StatefulSet", "acme-db") },
		func(s *stage) {
			s.patchObject("Deployment", "acme-notifications", map[string]any{"spec": map[string]any{"replicas": 9}})
			s.patchObject("Service", "acme-api", map[string]any{"metadata": map[string]any{"labels": map[string]any{"app.kubernetes.io/managed-by": nil}}})
		},
		func(s *stage) { s.edit(`{ingress: null}`) },
		(*stage).mustBeReady,
	}},
	{"delete", "{}", []func(*stage){
		func(s *stage) { s.delete("Shop", "acme") },
		func(s *stage) { s.apply(`{}`) },
		(*stage).mustBeReady,
	}},
}

const external = `{database: {managed: null, external: {urlSecretRef: {name: elsewhere, key: database}}},
	redis: {managed: null, external: {urlSecretRef: {name: elsewhere, key: redis}}}}`

func (s *stage) mustHave(kind, name string) {
	s.t.Helper()
	if s.replica.at(s.replica.revision(), key{kind, name}) == nil {
		s.t.Errorf("%s %s is gone", kind, name)
	}
}

func (s *stage) mustSay(condition, reason string) {
	s.t.Helper()
	if said := s.condition(condition); said.Reason != reason {
		s.t.Fatalf("%s says %s (%s), want %s", condition, said.Reason, said.Message, reason)
	}
}

// jobOf is the name of the migration Job of a version.
func (s *stage) jobOf(version string) string {
	s.t.Helper()
	for _, job := range s.replica.jobs() {
		if job.Labels["app.kubernetes.io/version"] == version {
			return job.Name
		}
	}
	s.t.Fatalf("there is no migration to %s", version)
	return ""
}

// begin brings up what the script finds.
func (sc script) begin(t testing.TB) *stage {
	t.Helper()
	s := newStage(t)
	if sc.before != "" {
		s.apply(sc.before)
		s.settle()
		s.mustBeReady()
	}
	return s
}

func (sc script) play(s *stage) {
	s.t.Helper()
	for _, step := range sc.steps {
		step(s)
		s.settle()
	}
}
