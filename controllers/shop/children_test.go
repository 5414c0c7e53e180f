package shop

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kinds"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// TestAutoscaling: switched on and off, the Deployment goes from the count that
// it has to the one that is next wanted, and by no other; and in between the
// operator leaves it to the autoscaler.
func TestAutoscaling(t *testing.T) {
	w := newWorld(t)
	w.serve(`api: {replicas: 4}`)
	counts := w.watchReplicas("acme-api")

	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.API.Autoscaling = &shopv1.Autoscaling{MinReplicas: new(int32(2)), MaxReplicas: 10}
	})
	deployment := &appsv1.Deployment{}
	kubetest.Eventually(t, func() error {
		if err := w.get(deployment, "acme-api"); err != nil || deployment.Annotations[builders.AnnotationAutoscaled] == "" {
			return fmt.Errorf("it is not let go of: %v (%w)", deployment.Annotations, err)
		}
		return w.get(&autoscalingv2.HorizontalPodAutoscaler{}, "acme-api")
	})
	change(w, deployment, "acme-api", func(deployment *appsv1.Deployment) { deployment.Spec.Replicas = new(int32(7)) }) // as the autoscaler does
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.API.PublicCatalog = true })
	kubetest.Eventually(t, func() error {
		w.mustGet(deployment, "acme-api")
		for _, env := range deployment.Spec.Template.Spec.Containers[0].Env {
			if env.Name == "SHOP_PUBLIC_CATALOG" && env.Value == "true" {
				return nil
			}
		}
		return fmt.Errorf("the template is still as before: %v", deployment.Spec.Template.Spec.Containers[0].Env)
	})
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	if pods := w.status().Pods.API; pods != "7/7" {
		t.Errorf("the status counts %s pods", pods)
	}

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.API.Autoscaling, spec.API.Replicas = nil, new(int32(6)) })
	w.isGone(&autoscalingv2.HorizontalPodAutoscaler{}, "acme-api")
	kubetest.Eventually(t, func() error {
		w.mustGet(deployment, "acme-api")
		if deployment.Annotations[builders.AnnotationAutoscaled] != "" || *deployment.Spec.Replicas != 6 {
			return fmt.Errorf("%d replicas, annotations %v", *deployment.Spec.Replicas, deployment.Annotations)
		}
		return nil
	})
	w.rest()
	if got := counts(); !slices.Equal(got, []int32{4, 7, 6}) {
		t.Errorf("the count went by %v", got)
	}
}

// TestAutoscalingFromTheStart: a new Deployment, and one that somebody put to
// sleep, starts with a count within the bounds, since an autoscaler leaves none
// at all alone.
func TestAutoscalingFromTheStart(t *testing.T) {
	w := newWorld(t)
	w.create(`{api: {replicas: 1, autoscaling: {minReplicas: 3, maxReplicas: 10}}, notifications: {autoscaling: {maxReplicas: 4, targetConnections: 5000}}}`)
	w.startData()
	w.migrate("0.1.0", 7)
	isLetGo := func() error {
		deployment := &appsv1.Deployment{}
		if err := w.get(deployment, "acme-api"); err != nil {
			return err
		}
		if *deployment.Spec.Replicas != 3 || deployment.Annotations[builders.AnnotationAutoscaled] == "" {
			return fmt.Errorf("%d replicas, annotations %v", *deployment.Spec.Replicas, deployment.Annotations)
		}
		return nil
	}
	kubetest.Eventually(t, isLetGo)
	change(w, &appsv1.Deployment{}, "acme-api", func(deployment *appsv1.Deployment) { deployment.Spec.Replicas = new(int32(0)) })
	kubetest.Eventually(t, isLetGo)

	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	w.changeStatus(&autoscalingv2.HorizontalPodAutoscaler{}, "acme-api", func(object client.Object) {
		object.(*autoscalingv2.HorizontalPodAutoscaler).Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{
			Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetResourceMetric", Message: "no metrics known for pod",
		}}
	})
	contain(t, w.waitFor(shopv1.ConditionAPIReady, "True", shopv1.ReasonNotScaling), "no metrics known for pod", "metrics-server")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
}

// TestLoadIsNoNews: what an autoscaler writes down every few seconds brings the
// operator no turn.
func TestLoadIsNoNews(t *testing.T) {
	scaler := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "acme-api", ResourceVersion: "1"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 10},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
			{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
		}},
	}
	busier := scaler.DeepCopy()
	busier.ResourceVersion = "2"
	busier.Status.Conditions[0].LastTransitionTime = metav1.Time{}
	busier.Status.CurrentReplicas = 5
	busier.Status.LastScaleTime = new(metav1.Now())
	for _, object := range []*autoscalingv2.HorizontalPodAutoscaler{scaler, busier} {
		if _, err := keepComplaint(object); err != nil {
			t.Fatal(err)
		}
	}
	if isNews.Update(event.UpdateEvent{ObjectOld: scaler, ObjectNew: busier}) {
		t.Error("the load is news")
	}
	stuck := scaler.DeepCopy()
	stuck.Status.Conditions[0].Status = corev1.ConditionFalse
	if !isNews.Update(event.UpdateEvent{ObjectOld: scaler, ObjectNew: stuck}) {
		t.Error("that it cannot scale is no news")
	}
	changed := scaler.DeepCopy()
	changed.Spec.MaxReplicas++
	if !isNews.Update(event.UpdateEvent{ObjectOld: scaler, ObjectNew: changed}) {
		t.Error("a change of the spec is no news")
	}
}

// TestConnections: the status tells about how many sockets the autoscaler saw, and
// not of each that comes or goes.
func TestConnections(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Notifications.Autoscaling = &shopv1.NotificationsAutoscaling{
			Autoscaling: shopv1.Autoscaling{MinReplicas: new(int32(2)), MaxReplicas: 10}, TargetConnections: new(int32(1000)),
		}
	})
	kubetest.Eventually(t, func() error { return w.get(&autoscalingv2.HorizontalPodAutoscaler{}, "acme-notifications") })
	see := func(average string) {
		w.changeStatus(&autoscalingv2.HorizontalPodAutoscaler{}, "acme-notifications", func(object client.Object) {
			object.(*autoscalingv2.HorizontalPodAutoscaler).Status = autoscalingv2.HorizontalPodAutoscalerStatus{
				CurrentReplicas: 2, DesiredReplicas: 2,
				CurrentMetrics: []autoscalingv2.MetricStatus{{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricStatus{
					Metric:  autoscalingv2.MetricIdentifier{Name: "shop_notification_sockets"},
					Current: autoscalingv2.MetricValueStatus{AverageValue: new(resource.MustParse(average))},
				}}},
			}
		})
	}
	expect := func(want int64) {
		t.Helper()
		kubetest.Eventually(t, func() error {
			if got := w.status().Connections; got == nil || *got != want {
				return fmt.Errorf("connections %v, want %d", got, want)
			}
			return nil
		})
	}
	see("1234500m")
	expect(2400)
	w.rest()
	for _, average := range []string{"1251", "1300", "1150"} { // none far from what is told
		see(average)
	}
	w.rest()
	expect(2400)
	see("3")
	expect(6)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Notifications.Autoscaling = nil })
	kubetest.Eventually(t, func() error {
		if got := w.status().Connections; got != nil {
			return fmt.Errorf("connections %d, which nobody counts", *got)
		}
		return nil
	})
}

// TestWhatIsSwitchedOffGoes: and what is switched on again comes back, as does
// what somebody deletes.
func TestWhatIsSwitchedOffGoes(t *testing.T) {
	w := newWorld(t)
	w.serve(`monitoring: {dashboard: {}}`)
	w.waitFor(shopv1.ConditionMonitoringReady, "True", shopv1.ReasonAvailable)
	w.mustGet(&corev1.ConfigMap{}, "acme-dashboard")

	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Monitoring.Dashboard = nil
		spec.NetworkPolicy.Enabled = new(false)
	})
	w.isGone(&corev1.ConfigMap{}, "acme-dashboard")
	w.isGone(&networkingv1.NetworkPolicy{}, "acme-server")
	w.isGone(&networkingv1.NetworkPolicy{}, "acme-data")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	if meta.FindStatusCondition(w.status().Conditions, shopv1.ConditionMonitoringReady) != nil {
		t.Error("a condition about monitoring that nobody asks for")
	}

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.NetworkPolicy.Enabled = new(true) })
	kubetest.Eventually(t, func() error { return w.get(&networkingv1.NetworkPolicy{}, "acme-data") })
	for _, object := range []client.Object{&networkingv1.NetworkPolicy{}, &policyv1.PodDisruptionBudget{}} {
		name := "acme-api"
		if _, ok := object.(*networkingv1.NetworkPolicy); ok {
			name = "acme-server"
		}
		w.mustGet(object, name)
		before := object.GetUID()
		w.deleteNow(object)
		kubetest.Eventually(t, func() error {
			if err := w.get(object, name); err != nil || object.GetUID() == before {
				return fmt.Errorf("%s is not made anew: %w", name, err)
			}
			return nil
		})
	}
}

// TestKindsThatAreMissing: the conditions name the kind and what to install, and
// when it is there the objects follow without a restart of the operator.
func TestKindsThatAreMissing(t *testing.T) {
	w := loneWorld(t, time.Hour)
	w.serve(`ingress: {host: shop.example.com}`)
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Ingress.TLS = &shopv1.TLS{IssuerRef: &shopv1.IssuerRef{Name: "letsencrypt"}}
		spec.Monitoring.PodMonitor = &shopv1.PodMonitor{Labels: map[string]shopv1.LabelValue{"release": "prometheus"}}
	})
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonCertManagerMissing), "Certificate of cert-manager.io/v1", "install cert-manager")
	contain(t, w.waitFor(shopv1.ConditionMonitoringReady, "False", shopv1.ReasonPodMonitorMissing), "PodMonitor of monitoring.coreos.com/v1", "install the Prometheus Operator")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonCertManagerMissing)
	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Ingress.TLS = nil })
	w.settle() // with nobody watching
	w.waitFor(shopv1.ConditionMonitoringReady, "False", shopv1.ReasonPodMonitorMissing)
	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Ingress.TLS = &shopv1.TLS{IssuerRef: &shopv1.IssuerRef{Name: "letsencrypt"}}
	})
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonCertManagerMissing)

	installKinds(t, "../testdata/crds")
	contain(t, w.waitFor(shopv1.ConditionIngressReady, "False", shopv1.ReasonWaitingForCertificate), "describe certificate acme-tls")
	w.waitFor(shopv1.ConditionMonitoringReady, "True", shopv1.ReasonAvailable)
	monitor := &kinds.PodMonitor{}
	w.mustGet(monitor, "acme")
	if monitor.Labels["release"] != "prometheus" || len(monitor.Spec.PodMetricsEndpoints) != 1 {
		t.Errorf("the PodMonitor is %+v", monitor)
	}
	judge := func(status metav1.ConditionStatus, message string) {
		w.changeStatus(&kinds.Certificate{}, "acme-tls", func(object client.Object) {
			object.(*kinds.Certificate).Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status, Reason: "Played", Message: message, LastTransitionTime: metav1.Now()}}
		})
	}
	judge(metav1.ConditionFalse, "Issuer letsencrypt not found")
	kubetest.Eventually(t, func() error {
		condition := meta.FindStatusCondition(w.status().Conditions, shopv1.ConditionIngressReady)
		if condition == nil || condition.Message != "Certificate acme-tls is not issued yet: Issuer letsencrypt not found. To see why: kubectl -n "+w.namespace+" describe certificate acme-tls" {
			return fmt.Errorf("the condition is %+v", condition)
		}
		return nil
	})
	judge(metav1.ConditionTrue, "")
	w.settle() // the addresses are https now

	w.changeShop(func(spec *shopv1.ShopSpec) {
		spec.Ingress.TLS = nil
		spec.Monitoring.PodMonitor = nil
	})
	for _, object := range []client.Object{
		&kinds.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "acme-tls"}},
		&kinds.PodMonitor{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "acme"}},
	} {
		w.isGone(object, object.GetName())
		w.letGo(object) // or its CRD would never go
	}
}

// TestExternalServers: a shop on servers of others has none of its own, and says
// which Secret it lacks.
func TestExternalServers(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.create(`{database: {external: {urlSecretRef: {name: database}}}, redis: {external: {urlSecretRef: {name: redis, key: address}}}}`)
	contain(t, w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonSecretMissing), "spec.database.external.urlSecretRef", `"url"`, "Secret database")
	contain(t, w.waitFor(shopv1.ConditionRedisReady, "False", shopv1.ReasonSecretMissing), "spec.redis.external.urlSecretRef", `"address"`, "Secret redis")
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonWaitingForDatabase)

	for name, data := range map[string]map[string]string{
		"database": {"url": "postgres://shop:x@postgres.example.com:5432/shop"},
		"redis":    {"address": "rediss://:x@redis.example.com:6379/0"},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, StringData: data}
		if err := w.Create(kubetest.Context(t), secret); err != nil {
			t.Fatal(err)
		}
	}
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	for _, child := range w.children() {
		if child.kind == "StatefulSet" || child.object.GetName() == "acme-db" || child.object.GetName() == "acme-data" {
			t.Errorf("there is a %s %s", child.kind, child.object.GetName())
		}
	}
}

// TestASwitchOfDatabases: the managed ones stay for as long as a pod may use
// them, however long what replaces them takes to be there.
func TestASwitchOfDatabases(t *testing.T) {
	w := newWatchfulWorld(t, 100*time.Millisecond)
	w.serve(`{}`)
	mustStay := func() {
		t.Helper()
		for _, name := range []string{"acme-db", "acme-redis"} {
			set := &appsv1.StatefulSet{}
			if err := w.get(set, name); err != nil || set.DeletionTimestamp != nil {
				t.Fatalf("%s is gone, though pods use it (%v)", name, err)
			}
		}
	}
	w.changeShop(func(spec *shopv1.ShopSpec) {
		external := func(key string) *shopv1.ExternalServer {
			return &shopv1.ExternalServer{URLSecretRef: shopv1.SecretKeyRef{Name: "elsewhere", Key: key}}
		}
		spec.Database = shopv1.Database{External: external("database")}
		spec.Redis = shopv1.Redis{External: external("redis")}
	})
	w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonSecretMissing)
	mustStay()

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "elsewhere"}, StringData: map[string]string{
		"database": "postgres://shop:x@postgres.example.com:5432/shop", "redis": "redis://redis.example.com",
	}}
	if err := w.Create(kubetest.Context(t), secret); err != nil {
		t.Fatal(err)
	}
	w.waitFor(shopv1.ConditionMigrated, "False", shopv1.ReasonMigrationRunning)
	mustStay()
	w.migrate("0.1.0", 7)
	w.waitFor(shopv1.ConditionMigrated, "True", shopv1.ReasonMigrated)
	mustStay()
	w.settle()
	w.isGone(&appsv1.StatefulSet{}, "acme-db")
	w.isGone(&appsv1.StatefulSet{}, "acme-redis")
}

// isGone waits until an object is deleted, or about to be.
func (w *world) isGone(object client.Object, name string) {
	w.t.Helper()
	kubetest.Eventually(w.t, func() error {
		err := w.get(object, name)
		if apierrors.IsNotFound(err) || err == nil && object.GetDeletionTimestamp() != nil {
			return nil
		}
		return fmt.Errorf("%T %s is still there (%w)", object, name, err)
	})
}

// watchReplicas tells by which counts the replicas of a Deployment have gone.
func (w *world) watchReplicas(name string) func() []int32 {
	w.t.Helper()
	watcher, err := client.NewWithWatch(cluster, client.Options{Scheme: w.Scheme()})
	if err != nil {
		w.t.Fatal(err)
	}
	events, err := watcher.Watch(w.t.Context(), &appsv1.DeploymentList{}, client.InNamespace(w.namespace), client.MatchingFields{"metadata.name": name})
	if err != nil {
		w.t.Fatal(err)
	}
	var mutex sync.Mutex
	var counts []int32
	var watching sync.WaitGroup
	watching.Go(func() {
		for event := range events.ResultChan() {
			deployment, ok := event.Object.(*appsv1.Deployment)
			if !ok {
				continue
			}
			mutex.Lock()
			if count := *deployment.Spec.Replicas; len(counts) == 0 || counts[len(counts)-1] != count {
				counts = append(counts, count)
			}
			mutex.Unlock()
		}
	})
	w.t.Cleanup(func() { events.Stop(); watching.Wait() })
	return func() []int32 {
		mutex.Lock()
		defer mutex.Unlock()
		return slices.Clone(counts)
	}
}
