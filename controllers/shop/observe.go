package shop

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kinds"
)

// observation is what is known of the cluster.
type observation struct {
	children      children
	migrationPods []corev1.Pod
	kinds         map[string]bool          // of the optional ones, those that the cluster has
	missing       []builders.ForeignSecret // that are not there, or lack the key
}

// key names a child among those of one shop.
type key struct{ kind, name string }

// children are the objects of one shop as they stand.
type children map[key]client.Object

// find returns a child, or nil when it is not there.
func find[T client.Object](all children, kind, name string) T {
	object, _ := all[key{kind, name}].(T)
	return object
}

func keyOf(wanted apply.Configuration) key { return key{*wanted.GetKind(), *wanted.GetName()} }

// observe reads what there is of a shop.
func (r *Reconciler) observe(ctx context.Context, shop *shopv1.Shop) (*observation, error) {
	if err := r.optional.start(wantedKinds(shop)...); err != nil {
		return nil, err
	}
	observed := &observation{children: children{}, kinds: r.optional.available()}
	if err := r.observeNamed(ctx, shop, observed); err != nil {
		return nil, err
	}
	if err := r.observeMigrations(ctx, shop, observed); err != nil {
		return nil, err
	}
	return observed, r.observeForeignSecrets(ctx, shop, observed)
}

// observeNamed looks for the children whose names follow from the Shop's,
// whether or not the spec asks for them at present.
func (r *Reconciler) observeNamed(ctx context.Context, shop *shopv1.Shop, observed *observation) error {
	api, notifications := builders.APIName(shop), builders.NotificationsName(shop)
	database, redis := builders.DatabaseName(shop), builders.RedisName(shop)
	named := children{
		{"ServiceAccount", builders.ServiceAccountName(shop)}: &corev1.ServiceAccount{},
		{"Secret", database}:                 &corev1.Secret{},
		{"Secret", redis}:                    &corev1.Secret{},
		{"Secret", builders.AuthName(shop)}:  &corev1.Secret{},
		{"Secret", builders.AdminName(shop)}: &corev1.Secret{},
		{"Service", database}:                &corev1.Service{},
		{"Service", redis}:                   &corev1.Service{},
		{"Service", api}:                     &corev1.Service{},
		{"Service", notifications}:           &corev1.Service{},
		{"StatefulSet", database}:            &appsv1.StatefulSet{},
		{"StatefulSet", redis}:               &appsv1.StatefulSet{},
		{"PersistentVolumeClaim", builders.DataClaimName(database)}: &corev1.PersistentVolumeClaim{},
		{"PersistentVolumeClaim", builders.DataClaimName(redis)}:    &corev1.PersistentVolumeClaim{},
		{"Deployment", api}:                                &appsv1.Deployment{},
		{"Deployment", notifications}:                      &appsv1.Deployment{},
		{"Ingress", builders.IngressName(shop)}:            &networkingv1.Ingress{},
		{"PodDisruptionBudget", api}:                       &policyv1.PodDisruptionBudget{},
		{"PodDisruptionBudget", notifications}:             &policyv1.PodDisruptionBudget{},
		{"HorizontalPodAutoscaler", api}:                   &autoscalingv2.HorizontalPodAutoscaler{},
		{"HorizontalPodAutoscaler", notifications}:         &autoscalingv2.HorizontalPodAutoscaler{},
		{"NetworkPolicy", builders.ServerPolicyName(shop)}: &networkingv1.NetworkPolicy{},
		{"NetworkPolicy", builders.DataPolicyName(shop)}:   &networkingv1.NetworkPolicy{},
		{"ConfigMap", builders.DashboardName(shop)}:        &corev1.ConfigMap{},
	}
	if observed.kinds[kindHTTPRoute] {
		named[key{kindHTTPRoute, api}] = &gatewayv1.HTTPRoute{}
		named[key{kindHTTPRoute, notifications}] = &gatewayv1.HTTPRoute{}
	}
	if observed.kinds[kindCertificate] {
		named[key{kindCertificate, builders.CertificateName(shop)}] = &kinds.Certificate{}
	}
	if observed.kinds[kindPodMonitor] {
		named[key{kindPodMonitor, builders.PodMonitorName(shop)}] = &kinds.PodMonitor{}
	}
	for key, object := range named {
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: shop.Namespace, Name: key.name}, object)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get %s %s: %w", key.kind, key.name, err)
		}
		if err == nil {
			observed.children[key] = object
		}
	}
	return nil
}

func (r *Reconciler) observeMigrations(ctx context.Context, shop *shopv1.Shop, observed *observation) error {
	jobs, pods := &batchv1.JobList{}, &corev1.PodList{}
	for _, list := range []client.ObjectList{jobs, pods} {
		if err := r.Client.List(ctx, list, migrationsOf(shop)...); err != nil {
			return fmt.Errorf("list migrations: %w", err)
		}
	}
	for i := range jobs.Items {
		observed.children[key{"Job", jobs.Items[i].Name}] = &jobs.Items[i]
	}
	observed.migrationPods = pods.Items
	return nil
}

// migrationsOf selects the migration Jobs of a shop, and their pods.
func migrationsOf(shop *shopv1.Shop) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(shop.Namespace),
		client.MatchingLabels(builders.ChildLabels(shop, builders.ComponentMigration)),
	}
}

// observeForeignSecrets looks for the Secrets of others that the spec refers
// to. The cache does not hold them, so it looks only while the shop is not
// settled.
func (r *Reconciler) observeForeignSecrets(ctx context.Context, shop *shopv1.Shop, observed *observation) error {
	if isSettled(shop) {
		return nil
	}
	for _, foreign := range builders.ForeignSecrets(shop) {
		secret := &corev1.Secret{}
		err := r.Live.Get(ctx, client.ObjectKey{Namespace: shop.Namespace, Name: foreign.Ref.Name}, secret)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get Secret %s of %s: %w", foreign.Ref.Name, foreign.Field, err)
		}
		if len(secret.Data[foreign.Ref.Key]) == 0 {
			observed.missing = append(observed.missing, foreign)
		}
	}
	return nil
}
