package shop

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

func startJob(object client.Object) {
	object.(*batchv1.Job).Status = batchv1.JobStatus{StartTime: new(metav1.Now())}
}

// TestPaused: nothing is done, and the status goes on telling how things are.
func TestPaused(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Paused = true })
	contain(t, w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonPaused), "Version 0.1.0 serves")
	w.delete(&corev1.Service{}, "acme-api")
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version, spec.API.Replicas = "0.2.0", new(int32(5)) })
	contain(t, w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonPaused), "spec.paused keeps the operator from seeing to this")
	w.waitFor(shopv1.ConditionReady, "False", shopv1.ReasonPaused)
	w.rest()
	if err := w.get(&corev1.Service{}, "acme-api"); !apierrors.IsNotFound(err) {
		t.Errorf("the Service is back: %v", err)
	}
	if jobs := w.migrations(); len(jobs) != 1 {
		t.Errorf("%d migrations, want that of 0.1.0 alone", len(jobs))
	}
	w.expectImages("0.1.0", 2)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Paused = false })
	w.migrate("0.2.0", 8)
	w.rollOut("0.2.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	w.mustGet(&corev1.Service{}, "acme-api")
	w.expectImages("0.2.0", 5)
}

// TestHibernation: no pod runs, PostgreSQL and Redis stop last, all else stays;
// and it wakes to what it was.
func TestHibernation(t *testing.T) {
	w := newWorld(t)
	w.serve(`ingress: {host: shop.example.com}`)
	pod := w.addPod("acme-api-1", "api", corev1.ContainerStatus{Ready: true})
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Hibernated = true })
	w.expectReplicas(map[string]int32{"acme-api": 0, "acme-notifications": 0, "acme-db": 1, "acme-redis": 1})
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonHibernating), "1 of its pods")
	w.waitFor(shopv1.ConditionReconciling, "True", shopv1.ReasonProgressing)

	w.removePod(pod)
	w.expectReplicas(map[string]int32{"acme-db": 0, "acme-redis": 0})
	for _, name := range []string{"acme-db", "acme-redis"} {
		w.setReady(name, 0)
	}
	for _, condition := range []string{shopv1.ConditionDatabaseReady, shopv1.ConditionRedisReady, shopv1.ConditionAPIReady, shopv1.ConditionNotificationsReady} {
		w.waitFor(condition, "False", shopv1.ReasonHibernated)
	}
	contain(t, w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonHibernated), "spec.hibernated to false")
	w.mustGet(&networkingv1.Ingress{}, "acme")
	w.mustGet(&corev1.Secret{}, "acme-db")

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.2.0" })
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonHibernated)
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonHibernated)
	if jobs := w.migrations(); len(jobs) != 1 {
		t.Errorf("%d migrations in hibernation, want that of 0.1.0 alone", len(jobs))
	}

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Hibernated = false })
	w.expectReplicas(map[string]int32{"acme-api": 2, "acme-notifications": 2, "acme-db": 1, "acme-redis": 1})
	w.startData()
	w.migrate("0.2.0", 8)
	w.rollOut("0.2.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

func (w *world) expectReplicas(want map[string]int32) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		for name, replicas := range want {
			var got *int32
			set, deployment := &appsv1.StatefulSet{}, &appsv1.Deployment{}
			if err := w.get(set, name); err == nil {
				got = set.Spec.Replicas
			} else if err := w.get(deployment, name); err == nil {
				got = deployment.Spec.Replicas
			}
			if got == nil || *got != replicas {
				return fmt.Errorf("%s has %v replicas, want %d", name, got, replicas)
			}
		}
		return nil
	})
}

// TestDeletionPolicy: under Delete all goes with the Shop, by its owner
// references alone; and back under Retain the data stays again.
func TestDeletionPolicy(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	stays := []string{"Secret acme-db", "Secret acme-auth", "Secret acme-keyring", "Secret acme-admin", "PersistentVolumeClaim data-acme-db-0", "PersistentVolumeClaim data-acme-redis-0"}
	for _, policy := range []shopv1.DeletionPolicy{shopv1.DeletionDelete, shopv1.DeletionRetain} {
		w.changeShop(func(spec *shopv1.ShopSpec) { spec.DeletionPolicy = policy })
		kubetest.Eventually(t, func() error {
			for _, child := range w.children() {
				name := child.kind + " " + child.object.GetName()
				isOwned := metav1.GetControllerOf(child.object) != nil
				if want := policy == shopv1.DeletionDelete || !slices.Contains(stays, name); isOwned != want {
					return fmt.Errorf("under %s, %s is owned: %v", policy, name, isOwned)
				}
			}
			return nil
		})
	}
	shop := &shopv1.Shop{}
	if w.mustGet(shop, "acme"); len(shop.Finalizers) > 0 {
		t.Errorf("finalizers %v", shop.Finalizers)
	}
}

// TestDataStaysWhileItsShopDoes: what goes with the Shop does not go before.
func TestDataStaysWhileItsShopDoes(t *testing.T) {
	w := newWorld(t)
	w.serve(`deletionPolicy: Delete`)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "mine"}, StringData: map[string]string{"url": "postgres://u:p@db.example.com/shop"}}
	if err := w.Create(kubetest.Context(t), secret); err != nil {
		t.Fatal(err)
	}
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Database = shopv1.Database{External: &shopv1.ExternalServer{URLSecretRef: shopv1.SecretKeyRef{Name: "mine"}}}
	})
	w.endUnfinishedMigration() // of the other database
	w.settle()
	w.mustGet(&corev1.Secret{}, "acme-db")
	claim := &corev1.PersistentVolumeClaim{}
	if w.mustGet(claim, "data-acme-db-0"); claim.DeletionTimestamp != nil {
		t.Error("the volume of before is being deleted")
	}
}

// TestRollback: a rollout that gets stuck gives way to the release before, once
// and for good, until another one is asked for.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.serve(`rollback: Auto`)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.2.0" })
	w.migrate("0.2.0", 8)
	w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonRollingOut)
	w.stick("acme-notifications")

	w.rollOut("0.1.0")
	message := w.waitFor(shopv1.ConditionAPIReady, "False", shopv1.ReasonRolledBack)
	contain(t, message, "version 0.2.0 made no progress", "version 0.1.0 serves again", "annotate deployment acme-api shopkeeper.dev/rolled-back-")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonRolledBack)
	w.waitFor(shopv1.ConditionMigrated, "True", shopv1.ReasonMigrated)
	w.rest()
	w.expectImages("0.1.0", 2)
	if status := w.status(); status.Version != "0.1.0" || status.SchemaVersion != 8 || len(status.History) != 1 {
		t.Errorf("version %s, schema %d, history %v", status.Version, status.SchemaVersion, status.History)
	}

	change(w, &appsv1.Deployment{}, "acme-api", func(deployment *appsv1.Deployment) {
		delete(deployment.Annotations, builders.AnnotationRolledBack)
	})
	kubetest.Eventually(t, func() error { // tried again
		deployment := &appsv1.Deployment{}
		w.mustGet(deployment, "acme-api")
		if got := builders.ReleaseOf(deployment).Version; got != "0.2.0" {
			return fmt.Errorf("version %s", got)
		}
		return nil
	})
	w.stick("acme-api")
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonRolledBack)

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.3.0" })
	w.migrate("0.3.0", 9)
	w.rollOut("0.3.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	history := w.status().History
	if len(history) != 2 || history[0].Version != "0.3.0" || history[1].Version != "0.1.0" || !strings.HasSuffix(history[1].Image, ":0.1.0") {
		t.Errorf("history %v", history)
	}
}

// stick makes a rollout miss its deadline.
func (w *world) stick(deployment string) {
	w.t.Helper()
	w.changeStatus(&appsv1.Deployment{}, deployment, func(object client.Object) {
		deployment := object.(*appsv1.Deployment)
		deployment.Status.ObservedGeneration = deployment.Generation
		deployment.Status.UpdatedReplicas = 1
		deployment.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded",
			LastUpdateTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}}
	})
}

// TestTwoOperatorsAtOnce: should two work on one Shop after all, they agree, and
// there is one migration.
func TestTwoOperatorsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.startSecondOperator()
	w.serve(`{}`)
	for version := 2; version <= 4; version++ {
		w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = fmt.Sprintf("0.%d.0", version) })
		w.migrationOf(fmt.Sprintf("0.%d.0", version))
		w.rest()
		atWork := slices.DeleteFunc(w.migrations(), func(job batchv1.Job) bool { return isFinished(&job) })
		if len(atWork) != 1 {
			t.Errorf("%d migrations at work", len(atWork))
		}
		w.migrate(fmt.Sprintf("0.%d.0", version), version)
		w.rollOut(fmt.Sprintf("0.%d.0", version))
		w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	}
}

// TestShards: an operator looks after the Shops of its selector, and takes over
// one that is given its label.
func TestShards(t *testing.T) {
	t.Parallel()
	w := idleWorld(t)
	w.bindRole(w.namespace)
	w.shops = labels.SelectorFromSet(labels.Set{"shard": "a"})
	w.startOperator(w.namespace)
	w.create(`{}`)
	w.rest()
	if err := w.get(&appsv1.StatefulSet{}, "acme-db"); !apierrors.IsNotFound(err) {
		t.Errorf("a Shop of no shard is looked after: %v", err)
	}
	change(w, &shopv1.Shop{}, "acme", func(shop *shopv1.Shop) { shop.Labels = map[string]string{"shard": "a"} })
	w.startData()
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}
