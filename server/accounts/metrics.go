package accounts

import "github.com/prometheus/client_golang/prometheus"

func newHashWaits() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "shop_password_hash_wait_seconds", Help: "Time for which a password waited for its turn to be hashed.",
		Buckets: []float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
}

// Metrics are those of hashing passwords, the most costly thing that an anonymous client can ask for.
func (a *Accounts) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		a.hasher.waits,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_password_hashes_waiting", Help: "Passwords that wait for their turn to be hashed.",
		}, func() float64 { return float64(a.hasher.waiting.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_password_hashes_running", Help: "Passwords that are being hashed.",
		}, func() float64 { return float64(len(a.hasher.slots)) }),
	}
}
