package builders

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// APIDisruptionBudget keeps node drains from taking too many REST pods at once.
func APIDisruptionBudget(shop *shopv1.Shop) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return disruptionBudget(shop, APIName(shop), ComponentAPI)
}

// NotificationsDisruptionBudget does the same for the WebSocket pods.
func NotificationsDisruptionBudget(shop *shopv1.Shop) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return disruptionBudget(shop, NotificationsName(shop), ComponentNotifications)
}

// disruptionBudget lets go of a tenth of the pods at a time, and of one at
// least: the last pod of a shop must not keep a node from being drained for
// ever, nor one that is not ready anyway. PostgreSQL and Redis have none for the
// same reason.
func disruptionBudget(shop *shopv1.Shop, name string, component Component) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(name, shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithOwnerReferences(owner(shop)).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithSelector(selector(shop, component)).
			WithMaxUnavailable(intstr.FromString("10%")).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow))
}
