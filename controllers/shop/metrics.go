package shop

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// scrapeTimeout is for the cache to list the Shops.
const scrapeTimeout = 5 * time.Second

var (
	shopsMetric = prometheus.NewDesc("shopkeeper_shops",
		"Shops, by the status and the reason of their Ready condition.", []string{"ready", "reason"}, nil)
	failingMetric = prometheus.NewDesc("shopkeeper_shop_failing",
		"1 for each condition of a Shop that is False. A Shop at its best has none.", []string{"shop_namespace", "shop", "condition", "reason"}, nil)
)

// Metrics are the operator's own, beside those that controller-runtime has of
// every controller. They are a [prometheus.Collector]; nil ones count nothing.
type Metrics struct {
	cache   client.Reader
	build   prometheus.Gauge
	writes  *prometheus.CounterVec
	changes *prometheus.CounterVec
}

// NewMetrics makes the metrics of an operator of a version, which finds its
// Shops in a cache.
func NewMetrics(cache client.Reader, version string) *Metrics {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shopkeeper_build_info", Help: "1, with the version of the operator and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	return &Metrics{
		cache: cache, build: build,
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shopkeeper_writes_total", Help: "What became of children in turns: created, changed, deleted, failed, or unchanged, which is no write at all.",
		}, []string{"kind", "outcome"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shopkeeper_condition_changes_total", Help: "Changes of the reason of a Shop's condition, by what it became.",
		}, []string{"condition", "reason"}),
	}
}

// Describe is that of a [prometheus.Collector].
func (m *Metrics) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- shopsMetric
	descriptions <- failingMetric
	m.build.Describe(descriptions)
	m.writes.Describe(descriptions)
	m.changes.Describe(descriptions)
}

// Collect is that of a [prometheus.Collector]. Before the cache is there it
// tells of no Shops.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.build.Collect(metrics)
	m.writes.Collect(metrics)
	m.changes.Collect(metrics)

	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	shops := &shopv1.ShopList{}
	if err := m.cache.List(ctx, shops, client.UnsafeDisableDeepCopy); err != nil {
		return
	}
	counts := map[[2]string]int{}
	for i := range shops.Items {
		shop := &shops.Items[i]
		counts[outlook(shop)]++
		for _, condition := range shop.Status.Conditions {
			if condition.Status == metav1.ConditionFalse {
				metrics <- prometheus.MustNewConstMetric(failingMetric, prometheus.GaugeValue, 1,
					shop.Namespace, shop.Name, condition.Type, condition.Reason)
			}
		}
	}
	for key, count := range counts {
		metrics <- prometheus.MustNewConstMetric(shopsMetric, prometheus.GaugeValue, float64(count), key[0], key[1])
	}
}

// outlook is the status and the reason of a Shop's Ready condition.
func outlook(shop *shopv1.Shop) [2]string {
	condition := meta.FindStatusCondition(shop.Status.Conditions, shopv1.ConditionReady)
	if condition == nil {
		return [2]string{string(metav1.ConditionUnknown), ""}
	}
	return [2]string{string(condition.Status), condition.Reason}
}

// applied counts what became of a child: it was known, was brought to what is
// wanted and then stood, unless that failed.
func (m *Metrics) applied(kind string, known, stands client.Object, err error) {
	switch {
	case err != nil:
		m.wrote(kind, "failed")
	case known == nil:
		m.wrote(kind, "created")
	case known == stands:
		m.wrote(kind, "unchanged")
	default:
		m.wrote(kind, "changed")
	}
}

func (m *Metrics) deleted(kind string, err error) {
	if err != nil {
		m.wrote(kind, "failed")
	} else {
		m.wrote(kind, "deleted")
	}
}

func (m *Metrics) wrote(kind, outcome string) {
	if m != nil {
		m.writes.WithLabelValues(kind, outcome).Inc()
	}
}

func (m *Metrics) became(condition metav1.Condition) {
	if m != nil {
		m.changes.WithLabelValues(condition.Type, condition.Reason).Inc()
	}
}
