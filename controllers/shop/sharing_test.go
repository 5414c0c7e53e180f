package shop

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unsafe"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// decoded is a Deployment as it comes from the API server: what it says is in no
// other's memory.
func decoded(t *testing.T, shop, image string) *appsv1.Deployment {
	t.Helper()
	acme := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Name: shop, Namespace: "shops"}}
	built := builders.APIDeployment(acme, builders.Release{Version: "0.1.0", Image: image}, builders.Credentials{}, nil)
	document, err := json.Marshal(built)
	if err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{}
	if err := json.Unmarshal(document, deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
	deployment.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "somebody"}}
	return deployment
}

// TestObjectsShare: what objects have in common is in memory once, and each says
// what it said before.
func TestObjectsShare(t *testing.T) {
	transform := newSharing().after(cache.TransformStripManagedFields())
	var kept []*appsv1.Deployment
	for _, shop := range []string{"acme", "acme", "other"} {
		object, want := decoded(t, shop, "server:1"), decoded(t, shop, "server:1")
		if _, err := transform(object); err != nil {
			t.Fatal(err)
		}
		if want.ManagedFields = nil; !equality.Semantic.DeepEqual(object, want) {
			t.Errorf("the Deployment of %s is %+v, want %+v", shop, object, want)
		}
		kept = append(kept, object)
	}
	identity := func(labels any) uintptr { return reflect.ValueOf(labels).Pointer() }
	one, same, other := kept[0], kept[1], kept[2]
	if identity(one.Spec.Selector.MatchLabels) != identity(same.Spec.Selector.MatchLabels) {
		t.Error("equal labels are in memory twice")
	}
	if identity(one.Spec.Selector.MatchLabels) == identity(other.Spec.Selector.MatchLabels) {
		t.Error("two shops have the same labels")
	}
	limits := func(deployment *appsv1.Deployment) corev1.ResourceList {
		return deployment.Spec.Template.Spec.Containers[0].Resources.Limits
	}
	if identity(limits(one)) != identity(limits(other)) {
		t.Error("equal amounts are in memory twice")
	}
	image := func(deployment *appsv1.Deployment) *byte {
		return unsafe.StringData(deployment.Spec.Template.Spec.Containers[0].Image) //nolint:gosec // it is compared, and not read
	}
	if image(one) != image(other) {
		t.Error("equal text is in memory twice")
	}
}

// TestSharingForgets: what it remembers is bounded, and what it gave away stays.
func TestSharingForgets(t *testing.T) {
	sharing := newSharing()
	transform := sharing.after(cache.TransformStripManagedFields())
	for i := range 3 * mostLabels {
		name := time.Duration(i).String()
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}}
		if _, err := transform(config); err != nil || config.Labels["name"] != name {
			t.Fatalf("%s has labels %v, error %v", name, config.Labels, err)
		}
	}
	if len(sharing.labels) > mostLabels+10 || len(sharing.strings) > mostStrings+10 {
		t.Errorf("%d labels and %d strings are remembered", len(sharing.labels), len(sharing.strings))
	}
}

// TestAPodThatServesTellsNothing: of a pod the cache keeps what is wrong with it.
func TestAPodThatServesTellsNothing(t *testing.T) {
	serving := corev1.ContainerStatus{Name: "server", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	crashing := corev1.ContainerStatus{Name: "other", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "no such thing"}}}
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "192.0.2.1",
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse},
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
			},
			ContainerStatuses: []corev1.ContainerStatus{serving, crashing},
		},
	}
	before := troubleOf(pod)
	if _, err := keepOutcome(pod); err != nil {
		t.Fatal(err)
	}
	want := corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "192.0.2.1",
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
		ContainerStatuses: []corev1.ContainerStatus{crashing},
	}
	if !equality.Semantic.DeepEqual(pod.Status, want) {
		t.Errorf("the cache keeps %+v, want %+v", pod.Status, want)
	}
	if after := troubleOf(pod); before == nil || after == nil || *after != *before {
		t.Errorf("its trouble is %v, and was %v", after, before)
	}
}
