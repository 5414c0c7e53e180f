package builders

import (
	"fmt"
	"strings"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// Endpoints are where clients find the shop: from outside when the spec names a
// host, else from within the cluster.
func Endpoints(shop *shopv1.Shop) shopv1.Endpoints {
	ingress := shop.Spec.Ingress
	if ingress == nil || ingress.Host == "" {
		return shopv1.Endpoints{
			API:           fmt.Sprintf("http://%s:%d", serviceHost(shop, APIName(shop)), apiPort),
			Notifications: fmt.Sprintf("ws://%s:%d/ws/notifications/", serviceHost(shop, NotificationsName(shop)), notificationsPort),
		}
	}
	scheme := "ws"
	if ingress.TLS != nil {
		scheme = "wss"
	}
	host := ingress.Host
	if ingress.NotificationsHost != "" {
		host = ingress.NotificationsHost
	}
	return shopv1.Endpoints{
		API:           PublicURL(shop),
		Notifications: fmt.Sprintf("%s://%s/ws/notifications/", scheme, host),
	}
}

// Selector finds the pods of a component, in the form that kubectl takes.
func Selector(shop *shopv1.Shop, component Component) string {
	labels := selectorLabels(shop, component)
	parts := make([]string, 0, len(labels))
	for _, key := range []string{LabelName, LabelInstance, LabelComponent} {
		parts = append(parts, key+"="+labels[key])
	}
	return strings.Join(parts, ",")
}
