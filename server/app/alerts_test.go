package app

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// Every metric of the server that an alert or a dashboard names is one that a running server has.
func TestAlertsAndDashboardsNameWhatThereIs(t *testing.T) {
	metrics := databasetest.FreeAddress(t)
	s := openShop(t, "SHOP_ROLES=api,notifications", "SHOP_NOTIFICATIONS_ADDR="+databasetest.FreeAddress(t), "SHOP_METRICS_ADDR="+metrics)
	s.must(200, request{method: "GET", path: "/healthz"})
	awaitSeries(t, metrics, map[string]float64{`shop_http_request_duration_seconds_count{method="GET",route="/healthz",status="200"}`: 1})
	there := map[string]bool{}
	for series := range scrape(t, metrics) {
		name, _, _ := strings.Cut(series, "{")
		there[name] = true
	}
	named := 0
	for file, names := range namedMetrics(t) {
		for _, name := range names {
			if named++; !there[name] {
				t.Errorf("%s names %s, which no server has", file, name)
			}
		}
	}
	if named < 10 {
		t.Errorf("alerts and dashboards name %d metrics: are they read?", named)
	}
}

var (
	labels     = regexp.MustCompile(`\b(by|without|on|ignoring) ?\([^)]*\)|\$labels\.\w+|shop_namespace`)
	metricName = regexp.MustCompile(`\bshop_[a-z_]+\b`)
)

// namedMetrics are the server's metrics that each file of alerts and dashboards names.
func namedMetrics(t *testing.T) map[string][]string {
	t.Helper()
	named := map[string][]string{}
	for _, pattern := range []string{"config/components/prometheus/*.yaml", "config/components/prometheus/dashboards/*.json", "controllers/builders/*.json"} {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			names := metricName.FindAllString(labels.ReplaceAllString(string(content), ""), -1)
			slices.Sort(names)
			named[file] = slices.Compact(names)
		}
	}
	return named
}
