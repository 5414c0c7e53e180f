package orders

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
)

// metrics are what orders count.
type metrics struct {
	placed, short prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		placed: prometheus.NewCounter(prometheus.CounterOpts{Name: "shop_orders_placed_total", Help: "Orders placed."}),
		short:  catalog.NewRefusals("order"),
	}
}

// Metrics are those of orders.
func (s *Orders) Metrics() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.placed, s.metrics.short}
}
