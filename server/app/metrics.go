package app

import (
	"net/http"
	"runtime"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const (
	scrapeTimeout  = 9 * time.Second // Prometheus itself gives up after 10
	scrapesAtOnce  = 4
	metricsHeaders = 16 << 10 // bytes
)

// metrics is what the server tells Prometheus. Each part of the server brings its own.
type metrics struct {
	registry *prometheus.Registry
	requests *httpapi.Metrics
}

// newMetrics registers the metrics of the process itself.
func newMetrics(version string) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), requests: httpapi.NewMetrics()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shop_build_info", Help: "1, with the version of the server and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build, m.requests, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// measured is a part of the server that has metrics.
type measured interface{ Metrics() []prometheus.Collector }

// add registers the metrics of the server's parts.
func (m *metrics) add(parts ...measured) {
	for _, part := range parts {
		m.registry.MustRegister(part.Metrics()...)
	}
}

// watch adds the connections of a listener.
func (m *metrics) watch(name string, listener *fiber.App) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shop_http_connections", Help: "Open connections, by listener.",
		ConstLabels: prometheus.Labels{"listener": name},
	}, func() float64 { return float64(listener.Server().GetOpenConnectionsCount()) }))
}

// server is the listener of /metrics.
func (m *metrics) server(address string) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTimeout,
	}))
	return &http.Server{
		Addr: address, Handler: mux, MaxHeaderBytes: metricsHeaders,
		ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
	}
}
