package builders

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1ac "sigs.k8s.io/gateway-api/applyconfiguration/apis/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// APIRoute leads from the Gateways to the REST pods.
func APIRoute(shop *shopv1.Shop) *gatewayv1ac.HTTPRouteApplyConfiguration {
	return httpRoute(shop, APIName(shop), shop.Spec.Ingress.Host, apiPath, apiPort)
}

// NotificationsRoute leads from the Gateways to the WebSocket pods.
func NotificationsRoute(shop *shopv1.Shop) *gatewayv1ac.HTTPRouteApplyConfiguration {
	host := shop.Spec.Ingress.NotificationsHost
	if host == "" {
		host = shop.Spec.Ingress.Host
	}
	return httpRoute(shop, NotificationsName(shop), host, notificationsPath, notificationsPort)
}

func httpRoute(shop *shopv1.Shop, name string, host shopv1.HostName, path string, port int32) *gatewayv1ac.HTTPRouteApplyConfiguration {
	spec := gatewayv1ac.HTTPRouteSpec().
		WithParentRefs(parentRefs(shop)...).
		WithRules(gatewayv1ac.HTTPRouteRule().
			WithMatches(gatewayv1ac.HTTPRouteMatch().
				WithPath(gatewayv1ac.HTTPPathMatch().WithType(gatewayv1.PathMatchPathPrefix).WithValue(path))).
			WithBackendRefs(gatewayv1ac.HTTPBackendRef().WithName(gatewayv1.ObjectName(name)).WithPort(port)))
	if host != "" {
		spec.WithHostnames(gatewayv1.Hostname(host))
	}
	return gatewayv1ac.HTTPRoute(name, shop.Namespace).
		WithLabels(ChildLabels(shop, ComponentIngress)).
		WithOwnerReferences(owner(shop)).
		WithSpec(spec)
}

func parentRefs(shop *shopv1.Shop) []*gatewayv1ac.ParentReferenceApplyConfiguration {
	var refs []*gatewayv1ac.ParentReferenceApplyConfiguration
	for _, wanted := range shop.Spec.Ingress.Gateway.ParentRefs {
		ref := gatewayv1ac.ParentReference().WithName(gatewayv1.ObjectName(wanted.Name))
		if wanted.Namespace != nil {
			ref.WithNamespace(gatewayv1.Namespace(*wanted.Namespace))
		}
		if wanted.SectionName != nil {
			ref.WithSectionName(gatewayv1.SectionName(*wanted.SectionName))
		}
		if wanted.Port != nil {
			ref.WithPort(*wanted.Port)
		}
		refs = append(refs, ref)
	}
	return refs
}
