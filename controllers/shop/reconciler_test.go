package shop

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// TestAShopComesUp follows `spec: {}` from nothing to Ready, one step at a time.
func TestAShopComesUp(t *testing.T) {
	w := newWorld(t)
	w.create(`{}`)

	contain(t, w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonStarting), "kubectl -n "+w.namespace+" describe pod acme-db-0")
	w.waitFor(shopv1.ConditionRedisReady, "False", shopv1.ReasonStarting)
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonWaitingForDatabase)
	w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonWaitingForMigration)
	w.waitFor(shopv1.ConditionReady, "False", shopv1.ReasonStarting)
	if jobs := w.migrations(); len(jobs) > 0 {
		t.Errorf("a migration starts before the database: %v", jobs[0].Name)
	}

	w.startData()
	w.waitFor(shopv1.ConditionDatabaseReady, "True", shopv1.ReasonAvailable)
	w.waitFor(shopv1.ConditionRedisReady, "True", shopv1.ReasonAvailable)
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationRunning)
	w.rest()
	for _, name := range []string{"acme-api", "acme-notifications"} {
		if err := w.get(&appsv1.Deployment{}, name); !apierrors.IsNotFound(err) {
			t.Errorf("Deployment %s before the migration has ended: %v", name, err)
		}
	}

	w.migrate("0.1.0", 7)
	w.waitFor(shopv1.ConditionMigrated, "True", shopv1.ReasonMigrated)
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonRollingOut), "0 of 2 pods of version 0.1.0")

	w.rollOut("0.1.0")
	contain(t, w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable), "0.1.0 serves at http://acme-api."+w.namespace+".svc:8000")

	shop := &shopv1.Shop{}
	w.mustGet(shop, "acme")
	want := shopv1.ShopStatus{
		ObservedGeneration: 1,
		Conditions:         shop.Status.Conditions,
		Version:            "0.1.0",
		SchemaVersion:      7,
		Endpoints: shopv1.Endpoints{
			API:           "http://acme-api." + w.namespace + ".svc:8000",
			Notifications: "ws://acme-notifications." + w.namespace + ".svc:8001/ws/notifications/",
		},
		History:  []shopv1.ServedRelease{{Version: "0.1.0", Image: "ghcr.io/shopkeeper-dev/server:0.1.0", Since: shop.Status.History[0].Since}},
		Pods:     shopv1.PodCounts{API: "2/2", Notifications: "2/2"},
		Replicas: 2,
		Selector: "app.kubernetes.io/name=shop,app.kubernetes.io/instance=acme,app.kubernetes.io/component=api",
	}
	if fmt.Sprintf("%+v", shop.Status) != fmt.Sprintf("%+v", want) {
		t.Errorf("status\n%+v\nwant\n%+v", shop.Status, want)
	}
	if meta.FindStatusCondition(shop.Status.Conditions, shopv1.ConditionIngressReady) != nil {
		t.Error("a condition about an ingress that nobody asked for")
	}
	if len(shop.Finalizers) > 0 {
		t.Errorf("finalizers %v on a shop that needs none", shop.Finalizers)
	}
}

// TestOwners: everything goes with the Shop but the data, and the Secrets
// without which nobody gets at it.
func TestOwners(t *testing.T) {
	w := newWorld(t)
	w.serve(`ingress: {host: shop.example.com}`)
	stays := []string{"Secret acme-db", "Secret acme-auth", "Secret acme-keyring", "Secret acme-admin", "PersistentVolumeClaim data-acme-db-0", "PersistentVolumeClaim data-acme-redis-0"}
	for _, child := range w.children() {
		owner := metav1.GetControllerOf(child.object)
		name := child.kind + " " + child.object.GetName()
		if got, want := owner == nil, slices.Contains(stays, name); got != want {
			t.Errorf("%s has the owner %v", name, owner)
		}
		if got := child.object.GetLabels()[builders.LabelManagedBy]; got != builders.ManagedBy {
			t.Errorf("%s is managed by %q", name, got)
		}
	}
}

// TestDataIsFoundAgain: a Shop that is deleted and applied again has the same
// passwords and keys.
func TestDataIsFoundAgain(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	secrets := []string{"acme-db", "acme-auth", "acme-keyring", "acme-admin"}
	before := map[string]map[string][]byte{}
	for _, name := range secrets {
		secret := &corev1.Secret{}
		w.mustGet(secret, name)
		before[name] = secret.Data
	}

	w.delete(&shopv1.Shop{}, "acme")
	for _, child := range w.children() { // as the garbage collector does
		if metav1.GetControllerOf(child.object) != nil {
			w.deleteNow(child.object)
		}
	}
	w.rest()
	if left := w.children(); len(left) != 6 {
		t.Errorf("%d children are left, want the 4 Secrets and 2 volumes", len(left))
	}

	w.create(`{}`)
	w.startData()
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	for _, name := range secrets {
		secret := &corev1.Secret{}
		w.mustGet(secret, name)
		if fmt.Sprint(secret.Data) != fmt.Sprint(before[name]) {
			t.Errorf("Secret %s has changed", name)
		}
	}
}

// TestANewShopReadsNoSecret: it has none yet, and if it has, to make it is refused.
func TestANewShopReadsNoSecret(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	made := w.calls.list()
	if slices.ContainsFunc(made, func(call string) bool { return strings.HasPrefix(call, "GET ") && strings.Contains(call, "/secrets/") }) {
		t.Errorf("a Secret is read: %v", made)
	}
}

// TestAtRest: a shop that is as it should be costs the API server nothing.
func TestAtRest(t *testing.T) {
	w := newWorld(t)
	w.serve(`ingress: {host: shop.example.com}`)
	w.rest()
	for range 100 {
		w.reconcile()
	}
	if made := w.calls.list(); len(made) > 0 {
		t.Errorf("100 turns made %d calls: %v", len(made), made)
	}
}

// TestARestartWritesNothing: an operator that starts anew, with an empty
// memory, finds that nothing is to be done.
func TestARestartWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.rest()
	second := w.startSecondOperator()
	for range 10 {
		second.reconcile()
	}
	for _, call := range second.calls.list() {
		if !strings.HasPrefix(call, "GET ") {
			t.Errorf("wrote: %s", call)
		}
	}
}

// TestDriftIsRepaired: what others do to a child is undone, and what they add
// to it is left.
func TestDriftIsRepaired(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.serve(`ingress: {host: shop.example.com}`)

	for _, gone := range []struct {
		object client.Object
		name   string
	}{
		{&corev1.Service{}, "acme-api"},
		{&corev1.ServiceAccount{}, "acme-pods"},
		{&networkingv1.Ingress{}, "acme"},
		{&appsv1.Deployment{}, "acme-notifications"},
		{&corev1.Secret{}, "acme-redis"},
	} {
		w.delete(gone.object, gone.name)
		uid := gone.object.GetUID()
		kubetest.Eventually(t, func() error {
			if err := w.get(gone.object, gone.name); err != nil {
				return err
			}
			if gone.object.GetUID() == uid {
				return fmt.Errorf("%s is still the old one", gone.name)
			}
			return nil
		})
	}

	change(w, &appsv1.Deployment{}, "acme-api", func(deployment *appsv1.Deployment) {
		deployment.Spec.Replicas = new(int32(9))
		deployment.Spec.Template.Spec.Containers[0].Image = "evil:1"
		delete(deployment.Labels, builders.LabelManagedBy)
		deployment.Annotations["example.com/note"] = "theirs"
		deployment.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
	})
	kubetest.Eventually(t, func() error {
		deployment := &appsv1.Deployment{}
		w.mustGet(deployment, "acme-api")
		container := deployment.Spec.Template.Spec.Containers[0]
		if *deployment.Spec.Replicas != 2 || container.Image != "ghcr.io/shopkeeper-dev/server:0.1.0" || deployment.Labels[builders.LabelManagedBy] != builders.ManagedBy {
			return fmt.Errorf("%d replicas of %s, labels %v", *deployment.Spec.Replicas, container.Image, deployment.Labels)
		}
		if deployment.Annotations["example.com/note"] != "theirs" || deployment.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "now" {
			return fmt.Errorf("what others added is gone: %v %v", deployment.Annotations, deployment.Spec.Template.Annotations)
		}
		return nil
	})
}

// TestKeysHeal: a key that somebody empties is filled again, the database's
// password with the one that the database has.
func TestKeysHeal(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.serve(`{}`)
	before := &corev1.Secret{}
	w.mustGet(before, "acme-db")
	for _, key := range []string{"password", "url", "host"} {
		change(w, &corev1.Secret{}, "acme-db", func(secret *corev1.Secret) { delete(secret.Data, key) })
		kubetest.Eventually(t, func() error {
			after := &corev1.Secret{}
			w.mustGet(after, "acme-db")
			if fmt.Sprint(after.Data) != fmt.Sprint(before.Data) {
				return fmt.Errorf("without %s: %v", key, after.Data)
			}
			return nil
		})
	}
	change(w, &corev1.Secret{}, "acme-admin", func(secret *corev1.Secret) { secret.Data["password"] = nil })
	kubetest.Eventually(t, func() error {
		admin := &corev1.Secret{}
		w.mustGet(admin, "acme-admin")
		if len(admin.Data["password"]) == 0 {
			return fmt.Errorf("no password")
		}
		return nil
	})
}

// TestASecretChangeRestartsPods: pods do not go on with keys that are no more.
func TestASecretChangeRestartsPods(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.serve(`{}`)
	before := &appsv1.Deployment{}
	w.mustGet(before, "acme-notifications")
	change(w, &corev1.Secret{}, "acme-auth", func(secret *corev1.Secret) {
		secret.Data["signing-keys"] = append([]byte("new:0123456789abcdef0123456789abcdef,"), secret.Data["signing-keys"]...)
	})
	kubetest.Eventually(t, func() error {
		after := &appsv1.Deployment{}
		w.mustGet(after, "acme-notifications")
		if after.Spec.Template.Annotations[builders.AnnotationSecretsHash] == before.Spec.Template.Annotations[builders.AnnotationSecretsHash] {
			return fmt.Errorf("the pods are the same")
		}
		return nil
	})
	if ids := w.keyIDs(); len(ids) != 2 || ids[1] != "new" {
		t.Errorf("keys %v", ids)
	}
}

// TestAnotherAdminPassword: a Secret that is changed or deleted is a new password,
// with which the pods start, one by one.
func TestAnotherAdminPassword(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.serve(`{}`)
	hashes := func() (hashes [2]string) {
		for i, name := range []string{"acme-api", "acme-notifications"} {
			deployment := &appsv1.Deployment{}
			w.mustGet(deployment, name)
			hashes[i] = deployment.Spec.Template.Annotations[builders.AnnotationSecretsHash]
		}
		return hashes
	}
	for _, rotate := range []func(){
		func() { w.setSecret("acme-admin", "password", "another password") },
		func() { w.delete(&corev1.Secret{}, "acme-admin") },
	} {
		before := hashes()
		rotate()
		kubetest.Eventually(t, func() error {
			if after := hashes(); after[0] == before[0] || after[1] == before[1] {
				return errors.New("the pods are the same")
			}
			return nil
		})
		w.rollOut("0.1.0")
		w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	}
	secret := &corev1.Secret{}
	if w.mustGet(secret, "acme-admin"); len(secret.Data["password"]) != 24 {
		t.Errorf("the new password is %q", secret.Data["password"])
	}
}

// TestUpgrade: no pod of a version starts before its migration has ended; till
// then the old one serves, and takes what else changes.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version, spec.API.Replicas = "0.2.0", new(int32(3)) })

	job := w.migrationOf("0.2.0")
	if image := job.Spec.Template.Spec.Containers[0].Image; image != "ghcr.io/shopkeeper-dev/server:0.2.0" {
		t.Errorf("the migration runs %s", image)
	}
	w.runJob(job.Name)
	contain(t, w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationRunning), "version 0.2.0", "kubectl -n "+w.namespace+" logs")
	w.rollOut("0.1.0")
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "True", shopv1.ReasonAvailable), "3 of 3 pods of version 0.1.0")
	w.expectImages("0.1.0", 3)
	w.waitFor(shopv1.ConditionReady, "False", shopv1.ReasonMigrationRunning)

	w.migrate("0.2.0", 8)
	w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonRollingOut)
	w.expectImages("0.2.0", 3)
	if status := w.status(); status.Version != "0.1.0" || status.SchemaVersion != 8 {
		t.Errorf("during the rollout version %s, schema %d", status.Version, status.SchemaVersion)
	}
	w.rollOut("0.2.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	if status := w.status(); status.Version != "0.2.0" {
		t.Errorf("after the rollout version %s", status.Version)
	}
	kubetest.Eventually(t, func() error { // the Job of 0.1.0 has had its time
		if jobs := w.migrations(); len(jobs) != 1 {
			return fmt.Errorf("%d Jobs are left", len(jobs))
		}
		return nil
	})
}

// TestAFailedMigration: the old version goes on, the condition has the end of
// the log, and a new try comes with the deletion of the Job.
func TestAFailedMigration(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.2.0" })
	w.failMigration("0.2.0", `column "price" is there already`)
	failed := w.migrationOf("0.2.0")

	contain(t, w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationFailed),
		`column "price" is there already`, "Version 0.1.0 goes on serving.", "kubectl -n "+w.namespace+" delete job "+failed.Name)
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonMigrationFailed)
	w.waitFor(shopv1.ConditionAPIReady, "True", shopv1.ReasonAvailable)
	w.expectImages("0.1.0", 2)
	w.rest()
	for range 10 {
		w.reconcile()
	}
	if made := w.calls.list(); len(made) > 0 {
		t.Errorf("a shop that waits for help makes calls: %v", made)
	}

	w.delete(&batchv1.Job{}, failed.Name)
	kubetest.Eventually(t, func() error {
		if again := w.migrationOf("0.2.0"); again.UID == failed.UID {
			return fmt.Errorf("no new try")
		}
		return nil
	})
	w.migrate("0.2.0", 8)
	w.rollOut("0.2.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	w.expectImages("0.2.0", 2)
}

// TestAnImageThatIsNotThere: the condition names it, the old version goes on,
// and another version gets through at once.
func TestAnImageThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "9.9.9" })
	job := w.migrationOf("9.9.9")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "waits", Labels: job.Spec.Template.Labels}, Spec: job.Spec.Template.Spec}
	if err := w.Create(kubetest.Context(t), pod); err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff"} {
		w.changeStatus(pod, pod.Name, func(object client.Object) {
			waiting := corev1.ContainerStateWaiting{Reason: reason, Message: "not found"}
			object.(*corev1.Pod).Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "migrate", Image: "ghcr.io/shopkeeper-dev/server:9.9.9", State: corev1.ContainerState{Waiting: &waiting},
			}}
		})
		contain(t, w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationBlocked),
			"The image ghcr.io/shopkeeper-dev/server:9.9.9 of pod waits cannot be pulled", "Version 0.1.0 goes on serving.")
	}
	w.expectImages("0.1.0", 2)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "" })
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestAFailedMigrationIsSkipped: going back to the version that serves, or on
// to a later one, needs no cleaning up.
func TestAFailedMigrationIsSkipped(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.2.0" })
	w.failMigration("0.2.0", "no")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonMigrationFailed)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.1.0" })
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.3.0" })
	w.migrate("0.3.0", 9)
	w.rollOut("0.3.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestOneMigrationAtATime: a version that comes while another one migrates
// waits for its end; one whose pod does not even start is called off.
func TestOneMigrationAtATime(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.2.0" })
	second := w.migrationOf("0.2.0")
	w.runJob(second.Name)
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationRunning)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.3.0" })
	contain(t, w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonWaitingForOtherMigration), second.Name)
	w.rest()
	if jobs := w.migrations(); len(jobs) != 2 {
		t.Fatalf("%d Jobs, want those of 0.1.0 and 0.2.0", len(jobs))
	}
	w.expectImages("0.1.0", 2)

	w.failMigration("0.2.0", "no")
	third := w.migrationOf("0.3.0")

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.4.0" })
	kubetest.Eventually(t, func() error { // 0.3.0 has no pod at work
		job := &batchv1.Job{}
		if err := w.get(job, third.Name); client.IgnoreNotFound(err) != nil || err == nil && job.DeletionTimestamp == nil {
			return fmt.Errorf("the migration to 0.3.0 is still in the way (%w)", err)
		}
		return nil
	})
	w.migrate("0.4.0", 10)
	w.rollOut("0.4.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	w.expectImages("0.4.0", 2)
}

// TestAStaleCacheStartsNoSecondMigration: what the API server knows counts.
func TestAStaleCacheStartsNoSecondMigration(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.2.0" })
	w.migrationOf("0.2.0")
	w.rest()

	shop := &shopv1.Shop{}
	w.mustGet(shop, "acme")
	applier := &apply.Applier{Client: w.reconciler.Client, Live: w.reconciler.Live, Label: builders.LabelManagedBy, Value: builders.ManagedBy}
	another := builders.MigrationJob(shop, builders.Release{Version: "0.3.0", Image: "server:0.3.0"}, "x")
	if err := w.reconciler.startMigration(kubetest.Context(t), shop, applier, another); err != nil {
		t.Fatal(err)
	}
	if err := w.get(&batchv1.Job{}, *another.Name); !apierrors.IsNotFound(err) {
		t.Errorf("a second migration runs: %v", err)
	}
}

// TestAnOldSpecDoesNothing: nor does it bring back a migration that has been
// passed over, or the status of that time.
func TestAnOldSpecDoesNothing(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	old := &shopv1.Shop{}
	w.mustGet(old, "acme")
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.API.PublicCatalog = true })
	w.waitFor(shopv1.ConditionReady, "False", shopv1.ReasonRollingOut)

	applier := &apply.Applier{Client: w.reconciler.Client, Live: w.reconciler.Live, Label: builders.LabelManagedBy, Value: builders.ManagedBy}
	passedOver := builders.MigrationJob(old, builders.Release{Version: "0.0.9", Image: "server:0.0.9"}, "x")
	if err := w.reconciler.startMigration(kubetest.Context(t), old, applier, passedOver); err != nil {
		t.Fatal(err)
	}
	if err := w.get(&batchv1.Job{}, *passedOver.Name); !apierrors.IsNotFound(err) {
		t.Errorf("the migration of an older spec runs: %v", err)
	}
	status := old.Status.DeepCopy()
	status.Version = "0.0.9"
	if err := w.reconciler.report(kubetest.Context(t), old, status); !apierrors.IsConflict(err) {
		t.Errorf("error %v of the status of an older spec, want a conflict", err)
	}
}

// TestANewVolumeIsMigrated: an empty database gets its schema before anything
// else, whatever was done to the one before.
func TestANewVolumeIsMigrated(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	first := w.migrationOf("0.1.0")
	claim := &corev1.PersistentVolumeClaim{}
	w.mustGet(claim, "data-acme-db-0")
	w.deleteNow(claim)
	w.startStatefulSet("acme-db")
	kubetest.Eventually(t, func() error {
		for _, job := range w.migrations() {
			if job.Name != first.Name {
				return nil
			}
		}
		return fmt.Errorf("no migration of the new volume")
	})
}

// TestIngress: the Ingress comes, changes and goes with the spec.
func TestIngress(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Ingress = &shopv1.Ingress{Host: "shop.example.com", TLS: &shopv1.TLS{}, Ingress: &shopv1.IngressObject{ClassName: new("public")}}
	})
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonWaitingForAddress), "kubectl get ingressclasses")
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "False", shopv1.ReasonWaitingForAddress)
	w.giveAddress()
	contain(t, w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable), "https://shop.example.com")
	if endpoints := w.status().Endpoints; endpoints.Notifications != "wss://shop.example.com/ws/notifications/" {
		t.Errorf("endpoints %+v", endpoints)
	}

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Ingress.TLS.SecretName = new("cert") })
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonSecretMissing), `spec.ingress.tls.secretName asks for key "tls.crt" of Secret cert`)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "cert"},
		StringData: map[string]string{"tls.crt": "none", "tls.key": "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"},
	}
	if err := w.Create(kubetest.Context(t), secret); err != nil {
		t.Fatal(err)
	}
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonSecretMalformed), `Key "tls.crt" of Secret cert`, "it is no PEM")
	w.waitFor(shopv1.ConditionAPIReady, "True", shopv1.ReasonAvailable)
	w.setSecret("cert", "tls.crt", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Ingress = nil })
	kubetest.Eventually(t, func() error {
		ingress := &networkingv1.Ingress{}
		if err := w.get(ingress, "acme"); err == nil && ingress.DeletionTimestamp == nil {
			return fmt.Errorf("the Ingress is still there")
		}
		return nil
	})
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestGateway: on a cluster without the Gateway API the condition says so; when
// it is installed, the HTTPRoutes follow without a restart of the operator.
func TestGateway(t *testing.T) {
	w := loneWorld(t, time.Hour)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Ingress = &shopv1.Ingress{Host: "shop.example.com", Gateway: &shopv1.Gateway{ParentRefs: []shopv1.ParentRef{{Name: "public"}}}}
	})
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonGatewayAPIMissing), "install the Gateway API")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonGatewayAPIMissing)

	installGatewayAPI(t)
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonWaitingForGateway), "HTTPRoute acme-api")
	w.judgeRoute("acme-api", metav1.ConditionTrue, "Accepted", "")
	w.judgeRoute("acme-notifications", metav1.ConditionFalse, "NoMatchingListenerHostname", "no listener has that host")
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonRouteNotAccepted), "Gateway public", "acme-notifications", "no listener has that host")
	w.judgeRoute("acme-notifications", metav1.ConditionTrue, "Accepted", "")
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Ingress.Gateway = nil })
	w.giveAddress()
	kubetest.Eventually(t, func() error {
		for _, name := range []string{"acme-api", "acme-notifications"} {
			route := &gatewayv1.HTTPRoute{}
			if err := w.get(route, name); err == nil && route.DeletionTimestamp == nil {
				return fmt.Errorf("HTTPRoute %s is still there", name)
			}
		}
		return nil
	})
	for _, name := range []string{"acme-api", "acme-notifications"} { // or their CRD would never go
		w.letGo(&gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}})
	}
}

// installGatewayAPI installs it until the test ends.
func installGatewayAPI(t *testing.T) {
	t.Helper()
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	installKinds(t, filepath.Join(strings.TrimSpace(string(folder)), "config", "crd", "standard", "gateway.networking.k8s.io_httproutes.yaml"))
}

// installKinds installs CRDs until the test ends. No test after it sees any of them.
func installKinds(t *testing.T, path string) {
	t.Helper()
	kinds := envtest.CRDInstallOptions{Paths: []string{path}, ErrorIfPathMissing: true}
	installed, err := envtest.InstallCRDs(cluster, kinds)
	t.Cleanup(func() {
		if err := envtest.UninstallCRDs(cluster, kinds); err != nil {
			t.Error(err)
		}
		for _, kind := range installed {
			kubetest.Eventually(t, func() error { return isUnknown(kind.Spec.Group) })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// isUnknown is an error while the API server still tells of a group.
func isUnknown(group string) error {
	api, err := discovery.NewDiscoveryClientForConfig(cluster)
	if err != nil {
		return err
	}
	groups, err := api.ServerGroups()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(groups.Groups, func(known metav1.APIGroup) bool { return known.Name == group }) {
		return fmt.Errorf("there is still a group %s", group)
	}
	return nil
}

// judgeRoute is a Gateway's answer to an HTTPRoute.
func (w *world) judgeRoute(name string, accepted metav1.ConditionStatus, reason, message string) {
	w.t.Helper()
	w.changeStatus(&gatewayv1.HTTPRoute{}, name, func(object client.Object) {
		route := object.(*gatewayv1.HTTPRoute)
		condition := func(kind gatewayv1.RouteConditionType, status metav1.ConditionStatus, reason string) metav1.Condition {
			return metav1.Condition{Type: string(kind), Status: status, Reason: reason, Message: message, ObservedGeneration: route.Generation, LastTransitionTime: metav1.Now()}
		}
		route.Status.Parents = []gatewayv1.RouteParentStatus{{
			ParentRef: gatewayv1.ParentReference{Name: "public"}, ControllerName: "example.com/gateway",
			Conditions: []metav1.Condition{
				condition(gatewayv1.RouteConditionAccepted, accepted, reason),
				condition(gatewayv1.RouteConditionResolvedRefs, metav1.ConditionTrue, "ResolvedRefs"),
			},
		}}
	})
}

// TestASecretOfTheUsersIsMissing: the condition names it, and goes when it comes.
func TestASecretOfTheUsersIsMissing(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.create(`{auth: {signingKeySecretRef: {name: keys}}, admin: {passwordSecretRef: {name: owner, key: pw}}}`)
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonSecretMissing),
		`spec.auth.signingKeySecretRef asks for key "signing-keys" of Secret keys`, `spec.admin.passwordSecretRef asks for key "pw" of Secret owner`)
	w.waitFor(shopv1.ConditionNotificationsReady, "False", shopv1.ReasonSecretMissing)
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonSecretMissing)

	for name, key := range map[string]string{"keys": "signing-keys", "owner": "pw"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, StringData: map[string]string{key: "short"}}
		if err := w.Create(kubetest.Context(t), secret); err != nil {
			t.Fatal(err)
		}
	}
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonSecretMalformed), `Key "pw" of Secret owner`, "it has 5 characters", `Key "signing-keys" of Secret keys`, "not of the form kid:secret")
	w.setSecret("keys", "signing-keys", "a:0123456789abcdef0123456789abcdef")
	w.setSecret("owner", "pw", "correct horse")
	w.startData()
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	for _, name := range []string{"acme-auth", "acme-admin"} {
		if err := w.get(&corev1.Secret{}, name); !apierrors.IsNotFound(err) {
			t.Errorf("Secret %s is made though the spec has one: %v", name, err)
		}
	}
}

// TestASecretOfTheUsersChanges: the pods that use it are replaced; and not when
// nothing could start with what is in it now.
func TestASecretOfTheUsersChanges(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"},
		StringData: map[string]string{"signing-keys": "a:0123456789abcdef0123456789abcdef"},
	}
	if err := w.Create(kubetest.Context(t), secret); err != nil {
		t.Fatal(err)
	}
	w.serve(`{auth: {signingKeySecretRef: {name: keys}}}`)
	hash := func() string {
		deployment := &appsv1.Deployment{}
		w.mustGet(deployment, "acme-api")
		return deployment.Spec.Template.Annotations[builders.AnnotationSecretsHash]
	}
	before := hash()

	for _, bad := range []string{"", "no key", `{"keys": 1}`} {
		w.setSecret("keys", "signing-keys", bad)
		w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonSecretMalformed)
		if hash() != before {
			t.Errorf("pods are restarted with the signing keys %q", bad)
		}
		w.setSecret("keys", "signing-keys", "a:0123456789abcdef0123456789abcdef")
		w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	}
	w.delete(&corev1.Secret{}, "keys")
	contain(t, w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonSecretMissing), "Secret keys")
	if hash() != before {
		t.Error("pods are restarted without signing keys")
	}

	secret = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"},
		StringData: map[string]string{"signing-keys": "b:0123456789abcdef0123456789abcdef"},
	}
	if err := w.Create(kubetest.Context(t), secret); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func() error {
		if hash() == before {
			return fmt.Errorf("the pods are the same")
		}
		return nil
	})
}

// TestSigningKeysOverlap: a new key is known to every pod before one signs with
// it, and the old one stays for as long as its tokens; even when somebody deletes
// the Secret that the keys come from.
func TestSigningKeysOverlap(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.serve(`{}`)
	first := w.keyIDs()
	w.delete(&corev1.Secret{}, "acme-auth")
	var both []string
	kubetest.Eventually(t, func() error {
		if both = w.keyIDs(); len(both) != 2 || both[0] != first[0] {
			return fmt.Errorf("keys %v, want %s and a new one behind it", both, first[0])
		}
		return nil
	})
	for range 10 {
		w.reconcile()
	}
	if still := w.keyIDs(); !slices.Equal(still, both) {
		t.Errorf("keys %v before all pods know %v", still, both)
	}
	kubetest.Eventually(t, func() error {
		w.rollOut("0.1.0")
		if swapped := w.keyIDs(); len(swapped) != 2 || swapped[0] != both[1] || swapped[1] != first[0] {
			return fmt.Errorf("keys %v, want the new one first", swapped)
		}
		return nil
	})
	w.settle()

	w.setSecret("acme-auth", "signing-keys", "not keys")
	contain(t, w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonSecretMalformed), `Key "signing-keys" of Secret acme-auth`)
	if kept := w.keyIDs(); len(kept) != 2 || kept[0] != both[1] {
		t.Errorf("keys %v", kept)
	}
	w.delete(&corev1.Secret{}, "acme-auth")
	w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonRollingOut)
}

// keyIDs are the ids of the keys that pods start with, in their order.
func (w *world) keyIDs() []string {
	w.t.Helper()
	secret := &corev1.Secret{}
	w.mustGet(secret, "acme-keyring")
	set := struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}{}
	if err := json.Unmarshal(secret.Data["signing-keys"], &set); err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, key := range set.Keys {
		ids = append(ids, key.ID)
	}
	return ids
}

// TestAnOperatorMayNotListSecrets: who may list them may read them all.
func TestAnOperatorMayNotListSecrets(t *testing.T) {
	w := newWorld(t)
	restricted := rest.CopyConfig(cluster)
	restricted.Impersonate = rest.ImpersonationConfig{UserName: "operator-of-" + w.namespace}
	operator, err := client.New(restricted, client.Options{Scheme: w.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.List(kubetest.Context(t), &corev1.SecretList{}, client.InNamespace(w.namespace)); !apierrors.IsForbidden(err) {
		t.Errorf("a list of Secrets: %v", err)
	}
}

// TestANameIsTaken: what others made is not taken over, and not overwritten.
func TestANameIsTaken(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "acme-db"}, StringData: map[string]string{"password": "theirs"}}
	if err := w.Create(kubetest.Context(t), theirs); err != nil {
		t.Fatal(err)
	}
	w.create(`{}`)
	contain(t, w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonNameTaken),
		"Secret acme-db exists and was not made by the operator", "app.kubernetes.io/managed-by=shopkeeper")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonNameTaken)
	w.mustGet(theirs, "acme-db")
	if string(theirs.Data["password"]) != "theirs" || len(theirs.Labels) > 0 {
		t.Errorf("their Secret is now %v %v", theirs.Labels, theirs.Data)
	}

	w.delete(theirs, "acme-db")
	w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonStarting)
}

// TestARefusal: what the API server does not take is told in its words, and
// does not keep the rest from going on.
func TestARefusal(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.API.Resources.Limits = limits // below the request
		spec.Notifications.Replicas = new(int32(4))
	})
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonRefused), "must be less than or equal to memory limit")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonRefused)
	kubetest.Eventually(t, func() error {
		deployment := &appsv1.Deployment{}
		w.mustGet(deployment, "acme-notifications")
		if *deployment.Spec.Replicas != 4 {
			return fmt.Errorf("%d replicas", *deployment.Spec.Replicas)
		}
		return nil
	})
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.API.Resources = corev1.ResourceRequirements{} })
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestTrouble: pods and databases that fall over, and rollouts that get stuck.
func TestTrouble(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.setAvailable("acme-api", 1)
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonDegraded), "1 of 2 pods", "kubectl -n "+w.namespace+" describe pods -l app.kubernetes.io/name=shop")
	w.waitFor(shopv1.ConditionReconciling, "True", shopv1.ReasonProgressing)
	if pods := w.status().Pods.API; pods != "1/2" {
		t.Errorf("pods %s", pods)
	}
	w.rollOut("0.1.0")

	w.setReady("acme-db", 0)
	contain(t, w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonDegraded), "describe pod acme-db-0")
	w.waitFor(shopv1.ConditionMigrated, "True", shopv1.ReasonMigrated)
	w.setReady("acme-db", 1)
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)

	w.changeStatus(&appsv1.Deployment{}, "acme-notifications", func(object client.Object) {
		status := &object.(*appsv1.Deployment).Status
		status.UpdatedReplicas = 1
		status.Conditions[0].Status, status.Conditions[0].Reason = corev1.ConditionFalse, "ProgressDeadlineExceeded"
	})
	w.waitFor(shopv1.ConditionNotificationsReady, "False", shopv1.ReasonRolloutStuck)
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonRolloutStuck)
}

// TestVolumeGrowth: the claim grows, where the StatefulSet could not; and where
// the storage class does not let it, the shop serves on and says so.
func TestVolumeGrowth(t *testing.T) {
	w := newWorld(t)
	for name, grows := range map[string]bool{"stretchy": true, "stiff": false} {
		class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/none", AllowVolumeExpansion: &grows}
		if err := w.Create(kubetest.Context(t), class); client.IgnoreAlreadyExists(err) != nil { // by an earlier run
			t.Fatal(err)
		}
	}
	w.serve(`{database: {managed: {storage: {className: stretchy}}}, redis: {managed: {storage: {className: stiff}}}}`)
	claim := &corev1.PersistentVolumeClaim{}
	for _, name := range []string{"data-acme-db-0", "data-acme-redis-0"} {
		w.changeStatus(claim, name, func(object client.Object) { object.(*corev1.PersistentVolumeClaim).Status.Phase = corev1.ClaimBound })
	}
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Database.Managed.Storage.Size = new(resource.MustParse("20Gi"))
		spec.Redis.Managed.Storage.Size = new(resource.MustParse("2Gi"))
	})
	kubetest.Eventually(t, func() error {
		w.mustGet(claim, "data-acme-db-0")
		if size := claim.Spec.Resources.Requests.Storage().String(); size != "20Gi" {
			return fmt.Errorf("the claim is of %s", size)
		}
		return nil
	})
	contain(t, w.waitFor(shopv1.ConditionRedisReady, "True", shopv1.ReasonVolumeNotGrown), "data-acme-redis-0", "Let the storage class allow expansion")
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestPodsAreRestricted: every pod of a shop passes the PodSecurity level
// restricted, which the namespace enforces, and has no rights.
func TestPodsAreRestricted(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	templates := map[string]corev1.PodTemplateSpec{"migrate": w.migrationOf("0.1.0").Spec.Template}
	for _, name := range []string{"acme-api", "acme-notifications"} {
		deployment := &appsv1.Deployment{}
		w.mustGet(deployment, name)
		templates[name] = deployment.Spec.Template
	}
	for _, name := range []string{"acme-db", "acme-redis"} {
		set := &appsv1.StatefulSet{}
		w.mustGet(set, name)
		templates[name] = set.Spec.Template
	}
	for name, template := range templates {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: template.Labels}, Spec: template.Spec}
		if name == "acme-db" || name == "acme-redis" { // as the StatefulSet's controller does
			claim := corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-" + name + "-0"}
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &claim}})
		}
		if err := w.Create(kubetest.Context(t), pod, client.DryRunAll); err != nil {
			t.Error(err)
		}
		container := pod.Spec.Containers[0]
		if !*container.SecurityContext.ReadOnlyRootFilesystem || *pod.Spec.AutomountServiceAccountToken || container.Resources.Requests.Cpu().IsZero() || container.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: %+v", name, container)
		}
	}
}

// TestTwoShops: shops in one namespace do not get in each other's way, whatever
// their names.
func TestTwoShops(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	other := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "acme-api"}}
	if err := w.Create(kubetest.Context(t), other); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func() error { return w.get(&appsv1.StatefulSet{}, "acme-api-redis") })
	w.rest()
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	w.delete(other, "acme-api")
	w.rest()
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestSeveralNamespaces: an operator that watches some namespaces needs rights
// in those only.
func TestSeveralNamespaces(t *testing.T) {
	t.Parallel()
	w, elsewhere := idleWorld(t), idleWorld(t)
	w.bindRole(w.namespace)
	w.bindRole(elsewhere.namespace)
	w.startOperator(w.namespace, elsewhere.namespace)
	w.serve(`{}`)
	elsewhere.serve(`{}`)
	w.rest()
	for range 10 {
		w.reconcile()
	}
	if made := w.calls.list(); len(made) > 0 {
		t.Errorf("10 turns made %d calls: %v", len(made), made)
	}
}

// TestEvents: each change of a reason is one Event. That a shop which is new waits
// is none, unless somebody has to do something.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.create(`{}`)
	w.startData()
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationRunning) // what passes within a moment is no reason yet
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.settle()
	w.expectEvents(map[string]int{
		"Normal Starting DatabaseReady": 0, "Normal WaitingForDatabase Migrated": 0, "Normal WaitingForMigration APIReady": 0,
		"Normal Available DatabaseReady": 1, "Normal MigrationRunning Migrated": 1, "Normal Migrated Migrated": 1,
		"Normal Available APIReady": 1, "Normal Available NotificationsReady": 1, "Normal Available Ready": 1,
	})
	w.setReady("acme-db", 0)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Admin.PasswordSecretRef = &shopv1.SecretKeyRef{Name: "none"} })
	w.expectEvents(map[string]int{
		"Warning Degraded DatabaseReady": 1, "Warning SecretMissing APIReady": 1, "Normal Available DatabaseReady": 1,
	})
	w.setReady("acme-db", 1)
	w.expectEvents(map[string]int{"Normal Available DatabaseReady": 2})
}

// TestEventsOfANewShop: what is wrong from the first is told, and so is a pause.
func TestEventsOfANewShop(t *testing.T) {
	for spec, want := range map[string]map[string]int{
		`{admin: {passwordSecretRef: {name: none}}}`: {"Warning SecretMissing APIReady": 1, "Normal Starting DatabaseReady": 0},
		`{paused: true}`: {"Normal Paused Ready": 1, "Normal Starting DatabaseReady": 0},
	} {
		t.Run(spec, func(t *testing.T) {
			w := newWorld(t)
			w.create(spec)
			w.expectEvents(want)
		})
	}
}

// expectEvents waits until there are so many Events of each kind, reason and
// condition. One that is counted twice is two.
func (w *world) expectEvents(want map[string]int) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		events := &eventsv1.EventList{}
		if err := w.List(kubetest.Context(w.t), events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		seen := map[string]int{}
		for _, event := range events.Items {
			conditions, _, _ := strings.Cut(event.Note, ":")
			for condition := range strings.SplitSeq(conditions, ", ") {
				name := event.Type + " " + event.Reason + " " + condition
				if seen[name]++; event.Series != nil {
					seen[name] += int(event.Series.Count) - 1
				}
			}
		}
		for name, count := range want {
			if seen[name] != count {
				return fmt.Errorf("%q is there %d times, want %d, of %v", name, seen[name], count, seen)
			}
		}
		return nil
	})
}

// TestALeavingNamespace: what cannot be made any more is no trouble.
func TestALeavingNamespace(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	if err := w.Delete(kubetest.Context(t), namespace); err != nil {
		t.Fatal(err)
	}
	w.delete(&corev1.Service{}, "acme-api")
	w.reconcile()
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// What is looked at, of all children.

type found struct {
	kind   string
	object client.Object
}

// children are what the operator made, and the volumes made for it, by kind.
func (w *world) children() []found {
	w.t.Helper()
	var all []found
	for kind, list := range map[string]client.ObjectList{
		"Secret": &corev1.SecretList{}, "Service": &corev1.ServiceList{}, "ServiceAccount": &corev1.ServiceAccountList{},
		"PersistentVolumeClaim": &corev1.PersistentVolumeClaimList{}, "StatefulSet": &appsv1.StatefulSetList{},
		"Deployment": &appsv1.DeploymentList{}, "Job": &batchv1.JobList{}, "Ingress": &networkingv1.IngressList{},
		"PodDisruptionBudget": &policyv1.PodDisruptionBudgetList{}, "NetworkPolicy": &networkingv1.NetworkPolicyList{},
		"HorizontalPodAutoscaler": &autoscalingv2.HorizontalPodAutoscalerList{}, "ConfigMap": &corev1.ConfigMapList{},
	} {
		if err := w.List(kubetest.Context(w.t), list, client.InNamespace(w.namespace), client.MatchingLabels{builders.LabelInstance: "acme"}); err != nil {
			w.t.Fatal(err)
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, object := range objects {
			all = append(all, found{kind, object.(client.Object)})
		}
	}
	return all
}

func (w *world) status() shopv1.ShopStatus {
	w.t.Helper()
	shop := &shopv1.Shop{}
	w.mustGet(shop, "acme")
	return shop.Status
}

// expectImages holds both Deployments against a version, and the API against a
// number of replicas.
func (w *world) expectImages(version string, replicas int32) {
	w.t.Helper()
	for _, name := range []string{"acme-api", "acme-notifications"} {
		deployment := &appsv1.Deployment{}
		w.mustGet(deployment, name)
		if image := deployment.Spec.Template.Spec.Containers[0].Image; image != "ghcr.io/shopkeeper-dev/server:"+version {
			w.t.Errorf("%s runs %s, want version %s", name, image, version)
		}
		if name == "acme-api" && *deployment.Spec.Replicas != replicas {
			w.t.Errorf("%s has %d replicas, want %d", name, *deployment.Spec.Replicas, replicas)
		}
	}
}

// deleteNow deletes an object without waiting for its finalizers.
func (w *world) deleteNow(object client.Object) {
	w.t.Helper()
	if err := w.Delete(kubetest.Context(w.t), object, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	w.letGo(object)
}

// letGo takes the finalizers off an object that is being deleted.
func (w *world) letGo(object client.Object) {
	w.t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := w.Patch(kubetest.Context(w.t), object, patch); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
}
