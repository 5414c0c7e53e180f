package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// metrics are those of a process at one moment.
type metrics map[string]*dto.MetricFamily

// sum adds up a counter or gauge, of the metrics whose label has the value; no
// label means all.
func (m metrics) sum(name, labelName string, is func(string) bool) (total float64) {
	for _, metric := range m[name].GetMetric() {
		if labelName == "" || is(label(metric, labelName)) {
			total += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return total
}

func (m metrics) turns() float64 {
	return m.sum("controller_runtime_reconcile_total", "controller", isOurs)
}

func (m metrics) errors() float64 {
	return m.sum("controller_runtime_reconcile_errors_total", "controller", isOurs)
}

func (m metrics) memory() float64 { return m.sum("process_resident_memory_bytes", "", nil) }

func (m metrics) reads() float64 { return m.sum("rest_client_requests_total", "method", isRead) }

func (m metrics) writes() float64 {
	return m.sum("rest_client_requests_total", "method", func(method string) bool { return !isRead(method) })
}

// isIdle reports whether nothing is queued and nothing is being worked on.
func (m metrics) isIdle() bool {
	return m.sum("workqueue_depth", "name", isOurs) == 0 && m.sum("controller_runtime_active_workers", "controller", isOurs) == 0
}

func isOurs(controller string) bool { return controller == "shop" }

func isRead(method string) bool { return method == http.MethodGet }

// callsPer tells how many calls of each method and outcome were made for each of
// count things.
func (m metrics) callsPer(before metrics, count int, thing string) string {
	made := map[string]float64{}
	add := func(of metrics, sign float64) {
		for _, metric := range of["rest_client_requests_total"].GetMetric() {
			name := label(metric, "method")
			if code := label(metric, "code"); !strings.HasPrefix(code, "2") {
				name += " " + code
			}
			made[name] += sign * metric.GetCounter().GetValue()
		}
	}
	add(m, 1)
	add(before, -1)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if made[name] > 0 {
			parts = append(parts, fmt.Sprintf("%.2f %s", made[name]/float64(count), name))
		}
	}
	return fmt.Sprintf("per %s: %s", thing, strings.Join(parts, ", "))
}

// quantile estimates, as Prometheus does, below which value the share q of the
// loop's observations lies.
func (m metrics) quantile(before metrics, name string, q float64) float64 {
	bounds := map[float64]float64{}
	add := func(of metrics, sign float64) {
		for _, metric := range of[name].GetMetric() {
			if isOurs(label(metric, "controller")) || isOurs(label(metric, "name")) {
				for _, bucket := range metric.GetHistogram().GetBucket() {
					bounds[bucket.GetUpperBound()] += sign * float64(bucket.GetCumulativeCount())
				}
			}
		}
	}
	add(m, 1)
	add(before, -1)
	rank := q * bounds[math.Inf(1)]
	lower, below := 0.0, 0.0
	for _, upper := range slices.Sorted(maps.Keys(bounds)) {
		if bounds[upper] >= rank {
			if math.IsInf(upper, 1) || bounds[upper] == below {
				return lower
			}
			return lower + (upper-lower)*(rank-below)/(bounds[upper]-below)
		}
		lower, below = upper, bounds[upper]
	}
	return lower
}

// audit is what the API server kept of the operator's writes.
type audit struct {
	writes, idle int
	byKind       map[string]int
}

func (a audit) kinds() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(a.byKind)) {
		parts = append(parts, fmt.Sprintf("%d %s", a.byKind[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// auditEvent is a request and its answer.
type auditEvent struct {
	Verb           string
	RequestURI     string
	User           struct{ Username string }
	ObjectRef      struct{ Resource, Subresource, Name string }
	RequestObject  json.RawMessage
	ResponseStatus struct{ Code int }
	ResponseObject struct {
		Metadata struct{ ResourceVersion string }
	}
}

// audited hands over all events of the audit log.
func (p *plane) audited(each func(auditEvent) error) error {
	file, err := os.Open(p.file("audit.log"))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read
	for lines := json.NewDecoder(bufio.NewReader(file)); ; {
		var event auditEvent
		switch err := lines.Decode(&event); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the audit log: %w", err)
		}
		if err := each(event); err != nil {
			return err
		}
	}
}

// readAudit counts them. One that changed nothing answers with a revision that
// was there before.
func (p *plane) readAudit() (audit, error) {
	counted, seen := audit{byKind: map[string]int{}}, map[string]bool{}
	err := p.audited(func(event auditEvent) error {
		counted.add(event, seen)
		return nil
	})
	return counted, err
}

func (a *audit) add(event auditEvent, seen map[string]bool) {
	revision := event.ResponseObject.Metadata.ResourceVersion
	wasThere := seen[revision]
	seen[revision] = true
	if event.User.Username != operatorAccount || event.ObjectRef.Resource == "events" {
		return
	}
	a.writes++
	kind := strings.TrimSuffix(event.Verb+" "+event.ObjectRef.Resource+"/"+event.ObjectRef.Subresource, "/")
	if event.ResponseStatus.Code >= 300 {
		kind = fmt.Sprintf("%s (%d)", kind, event.ResponseStatus.Code)
	} else if wasThere && revision != "" {
		a.idle++
		kind += " (nothing changed)"
	}
	a.byKind[kind]++
}
