package builders

import (
	"maps"

	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// The labels of every child. The operator's cache holds what has the first one
// and nothing else.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelVersion   = "app.kubernetes.io/version"

	ManagedBy = "shopkeeper"
	appName   = "shop"
)

// AnnotationSecretsHash on a pod template restarts the pods when a Secret they
// mount changes.
const AnnotationSecretsHash = "shopkeeper.dev/secrets-hash"

// AnnotationDataImage on the claim of a PostgreSQL volume is the image whose data
// it has: another major version could not read it.
const AnnotationDataImage = "shopkeeper.dev/data-image"

// AnnotationRolledBack on the API's Deployment names the release that made no
// progress, for as long as the one before runs in its place. Taking it off tries
// that release again.
const AnnotationRolledBack = "shopkeeper.dev/rolled-back"

// Component is the part of a shop that a child belongs to.
type Component string

// The components of a shop.
const (
	ComponentServer        Component = "server" // what API, notifications and migration share
	ComponentAPI           Component = "api"
	ComponentNotifications Component = "notifications"
	ComponentMigration     Component = "migrate"
	ComponentDatabase      Component = "database"
	ComponentRedis         Component = "redis"
	ComponentIngress       Component = "ingress"
)

// The names of a shop's children.

// ServiceAccountName of every pod of the shop; it has no rights.
func ServiceAccountName(shop *shopv1.Shop) string { return shop.Name + "-pods" }

// APIName is the name of the API's Deployment, Service and HTTPRoute.
func APIName(shop *shopv1.Shop) string { return shop.Name + "-api" }

// NotificationsName is the name of the notifications' Deployment, Service and
// HTTPRoute.
func NotificationsName(shop *shopv1.Shop) string { return shop.Name + "-notifications" }

// DatabaseName is the name of PostgreSQL's StatefulSet, Service and Secret.
func DatabaseName(shop *shopv1.Shop) string { return shop.Name + "-db" }

// RedisName is the name of Redis's StatefulSet, Service and Secret.
func RedisName(shop *shopv1.Shop) string { return shop.Name + "-redis" }

// AuthName is the name of the Secret with the signing keys.
func AuthName(shop *shopv1.Shop) string { return shop.Name + "-auth" }

// KeyringName is the name of the Secret with the signing keys that the pods read:
// those of before as well, for as long as tokens of them are around.
func KeyringName(shop *shopv1.Shop) string { return shop.Name + "-keyring" }

// AdminName is the name of the Secret with the first staff user's login.
func AdminName(shop *shopv1.Shop) string { return shop.Name + "-admin" }

// IngressName is the name of the Ingress.
func IngressName(shop *shopv1.Shop) string { return shop.Name }

// CertificateName is the name of the Certificate, and of the Secret that
// cert-manager keeps it in.
func CertificateName(shop *shopv1.Shop) string { return shop.Name + "-tls" }

// ServerPolicyName is the name of the NetworkPolicy of the server's pods.
func ServerPolicyName(shop *shopv1.Shop) string { return shop.Name + "-server" }

// DataPolicyName is the name of the NetworkPolicy of PostgreSQL and Redis.
func DataPolicyName(shop *shopv1.Shop) string { return shop.Name + "-data" }

// PodMonitorName is the name of the PodMonitor.
func PodMonitorName(shop *shopv1.Shop) string { return shop.Name }

// DashboardName is the name of the ConfigMap with the dashboard.
func DashboardName(shop *shopv1.Shop) string { return shop.Name + "-dashboard" }

// DataClaimName is the name that a StatefulSet gives to the claim of its pod.
func DataClaimName(statefulSet string) string { return dataVolume + "-" + statefulSet + "-0" }

// ChildLabels are the labels by which the children of a component are found.
func ChildLabels(shop *shopv1.Shop, component Component) map[string]string {
	labels := selectorLabels(shop, component)
	labels[LabelManagedBy] = ManagedBy
	return labels
}

// selectorLabels find the pods of a component. They can never change: a
// Deployment's selector is immutable.
func selectorLabels(shop *shopv1.Shop, component Component) map[string]string {
	return map[string]string{
		LabelName:      appName,
		LabelInstance:  shop.Name,
		LabelComponent: string(component),
	}
}

func selector(shop *shopv1.Shop, component Component) *metav1ac.LabelSelectorApplyConfiguration {
	return metav1ac.LabelSelector().WithMatchLabels(selectorLabels(shop, component))
}

// owner makes the Shop the controller of a child, so that the child goes with it.
func owner(shop *shopv1.Shop) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(shopv1.GroupVersion.String()).
		WithKind("Shop").
		WithName(shop.Name).
		WithUID(shop.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}

// plain are labels that the schema has checked.
func plain(labels map[string]shopv1.LabelValue) map[string]string {
	strings := map[string]string{}
	for name, value := range labels {
		strings[name] = string(value)
	}
	return strings
}

// merged is the union of maps; the last one that has a key wins.
func merged(parts ...map[string]string) map[string]string {
	union := map[string]string{}
	for _, part := range parts {
		maps.Copy(union, part)
	}
	return union
}
