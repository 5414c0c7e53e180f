package shop

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// TestAPodInTrouble: for each thing that keeps a pod from serving there is a
// condition that names the pod and the cure, and that goes with the cause.
func TestAPodInTrouble(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	for _, broken := range []struct {
		name   string
		status corev1.ContainerStatus
		reason string
		words  []string
	}{
		{"no image", waiting("ImagePullBackOff", "Back-off pulling image"), shopv1.ReasonImagePullFailed, []string{"image localhost/nothing:1", "spec.image.pullSecrets"}},
		{"no memory", crashed("OOMKilled", ""), shopv1.ReasonOutOfMemory, []string{"resources.limits.memory"}},
		{"full volume", crashed("Error", "PANIC: could not write to file: No space left on device"), shopv1.ReasonVolumeFull, []string{"storage.size"}},
		{"full before long", crashed("Error", "only 40 of 10240 MiB of space left on device"), shopv1.ReasonVolumeFull, []string{"only 40 of 10240 MiB", "storage.size"}},
		{"bad setting", crashed("Error", "FATAL: unrecognized configuration parameter \"nonsense\""), shopv1.ReasonCrashing, []string{"unrecognized configuration parameter", "kubectl -n " + w.namespace + " logs"}},
		{"no config", waiting("CreateContainerConfigError", "secret \"x\" not found"), shopv1.ReasonCrashing, []string{"secret \"x\" not found"}},
	} {
		t.Run(broken.name, func(t *testing.T) {
			for _, part := range []struct{ condition, set, deployment, component string }{
				{shopv1.ConditionDatabaseReady, "acme-db", "", "database"},
				{shopv1.ConditionRedisReady, "acme-redis", "", "redis"},
				{shopv1.ConditionAPIReady, "", "acme-api", "api"},
				{shopv1.ConditionNotificationsReady, "", "acme-notifications", "notifications"},
			} {
				pod := w.addPod("acme-"+part.component+"-0", part.component, broken.status)
				if part.set != "" {
					w.setReady(part.set, 0)
				} else {
					w.setAvailable(part.deployment, 1)
				}
				contain(t, w.waitFor(part.condition, "False", broken.reason), append(broken.words, "acme-"+part.component+"-0")...)
				w.removePod(pod)
				if part.set != "" {
					w.setReady(part.set, 1)
				} else {
					w.setAvailable(part.deployment, 2)
				}
				w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
			}
		})
	}
}

// TestSeenInTime: what no watch tells of is looked at often enough.
func TestSeenInTime(t *testing.T) {
	const seen = 10 * time.Second
	if lookAgain >= seen || secretsEvery > seen {
		t.Errorf("Events and missing kinds are looked at every %s, Secrets every %s: want it to be within %s", lookAgain, secretsEvery, seen)
	}
	w := newWorld(t)
	w.create(`{ingress: {gateway: {parentRefs: [{name: x}]}}}`)
	w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonGatewayAPIMissing)
	request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.namespace, Name: "acme"}}
	result, err := w.reconciler.Reconcile(kubetest.Context(t), request)
	if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > lookAgain {
		t.Errorf("the next turn is after %s: %v", result.RequeueAfter, err)
	}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Image: "localhost/nothing:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func crashed(reason, message string) corev1.ContainerStatus {
	ended := &corev1.ContainerStateTerminated{ExitCode: 1, Reason: reason, Message: message}
	status := waiting("CrashLoopBackOff", "back-off restarting")
	status.LastTerminationState = corev1.ContainerState{Terminated: ended}
	return status
}

// addPod makes a pod of a component with one container in some state.
func (w *world) addPod(name, component string, status corev1.ContainerStatus) *corev1.Pod {
	w.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{
			"app.kubernetes.io/managed-by": "shopkeeper", "app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "acme", "app.kubernetes.io/component": component,
		}},
		Spec: restrictedSpec(),
	}
	if err := w.Create(kubetest.Context(w.t), pod); err != nil {
		w.t.Fatal(err)
	}
	status.Name = pod.Spec.Containers[0].Name
	w.changeStatus(pod, name, func(object client.Object) {
		object.(*corev1.Pod).Status.ContainerStatuses = []corev1.ContainerStatus{status}
	})
	return pod
}

// restrictedSpec is the least that the PodSecurity level restricted lets in.
func restrictedSpec() corev1.PodSpec {
	return corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "main", Image: "localhost/nothing:1",
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}},
	}
}

func (w *world) removePod(pod *corev1.Pod) {
	w.t.Helper()
	if err := w.Delete(kubetest.Context(w.t), pod, client.GracePeriodSeconds(0)); err != nil {
		w.t.Fatal(err)
	}
}

// TestNoRoom: a quota or a policy that keeps pods from being made is told in the
// words of who refuses, for each kind of workload.
func TestNoRoom(t *testing.T) {
	w := newWorld(t)
	w.create(`{}`)
	set := &appsv1.StatefulSet{}
	kubetest.Eventually(t, func() error { return w.get(set, "acme-db") })
	w.warn(set, "StatefulSet", "create Pod acme-db-0 failed: exceeded quota: small")
	w.changeStatus(set, "acme-db", func(object client.Object) {
		object.(*appsv1.StatefulSet).Status.ObservedGeneration = object.GetGeneration()
	})
	contain(t, w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonPodsRefused), "StatefulSet acme-db gets no pod", "exceeded quota: small", "ask for less in the spec")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonPodsRefused)

	w.startData()
	w.waitFor(shopv1.ConditionDatabaseReady, "True", shopv1.ReasonAvailable)
	job := w.migrationOf("0.1.0")
	w.warn(job, "Job", "pods \"x\" is forbidden: exceeded quota: small")
	w.changeStatus(job, job.Name, startJob)
	contain(t, w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationBlocked), job.Name, "exceeded quota: small")

	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	w.changeStatus(&appsv1.Deployment{}, "acme-api", func(object client.Object) {
		status := &object.(*appsv1.Deployment).Status
		status.AvailableReplicas, status.ReadyReplicas = 1, 1
		status.Conditions = append(status.Conditions, appsv1.DeploymentCondition{
			Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota: small",
			LastUpdateTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		})
	})
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonPodsRefused), "Deployment acme-api lacks pods: exceeded quota: small", "1 of 2 are available")
	w.setAvailable("acme-api", 2)
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestNoVolume: a storage class that is not there.
func TestNoVolume(t *testing.T) {
	w := newWorld(t)
	w.create(`{database: {managed: {storage: {className: nope}}}}`)
	w.startStatefulSet("acme-redis")
	w.startStatefulSet("acme-db")
	w.waitFor(shopv1.ConditionDatabaseReady, "True", shopv1.ReasonAvailable)
	claim := &corev1.PersistentVolumeClaim{}
	w.mustGet(claim, "data-acme-db-0")
	w.warn(claim, "PersistentVolumeClaim", "storageclass.storage.k8s.io \"nope\" not found")
	w.setReady("acme-db", 0)
	contain(t, w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonVolumePending), "data-acme-db-0", "\"nope\" not found", "kubectl get storageclasses")
	w.setReady("acme-db", 1)
	w.waitFor(shopv1.ConditionDatabaseReady, "True", shopv1.ReasonAvailable)
}

// TestAnotherMajorVersion: PostgreSQL stays with the one that can read the data,
// whichever way the spec asks for another; before there is data, it may.
func TestAnotherMajorVersion(t *testing.T) {
	w := newWorld(t)
	w.create(`{database: {managed: {version: "71"}}}`)
	kubetest.Eventually(t, func() error { return w.get(&appsv1.StatefulSet{}, "acme-db") })
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Database.Managed.Version = "17" }) // it was a slip
	w.expectDatabase("docker.io/library/postgres:17")
	w.startData()
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Database.Managed.Version = "" })
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Database.Managed.Version = "18" })
	contain(t, w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonMajorVersionRefused), "postgres:18", "pg_dump")
	w.waitFor(shopv1.ConditionAPIReady, "True", shopv1.ReasonAvailable)
	w.expectDatabase("docker.io/library/postgres:17")
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Database.Managed.Version = "" })
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Database.Managed.Version = "17.6" })
	w.expectDatabase("docker.io/library/postgres:17.6")
	w.setReady("acme-db", 1)
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// expectDatabase waits until PostgreSQL is of an image.
func (w *world) expectDatabase(image string) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		set := &appsv1.StatefulSet{}
		w.mustGet(set, "acme-db")
		if got := builders.ImageOf(set); got != image {
			return fmt.Errorf("PostgreSQL is of the image %s, want %s", got, image)
		}
		return nil
	})
}

// TestADatabaseThatRefuses: the condition names the Secret, the pods that run are
// let be, and a URL that is good is used without more ado.
func TestADatabaseThatRefuses(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "mine"}, StringData: map[string]string{"url": "postgres://u:wrong@db.example.com/shop"}}
	if err := w.Create(kubetest.Context(t), secret); err != nil {
		t.Fatal(err)
	}
	w.create(`{database: {external: {urlSecretRef: {name: mine}}}}`)
	w.startStatefulSet("acme-redis")
	job := w.migrationOf("0.1.0")
	w.runJob(job.Name)
	const refusal = "reach the database: password authentication failed for user u"
	w.endPod(job, corev1.PodFailed, 1, refusal)
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonDatabaseRefuses) // and not when the last try has failed
	w.failMigration("0.1.0", refusal)
	contain(t, w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonDatabaseRefuses), `key "url" of Secret mine`, "password authentication failed", "tried again every minute")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonDatabaseRefuses)

	w.setSecret("mine", "url", "postgres://u:right@db.example.com/shop")
	w.endUnfinishedMigration()
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)

	before := &appsv1.Deployment{}
	w.mustGet(before, "acme-api")
	w.setSecret("mine", "url", "postgres://u:wrongagain@db.example.com/shop")
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationRunning)
	refused := w.migrationAtWork().Name
	after := &appsv1.Deployment{}
	if w.mustGet(after, "acme-api"); after.Generation != before.Generation {
		t.Error("pods are restarted with a URL that has not proved good")
	}
	w.setSecret("mine", "url", "postgres://u:newer@db.example.com/shop")
	w.endUnfinishedMigration(refused)
	kubetest.Eventually(t, func() error {
		if w.mustGet(after, "acme-api"); after.Generation == before.Generation {
			return errors.New("pods are not restarted with the new URL")
		}
		return nil
	})
}

func (w *world) migrationAtWork() (found batchv1.Job) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		jobs := w.unfinishedMigrations()
		if len(jobs) == 0 {
			return errors.New("no migration at work")
		}
		found = jobs[0]
		return nil
	})
	return found
}

func (w *world) unfinishedMigrations() []batchv1.Job {
	w.t.Helper()
	return slices.DeleteFunc(w.migrations(), func(job batchv1.Job) bool { return isFinished(&job) || job.DeletionTimestamp != nil })
}

// endUnfinishedMigration ends the one migration at work well, unless it is one of
// those named.
func (w *world) endUnfinishedMigration(but ...string) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		jobs := w.unfinishedMigrations()
		if len(jobs) != 1 || slices.Contains(but, jobs[0].Name) {
			return fmt.Errorf("%d migrations at work, want a new one", len(jobs))
		}
		w.endPod(&jobs[0], corev1.PodSucceeded, 0, `{"schemaVersion":7}`)
		w.endJob(jobs[0].Name, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)
		return nil
	})
}

// warn is a Warning that a controller of Kubernetes tells about an object.
func (w *world) warn(about client.Object, kind, message string) {
	w.t.Helper()
	warning := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "warning-"},
		InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: w.namespace, Name: about.GetName(), UID: about.GetUID()},
		Type:           corev1.EventTypeWarning, Reason: "Played", Message: message,
		FirstTimestamp: metav1.NewTime(time.Now()), LastTimestamp: metav1.NewTime(time.Now()),
	}
	if err := w.Create(kubetest.Context(w.t), warning); err != nil {
		w.t.Fatal(err)
	}
}
