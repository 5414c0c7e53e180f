package shop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// gather is every series of some metrics, by name and labels, with its value if it is a count.
func gather(t *testing.T, from ...prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := prometheus.Gatherers(from).Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			sort.Strings(labels)
			name := strings.TrimSpace(family.GetName() + " " + strings.Join(labels, " "))
			series[name] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return series
}

func (w *world) metrics() prometheus.Gatherer {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.reconciler.Metrics)
	return registry
}

func expectSeries(t *testing.T, got map[string]float64, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if seen, ok := got[name]; !ok || seen != value {
			t.Errorf("%s is %v, want %v", name, seen, value)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.serve(`{}`)
	w.rest()
	own := w.metrics()
	served := gather(t, own)
	expectSeries(t, served, map[string]float64{
		"shopkeeper_shops ready=True reason=Available":                          1,
		"shopkeeper_writes_total kind=Job outcome=created":                      1,
		"shopkeeper_writes_total kind=Deployment outcome=created":               2,
		"shopkeeper_condition_changes_total condition=Migrated reason=Migrated": 1,
		"shopkeeper_condition_changes_total condition=Ready reason=Available":   1,
	})
	w.reconcile()
	for name, value := range gather(t, own) {
		unchanged := strings.HasSuffix(name, "outcome=unchanged")
		if value != served[name] && !unchanged {
			t.Errorf("a turn of a shop at rest made %s %v, before it was %v", name, value, served[name])
		}
	}

	w.changeShop(func(spec *shopv1.ShopSpec) { spec.Version = "0.2.0" })
	w.failMigration("0.2.0", "no")
	w.waitFor(shopv1.ConditionStalled, "True", shopv1.ReasonMigrationFailed)
	w.rest()
	failing := fmt.Sprintf("shopkeeper_shop_failing condition=%%s reason=MigrationFailed shop=acme shop_namespace=%s", w.namespace)
	expectSeries(t, gather(t, own), map[string]float64{
		"shopkeeper_shops ready=False reason=MigrationFailed":                          1,
		fmt.Sprintf(failing, "Ready"):                                                  1,
		fmt.Sprintf(failing, "Migrated"):                                               1,
		"shopkeeper_writes_total kind=Job outcome=created":                             2,
		"shopkeeper_condition_changes_total condition=Migrated reason=MigrationFailed": 1,
	})
	w.expectNamedMetrics(t)
}

var (
	metricName = regexp.MustCompile(`\b(shopkeeper|controller_runtime|workqueue|rest_client|leader_election)_[a-z_]+\b`)
)

// expectNamedMetrics sees that every metric of the operator that an alert or a dashboard names is there.
func (w *world) expectNamedMetrics(t *testing.T) {
	t.Helper()
	there := map[string]bool{"leader_election_master_status": true} // of an operator that is one of several
	for series := range gather(t, w.metrics(), metrics.Registry) {
		name, _, _ := strings.Cut(series, " ")
		for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
			there[name+suffix] = true
		}
	}
	for _, pattern := range []string{"*.yaml", "dashboards/*.json"} {
		files, err := filepath.Glob("../../config/components/prometheus/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range metricName.FindAllString(string(content), -1) {
				if !there[name] {
					t.Errorf("%s names %s, which the operator has not", file, name)
				}
			}
		}
	}
}
