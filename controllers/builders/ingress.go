package builders

import (
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// The paths of a shop's listeners.
const (
	apiPath           = "/"
	notificationsPath = "/ws/"
)

// IngressObject leads REST and notifications from outside to their Services.
func IngressObject(shop *shopv1.Shop) *networkingv1ac.IngressApplyConfiguration {
	wanted := shop.Spec.Ingress
	spec := networkingv1ac.IngressSpec().WithRules(ingressRules(shop)...)
	if wanted.TLS != nil {
		tls := networkingv1ac.IngressTLS()
		tls.SecretName = wanted.TLS.SecretName
		if wanted.TLS.IssuerRef != nil {
			tls.WithSecretName(CertificateName(shop))
		}
		for _, host := range []shopv1.HostName{wanted.Host, wanted.NotificationsHost} {
			if host != "" {
				tls.WithHosts(string(host))
			}
		}
		spec.WithTLS(tls)
	}
	object := networkingv1ac.Ingress(IngressName(shop), shop.Namespace).
		WithLabels(ChildLabels(shop, ComponentIngress)).
		WithOwnerReferences(owner(shop))
	if wanted.Ingress != nil {
		spec.IngressClassName = wanted.Ingress.ClassName
		object.WithAnnotations(wanted.Ingress.Annotations)
	}
	return object.WithSpec(spec)
}

func ingressRules(shop *shopv1.Shop) []*networkingv1ac.IngressRuleApplyConfiguration {
	api := ingressPath(apiPath, APIName(shop))
	notifications := ingressPath(notificationsPath, NotificationsName(shop))
	wanted := shop.Spec.Ingress
	if wanted.NotificationsHost == "" {
		return []*networkingv1ac.IngressRuleApplyConfiguration{ingressRule(wanted.Host, notifications, api)}
	}
	return []*networkingv1ac.IngressRuleApplyConfiguration{
		ingressRule(wanted.Host, api),
		ingressRule(wanted.NotificationsHost, notifications),
	}
}

func ingressRule(host shopv1.HostName, paths ...*networkingv1ac.HTTPIngressPathApplyConfiguration) *networkingv1ac.IngressRuleApplyConfiguration {
	rule := networkingv1ac.IngressRule().WithHTTP(networkingv1ac.HTTPIngressRuleValue().WithPaths(paths...))
	if host != "" {
		rule.WithHost(string(host))
	}
	return rule
}

func ingressPath(path, service string) *networkingv1ac.HTTPIngressPathApplyConfiguration {
	return networkingv1ac.HTTPIngressPath().
		WithPath(path).
		WithPathType(networkingv1.PathTypePrefix).
		WithBackend(networkingv1ac.IngressBackend().
			WithService(networkingv1ac.IngressServiceBackend().
				WithName(service).
				WithPort(networkingv1ac.ServiceBackendPort().WithName(httpPort))))
}
