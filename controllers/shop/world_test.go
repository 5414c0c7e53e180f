package shop

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

var cluster *rest.Config

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // what went wrong is in the conditions
	// They wait for the API server, and for nothing to happen.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	kubetest.Main(m, &cluster)
}

// world is a namespace with an operator at work in it (and in others, where a
// test wants that), and a test that plays its users, its kubelet and the other controllers. The operator has no more
// rights than config/rbac gives it, and every status that it writes is held
// against the rules of kstatus.
type world struct {
	client.Client // the test's own
	t             *testing.T
	namespace     string
	reconciler    *Reconciler
	calls         *calls
	secretsEvery  time.Duration
	shops         labels.Selector // that the operator looks after
	ask           func(ctx context.Context, address string) (Answer, error)
}

// newWorld is for a test that runs beside others: what it does is not seen outside
// of its namespace.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWatchfulWorld(t, time.Hour) // a look at a Secret would be a call
}

// newWatchfulWorld has an operator that looks at Secrets every so often.
func newWatchfulWorld(t *testing.T, secretsEvery time.Duration) *world {
	t.Helper()
	t.Parallel()
	return loneWorld(t, secretsEvery)
}

// loneWorld is for a test that changes what all operators of the cluster see, and
// has it to itself.
func loneWorld(t *testing.T, secretsEvery time.Duration) *world {
	t.Helper()
	w := idleWorld(t)
	w.secretsEvery = secretsEvery
	w.bindRole(w.namespace)
	w.startOperator(w.namespace)
	return w
}

// idleWorld is a world whose operator is still to be started.
func idleWorld(t *testing.T) *world {
	t.Helper()
	scheme, err := NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	for _, add := range []func(*runtime.Scheme) error{rbacv1.AddToScheme, eventsv1.AddToScheme, storagev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	own, err := client.NewWithWatch(cluster, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: own, t: t, namespace: kubetest.Namespace(t, own), calls: &calls{}, secretsEvery: time.Hour, shops: labels.Everything()}
	w.collectGarbage(own)
	w.watchStatus(own)
	return w
}

// startOperator runs an operator for some namespaces until the test ends.
func (w *world) startOperator(namespaces ...string) {
	w.t.Helper()
	restricted := rest.CopyConfig(cluster)
	restricted.Impersonate = rest.ImpersonationConfig{UserName: "operator-of-" + w.namespace}
	restricted.Wrap(w.calls.count)
	manager, err := ctrl.NewManager(restricted, ctrl.Options{
		Scheme:     w.Scheme(),
		Cache:      CacheOptions(namespaces, w.shops),
		Client:     client.Options{Cache: ClientCacheOptions(namespaces)},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.reconciler = &Reconciler{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), Events: manager.GetEventRecorder("shopkeeper"),
		Defaults: operator1, Random: rand.Reader, SecretsEvery: w.secretsEvery, Ask: w.ask, AskEvery: 50 * time.Millisecond,
		Metrics: NewMetrics(manager.GetClient(), "test"),
	}
	if err := w.reconciler.SetupWithManager(manager, 2); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- manager.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			w.t.Errorf("the operator ended with: %v", err)
		}
	})
	if !manager.GetCache().WaitForCacheSync(kubetest.Context(w.t)) {
		w.t.Fatal("the operator's cache does not fill")
	}
}

// startSecondOperator runs one more operator, with a memory and calls of its own, in the same namespace.
func (w *world) startSecondOperator() *world {
	w.t.Helper()
	second := &world{Client: w.Client, t: w.t, namespace: w.namespace, calls: &calls{}, secretsEvery: w.secretsEvery, shops: w.shops, ask: w.ask}
	second.startOperator(w.namespace)
	return second
}

// bindRole gives the operator of this world what config/rbac says, in a
// namespace and nowhere else.
func (w *world) bindRole(namespace string) {
	w.t.Helper()
	document, err := os.ReadFile("../../config/rbac/role.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	shipped := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(document, shipped); err != nil {
		w.t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "operator"}, Rules: shipped.Rules}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "operator"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "operator"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "operator-of-" + w.namespace}},
	}
	for _, object := range []client.Object{role, binding} {
		if err := w.Create(kubetest.Context(w.t), object); err != nil {
			w.t.Fatal(err)
		}
	}
}

// collectGarbage lets go of Jobs that are being deleted, whose pods are gone.
func (w *world) collectGarbage(c client.WithWatch) {
	w.t.Helper()
	jobs, err := c.Watch(w.t.Context(), &batchv1.JobList{}, client.InNamespace(w.namespace))
	if err != nil {
		w.t.Fatal(err)
	}
	var collecting sync.WaitGroup
	collecting.Go(func() {
		for event := range jobs.ResultChan() {
			if job, ok := event.Object.(*batchv1.Job); ok && job.DeletionTimestamp != nil && len(job.Finalizers) > 0 {
				job.Finalizers = nil
				_ = w.Update(w.t.Context(), job) // or at the next change of it, if this was not the last
			}
		}
	})
	w.t.Cleanup(func() { jobs.Stop(); collecting.Wait() })
}

// watchStatus holds every status that is written against the rules.
func (w *world) watchStatus(c client.WithWatch) {
	w.t.Helper()
	statuses, err := c.Watch(w.t.Context(), &shopv1.ShopList{}, client.InNamespace(w.namespace))
	if err != nil {
		w.t.Fatal(err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for event := range statuses.ResultChan() {
			if shop, ok := event.Object.(*shopv1.Shop); ok && shop.Status.ObservedGeneration > 0 {
				if err := kubetest.CheckStatus(shop); err != nil {
					w.t.Errorf("a status breaks the rules: %v\n%+v", err, shop.Status)
				}
			}
		}
	})
	w.t.Cleanup(func() { statuses.Stop(); watching.Wait() })
}

// calls are the requests that the operator makes, but for watches, and for what
// fills the cache at the start.
type calls struct {
	mutex   sync.Mutex
	made    []string
	pending int // that the API server has not answered yet
}

func (c *calls) count(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.URL.Query().Has("watch") {
			return next.RoundTrip(request)
		}
		c.mutex.Lock()
		c.made = append(c.made, request.Method+" "+request.URL.Path)
		c.pending++
		c.mutex.Unlock()
		defer func() { c.mutex.Lock(); c.pending--; c.mutex.Unlock() }()
		return next.RoundTrip(request)
	})
}

// isQuiet reports whether none was made since the last reset, and none waits for
// its answer.
func (c *calls) isQuiet() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return len(c.made) == 0 && c.pending == 0
}

func (c *calls) reset() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.made = nil
}

func (c *calls) list() []string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return slices.Clone(c.made)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// What users do.

// create makes a Shop of the YAML of a spec.
func (w *world) create(spec string) *shopv1.Shop {
	w.t.Helper()
	shop := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "acme"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &shop.Spec); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Create(kubetest.Context(w.t), shop); err != nil {
		w.t.Fatal(err)
	}
	return shop
}

// change edits an object until nobody else did so meanwhile.
func change[T client.Object](w *world, object T, name string, edit func(T)) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		if err := w.get(object, name); err != nil {
			return err
		}
		edit(object)
		return w.Update(kubetest.Context(w.t), object)
	})
}

func (w *world) changeShop(edit func(*shopv1.ShopSpec)) {
	w.t.Helper()
	change(w, &shopv1.Shop{}, "acme", func(shop *shopv1.Shop) { edit(&shop.Spec) })
}

func (w *world) setSecret(name, key, value string) {
	w.t.Helper()
	change(w, &corev1.Secret{}, name, func(secret *corev1.Secret) { secret.Data[key] = []byte(value) })
}

func (w *world) get(object client.Object, name string) error {
	return w.Get(kubetest.Context(w.t), client.ObjectKey{Namespace: w.namespace, Name: name}, object)
}

func (w *world) mustGet(object client.Object, name string) {
	w.t.Helper()
	if err := w.get(object, name); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) delete(object client.Object, name string) {
	w.t.Helper()
	w.mustGet(object, name)
	if err := w.Delete(kubetest.Context(w.t), object, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		w.t.Fatal(err)
	}
}

// What the kubelet and the other controllers do.

// startData makes PostgreSQL and Redis come up.
func (w *world) startData() {
	w.t.Helper()
	w.startStatefulSet("acme-redis")
	w.startStatefulSet("acme-db")
}

func (w *world) startStatefulSet(name string) {
	w.t.Helper()
	set := &appsv1.StatefulSet{}
	kubetest.Eventually(w.t, func() error { return w.get(set, name) })
	template := set.Spec.VolumeClaimTemplates[0]
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "data-" + name + "-0", Labels: template.Labels},
		Spec:       template.Spec,
	}
	if err := w.Create(kubetest.Context(w.t), claim); client.IgnoreAlreadyExists(err) != nil {
		w.t.Fatal(err)
	}
	w.setReady(name, 1)
}

func (w *world) setReady(statefulSet string, replicas int32) {
	w.t.Helper()
	w.changeStatus(&appsv1.StatefulSet{}, statefulSet, func(object client.Object) {
		set := object.(*appsv1.StatefulSet)
		set.Status = appsv1.StatefulSetStatus{
			ObservedGeneration: set.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: replicas, AvailableReplicas: replicas,
			CurrentRevision: "1", UpdateRevision: "1",
		}
	})
}

// migrate ends the migration Job of a version well.
func (w *world) migrate(version string, schema int) {
	w.t.Helper()
	job := w.migrationOf(version)
	w.endPod(job, corev1.PodSucceeded, 0, fmt.Sprintf(`{"schemaVersion":%d}`, schema))
	w.endJob(job.Name, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)
}

// failMigration ends it badly, with a last word.
func (w *world) failMigration(version, lastWord string) {
	w.t.Helper()
	job := w.migrationOf(version)
	w.endPod(job, corev1.PodFailed, 1, lastWord)
	w.endJob(job.Name, batchv1.JobFailureTarget, batchv1.JobFailed)
}

// migrationOf is the migration Job of a version, when it is there: the one at
// work, if there is one.
func (w *world) migrationOf(version string) *batchv1.Job {
	w.t.Helper()
	var found *batchv1.Job
	kubetest.Eventually(w.t, func() error {
		for _, job := range w.migrations() {
			isOne := job.Labels[builders.LabelVersion] == version && job.DeletionTimestamp == nil
			if isOne && (found == nil || isFinished(found)) {
				found = &job
			}
		}
		if found == nil {
			return fmt.Errorf("no migration Job of version %s", version)
		}
		return nil
	})
	return found
}

func (w *world) migrations() []batchv1.Job {
	w.t.Helper()
	jobs := &batchv1.JobList{}
	if err := w.List(kubetest.Context(w.t), jobs, client.InNamespace(w.namespace)); err != nil {
		w.t.Fatal(err)
	}
	return jobs.Items
}

func (w *world) endPod(job *batchv1.Job, phase corev1.PodPhase, code int32, message string) {
	w.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: job.Name + "-", Labels: job.Spec.Template.Labels}, Spec: job.Spec.Template.Spec}
	if err := w.Create(kubetest.Context(w.t), pod); err != nil {
		w.t.Fatal(err)
	}
	w.changeStatus(&corev1.Pod{}, pod.Name, func(object client.Object) {
		ended := corev1.ContainerStateTerminated{ExitCode: code, Message: message, FinishedAt: metav1.Now()}
		object.(*corev1.Pod).Status = corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "migrate", State: corev1.ContainerState{Terminated: &ended},
		}}}
	})
}

func (w *world) runJob(name string) {
	w.t.Helper()
	w.changeStatus(&batchv1.Job{}, name, func(object client.Object) {
		now := metav1.Now()
		object.(*batchv1.Job).Status = batchv1.JobStatus{StartTime: &now, Active: 1, Ready: new(int32(1))}
	})
}

func (w *world) endJob(name string, conditions ...batchv1.JobConditionType) {
	w.t.Helper()
	for i := range conditions {
		w.changeStatus(&batchv1.Job{}, name, func(object client.Object) {
			job, now := object.(*batchv1.Job), metav1.Now()
			job.Status.StartTime = cmpOr(job.Status.StartTime, &now)
			job.Status.Active, job.Status.Ready, job.Status.Terminating = 0, new(int32(0)), new(int32(0))
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
				Type: conditions[i], Status: corev1.ConditionTrue, Reason: "Played", LastTransitionTime: now,
			})
			switch conditions[i] {
			case batchv1.JobComplete:
				job.Status.CompletionTime, job.Status.Succeeded = &now, 1
			case batchv1.JobFailed:
				job.Status.Failed = 4
			}
		})
	}
}

func cmpOr[T any](first, second *T) *T {
	if first != nil {
		return first
	}
	return second
}

// rollOut makes every pod of both Deployments available, once they are of the
// version.
func (w *world) rollOut(version string) {
	w.t.Helper()
	for _, name := range []string{"acme-api", "acme-notifications"} {
		kubetest.Eventually(w.t, func() error {
			deployment := &appsv1.Deployment{}
			if err := w.get(deployment, name); err != nil {
				return err
			}
			if got := builders.ReleaseOf(deployment).Version; got != version {
				return fmt.Errorf("%s is of version %s, want %s", name, got, version)
			}
			return nil
		})
		w.setAvailable(name, -1)
	}
}

// settle rolls out whatever comes of version 0.1.0 until the shop is Ready.
func (w *world) settle() {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		w.rollOut("0.1.0")
		shop := &shopv1.Shop{}
		w.mustGet(shop, "acme")
		condition := meta.FindStatusCondition(shop.Status.Conditions, shopv1.ConditionReady)
		if condition == nil || condition.Status != metav1.ConditionTrue || condition.ObservedGeneration != shop.Generation {
			return fmt.Errorf("not Ready: %+v", condition)
		}
		return nil
	})
}

// setAvailable makes some pods of a fully updated Deployment available; -1 all.
func (w *world) setAvailable(deployment string, available int32) {
	w.t.Helper()
	w.changeStatus(&appsv1.Deployment{}, deployment, func(object client.Object) {
		deployment := object.(*appsv1.Deployment)
		replicas, then := *deployment.Spec.Replicas, deployment.CreationTimestamp // for once more is no change
		if available < 0 {
			available = replicas
		}
		deployment.Status = appsv1.DeploymentStatus{
			ObservedGeneration: deployment.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: available, AvailableReplicas: available,
			UnavailableReplicas: replicas - available,
			Conditions: []appsv1.DeploymentCondition{{
				Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable", LastUpdateTime: then, LastTransitionTime: then,
			}},
		}
	})
}

func (w *world) giveAddress() {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error { return w.get(&networkingv1.Ingress{}, "acme") })
	w.changeStatus(&networkingv1.Ingress{}, "acme", func(object client.Object) {
		object.(*networkingv1.Ingress).Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	})
}

func (w *world) changeStatus(object client.Object, name string, edit func(client.Object)) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		if err := w.get(object, name); err != nil {
			return err
		}
		before := object.DeepCopyObject()
		if edit(object); equality.Semantic.DeepEqual(before, object) {
			return nil
		}
		return w.Status().Update(kubetest.Context(w.t), object)
	})
}

// serve brings a shop all the way up.
func (w *world) serve(spec string) {
	w.t.Helper()
	shop := w.create(spec)
	w.startData()
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	if shop.Spec.API.Autoscaling != nil {
		w.rest() // it lets go of the count of pods, which is a generation to roll out again
		w.rollOut("0.1.0")
	}
	if shop.Spec.Ingress != nil {
		w.giveAddress()
	}
	w.settle() // an autoscaler is handed its replicas first
}

// What is looked at.

// waitFor waits for a condition of the current generation, and returns its
// message.
func (w *world) waitFor(kind, status, reason string) string {
	w.t.Helper()
	var message string
	kubetest.Eventually(w.t, func() error {
		shop := &shopv1.Shop{}
		if err := w.get(shop, "acme"); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(shop.Status.Conditions, kind)
		if condition == nil || string(condition.Status) != status || condition.Reason != reason || condition.ObservedGeneration != shop.Generation {
			return fmt.Errorf("%s is %+v, want %s and %s", kind, condition, status, reason)
		}
		message = condition.Message
		return nil
	})
	return message
}

// rest waits until the operator has nothing more to do.
func (w *world) rest() {
	w.t.Helper()
	for quiet := 0; quiet < 10; quiet++ {
		w.calls.reset()
		time.Sleep(50 * time.Millisecond)
		if !w.calls.isQuiet() {
			quiet = -1
		}
	}
}

// reconcile takes a turn of the loop, over and above those that watches bring.
func (w *world) reconcile() {
	w.t.Helper()
	request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.namespace, Name: "acme"}}
	if _, err := w.reconciler.Reconcile(kubetest.Context(w.t), request); err != nil {
		w.t.Fatal(err)
	}
}

func contain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q\ndoes not say %q", text, part)
		}
	}
}
