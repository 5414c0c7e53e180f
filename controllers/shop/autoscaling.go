package shop

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
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

// keepComplaint leaves of an autoscaler's status in the cache what tells whether
// it works. The rest is about every few seconds of load.
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
