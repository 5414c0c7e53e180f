package proof

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
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

// TestDataStaysReadable: an operator whose default is another major version of
// PostgreSQL leaves the one that can read the data: of a Shop that runs, of one
// whose StatefulSet somebody deletes, and of one that is deleted and made again
// on the data that stayed. A Shop that asks for another one then is told.
func TestDataStaysReadable(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.apply(`{}`)
	s.settle()
	s.mustBeReady()
	s.defaults.PostgresImage = "docker.io/library/postgres:18"
	s.restart()
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"an upgrade of the operator", func() {}},
		{"the loss of the StatefulSet", func() { s.delete("StatefulSet", "acme-db") }},
		{"a life without it", func() {
			s.makeSecret("elsewhere", map[string]string{"database": "postgres://db.example.com/shop"}, nil)
			s.edit(`{database: {managed: null, external: {urlSecretRef: {name: elsewhere, key: database}}}}`)
			s.settle()
			s.mustBeReady()
			s.edit(`{database: {external: null, managed: {}}}`)
		}},
		{"the loss of the Shop", func() { s.delete("Shop", "acme"); s.settle(); s.apply(`{}`) }},
	} {
		step.do()
		s.settle()
		s.mustBeReady()
		s.mustRun("acme-db", "docker.io/library/postgres:17", step.what)
	}

	s.delete("Shop", "acme")
	s.settle()
	s.apply(`{database: {managed: {version: "18"}}}`)
	s.settle()
	s.mustSay(shopv1.ConditionDatabaseReady, shopv1.ReasonMajorVersionRefused)
	s.mustRun("acme-db", "docker.io/library/postgres:17", "a Shop of another major version")
	s.edit(`{database: {managed: {version: null}}}`)
	s.settle()
	s.mustBeReady()

	s.delete("Shop", "acme")
	s.settle()
	s.delete("PersistentVolumeClaim", "data-acme-db-0") // whoever wants none of it
	s.apply(`{}`)
	s.settle()
	s.mustBeReady()
	s.mustRun("acme-db", "docker.io/library/postgres:18", "the loss of the data")
}

// mustRun fails unless a StatefulSet is of an image.
func (s *stage) mustRun(name, image, after string) {
	s.t.Helper()
	object := s.replica.at(s.replica.revision(), key{"StatefulSet", name})
	if object == nil {
		s.t.Fatalf("after %s there is no StatefulSet %s", after, name)
	}
	if got := builders.ImageOf(as(object, &appsv1.StatefulSet{})); got != image {
		s.t.Errorf("after %s, %s is of the image %s, want %s", after, name, got, image)
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
