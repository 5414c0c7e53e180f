package builders

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// ServerNetworkPolicy lets clients reach the API and the notifications, and
// Prometheus the metrics; nothing else reaches a pod that runs the server, but for
// the operator where it asks pods how an external server does. Where
// such a pod may connect to is left open: the operator does not know where
// external servers, mail and traces go.
func ServerNetworkPolicy(shop *shopv1.Shop, defaults Defaults) *networkingv1ac.NetworkPolicyApplyConfiguration {
	scrapers := shop.Spec.NetworkPolicy.Scrapers
	if len(scrapers) == 0 {
		scrapers = []networkingv1.NetworkPolicyPeer{{
			NamespaceSelector: &metav1.LabelSelector{},
			PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{LabelName: "prometheus"}},
		}}
	}
	clients := slices.Clone(shop.Spec.NetworkPolicy.Clients)
	isExternal := shop.Spec.Database.External != nil || shop.Spec.Redis.External != nil
	if len(clients) > 0 && isExternal && defaults.Namespace != "" {
		clients = append(clients, operatorPods(defaults.Namespace))
	}
	return networkPolicy(shop, ServerPolicyName(shop), ComponentServer, metav1.LabelSelectorOpNotIn, networkingv1ac.NetworkPolicySpec().
		WithPolicyTypes(networkingv1.PolicyTypeIngress).
		WithIngress(
			allowed(clients, apiPort, notificationsPort),
			allowed(scrapers, metricsPort)))
}

// operatorPods are those of the operator itself.
func operatorPods(namespace string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{LabelName: "shopkeeper-operator"}},
	}
}

// DataNetworkPolicy lets the shop's own pods reach PostgreSQL and Redis, which
// themselves reach nothing.
func DataNetworkPolicy(shop *shopv1.Shop) *networkingv1ac.NetworkPolicyApplyConfiguration {
	ours := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{LabelName: appName, LabelInstance: shop.Name},
	}}
	return networkPolicy(shop, DataPolicyName(shop), ComponentDatabase, metav1.LabelSelectorOpIn, networkingv1ac.NetworkPolicySpec().
		WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
		WithIngress(allowed([]networkingv1.NetworkPolicyPeer{ours}, databasePort, redisPort)))
}

// networkPolicy is about the pods of a shop that are, or are not, PostgreSQL and
// Redis: each pod of the shop comes under one of the two.
func networkPolicy(shop *shopv1.Shop, name string, component Component, isData metav1.LabelSelectorOperator, spec *networkingv1ac.NetworkPolicySpecApplyConfiguration) *networkingv1ac.NetworkPolicyApplyConfiguration {
	return networkingv1ac.NetworkPolicy(name, shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithOwnerReferences(owner(shop)).
		WithSpec(spec.WithPodSelector(metav1ac.LabelSelector().
			WithMatchLabels(map[string]string{LabelName: appName, LabelInstance: shop.Name}).
			WithMatchExpressions(metav1ac.LabelSelectorRequirement().
				WithKey(LabelComponent).WithOperator(isData).WithValues(string(ComponentDatabase), string(ComponentRedis)))))
}

// allowed lets peers, or everyone if there are none, connect to some ports.
// They are numbers, since not every network knows the names of ports.
func allowed(peers []networkingv1.NetworkPolicyPeer, ports ...int32) *networkingv1ac.NetworkPolicyIngressRuleApplyConfiguration {
	rule := networkingv1ac.NetworkPolicyIngressRule()
	for _, peer := range peers {
		rule.WithFrom(convert[networkingv1ac.NetworkPolicyPeerApplyConfiguration](peer))
	}
	for _, port := range ports {
		rule.WithPorts(networkingv1ac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(port)))
	}
	return rule
}
