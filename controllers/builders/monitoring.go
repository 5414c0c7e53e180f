package builders

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kinds"
)

// PodMonitor has Prometheus scrape the pods that run the server. Migrations have
// no such port.
func PodMonitor(shop *shopv1.Shop) *kinds.PodMonitorConfiguration {
	wanted := shop.Spec.Monitoring.PodMonitor
	object := metadata(shop, PodMonitorName(shop), ComponentServer)
	object.WithLabels(plain(wanted.Labels))
	return kinds.NewPodMonitor(object, kinds.PodMonitorSpec{
		Selector: metav1.LabelSelector{
			MatchLabels: map[string]string{LabelName: appName, LabelInstance: shop.Name},
			MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: LabelComponent, Operator: metav1.LabelSelectorOpIn,
				Values: []string{string(ComponentAPI), string(ComponentNotifications)},
			}},
		},
		PodTargetLabels:     []string{LabelInstance, LabelComponent, LabelVersion},
		PodMetricsEndpoints: []kinds.PodMetricsEndpoint{{Port: metricsPortName, Interval: string(wanted.Interval)}},
	})
}

// sharedDashboard is the Grafana dashboard of any shop, which one chooses in
// the variables namespace and shop. hack/generate copies it to where those who
// install the operator find it.
//
//go:embed dashboard.json
var sharedDashboard []byte

// ownDashboard is sharedDashboard for a shop that UID, NAMESPACE and SHOP in
// braces are to be replaced by.
var ownDashboard = sync.OnceValue(func() string {
	board := map[string]any{}
	if err := json.Unmarshal(sharedDashboard, &board); err != nil {
		panic(fmt.Sprintf("the dashboard is no JSON: %v", err))
	}
	constant := func(name, value string) map[string]any {
		return map[string]any{"name": name, "type": "constant", "query": value, "hide": 2}
	}
	board["uid"], board["title"], board["editable"] = "{UID}", "Shop {NAMESPACE}/{SHOP}", false
	board["templating"] = map[string]any{"list": []any{
		map[string]any{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
		constant("namespace", "{NAMESPACE}"), constant("shop", "{SHOP}"),
	}}
	document, err := json.Marshal(board)
	if err != nil {
		panic(fmt.Sprintf("the dashboard has no JSON: %v", err))
	}
	return string(document)
})

// Dashboard is the Grafana dashboard of a shop, in a ConfigMap that Grafana
// finds by its labels.
func Dashboard(shop *shopv1.Shop) *corev1ac.ConfigMapApplyConfiguration {
	filled := strings.NewReplacer(
		"{NAMESPACE}", shop.Namespace,
		"{SHOP}", shop.Name,
		"{UID}", shortHash("dashboard", shop.Namespace, shop.Name),
	).Replace(ownDashboard())
	return corev1ac.ConfigMap(DashboardName(shop), shop.Namespace).
		WithLabels(plain(shop.Spec.Monitoring.Dashboard.Labels)).
		WithLabels(ChildLabels(shop, ComponentServer)).
		WithOwnerReferences(owner(shop)).
		WithData(map[string]string{"shop-" + shop.Namespace + "-" + shop.Name + ".json": filled})
}

// metadata of a child whose kind has no apply configuration of its own making.
func metadata(shop *shopv1.Shop, name string, component Component) *metav1ac.ObjectMetaApplyConfiguration {
	return metav1ac.ObjectMeta().
		WithName(name).
		WithNamespace(shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithOwnerReferences(owner(shop))
}
