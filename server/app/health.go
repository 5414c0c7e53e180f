package app

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

const (
	probeTimeout = 2 * time.Second
	retryProbe   = "2" // seconds
)

type phase int32

const (
	starting phase = iota // waiting for the database, Redis or the schema
	serving
	draining // no new work, please: what is under way is finished
)

// health answers the probes of both listeners and keeps requests out until the server has started.
type health struct {
	phase atomic.Int32
	db    *database.DB
	redis *pubsub.Client
}

func (h *health) enter(p phase) { h.phase.Store(int32(p)) }

func (h *health) is(p phase) bool { return phase(h.phase.Load()) == p }

// live says that the process is up.
func (h *health) live(c *fiber.Ctx) error { return c.JSON(fiber.Map{"status": "ok"}) }

type readiness struct {
	Status   string `json:"status"`
	Database string `json:"database"`
	Schema   string `json:"schema"`
	Redis    string `json:"redis"`

	schema database.SchemaVersions
}

// ready says whether the server should get traffic: started, not draining, its database answers with a
// current schema. Redis may be away, which the body tells.
func (h *health) ready(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), probeTimeout)
	defer cancel()
	report := h.report(ctx)
	if report.Status != "ready" {
		c.Status(http.StatusServiceUnavailable).Set(fiber.HeaderRetryAfter, retryProbe)
	}
	return c.JSON(report)
}

func (h *health) report(ctx context.Context) readiness {
	report := readiness{Status: "ready", Database: "ok", Schema: "ok", Redis: "ok"}
	schema, err := h.db.Schema(ctx)
	report.schema = schema
	switch {
	case err != nil:
		report.Database, report.Schema, report.Status = trouble(database.IsRefused(err)), "unknown", "waiting for the database"
	case !schema.Current():
		report.Schema, report.Status = "not current", "waiting for the migration"
	}
	if err := h.redis.Ping(ctx); err != nil {
		report.Redis = trouble(pubsub.IsRefused(err))
	}
	switch {
	case h.is(starting) && report.Status == "ready":
		report.Status = "starting"
	case h.is(draining):
		report.Status = "draining"
	}
	return report
}

// trouble is a word about what does not answer as it should. The operator has conditions of these words.
func trouble(refuses bool) string {
	if refuses {
		return "refused"
	}
	return "unreachable"
}

// gate turns requests away until the server has started.
func (h *health) gate(c *fiber.Ctx) error {
	if h.is(starting) {
		return httpapi.Unavailable()
	}
	return c.Next()
}

func (h *health) mount(listener *fiber.App) {
	listener.Get("/healthz", h.live)
	listener.Get("/readyz", h.ready)
	listener.Use(h.gate)
}

// Metrics tell what the probes tell. They are asked for at each scrape, all at once.
func (h *health) Metrics() []prometheus.Collector { return []prometheus.Collector{healthMetrics{h}} }

type healthMetrics struct{ *health }

var (
	readyMetric      = prometheus.NewDesc("shop_ready", "1 if the server should get traffic.", nil, nil)
	dependencyMetric = prometheus.NewDesc("shop_dependency_up", "1 if what the server stands on answers it.", []string{"dependency"}, nil)
	schemaMetric     = prometheus.NewDesc("shop_schema_version", "Version of the database's schema: the one applied, and the one that this server needs.", []string{"which"}, nil)
)

// Describe is that of a [prometheus.Collector].
func (h healthMetrics) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- readyMetric
	descriptions <- dependencyMetric
	descriptions <- schemaMetric
}

// Collect is that of a [prometheus.Collector].
func (h healthMetrics) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	report := h.report(ctx)
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(readyMetric, oneIf(report.Status == "ready"))
	gauge(dependencyMetric, oneIf(report.Database == "ok"), "database")
	gauge(dependencyMetric, oneIf(report.Redis == "ok"), "redis")
	if report.Database == "ok" {
		gauge(schemaMetric, float64(report.schema.Applied), "applied")
		gauge(schemaMetric, float64(report.schema.Needed), "needed")
	}
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}
