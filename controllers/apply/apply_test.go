package apply_test

import (
	"context"
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

var config *rest.Config

func TestMain(m *testing.M) { kubetest.Main(m, &config) }

const label, value = "app.kubernetes.io/managed-by", "shopkeeper"

// fixture is an applier whose writes are counted.
type fixture struct {
	*apply.Applier
	t         *testing.T
	live      client.WithWatch
	namespace string
	applies   int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	live, err := client.NewWithWatch(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, live: live, namespace: kubetest.Namespace(t, live)}
	counting := interceptor.NewClient(live, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			f.applies++
			return c.Patch(ctx, object, patch, options...)
		},
	})
	f.Applier = &apply.Applier{Client: counting, Live: live, Label: label, Value: value, Seen: &apply.Seen{}}
	return f
}

// deployment is a wanted object with a bit of everything.
func (f *fixture) deployment() *appsv1ac.DeploymentApplyConfiguration {
	return appsv1ac.Deployment("web", f.namespace).
		WithLabels(map[string]string{label: value}).
		WithAnnotations(map[string]string{"shopkeeper.dev/note": "x"}).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(2).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{"app": "web"})).
			WithTemplate(corev1ac.PodTemplateSpec().
				WithLabels(map[string]string{"app": "web"}).
				WithSpec(corev1ac.PodSpec().
					WithNodeSelector(map[string]string{"disk": "fast"}).
					WithVolumes(corev1ac.Volume().WithName("tmp").WithEmptyDir(corev1ac.EmptyDirVolumeSource())).
					WithContainers(corev1ac.Container().
						WithName("web").
						WithImage("web:1").
						WithArgs("serve").
						WithResources(corev1ac.ResourceRequirements().WithLimits(corev1.ResourceList{
							corev1.ResourceCPU:    resource.MustParse("0.5"),
							corev1.ResourceMemory: resource.MustParse("1024Mi"),
						})).
						WithEnv(corev1ac.EnvVar().WithName("A").WithValue("1"), corev1ac.EnvVar().WithName("B").WithValue("2")).
						WithVolumeMounts(corev1ac.VolumeMount().WithName("tmp").WithMountPath("/tmp"))))))
}

func (f *fixture) apply(wanted apply.Configuration, known client.Object) client.Object {
	f.t.Helper()
	object, err := f.Object(kubetest.Context(f.t), wanted, known)
	if err != nil {
		f.t.Fatal(err)
	}
	return object
}

// stored is the Deployment as a cache without managedFields has it.
func (f *fixture) stored() *appsv1.Deployment {
	f.t.Helper()
	deployment := &appsv1.Deployment{}
	if err := f.live.Get(kubetest.Context(f.t), client.ObjectKey{Namespace: f.namespace, Name: "web"}, deployment); err != nil {
		f.t.Fatal(err)
	}
	deployment.ManagedFields = nil
	return deployment
}

func (f *fixture) patch(document string) {
	f.t.Helper()
	patch := client.RawPatch("application/strategic-merge-patch+json", []byte(document))
	if err := f.live.Patch(kubetest.Context(f.t), f.stored(), patch, client.FieldOwner("somebody")); err != nil {
		f.t.Fatal(err)
	}
}

func TestARepeatMakesNoCall(t *testing.T) {
	f := newFixture(t)
	made := f.apply(f.deployment(), nil).(*appsv1.Deployment)
	if made.UID == "" || *made.Spec.Replicas != 2 {
		t.Fatalf("returned %+v", made)
	}
	for range 3 {
		f.apply(f.deployment(), f.stored())
	}
	if f.applies != 1 {
		t.Errorf("%d applies, want 1", f.applies)
	}
}

func TestWhatOthersAddStays(t *testing.T) {
	f := newFixture(t)
	f.apply(f.deployment(), nil)
	f.patch(`{"metadata":{"annotations":{"mesh":"on"}},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}},
		"spec":{"containers":[{"name":"web","env":[{"name":"C","value":"3"}]},{"name":"sidecar","image":"sidecar:1"}]}}}}`)
	f.apply(f.deployment(), f.stored())
	if f.applies != 1 {
		t.Errorf("%d applies: what others add is no drift", f.applies)
	}
	f.apply(f.deployment().WithLabels(map[string]string{"new": "label"}), f.stored())
	after := f.stored()
	if after.Annotations["mesh"] != "on" || len(after.Spec.Template.Spec.Containers) != 2 || after.Labels["new"] != "label" {
		t.Errorf("after an apply of ours: %+v", after)
	}
}

func TestDriftIsRepaired(t *testing.T) {
	for name, patch := range map[string]string{
		"replicas":         `{"spec":{"replicas":7}}`,
		"image":            `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil:1"}]}}}}`,
		"variable":         `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"9"}]}]}}}}`,
		"variable removed": `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","$patch":"delete"}]}]}}}}`,
		"arguments":        `{"spec":{"template":{"spec":{"containers":[{"name":"web","args":["serve","more"]}]}}}}`,
		"limit":            `{"spec":{"template":{"spec":{"containers":[{"name":"web","resources":{"limits":{"cpu":"1"}}}]}}}}`,
		"annotation":       `{"metadata":{"annotations":{"shopkeeper.dev/note":null}}}`,
		"node selector":    `{"spec":{"template":{"spec":{"nodeSelector":null}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			before := f.apply(f.deployment(), nil).(*appsv1.Deployment)
			f.patch(patch)
			f.apply(f.deployment(), f.stored())
			if f.applies != 2 {
				t.Fatalf("%d applies, want 2", f.applies)
			}
			f.apply(f.deployment(), f.stored())
			if f.applies != 2 {
				t.Error("the repair is not seen as one")
			}
			after := f.stored()
			if after.Generation == before.Generation && name != "annotation" || after.Annotations["shopkeeper.dev/note"] != "x" {
				t.Errorf("generation %d, annotations %v", after.Generation, after.Annotations)
			}
		})
	}
}

func TestWhatIsNoLongerWantedGoes(t *testing.T) {
	f := newFixture(t)
	f.apply(f.deployment(), nil)
	wanted := f.deployment()
	wanted.Spec.Template.Spec.NodeSelector = nil
	wanted.Spec.Template.Spec.Containers[0].Env = wanted.Spec.Template.Spec.Containers[0].Env[:1]
	f.apply(wanted, f.stored())
	after := f.stored().Spec.Template.Spec
	if len(after.NodeSelector) != 0 || len(after.Containers[0].Env) != 1 {
		t.Errorf("left behind: %v %v", after.NodeSelector, after.Containers[0].Env)
	}
}

func TestQuantitiesAreComparedByValue(t *testing.T) {
	f := newFixture(t)
	f.apply(f.deployment(), nil)
	f.patch(`{"spec":{"template":{"spec":{"containers":[{"name":"web","resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}]}}}}`)
	f.apply(f.deployment(), f.stored())
	if f.applies != 1 {
		t.Errorf("%d applies: half a CPU is 500m, and 1024Mi is 1Gi", f.applies)
	}
}

func TestAnObjectOfOthersIsNotTakenOver(t *testing.T) {
	f := newFixture(t)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "login"}, StringData: map[string]string{"password": "theirs"}}
	if err := f.live.Create(kubetest.Context(t), theirs); err != nil {
		t.Fatal(err)
	}
	_, err := f.Object(kubetest.Context(t), f.secret("ours"), nil)
	taken, ok := errors.AsType[*apply.TakenError](err)
	if !ok || taken.Kind != "Secret" || taken.Name != "login" {
		t.Errorf("error %v", err)
	}
	if got := f.password(); got != "theirs" {
		t.Errorf("their password is now %q", got)
	}
}

// A cache that does not know yet what was made must not lead to a second
// password over the first.
func TestAStaleCacheOverwritesNothing(t *testing.T) {
	f := newFixture(t)
	f.apply(f.secret("first"), nil)
	_, err := f.Object(kubetest.Context(t), f.secret("second"), nil)
	if !apierrors.IsConflict(err) {
		t.Errorf("error %v, want a conflict", err)
	}
	if got := f.password(); got != "first" {
		t.Errorf("the password is now %q", got)
	}
}

// Nor may one that does not know yet of a change undo it.
func TestAStaleCacheUndoesNothing(t *testing.T) {
	f := newFixture(t)
	f.apply(f.deployment(), nil)
	seen := f.stored()
	f.patch(`{"spec":{"replicas":7}}`)
	wanted := f.deployment()
	wanted.Spec.WithReplicas(9)
	if _, err := f.Object(kubetest.Context(t), wanted, seen); !apierrors.IsConflict(err) {
		t.Errorf("error %v, want a conflict", err)
	}
	if got := *f.stored().Spec.Replicas; got != 7 {
		t.Errorf("%d replicas, want those of the change", got)
	}
	f.apply(wanted, f.stored())
}

// What is handed over is known as it then is, and can be applied at once.
func TestShare(t *testing.T) {
	f := newFixture(t)
	f.apply(f.deployment(), nil)
	known := f.stored()
	replicas := appsv1ac.Deployment("web", f.namespace).WithSpec(appsv1ac.DeploymentSpec().WithReplicas(2))
	version, err := f.Share(kubetest.Context(t), replicas, "autoscaler")
	if err != nil {
		t.Fatal(err)
	}
	known.SetResourceVersion(version)
	wanted := f.deployment()
	wanted.Spec.Replicas = nil
	f.apply(wanted, known)
	if got := *f.stored().Spec.Replicas; got != 2 {
		t.Errorf("%d replicas, though another owner keeps 2", got)
	}
}

func TestALabelTakenOffComesBack(t *testing.T) {
	f := newFixture(t)
	owner := metav1ac.OwnerReference().WithAPIVersion("shopkeeper.dev/v1alpha1").WithKind("Shop").WithName("acme").WithUID("u-1").WithController(true)
	wanted := f.deployment().WithOwnerReferences(owner)
	f.apply(wanted, nil)
	f.patch(`{"metadata":{"labels":{"` + label + `":null}}}`)
	f.apply(wanted, nil) // the cache, by its selector, has lost sight of it
	if got := f.stored().Labels[label]; got != value {
		t.Errorf("the label is %q", got)
	}
}

func TestAnObjectThatIsLeavingIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.apply(f.deployment(), nil)
	f.patch(`{"metadata":{"finalizers":["example.com/wait"]}}`)
	if err := f.live.Delete(kubetest.Context(t), f.stored()); err != nil {
		t.Fatal(err)
	}
	wanted := f.deployment()
	wanted.Spec.WithReplicas(9)
	object := f.apply(wanted, f.stored())
	if object.GetDeletionTimestamp() == nil || f.applies != 1 {
		t.Errorf("%d applies to an object that is being deleted", f.applies)
	}
	f.patch(`{"metadata":{"finalizers":null}}`)
}

func TestDeleteIsOfWhatWasSeen(t *testing.T) {
	f := newFixture(t)
	f.apply(f.deployment(), nil)
	seen := f.stored()
	f.patch(`{"metadata":{"annotations":{"changed":"meanwhile"}}}`)
	if err := f.Delete(kubetest.Context(t), seen); !apierrors.IsConflict(err) {
		t.Errorf("deleting what has changed since: %v, want a conflict", err)
	}
	if err := f.Delete(kubetest.Context(t), f.stored()); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(kubetest.Context(t), seen); err != nil && !apierrors.IsConflict(err) {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func (f *fixture) secret(password string) *corev1ac.SecretApplyConfiguration {
	return corev1ac.Secret("login", f.namespace).
		WithLabels(map[string]string{label: value}).
		WithData(map[string][]byte{"password": []byte(password)})
}

func (f *fixture) password() string {
	f.t.Helper()
	secret := &corev1.Secret{}
	if err := f.live.Get(kubetest.Context(f.t), client.ObjectKey{Namespace: f.namespace, Name: "login"}, secret); err != nil {
		f.t.Fatal(err)
	}
	return string(secret.Data["password"])
}
