package app

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

const probeTimeout = 2 * time.Second

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
}

// ready says whether the server should get traffic: started, not draining, its database answers with a
// current schema. Redis may be away, which the body tells.
func (h *health) ready(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), probeTimeout)
	defer cancel()
	report := h.report(ctx)
	if report.Status != "ready" {
		c.Status(http.StatusServiceUnavailable)
	}
	return c.JSON(report)
}

func (h *health) report(ctx context.Context) readiness {
	report := readiness{Status: "ready", Database: "ok", Schema: "ok", Redis: "ok"}
	schema, err := h.db.Schema(ctx)
	switch {
	case err != nil:
		report.Database, report.Schema, report.Status = "unreachable", "unknown", "waiting for the database"
	case !schema.Current():
		report.Schema, report.Status = "not current", "waiting for the migration"
	}
	if h.redis.Ping(ctx) != nil {
		report.Redis = "unreachable"
	}
	switch {
	case h.is(starting) && report.Status == "ready":
		report.Status = "starting"
	case h.is(draining):
		report.Status = "draining"
	}
	return report
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
