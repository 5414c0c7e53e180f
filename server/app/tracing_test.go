package app

import (
	"encoding/hex"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// otlpCollector takes what servers tell of their traces.
type otlpCollector struct {
	url string

	lock  sync.Mutex
	spans []*otlp.Span
	text  strings.Builder // all of it, in JSON
}

func startCollector(t *testing.T) *otlpCollector {
	t.Helper()
	c := &otlpCollector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("a collector gets %s: %v", r.URL.Path, err)
		}
		c.take(&request)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *otlpCollector) take(request *collector.ExportTraceServiceRequest) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.text.WriteString(protojson.Format(request))
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
}

// trace waits until a trace has spans of all these names, and returns its spans.
func (c *otlpCollector) trace(t *testing.T, id string, names ...string) []*otlp.Span {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var found []*otlp.Span
		var seen []string
		c.lock.Lock()
		for _, span := range c.spans {
			if hex.EncodeToString(span.GetTraceId()) == id {
				found, seen = append(found, span), append(seen, span.GetName())
			}
		}
		c.lock.Unlock()
		if !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(seen, name) }) {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("the trace has %q, want %q", seen, names)
		}
	}
}

// named is the first span of a name.
func named(t *testing.T, spans []*otlp.Span, name string) *otlp.Span {
	t.Helper()
	for _, span := range spans {
		if span.GetName() == name {
			return span
		}
	}
	t.Fatalf("no span is named %s", name)
	return nil
}

func text(span *otlp.Span, attribute string) string {
	for _, pair := range span.GetAttributes() {
		if pair.GetKey() == attribute {
			return pair.GetValue().GetStringValue()
		}
	}
	return ""
}

// An order on one pod, from the proxy before it to the socket on another pod that its notification reaches.
func TestTraceOfAnOrder(t *testing.T) {
	traces := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traces.url)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	var logs lockedLog
	database, redis := databasetest.Migrated(t), databasetest.Redis(t)
	sockets := databasetest.FreeAddress(t)
	stores := []string{"SHOP_DATABASE_URL=" + database, "SHOP_REDIS_URL=" + redis, "SHOP_RATE_LIMITS=user=600/m"}
	s := openLogged(t, &logs, append(stores, "SHOP_TRUSTED_PROXIES=127.0.0.1")...)
	openLogged(t, &logs, append(stores, "SHOP_ROLES=notifications", "SHOP_NOTIFICATIONS_ADDR="+sockets)...)
	s.people()
	s.newCartItem(s.owner)
	socket := s.listen(sockets, s.owner)

	const id, proxy, requestID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "one-request-id"
	from := []string{"traceparent: 00-" + id + "-" + proxy + "-01"}
	s.must(401, request{method: "POST", path: "/auth/api/token/", header: from, body: `{"email": "hush@example.com", "password": "hush-password"}`})
	s.must(201, request{
		method: "POST", path: "/api/orders/?coupon=hush-query", as: s.owner, body: `{"shipping_address": "hush-address"}`,
		header: append(from, "X-Request-ID: "+requestID),
	})
	if _, _, err := socket.ReadMessage(); err != nil {
		t.Fatal(err)
	}

	const order, login, publish, deliver = "POST /api/orders/", "POST /auth/api/token/", "publish notification", "deliver notification"
	parents := map[string]string{
		"BATCH": order, "SELECT": login, "EVALSHA": login, publish: order, deliver: publish,
	}
	spans := traces.trace(t, id, append(slices.Collect(maps.Keys(parents)), order, login)...)
	for child, parent := range parents {
		if string(named(t, spans, child).GetParentSpanId()) != string(named(t, spans, parent).GetSpanId()) {
			t.Errorf("%s is no child of %s", child, parent)
		}
	}
	served := named(t, spans, order)
	if got := hex.EncodeToString(served.GetParentSpanId()); got != proxy || served.GetKind() != otlp.Span_SPAN_KIND_SERVER {
		t.Errorf("the request's span is a %s of %s, want that of the proxy", served.GetKind(), got)
	}
	if text(served, "http.route") != "/api/orders/" || text(served, "shop.request_id") != requestID {
		t.Errorf("the request's span says %v", served.GetAttributes())
	}
	for _, line := range []string{"msg=request ", `msg="published a notification"`, `msg="delivered a notification"`} {
		if found := logs.with(line, "request_id="+requestID, "trace_id="+id); found != 1 {
			t.Errorf("%d lines of the log have %s with the ids of request and trace, want one:\n%s", found, line, logs.String())
		}
	}
	traces.lock.Lock()
	defer traces.lock.Unlock()
	for _, secret := range []string{"hush", adminPassword, "securepassword", s.owner.access, s.owner.email, adminEmail, "customer", redis, database, "here"} {
		if strings.Contains(traces.text.String(), secret) {
			t.Errorf("the traces tell %q", secret)
		}
		if secret != "customer" && secret != "here" && strings.Contains(logs.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
}

// Who is no trusted proxy begins no trace and has no say in whether one is recorded: theirs is linked to.
func TestTraceOfAStranger(t *testing.T) {
	traces := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traces.url)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
	s := openShop(t)
	const id = "0af7651916cd43dd8448eb211c80319c"
	for _, flags := range []string{"00", "01"} {
		s.must(401, request{method: "GET", path: "/api/cart/", header: []string{"traceparent: 00-" + id + "-b7ad6b7169203331-" + flags}})
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		linked := 0
		traces.lock.Lock()
		for _, span := range traces.spans {
			if hex.EncodeToString(span.GetTraceId()) == id {
				t.Error("a stranger's trace was gone on with")
			}
			if len(span.GetLinks()) == 1 && hex.EncodeToString(span.GetLinks()[0].GetTraceId()) == id {
				linked++
			}
		}
		traces.lock.Unlock()
		if linked == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d spans are linked to the stranger's trace, want 2", linked)
		}
	}
}

// openLogged runs a server whose log is kept, as all servers write it.
func openLogged(t *testing.T, log *lockedLog, changed ...string) *shop {
	t.Helper()
	s := prepareLogged(t, httpapi.Correlated(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), changed...)
	s.run()
	return s
}

func (l *lockedLog) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.String()
}

// with counts the lines that have all these.
func (l *lockedLog) with(parts ...string) (lines int) {
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			lines++
		}
	}
	return lines
}
