package builders

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// The ports of a shop. The metrics port is in no Service: whatever an Ingress
// can reach, it cannot reach that.
const (
	apiPort           = 8000
	notificationsPort = 8001
	metricsPort       = 9090
	databasePort      = 5432
	redisPort         = 6379
)

// ServerPort is the port that pods of a component answer clients on; 0 if they are
// not of the server.
func ServerPort(component Component) int32 {
	return map[Component]int32{ComponentAPI: apiPort, ComponentNotifications: notificationsPort}[component]
}

// APIService leads to the REST pods.
func APIService(shop *shopv1.Shop) *corev1ac.ServiceApplyConfiguration {
	return service(shop, APIName(shop), ComponentAPI, httpPort, apiPort)
}

// NotificationsService leads to the WebSocket pods.
func NotificationsService(shop *shopv1.Shop) *corev1ac.ServiceApplyConfiguration {
	return service(shop, NotificationsName(shop), ComponentNotifications, httpPort, notificationsPort)
}

// DatabaseService leads to PostgreSQL. It has an address of its own, and is not
// headless, so that clients find a restarted pod with no wait for DNS. There is
// no other pod to lead to while that one is not ready, and one whose volume gets
// full serves on.
func DatabaseService(shop *shopv1.Shop) *corev1ac.ServiceApplyConfiguration {
	service := service(shop, DatabaseName(shop), ComponentDatabase, databasePortName, databasePort)
	service.Spec.WithPublishNotReadyAddresses(true)
	return service
}

// RedisService leads to Redis, by an address of its own like the database's.
func RedisService(shop *shopv1.Shop) *corev1ac.ServiceApplyConfiguration {
	return service(shop, RedisName(shop), ComponentRedis, redisPortName, redisPort)
}

func service(shop *shopv1.Shop, name string, component Component, portName string, port int32) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(name, shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithOwnerReferences(owner(shop)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithSelector(selectorLabels(shop, component)).
			WithPorts(corev1ac.ServicePort().
				WithName(portName).
				WithProtocol(corev1.ProtocolTCP).
				WithPort(port).
				WithTargetPort(intstr.FromString(portName))))
}
