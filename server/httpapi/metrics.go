package httpapi

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// otherRoute stands for all paths that no route matches: a client makes up as many of them as it likes.
const otherRoute = "other"

// RouteName is a route's pattern, and never a path that no route matches.
func RouteName(route *fiber.Route) string {
	if route.Path == "/" { // of the middleware, which was last to match
		return otherRoute
	}
	return route.Path
}

// Metrics times answered requests by route and status. What a client sends names none of its series, so that
// their number is that of the routes and their answers. It is safe for concurrent use.
type Metrics struct {
	durations *prometheus.HistogramVec

	adding sync.Mutex
	series atomic.Pointer[map[outcome]prometheus.Observer] // replaced when one is added, so that requests share no lock
}

// outcome is a route's answer of one status. Fiber keeps one Route for each method and pattern.
type outcome struct {
	route  *fiber.Route
	status int
}

// NewMetrics makes the metrics of a process's listeners.
func NewMetrics() *Metrics {
	m := &Metrics{durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "shop_http_request_duration_seconds",
		Help:    "Time from a request's arrival to its answer, by route and status.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"method", "route", "status"})}
	m.series.Store(&map[outcome]prometheus.Observer{})
	return m
}

// Describe is that of a [prometheus.Collector].
func (m *Metrics) Describe(descriptions chan<- *prometheus.Desc) { m.durations.Describe(descriptions) }

// Collect is that of a [prometheus.Collector].
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) { m.durations.Collect(metrics) }

// observe notes an answered request.
func (m *Metrics) observe(route *fiber.Route, status int, took time.Duration) {
	key := outcome{route, status}
	series, known := (*m.series.Load())[key]
	if !known {
		series = m.add(key)
	}
	series.Observe(took.Seconds())
}

// add resolves the series of an outcome once for all.
func (m *Metrics) add(key outcome) prometheus.Observer {
	m.adding.Lock()
	defer m.adding.Unlock()
	series := m.durations.WithLabelValues(key.route.Method, RouteName(key.route), strconv.Itoa(key.status))
	all := maps.Clone(*m.series.Load())
	all[key] = series
	m.series.Store(&all)
	return series
}
