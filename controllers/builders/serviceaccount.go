package builders

import (
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// ServiceAccount of the shop's pods. It is bound to no role, and no pod gets a
// token of it: it only keeps them off the namespace's default account.
func ServiceAccount(shop *shopv1.Shop) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(ServiceAccountName(shop), shop.Namespace).
		WithLabels(ChildLabels(shop, ComponentServer)).
		WithOwnerReferences(owner(shop)).
		WithAutomountServiceAccountToken(false)
}
