package shop

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kinds"
)

// What the operator may do. `hack/generate` makes config/rbac/role.yaml of it.
//
// +kubebuilder:rbac:groups=shopkeeper.dev,resources=shops,verbs=get;list;watch
// +kubebuilder:rbac:groups=shopkeeper.dev,resources=shops/status,verbs=patch
// +kubebuilder:rbac:groups=shopkeeper.dev,resources=shops/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=list
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=podmonitors,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses;networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// turnTimeout bounds one turn of the loop and with it every call it makes.
const turnTimeout = 30 * time.Second

// NewScheme knows the kinds that the operator handles, and no others.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
		autoscalingv2.AddToScheme, gatewayv1.Install, kinds.AddToScheme, shopv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	return scheme, nil
}

// CacheOptions keep the cache small: the Shops that a selector selects, what the
// operator itself made, and of the pods only how they are doing. No namespaces
// means all.
func CacheOptions(namespaces []string, shops labels.Selector) cache.Options {
	ours := labels.SelectorFromSet(labels.Set{builders.LabelManagedBy: builders.ManagedBy})
	sharing := newSharing()
	options := cache.Options{
		DefaultLabelSelector: ours,
		DefaultTransform:     sharing.after(cache.TransformStripManagedFields()),
		ByObject: map[client.Object]cache.ByObject{
			&shopv1.Shop{}:                           {Label: shops},
			&corev1.Pod{}:                            {Transform: sharing.after(keepOutcome)},
			&batchv1.Job{}:                           {Transform: sharing.after(dropTask)},
			&autoscalingv2.HorizontalPodAutoscaler{}: {Transform: sharing.after(keepComplaint)},
			&policyv1.PodDisruptionBudget{}:          {Transform: sharing.after(dropCounts)},
		},
	}
	for _, namespace := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	return options
}

// ClientCacheOptions make a read wait until the cache has what this process
// wrote before, so that no turn acts on a state older than its own doing. With
// several namespaces the cache cannot tell; what must not go wrong does not
// rest on it, there are only more turns.
func ClientCacheOptions(namespaces []string) *client.CacheOptions {
	return &client.CacheOptions{
		DisableFor:                      []client.Object{&corev1.Secret{}}, // which the operator may not list
		EnableReadYourWritesConsistency: new(len(namespaces) < 2),
	}
}

// keepOutcome leaves of a pod in the cache what tells how it is doing: of a
// container that serves, nothing.
func keepOutcome(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		pod.ManagedFields, pod.Annotations, pod.OwnerReferences, pod.Spec = nil, nil, nil, corev1.PodSpec{}
		pod.Status = corev1.PodStatus{
			Phase: pod.Status.Phase, PodIP: pod.Status.PodIP,
			Conditions:            selected(pod.Status.Conditions, isTold),
			InitContainerStatuses: selected(pod.Status.InitContainerStatuses, tells),
			ContainerStatuses:     selected(pod.Status.ContainerStatuses, tells),
		}
	}
	return object, nil
}

// dropTask leaves out of a migration in the cache what it is to do, for nobody can
// change that.
func dropTask(object any) (any, error) {
	if job, ok := object.(*batchv1.Job); ok {
		job.ManagedFields, job.Spec = nil, batchv1.JobSpec{}
	}
	return object, nil
}

// isTold is about the conditions that anything follows from.
func isTold(condition corev1.PodCondition) bool {
	return condition.Type == corev1.PodReady || condition.Type == corev1.PodScheduled && condition.Status != corev1.ConditionTrue
}

func tells(container corev1.ContainerStatus) bool {
	return !container.Ready || container.State.Running == nil
}

// selected are copied, so that the others are let go of.
func selected[T any](all []T, is func(T) bool) (some []T) {
	for _, one := range all {
		if is(one) {
			some = append(some, one)
		}
	}
	return some
}

// SetupWithManager makes the manager run the loop, at most concurrency Shops at
// a time.
func (r *Reconciler) SetupWithManager(manager ctrl.Manager, concurrency int) error {
	ofInstance := handler.EnqueueRequestsFromMapFunc(instanceOf)
	news := make(chan event.GenericEvent)
	loop, err := ctrl.NewControllerManagedBy(manager).
		For(&shopv1.Shop{}, builder.WithPredicates(isWish)).
		Owns(&corev1.ServiceAccount{}).
		Owns(&corev1.Service{}).
		Owns(&appsv1.StatefulSet{}).
		Owns(&appsv1.Deployment{}).
		Owns(&batchv1.Job{}).
		Owns(&networkingv1.Ingress{}).
		Owns(&networkingv1.NetworkPolicy{}).
		Owns(&policyv1.PodDisruptionBudget{}, builder.WithPredicates(isNews)).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(isNews)).
		Owns(&corev1.ConfigMap{}).
		// These have no owner: data outlives the Shop, and pods are their Job's.
		Watches(&corev1.PersistentVolumeClaim{}, ofInstance).
		Watches(&corev1.Pod{}, ofInstance, builder.WithPredicates(podNews())).
		WatchesRawSource(source.Channel(news, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			NewQueue:                newGathering,
			ReconciliationTimeout:   turnTimeout,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, 30*time.Second),
		}).
		Build(r)
	if err != nil {
		return fmt.Errorf("build the controller of Shops: %w", err)
	}
	watch := &secretWatch{secrets: &r.secrets, live: r.Live, every: cmp.Or(r.SecretsEvery, secretsEvery), news: news}
	if err := manager.Add(watch); err != nil {
		return fmt.Errorf("look after Secrets: %w", err)
	}
	if r.Ask != nil {
		watch := &answerWatch{answers: &r.answers, pods: r.Client, ask: r.Ask, every: cmp.Or(r.AskEvery, answersEvery), news: news}
		if err := manager.Add(watch); err != nil {
			return fmt.Errorf("ask pods: %w", err)
		}
	}
	r.optional = &optionalWatch{loop: loop, cache: manager.GetCache(), scheme: manager.GetScheme(), mapper: manager.GetRESTMapper()}
	return r.optional.start(slices.Collect(maps.Keys(optionalKinds))...)
}

// isWish leaves out what the operator itself wrote of how a Shop is doing.
var isWish = predicate.Funcs{UpdateFunc: func(update event.UpdateEvent) bool {
	before, after := update.ObjectOld, update.ObjectNew
	return before.GetUID() != after.GetUID() || before.GetGeneration() != after.GetGeneration()
}}

// podNews lets through what a Shop's status may follow from: all of a migration,
// the going of any pod, and of the others only what is wrong with them. The rest
// shows in their Deployment or StatefulSet.
func podNews() predicate.Predicate {
	news := func(object client.Object) string {
		pod, isPod := object.(*corev1.Pod)
		if !isPod {
			return ""
		}
		if found := troubleOf(pod); found != nil {
			return found.message
		}
		return ""
	}
	migrates := func(object client.Object) bool {
		return object.GetLabels()[builders.LabelComponent] == string(builders.ComponentMigration)
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return migrates(e.Object) || news(e.Object) != "" },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return migrates(e.ObjectNew) || news(e.ObjectOld) != news(e.ObjectNew)
		},
	}
}

// instanceOf is the Shop that a child's labels name.
func instanceOf(_ context.Context, child client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: child.GetNamespace(),
		Name:      child.GetLabels()[builders.LabelInstance],
	}}}
}
