package httpapi_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// counted is how many requests each series has, by its labels.
func counted(t *testing.T, metrics *httpapi.Metrics) map[string]uint64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			counts[fmt.Sprintf("%s %s %s", labels["method"], labels["route"], labels["status"])] = metric.GetHistogram().GetSampleCount()
		}
	}
	return counts
}

// measured is an application with metrics, and a few routes.
func measured(metrics *httpapi.Metrics) *fiber.App {
	app := httpapi.New(httpapi.Options{Log: slog.New(slog.DiscardHandler), Metrics: metrics})
	app.Get("/things/:id/", func(c *fiber.Ctx) error { return c.SendStatus(http.StatusNoContent) })
	app.Head("/things/:id/", func(c *fiber.Ctx) error { return c.SendStatus(http.StatusNoContent) })
	app.Post("/things/", fails(httpapi.Forbidden()))
	app.Get("/bugs/", func(*fiber.Ctx) error { panic("a bug") })
	return app
}

func TestMetricsCountEachRequestOnce(t *testing.T) {
	metrics := httpapi.NewMetrics()
	app := measured(metrics)
	for _, send := range []struct {
		times        int
		method, path string
	}{
		{5, "GET", "/things/7/"}, {2, "GET", "/things/8/?a=b"}, {1, "HEAD", "/things/7/"}, {3, "POST", "/things/"},
		{1, "DELETE", "/things/7/"}, {2, "GET", "/nothing/"}, {1, "GET", "/bugs/"},
	} {
		for range send.times {
			response, err := app.Test(httptest.NewRequest(send.method, send.path, nil), int(time.Minute.Milliseconds()))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
		}
	}
	want := map[string]uint64{
		"GET /things/:id/ 204": 7, "HEAD /things/:id/ 204": 1, "POST /things/ 403": 3,
		"DELETE other 405": 1, "GET other 404": 2, "GET /bugs/ 500": 1,
	}
	if got := counted(t, metrics); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// Whatever a client sends, the series are those of the routes and, of other paths, one for each method and status.
func TestClientsNameNoSeries(t *testing.T) {
	metrics := httpapi.NewMetrics()
	handler := measured(metrics).Handler()
	methods := append(slices.Clone(fiber.DefaultMethods), "SHOP", "G\x00T")
	for n := range 300 {
		for _, path := range []string{"/things/%d/", "/%d", "/things/%d/%%2e%%2e/", "/THINGS/%d/", "/things/7/?route=%d", "//%d", "/things/%d/x/"} {
			var request fasthttp.RequestCtx
			request.Request.Header.SetMethod(methods[n%len(methods)])
			request.Request.SetRequestURI(fmt.Sprintf(path, n))
			request.Request.Header.Set("X-HTTP-Method-Override", fmt.Sprint("M", n))
			request.Request.Header.SetHost(fmt.Sprint("h", n))
			handler(&request)
		}
	}
	got := counted(t, metrics)
	known := 0
	for series := range got {
		method, rest, _ := strings.Cut(series, " ")
		route, _, _ := strings.Cut(rest, " ")
		if slices.Contains(fiber.DefaultMethods, method) && slices.Contains([]string{"/things/:id/", "/things/", "/bugs/", "other"}, route) {
			known++
		}
	}
	if known != len(got) || len(got) > 2*len(fiber.DefaultMethods)+4 {
		t.Errorf("%d of %d series are the routes' own: %v", known, len(got), got)
	}
}

// BenchmarkMetrics is what metrics add to each request: compare with and without.
func BenchmarkMetrics(b *testing.B) {
	for _, row := range []struct {
		name    string
		metrics *httpapi.Metrics
	}{{"without", nil}, {"with", httpapi.NewMetrics()}} {
		b.Run(row.name, func(b *testing.B) {
			handler := measured(row.metrics).Handler()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var request fasthttp.RequestCtx
				request.Request.SetRequestURI("/things/7/")
				request.Request.Header.Set("X-Request-ID", "benchmark-request")
				for pb.Next() {
					request.Response.Reset()
					request.ResetUserValues()
					handler(&request)
				}
			})
		})
	}
}
