package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

var cluster *rest.Config

func TestMain(m *testing.M) { kubetest.Main(m, &cluster) }

func TestCheck(t *testing.T) {
	const good = `
apiVersion: v1
kind: ConfigMap
metadata: {name: good, namespace: made-for-it}
---
# A document of comments alone.
---
apiVersion: v1
kind: Secret
metadata: {name: good}
`
	cases := map[string]struct {
		manifests string
		objects   int
		complaint string
	}{
		"nothing":            {"", 0, ""},
		"good":               {good, 2, ""},
		"a field unknown":    {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {}\n", 1, "date"},
		"a value not valid":  {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_b}\n", 1, "ConfigMap A_b"},
		"a kind not known":   {"apiVersion: v1\nkind: Confetti\nmetadata: {name: a}\n", 1, "Confetti"},
		"not YAML":           {"apiVersion: [", 0, "read manifest 1"},
		"two things are bad": {"apiVersion: v1\nkind: Confetti\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_b}\n", 2, "ConfigMap A_b"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			objects, err := check(cluster, strings.NewReader(c.manifests), "")
			if objects != c.objects {
				t.Errorf("%d objects, want %d", objects, c.objects)
			}
			switch {
			case c.complaint == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.complaint != "" && (err == nil || !strings.Contains(err.Error(), c.complaint)):
				t.Errorf("got error %v, want one that names %q", err, c.complaint)
			}
		})
	}
}

// TestSchemas: what a kind is made of is in its schema, and whatever else is named is refused.
func TestSchemas(t *testing.T) {
	folder := t.TempDir()
	const manifests = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\n"
	if _, err := check(cluster, strings.NewReader(manifests), folder); err != nil {
		t.Fatal(err)
	}
	for file, definition := range map[string]string{
		"v1/v1/configmap.json":               "io.k8s.api.core.v1.ConfigMap",
		"policy/v1/poddisruptionbudget.json": "io.k8s.api.policy.v1.PodDisruptionBudgetSpec",
	} {
		document, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		described := struct {
			Components struct {
				Schemas map[string]struct {
					AdditionalProperties *bool `json:"additionalProperties"`
				} `json:"schemas"`
			} `json:"components"`
		}{}
		if err := json.Unmarshal(document, &described); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{definition, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"} {
			if closed := described.Components.Schemas[name].AdditionalProperties; closed == nil || *closed {
				t.Errorf("%s: %s takes other fields", file, name)
			}
		}
	}
}
