package shop

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
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
	pods          []corev1.Pod
	migrationPods []corev1.Pod         // those of them that migrate
	said          map[types.UID]string // the last Warning about an object that makes no headway
	kinds         map[string]bool      // of the optional ones, those that the cluster has
	foreign       []string             // what else the Secrets of others hold that the spec refers to
	signingKeys   string               // that the spec refers to, or the operator made
	databaseURL   string               // of an external database
	unfit         []unfit              // those of them that no pod can start with
	answer        *Answer              // of the pods, about what is external; nil: none yet
}

// unfit is a Secret of others that no pod can start with.
type unfit struct {
	builders.ForeignSecret

	missing bool // it, or the key
	problem error
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
	if err := r.observePods(ctx, shop, observed); err != nil {
		return nil, err
	}
	r.observeEvents(ctx, shop, observed)
	r.observeAnswer(shop, observed)
	return observed, r.observeSecrets(ctx, shop, observed)
}

// observeNamed looks for the children whose names follow from the Shop's,
// whether or not the spec asks for them at present.
func (r *Reconciler) observeNamed(ctx context.Context, shop *shopv1.Shop, observed *observation) error {
	api, notifications := builders.APIName(shop), builders.NotificationsName(shop)
	database, redis := builders.DatabaseName(shop), builders.RedisName(shop)
	named := children{
		{"ServiceAccount", builders.ServiceAccountName(shop)}: &corev1.ServiceAccount{},
		{"Service", database}:      &corev1.Service{},
		{"Service", redis}:         &corev1.Service{},
		{"Service", api}:           &corev1.Service{},
		{"Service", notifications}: &corev1.Service{},
		{"StatefulSet", database}:  &appsv1.StatefulSet{},
		{"StatefulSet", redis}:     &appsv1.StatefulSet{},
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

// observePods lists the migration Jobs and all pods of a shop.
func (r *Reconciler) observePods(ctx context.Context, shop *shopv1.Shop, observed *observation) error {
	jobs, pods := &batchv1.JobList{}, &corev1.PodList{}
	if err := r.Client.List(ctx, jobs, migrationsOf(shop)...); err != nil {
		return fmt.Errorf("list migrations: %w", err)
	}
	ofShop := client.MatchingLabels{builders.LabelManagedBy: builders.ManagedBy, builders.LabelInstance: shop.Name}
	if err := r.Client.List(ctx, pods, client.InNamespace(shop.Namespace), ofShop); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for i := range jobs.Items {
		observed.children[key{"Job", jobs.Items[i].Name}] = &jobs.Items[i]
	}
	observed.pods = pods.Items
	observed.migrationPods = podsOf(observed, builders.ComponentMigration)
	return nil
}

// migrationsOf selects the migration Jobs of a shop, and their pods.
func migrationsOf(shop *shopv1.Shop) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(shop.Namespace),
		client.MatchingLabels(builders.ChildLabels(shop, builders.ComponentMigration)),
	}
}

// observeSecrets reads the Secrets of the shop by name: those that the operator
// made, and those of others that the spec refers to.
func (r *Reconciler) observeSecrets(ctx context.Context, shop *shopv1.Shop, observed *observation) error {
	own, others := builders.SecretNames(shop), []string(nil)
	for _, foreign := range builders.ForeignSecrets(shop) {
		others = append(others, foreign.Ref.Name)
	}
	names := slices.Concat(own, others)
	if isFirst := r.secrets.use(client.ObjectKeyFromObject(shop), names); isFirst && isNew(shop) {
		names = others // if there is one of its own all the same, to make it is refused, and the next turn reads it
	}
	read, err := r.secrets.read(ctx, r.Live, shop.Namespace, names)
	if err != nil {
		return err
	}
	for _, name := range own {
		if secret := read[name]; secret != nil && secret.Labels[builders.LabelManagedBy] == builders.ManagedBy {
			observed.children[key{"Secret", name}] = secret
		}
	}
	for _, foreign := range builders.ForeignSecrets(shop) {
		observed.judge(foreign, read[foreign.Ref.Name])
	}
	if own := find[*corev1.Secret](observed.children, "Secret", builders.AuthName(shop)); own != nil && shop.Spec.Auth.SigningKeySecretRef == nil {
		observed.judgeOwnKeys(builders.OwnSigningKeys(shop), own)
	}
	return nil
}

// isNew reports whether no turn has done anything for a shop yet.
func isNew(shop *shopv1.Shop) bool { return shop.Status.ObservedGeneration == 0 && !shop.Spec.Paused }

// judgeOwnKeys does so for the keys that the operator made. Where there are none
// it makes some.
func (o *observation) judgeOwnKeys(own builders.ForeignSecret, secret *corev1.Secret) {
	if len(secret.Data[own.Ref.Key]) > 0 {
		o.judge(own, secret)
	}
}

// judge holds a Secret of others against what the server would refuse.
func (o *observation) judge(foreign builders.ForeignSecret, secret *corev1.Secret) {
	var value []byte
	isThere := false
	if secret != nil {
		value, isThere = secret.Data[foreign.Ref.Key]
	}
	switch {
	case !foreign.IsForPods():
	case strings.HasPrefix(foreign.Field, "spec.auth."):
		o.signingKeys = string(value) // pods read them from the keyring
	case strings.HasPrefix(foreign.Field, "spec.database."):
		o.databaseURL = string(value)
		fallthrough
	default:
		o.foreign = append(o.foreign, string(value))
	}
	if !isThere {
		o.unfit = append(o.unfit, unfit{ForeignSecret: foreign, missing: true})
	} else if err := foreign.Check(string(value)); err != nil {
		o.unfit = append(o.unfit, unfit{ForeignSecret: foreign, problem: err})
	}
}
