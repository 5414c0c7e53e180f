package ratelimit

import "github.com/prometheus/client_golang/prometheus"

// newRefusals counts by the names of limits, of which there are a handful.
func newRefusals() *prometheus.CounterVec {
	refusals := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shop_rate_limit_refusals_total", Help: "Uses that a rate limit refused.",
	}, []string{"limit"})
	for name := range new(Limits).named() {
		refusals.WithLabelValues(name)
	}
	return refusals
}

// Metrics are those of all limits that this limiter counts.
func (l *Limiter) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		l.refusals,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_rate_limit_counting", Help: "1 while rate limits count, 0 while Redis does not answer and every request is let through.",
		}, func() float64 {
			l.outage.Lock()
			defer l.outage.Unlock()
			if l.outage.until.IsZero() {
				return 1
			}
			return 0
		}),
	}
}
