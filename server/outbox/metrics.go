package outbox

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an outbox counts.
type metrics struct {
	own, relayed prometheus.Counter // events published
	failures     prometheus.Counter
	oldest       atomic.Int64 // microseconds of the Unix time of the oldest event that waits; 0 for none
}

func newMetrics() *metrics {
	published := func(by string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shop_outbox_published_total", Help: "Notifications published in Redis: by the pod that recorded them, or by any that found them left behind.",
			ConstLabels: prometheus.Labels{"by": by},
		})
	}
	return &metrics{
		own: published("own"), relayed: published("relay"),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shop_outbox_failures_total", Help: "Attempts to publish notifications that failed.",
		}),
	}
}

// sees notes the oldest event that waits to be published; zero for none.
func (m *metrics) sees(oldest time.Time) {
	if oldest.IsZero() {
		m.oldest.Store(0)
		return
	}
	m.oldest.Store(oldest.UnixMicro())
}

func (m *metrics) age() float64 {
	oldest := m.oldest.Load()
	if oldest == 0 {
		return 0
	}
	return max(time.Since(time.UnixMicro(oldest)).Seconds(), 0)
}

// Metrics are those of publishing and listening.
func (o *Outbox) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		o.metrics.own, o.metrics.relayed, o.metrics.failures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_outbox_oldest_seconds", Help: "Age of the oldest notification of the shop that waits to be published; 0 if none waits.",
		}, o.metrics.age),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_outbox_listening", Help: "1 while this pod hears what is published in Redis, 0 while it reads the database instead or has no sockets to serve.",
		}, func() float64 {
			if o.Listening() {
				return 1
			}
			return 0
		}),
	}
}
