// Package charts holds the charts. Its test installs them with Helm itself.
package charts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

const (
	chart    = "charts/shopkeeper"
	earlier  = "charts/testdata/earlier" // the chart as it was at first
	release  = "shopkeeper"
	operator = "shopkeeper-operator"
)

// TestUpgrade installs an earlier chart and makes a Shop, upgrades to this one,
// uninstalls it and installs it again. The definition of Shops follows the
// chart, and neither that nor the Shop ever goes.
func TestUpgrade(t *testing.T) {
	h := newHelm(t)
	h.run(t, "install", release, earlier)
	h.createShop(t)
	if reflect.DeepEqual(h.definition(t).Spec.Versions, current(t).Spec.Versions) {
		t.Fatal("the earlier chart defines Shops as this one does: the test shows nothing")
	}

	h.run(t, "upgrade", release, chart)
	h.mustDefineShopsAsNow(t)
	h.mustHaveShop(t)
	deployment := &appsv1.Deployment{}
	if err := h.cluster.Get(kubetest.Context(t), client.ObjectKey{Namespace: h.namespace, Name: operator}, deployment); err != nil {
		t.Fatal(err)
	}
	if arguments := strings.Join(deployment.Spec.Template.Spec.Containers[0].Args, " "); !strings.Contains(arguments, "--metrics-secure=true") {
		t.Errorf("the operator is started with %s", arguments)
	}

	h.run(t, "uninstall", release)
	h.mustDefineShopsAsNow(t)
	h.mustHaveShop(t)
	if err := h.cluster.Get(kubetest.Context(t), client.ObjectKeyFromObject(deployment), deployment); !apierrors.IsNotFound(err) {
		t.Errorf("after the end of the release its Deployment: %v", err)
	}

	h.run(t, "install", release, chart)
	h.mustHaveShop(t)
}

// TestValues: a value that is none is refused before anything is made, and the
// answer names it.
func TestValues(t *testing.T) {
	for values, complaint := range map[string]string{
		"replica=2":                       "replica",
		"replicas=two":                    "replicas",
		"logLevel=loud":                   "logLevel",
		"metrics.port=8081":               "metrics/port",
		"image.digest=sha256:abc":         "image/digest",
		"relatedImages.server=server:1":   "relatedImages/server",
		"watchNamespaces={Shops}":         "watchNamespaces/0",
		"watchLabelSelector=shard in a":   "watchLabelSelector",
		"metrics.readers[0].name=p":       "metrics/readers/0",
		"env[0].name=GOMEMLIMIT":          "env/0/name",
		"serviceAccount.create=false":     "serviceAccount",
		"tolerations[0].effects=NoWhere":  "tolerations/0",
		"resources.request.cpu=1":         "resources",
		"podDisruptionBudget.minimum=1":   "podDisruptionBudget",
		"goMemoryLimit=220M":              "goMemoryLimit",
		"metrics.serviceMonitor.interval": "interval",
	} {
		command := helmCommand(t, "template", chart, "--set", values)
		output, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(output), complaint) {
			t.Errorf("--set %s: %v, want a complaint that names %s:\n%.300s", values, err, complaint, output)
		}
	}
}

// TestSelectors: the chart refuses the selectors that the operator would end of.
func TestSelectors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(kubetest.Root(), chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			WatchLabelSelector struct {
				Pattern string `json:"pattern"`
			} `json:"watchLabelSelector"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(schema.Properties.WatchLabelSelector.Pattern)
	for _, selector := range []string{
		"", "shard=a", "shard==a", "shard = a", "shard!=a", "shard=", "example.com/shard in (a, b),!paused", "shard notin (a)", "shard", "! shard", "size>3",
		"shard in a", "shard in (a", "=a", "shard=a b", "shard=a,", ",", "shard=-a", "Example.com/shard=a", "a/b/c=d", "shard=>3", "size>a",
	} {
		if _, err := labels.Parse(selector); (err == nil) != pattern.MatchString(selector) {
			t.Errorf("the selector %q: the operator says %v, the chart the opposite", selector, err)
		}
	}
}

// helm is Helm on an API server of its own.
type helm struct {
	kubeconfig, namespace string
	cluster               client.Client
}

func newHelm(t *testing.T) *helm {
	t.Helper()
	config, stop, err := kubetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	const namespace = "shopkeeper-system"
	return &helm{kubeconfig: kubetest.Kubeconfig(t, config, namespace), namespace: namespace, cluster: newClient(t, config)}
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	cluster, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func (h *helm) run(t *testing.T, arguments ...string) {
	t.Helper()
	if arguments[0] == "install" {
		arguments = append(arguments, "--create-namespace")
	}
	command := helmCommand(t, append(arguments, "--kubeconfig", h.kubeconfig, "--namespace", h.namespace)...)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
}

func helmCommand(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	program, err := helmProgram()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Dir = kubetest.Root()
	home := t.TempDir()
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	return command
}

// helmProgram is where Go keeps the Helm that it has built.
var helmProgram = sync.OnceValues(func() (string, error) {
	command := exec.Command("go", "tool", "-modfile=hack/tools/go.mod", "-n", "helm")
	command.Dir = kubetest.Root()
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	path, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("build Helm: %w", err)
	}
	return strings.TrimSpace(string(path)), nil
})

func newShop() *unstructured.Unstructured {
	shop := &unstructured.Unstructured{}
	shop.SetAPIVersion("shopkeeper.dev/v1alpha1")
	shop.SetKind("Shop")
	shop.SetNamespace(metav1.NamespaceDefault)
	shop.SetName("acme")
	return shop
}

func (h *helm) createShop(t *testing.T) {
	t.Helper()
	kubetest.Eventually(t, func() error { return h.cluster.Create(kubetest.Context(t), newShop()) })
}

func (h *helm) mustHaveShop(t *testing.T) {
	t.Helper()
	shop := newShop()
	if err := h.cluster.Get(kubetest.Context(t), client.ObjectKeyFromObject(shop), shop); err != nil {
		t.Errorf("the Shop: %v", err)
	}
	if doomed := shop.GetDeletionTimestamp(); doomed != nil {
		t.Errorf("the Shop goes, since %s", doomed)
	}
}

func (h *helm) definition(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := h.cluster.Get(kubetest.Context(t), client.ObjectKey{Name: "shops.shopkeeper.dev"}, definition); err != nil {
		t.Fatal(err)
	}
	return definition
}

func (h *helm) mustDefineShopsAsNow(t *testing.T) {
	t.Helper()
	definition := h.definition(t)
	if !reflect.DeepEqual(definition.Spec.Versions, current(t).Spec.Versions) {
		t.Error("Shops are not defined as config/crd says")
	}
	if definition.DeletionTimestamp != nil {
		t.Error("the definition of Shops goes")
	}
}

// current is the definition of Shops as config/crd says.
func current(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(kubetest.Root(), "config", "crd", "bases", "shopkeeper.dev_shops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal(document, definition); err != nil {
		t.Fatal(err)
	}
	return definition
}
