package notifications

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// byPeer is the reason of a socket's end that this pod did not bring about.
const byPeer = "left"

// metrics are what a hub counts.
type metrics struct {
	opened    prometheus.Counter
	closed    *prometheus.CounterVec // by reason, of which each has a constant
	lag       prometheus.Histogram
	delivered prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		opened: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shop_notification_sockets_opened_total", Help: "Notification sockets opened.",
		}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shop_notification_sockets_closed_total", Help: "Notification sockets closed: because the client left, or for the reason that it was told.",
		}, []string{"reason"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shop_notification_lag_seconds",
			Help:    "Time from when a notification was recorded to when Redis brought it to the sockets of its user, by the clocks of the two pods.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shop_notification_deliveries_total", Help: "Sockets to which Redis brought a notification.",
		}),
	}
	for _, reason := range []string{byPeer, tokenExpired, tokenInvalid, tooTalkative, tooSlow, tooMany, restarting} {
		m.closed.WithLabelValues(reason)
	}
	return m
}

// brought notes that an event of some age came to a number of sockets.
func (m *metrics) brought(age time.Duration, sockets int) {
	m.lag.Observe(max(age.Seconds(), 0))
	m.delivered.Add(float64(sockets))
}

// Metrics are those of the sockets on this pod.
func (h *Hub) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		h.metrics.opened, h.metrics.closed, h.metrics.lag, h.metrics.delivered,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_notification_sockets", Help: "Open notification sockets.",
		}, func() float64 { return float64(h.Open()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_notification_users_behind", Help: "Users with a socket that waits for what only the database has.",
		}, func() float64 { return float64(h.lagging.size()) }),
	}
}

// reason is why the socket ended.
func (s *socket) reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bye) <= 2 { // two bytes of a code, then the reason
		return byPeer
	}
	return string(s.bye[2:])
}
