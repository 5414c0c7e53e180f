package builders

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	"k8s.io/utils/ptr"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// AnnotationAutoscaled on a Deployment says that the operator leaves its
// replicas to the autoscaler.
const AnnotationAutoscaled = "shopkeeper.dev/autoscaled"

// MetricSockets is the server's own count of open sockets.
const MetricSockets = "shop_notification_sockets"

// APIAutoscaler scales the REST pods.
func APIAutoscaler(shop *shopv1.Shop) *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration {
	return autoscaler(shop, APIName(shop), ComponentAPI, *shop.Spec.API.Autoscaling)
}

// NotificationsAutoscaler scales the WebSocket pods.
func NotificationsAutoscaler(shop *shopv1.Shop) *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration {
	wanted := shop.Spec.Notifications.Autoscaling
	object := autoscaler(shop, NotificationsName(shop), ComponentNotifications, wanted.Autoscaling)
	if sockets := wanted.TargetConnections; sockets != nil {
		object.Spec.WithMetrics(autoscalingv2ac.MetricSpec().
			WithType(autoscalingv2.PodsMetricSourceType).
			WithPods(autoscalingv2ac.PodsMetricSource().
				WithMetric(autoscalingv2ac.MetricIdentifier().WithName(MetricSockets)).
				WithTarget(autoscalingv2ac.MetricTarget().
					WithType(autoscalingv2.AverageValueMetricType).
					WithAverageValue(*resource.NewQuantity(int64(*sockets), resource.DecimalSI)))))
	}
	return object
}

// autoscaler looks at the server's container only: what a sidecar of a mesh
// burns says nothing of the load.
func autoscaler(shop *shopv1.Shop, name string, component Component, wanted shopv1.Autoscaling) *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration {
	cpu := autoscalingv2ac.MetricSpec().
		WithType(autoscalingv2.ContainerResourceMetricSourceType).
		WithContainerResource(autoscalingv2ac.ContainerResourceMetricSource().
			WithName(corev1.ResourceCPU).
			WithContainer(serverContainer).
			WithTarget(autoscalingv2ac.MetricTarget().
				WithType(autoscalingv2.UtilizationMetricType).
				WithAverageUtilization(ptr.Deref(wanted.TargetCPUUtilization, 75))))
	return autoscalingv2ac.HorizontalPodAutoscaler(name, shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithOwnerReferences(owner(shop)).
		WithSpec(autoscalingv2ac.HorizontalPodAutoscalerSpec().
			WithScaleTargetRef(autoscalingv2ac.CrossVersionObjectReference().
				WithAPIVersion(appsv1.SchemeGroupVersion.String()).WithKind("Deployment").WithName(name)).
			WithMinReplicas(leastReplicas(&wanted)).
			WithMaxReplicas(wanted.MaxReplicas).
			WithMetrics(cpu))
}

// APIAutoscaling is the autoscaling of the REST pods, or nil.
func APIAutoscaling(shop *shopv1.Shop) *shopv1.Autoscaling { return shop.Spec.API.Autoscaling }

// NotificationsAutoscaling is the autoscaling of the WebSocket pods, or nil.
func NotificationsAutoscaling(shop *shopv1.Shop) *shopv1.Autoscaling {
	if shop.Spec.Notifications.Autoscaling == nil {
		return nil
	}
	return &shop.Spec.Notifications.Autoscaling.Autoscaling
}

// replicas is how many pods the operator wants of a role, or nil when it is the
// autoscaler's to say. An autoscaler leaves a Deployment of 0 alone, so one that
// is new, or wakes, starts with a number of the operator's.
func (r role) replicas(shop *shopv1.Shop) *int32 {
	switch {
	case shop.Spec.Hibernated:
		return new(int32(0))
	case r.autoscaling == nil:
		return r.pods.Replicas
	case r.running == nil || ptr.Deref(r.running.Spec.Replicas, 1) == 0:
		return new(min(max(ptr.Deref(r.pods.Replicas, 1), leastReplicas(r.autoscaling)), r.autoscaling.MaxReplicas))
	default:
		return nil
	}
}

func leastReplicas(wanted *shopv1.Autoscaling) int32 { return ptr.Deref(wanted.MinReplicas, 1) }

// HandedOver is the replicas of a Deployment and nothing else, for a field owner
// besides the operator to apply before the operator lets go of them: a field
// that nobody owns any more goes back to its default, and the Deployment to one
// pod. It is nil when there is nothing to hand over.
func HandedOver(wanted *appsv1ac.DeploymentApplyConfiguration, running *appsv1.Deployment) *appsv1ac.DeploymentApplyConfiguration {
	if wanted.Spec.Replicas != nil || running == nil || running.DeletionTimestamp != nil || running.Annotations[AnnotationAutoscaled] != "" {
		return nil
	}
	return appsv1ac.Deployment(running.Name, running.Namespace).
		WithUID(running.UID).
		WithResourceVersion(running.ResourceVersion). // as it was seen, or not at all
		WithSpec(appsv1ac.DeploymentSpec().WithReplicas(ptr.Deref(running.Spec.Replicas, 1)))
}
