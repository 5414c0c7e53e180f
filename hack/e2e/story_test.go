//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// story is what the steps know of the Shop acme, in a namespace of its own.
type story struct {
	cluster  *cluster
	version  string // of the shop server, "" for the operator's own
	staff    *caller
	customer *caller
	product  int64
	order    int64
	placed   any // number of the customer's orders
}

func newStory(t *testing.T) *story {
	return &story{cluster: newCluster(t)}
}

func (s *story) newShop() *unstructured.Unstructured {
	shop := &unstructured.Unstructured{}
	shop.SetAPIVersion("shopkeeper.dev/v1alpha1")
	shop.SetKind("Shop")
	shop.SetName("acme")
	shop.SetNamespace(s.cluster.namespace)
	return shop
}

// apply applies testdata/shop.yaml as kubectl does.
func (s *story) apply(t *testing.T) {
	t.Helper()
	manifest, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shop := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(manifest, &shop.Object); err != nil {
		t.Fatal(err)
	}
	shop.SetNamespace(s.cluster.namespace)
	if s.version != "" {
		if err := unstructured.SetNestedField(shop.Object, s.version, "spec", "version"); err != nil {
			t.Fatal(err)
		}
	}
	configuration := client.ApplyConfigurationFromUnstructured(shop)
	if err := s.cluster.Apply(t.Context(), configuration, client.FieldOwner("e2e"), client.ForceOwnership); err != nil {
		t.Fatalf("apply the Shop: %v", err)
	}
}

func (s *story) status(t *testing.T) map[string]any {
	t.Helper()
	shop := s.newShop()
	if err := s.cluster.Get(t.Context(), client.ObjectKeyFromObject(shop), shop); err != nil {
		t.Fatalf("read the Shop: %v", err)
	}
	status, found, _ := unstructured.NestedMap(shop.Object, "status")
	if !found {
		status = map[string]any{}
	}
	status["generation"] = shop.GetGeneration()
	return status
}

// awaitReady waits as `kubectl wait --for=condition=Ready` does, for the present generation.
func (s *story) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, 3*time.Minute, "the Shop is Ready", func() error {
		status := s.status(t)
		if status["observedGeneration"] != status["generation"] {
			return fmt.Errorf("generation %v is not observed", status["generation"])
		}
		conditions, _ := status["conditions"].([]any)
		for _, item := range conditions {
			condition, _ := item.(map[string]any)
			if condition["type"] == "Ready" && condition["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("conditions: %s", summary(conditions))
	})
	s.awaitIngress(t)
}

// awaitIngress waits until the ingress controller has taken up the Shop's routes: that is its own pace.
func (s *story) awaitIngress(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "the ingress leads to the API", func() error {
		status, body, err := (&caller{}).try(t.Context(), "GET", "/api/products/", nil)
		if err != nil {
			return err
		}
		if status != 401 {
			return fmt.Errorf("an anonymous request got %d %s", status, body)
		}
		return nil
	})
}

func summary(conditions []any) string {
	var lines []string
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		lines = append(lines, fmt.Sprintf("%v=%v %v: %v", condition["type"], condition["status"], condition["reason"], condition["message"]))
	}
	return strings.Join(lines, "; ")
}

func (s *story) secret(t *testing.T, name, key string) string {
	t.Helper()
	return string(get[corev1.Secret](t, s.cluster, name).Data[key])
}

// pods lists the live pods of a role.
func (s *story) pods(t *testing.T, role string) []corev1.Pod {
	t.Helper()
	var live []corev1.Pod
	for _, pod := range list[corev1.PodList](t, s.cluster).Items {
		if strings.HasPrefix(pod.Name, "acme-"+role+"-") && pod.DeletionTimestamp == nil {
			live = append(live, pod)
		}
	}
	return live
}

func (s *story) deploymentIsComplete(t *testing.T, name string) error {
	t.Helper()
	d := get[appsv1.Deployment](t, s.cluster, name)
	want := *d.Spec.Replicas
	if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != want || d.Status.ReadyReplicas != want || d.Status.Replicas != want {
		return fmt.Errorf("%s: %d of %d pods updated, %d ready, %d in all", name, d.Status.UpdatedReplicas, want, d.Status.ReadyReplicas, d.Status.Replicas)
	}
	return nil
}

// workloads names what runs or routes in the namespace.
func (s *story) workloads(t *testing.T) []string {
	t.Helper()
	var left []string
	add := func(kind, name string) { left = append(left, kind+"/"+name) }
	for _, d := range list[appsv1.DeploymentList](t, s.cluster).Items {
		add("Deployment", d.Name)
	}
	for _, set := range list[appsv1.StatefulSetList](t, s.cluster).Items {
		add("StatefulSet", set.Name)
	}
	for _, service := range list[corev1.ServiceList](t, s.cluster).Items {
		add("Service", service.Name)
	}
	for _, ingress := range list[networkingv1.IngressList](t, s.cluster).Items {
		add("Ingress", ingress.Name)
	}
	for _, job := range list[batchv1.JobList](t, s.cluster).Items {
		add("Job", job.Name)
	}
	for _, pod := range list[corev1.PodList](t, s.cluster).Items {
		add("Pod", pod.Name)
	}
	return left
}

// migrationOf returns when the migration Job of a version ended well.
func (s *story) migrationOf(t *testing.T, version string) time.Time {
	t.Helper()
	for _, job := range list[batchv1.JobList](t, s.cluster).Items {
		if strings.HasSuffix(job.Spec.Template.Spec.Containers[0].Image, ":"+version) && job.Status.CompletionTime != nil {
			return job.Status.CompletionTime.Time
		}
	}
	t.Fatalf("no migration Job of version %s has completed", version)
	return time.Time{}
}

var servedProducts = regexp.MustCompile(`shop_http_request_duration_seconds_count\{[^}]*route="/api/products/"[^}]*\} [1-9]`)

// spreadOverBothAPIPods reads until each API pod has served some of it.
func (s *story) spreadOverBothAPIPods(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "both API pods serve requests", func() error {
		s.customer.get(t, "/api/products/")
		for _, pod := range s.pods(t, "api") {
			if !servedProducts.MatchString(s.cluster.metrics(t, pod.Name)) {
				return fmt.Errorf("pod %s has served none", pod.Name)
			}
		}
		return nil
	})
}

var openSockets = regexp.MustCompile(`(?m)^shop_notification_sockets [1-9]`)

// openSocketsOnBothPods opens sockets of the customer until each notification pod holds one.
func (s *story) openSocketsOnBothPods(t *testing.T) []*socket {
	t.Helper()
	var sockets []*socket
	eventually(t, 30*time.Second, "both notification pods hold sockets", func() error {
		sockets = append(sockets, s.openSocket(t))
		for _, pod := range s.pods(t, "notifications") {
			if !openSockets.MatchString(s.cluster.metrics(t, pod.Name)) {
				return fmt.Errorf("pod %s holds none of %d", pod.Name, len(sockets))
			}
		}
		return nil
	})
	return sockets
}

// buildNextImage builds the shop server of this checkout as the next version, which brings one migration
// more, and loads it into the local cluster.
func buildNextImage(t *testing.T) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	added, replace := filepath.Join(root, "hack/e2e/testdata/00002_next_release.sql"), map[string]string{}
	for _, engine := range []string{"postgres", "sqlite"} {
		replace[filepath.Join(root, "server/migrations", engine, "00002_next_release.sql")] = added
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), filepath.Join(root, "hack/cluster/image"), "server", "--version", nextVersion, "--overlay", file)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the next version: %v\n%s", err, output)
	}
}
