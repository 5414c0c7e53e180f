package shop

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// replicasOwner keeps the replicas of a Deployment when the operator lets go of
// them, until the autoscaler first sets them.
const replicasOwner = "shopkeeper-autoscaling"

// letGo plans that the replicas of a Deployment become the autoscaler's.
func (p *plan) letGo(wanted *appsv1ac.DeploymentApplyConfiguration, running *appsv1.Deployment) {
	if handedOver := builders.HandedOver(wanted, running); handedOver != nil {
		p.handOver = append(p.handOver, handedOver)
	}
}

// wantAutoscalers makes them for the roles that scale by load. One that
// hibernates has none: it would be told that it cannot scale.
func (p *plan) wantAutoscalers(shop *shopv1.Shop) {
	if shop.Spec.Hibernated {
		return
	}
	if builders.APIAutoscaling(shop) != nil {
		p.want(builders.APIAutoscaler(shop))
	}
	if builders.NotificationsAutoscaling(shop) != nil {
		p.want(builders.NotificationsAutoscaler(shop))
	}
}

// whyNotScaling is what the autoscaler of a role complains of, or "".
func whyNotScaling(observed *observation, name string) string {
	scaler := find[*autoscalingv2.HorizontalPodAutoscaler](observed.children, "HorizontalPodAutoscaler", name)
	if scaler == nil {
		return ""
	}
	for _, condition := range scaler.Status.Conditions {
		if condition.Type == autoscalingv2.ScalingActive && condition.Status == corev1.ConditionFalse {
			return condition.Message
		}
	}
	return ""
}

// openSockets is about how many sockets the autoscaler of a role last counted, or
// nil where it counts none. It stays what it was before while that is about right.
func openSockets(observed *observation, name string, before *int64) *int64 {
	scaler := find[*autoscalingv2.HorizontalPodAutoscaler](observed.children, "HorizontalPodAutoscaler", name)
	if scaler == nil || scaler.DeletionTimestamp != nil || len(scaler.Status.CurrentMetrics) == 0 {
		return nil
	}
	now := scaler.Status.CurrentMetrics[0].Pods.Current.AverageValue.Value() * int64(scaler.Status.CurrentReplicas)
	if before != nil && max(now-*before, *before-now)*10 < *before {
		return before
	}
	return &now
}

// keepSockets leaves of the metrics that an autoscaler saw how many sockets a pod
// has, to two digits.
func keepSockets(status, kept *autoscalingv2.HorizontalPodAutoscalerStatus) {
	for _, metric := range status.CurrentMetrics {
		if metric.Pods == nil || metric.Pods.Metric.Name != builders.MetricSockets || metric.Pods.Current.AverageValue == nil {
			continue
		}
		sockets, scale := metric.Pods.Current.AverageValue.Value(), int64(1)
		for sockets/scale >= 100 {
			scale *= 10
		}
		kept.CurrentReplicas = status.CurrentReplicas
		kept.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: metric.Type, Pods: &autoscalingv2.PodsMetricStatus{
			Current: autoscalingv2.MetricValueStatus{AverageValue: resource.NewQuantity(sockets/scale*scale, resource.DecimalSI)},
		}}}
	}
}

// keepComplaint leaves of an autoscaler's status in the cache what tells whether
// it works, and about how many sockets there are. The rest is about every few
// seconds of load.
func keepComplaint(object any) (any, error) {
	scaler, ok := object.(*autoscalingv2.HorizontalPodAutoscaler)
	if !ok {
		return object, nil
	}
	scaler.ManagedFields = nil
	status := autoscalingv2.HorizontalPodAutoscalerStatus{}
	for _, condition := range scaler.Status.Conditions {
		if condition.Type == autoscalingv2.ScalingActive {
			status.Conditions = append(status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
				Type: condition.Type, Status: condition.Status, Reason: condition.Reason, Message: condition.Message,
			})
		}
	}
	keepSockets(&scaler.Status, &status)
	scaler.Status = status
	return scaler, nil
}

// dropCounts leaves the status of a disruption budget out of the cache: it counts
// the pods that the Deployment counts too.
func dropCounts(object any) (any, error) {
	if budget, ok := object.(*policyv1.PodDisruptionBudget); ok {
		budget.ManagedFields, budget.Status = nil, policyv1.PodDisruptionBudgetStatus{}
	}
	return object, nil
}

// isNews leaves out what changes nothing that the cache keeps.
var isNews = predicate.Funcs{UpdateFunc: func(update event.UpdateEvent) bool {
	before, ok := update.ObjectOld.DeepCopyObject().(client.Object)
	if !ok {
		return true
	}
	before.SetResourceVersion(update.ObjectNew.GetResourceVersion())
	return !reflect.DeepEqual(before, update.ObjectNew)
}}
