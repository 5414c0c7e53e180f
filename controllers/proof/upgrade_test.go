package proof

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

var freeze = flag.Bool("freeze", false, "write the pod templates of a version that is not released yet")

// unreleased is the version whose frozen pod templates may still change.
const unreleased = "0.1.0"

// TestAnOperatorUpgradeRestartsNothing: the pods of a Shop are, to the letter,
// those that the operator made of it when the Shop's version was released. What
// a newer operator wants to have otherwise, it must want of newer versions only.
func TestAnOperatorUpgradeRestartsNothing(t *testing.T) {
	for _, name := range []string{"minimal", "full", "gateway", "external"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document, err := os.ReadFile(filepath.Join("..", "testdata", name, "shop.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			spec, _, err := unstructured.NestedMap(parse(t, string(document)), "spec")
			if err != nil {
				t.Fatal(err)
			}
			s := newStage(t)
			s.makeSecrets()
			s.apply(string(mustMarshal(merge(spec, map[string]any{"version": unreleased}))))
			s.settle()
			got := s.templates()

			file := filepath.Join("testdata", "pods-"+unreleased, name+".yaml")
			if *freeze {
				s.must(os.MkdirAll(filepath.Dir(file), 0o750), "freeze")
				s.must(os.WriteFile(file, []byte(got), 0o600), "freeze")
			}
			released, err := filepath.Glob(filepath.Join("testdata", "pods-*", name+".yaml"))
			if err != nil || len(released) == 0 {
				t.Fatalf("nothing is frozen: %v", err)
			}
			for _, file := range released {
				s.mustMatch(file, spec)
			}
		})
	}
}

// mustMatch holds the pod templates of a version against those in a file.
func (s *stage) mustMatch(file string, spec map[string]any) {
	s.t.Helper()
	version := strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "pods-")
	s.edit(string(mustMarshal(merge(spec, map[string]any{"version": version}))))
	s.settle()
	want, err := os.ReadFile(file)
	s.must(err, "read what is frozen")
	if got := s.templates(); got != string(want) {
		s.t.Errorf("an upgrade of the operator would restart the pods of version %s: the templates are no longer those of %s (until that version is released: go test ./controllers/proof -run UpgradeRestarts -freeze), but\n%s", version, file, got)
	}
}

// makeSecrets gives the shop credentials that are always the same.
func (s *stage) makeSecrets() {
	s.t.Helper()
	for name, data := range map[string]map[string]string{
		"acme-db": {"password": "database-password"}, "acme-redis": {"password": "redis-password"},
		"acme-auth": {"signing-keys": "id:0123456789abcdef0123456789abcdef"}, "acme-admin": {"password": "admin-password"},
		"acme-database": {"url": "postgres://db.example.com/shop"}, "acme-cache": {"address": "redis://redis.example.com"},
	} {
		s.makeSecret(name, data, map[string]string{builders.LabelManagedBy: builders.ManagedBy, builders.LabelInstance: "acme"})
	}
}

func (s *stage) makeSecret(name string, data, labels map[string]string) {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: labels}, StringData: data}
	s.must(s.user.Create(s.ctx(), secret), "make a Secret")
}

// templates are the pod templates of all that runs on.
func (s *stage) templates() string {
	var all strings.Builder
	for _, object := range s.replica.now("Deployment", "StatefulSet") {
		template, _, err := unstructured.NestedMap(object.Object, "spec", "template")
		s.must(err, "read a template")
		document, err := yaml.Marshal(timeless(template))
		s.must(err, "write a template")
		fmt.Fprintf(&all, "--- %s\n%s", key{object.GetKind(), object.GetName()}, document)
	}
	return strings.ReplaceAll(all.String(), s.namespace, "NAMESPACE")
}
