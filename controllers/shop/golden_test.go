package shop

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

var update = flag.Bool("update", false, "write the golden files anew")

// operator1 are the defaults of the operator that the golden files are of.
var operator1 = builders.Defaults{
	Version:       "0.1.0",
	ServerImage:   "ghcr.io/shopkeeper-dev/server",
	PostgresImage: "docker.io/library/postgres:17",
	RedisImage:    "docker.io/valkey/valkey:8",
}

// TestGolden has, for each Shop of testdata, every child that it gets.
func TestGolden(t *testing.T) {
	shops, err := filepath.Glob("../testdata/*/shop.yaml")
	if err != nil || len(shops) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range shops {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			plan, job := settledPlan(t, readShop(t, file), operator1)
			got := toYAML(t, append(plan.wanted, job))
			golden := filepath.Join(filepath.Dir(file), "children.yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the children of %s have changed; if they should, go test ./controllers/shop -run Golden -update, and look at the difference", file)
			}
		})
	}
}

// TestAnOperatorUpgradeRestartsNothing: a newer operator with other defaults
// leaves every pod template of a running shop as it is, when the shop's version
// is.
func TestAnOperatorUpgradeRestartsNothing(t *testing.T) {
	operator2 := builders.Defaults{Version: "0.9.0", ServerImage: operator1.ServerImage, PostgresImage: "postgres:99", RedisImage: "redis:99"}
	for _, name := range []string{"minimal", "full", "gateway", "external", "scaling", "hibernated"} {
		t.Run(name, func(t *testing.T) {
			shop := readShop(t, "../testdata/"+name+"/shop.yaml")
			shop.Spec.Version = "0.1.0"
			before, job := settledPlan(t, shop, operator1)
			after, err := makePlan(shop, settled(t, shop, append(before.wanted, job)), operator2, pattern{})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := toYAML(t, after.wanted), toYAML(t, before.wanted); !bytes.Equal(got, want) {
				t.Errorf("was:\n%s\nis:\n%s", want, got)
			}
			if after.migration.start != nil {
				t.Error("another migration would start")
			}
		})
	}
}

// TestNamesFit: the longest name that the schema allows leaves room for what is
// put behind it: 63 characters for a label's value, with the hash that a
// StatefulSet's pods bear, and for the name of a Service.
func TestNamesFit(t *testing.T) {
	shop := readShop(t, "../testdata/full/shop.yaml")
	shop.Name = strings.Repeat("a", 40)
	plan, job := settledPlan(t, shop, operator1)
	for _, object := range append(plan.wanted, job) {
		limit := 63
		if *object.GetKind() == "StatefulSet" {
			limit -= len("-0123456789")
		}
		if name := *object.GetName(); len(name) > limit {
			t.Errorf("%s %s has %d characters", *object.GetKind(), name, len(name))
		}
	}
}

// settledPlan is the plan for a shop that has been running for a while, and the
// Job that migrated its database.
func settledPlan(t *testing.T, shop *shopv1.Shop, defaults builders.Defaults) (*plan, apply.Configuration) {
	t.Helper()
	job := builders.MigrationJob(shop, builders.WantedRelease(shop, defaults), databaseOf(shop, settled(t, shop, nil)))
	plan := &plan{}
	for range 2 { // what is there counts, and at first there is nothing
		var err error
		if plan, err = makePlan(shop, settled(t, shop, append(plan.wanted, job)), defaults, pattern{}); err != nil {
			t.Fatal(err)
		}
	}
	return plan, job
}

// settled is what the cluster holds once objects are applied.
func settled(t *testing.T, shop *shopv1.Shop, objects []apply.Configuration) *observation {
	t.Helper()
	observed := observe(t, objects...)
	if shop.Spec.Database.Managed != nil {
		observed.children[claimKey(shop)] = claimOf(shop)
	}
	return observed
}

const claimUID = "0e6a4c8e-claim"

func claimKey(shop *shopv1.Shop) key {
	return key{"PersistentVolumeClaim", builders.DataClaimName(builders.DatabaseName(shop))}
}

func claimOf(shop *shopv1.Shop) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claimKey(shop).name, UID: claimUID},
		Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: *shop.Spec.Database.Managed.Storage.Size},
		}},
	}
}

// observe is an observation of the objects as they were applied, with the Jobs
// among them complete.
func observe(t *testing.T, objects ...apply.Configuration) *observation {
	t.Helper()
	scheme, err := NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	observed := &observation{kinds: map[string]bool{kindHTTPRoute: true, kindCertificate: true, kindPodMonitor: true}, children: children{}}
	for _, configuration := range objects {
		object, err := scheme.New(schema.FromAPIVersionAndKind(*configuration.GetAPIVersion(), *configuration.GetKind()))
		if err != nil {
			t.Fatal(err)
		}
		document, err := json.Marshal(configuration)
		if err == nil {
			err = json.Unmarshal(document, object)
		}
		if err != nil {
			t.Fatal(err)
		}
		if job, ok := object.(*batchv1.Job); ok {
			job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		}
		observed.children[keyOf(configuration)] = object.(client.Object)
	}
	return observed
}

// pattern stands in for random: it is always the same.
type pattern struct{}

func (pattern) Read(bytes []byte) (int, error) {
	for i := range bytes {
		bytes[i] = byte(i)
	}
	return len(bytes), nil
}

// readShop reads a Shop as the API server would store it: with the defaults of
// the schema.
func readShop(t *testing.T, file string) *shopv1.Shop {
	t.Helper()
	document := map[string]any{}
	readYAML(t, file, &document)
	defaulting.Default(document, shopSchema(t))
	bytes, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	shop := &shopv1.Shop{}
	if err := json.Unmarshal(bytes, shop); err != nil {
		t.Fatal(err)
	}
	shop.UID, shop.Generation = "5f2d9a31-shop", 1
	return shop
}

func shopSchema(t *testing.T) *structuralschema.Structural {
	t.Helper()
	definition := &apiextensionsv1.CustomResourceDefinition{}
	readYAML(t, "../../config/crd/bases/shopkeeper.dev_shops.yaml", definition)
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(definition.Spec.Versions[0].Schema.OpenAPIV3Schema, internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := structuralschema.NewStructural(internal)
	if err != nil {
		t.Fatal(err)
	}
	return structural
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	bytes, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(bytes, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func toYAML(t *testing.T, objects []apply.Configuration) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, object := range objects {
		document, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("---\n")
		all.Write(document)
	}
	return all.Bytes()
}
