package app

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// scrape reads the metrics of a server as Prometheus does, each series by its name and labels.
func scrape(t *testing.T, address string) map[string]float64 {
	t.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the metrics are %d %s %v", response.StatusCode, text, err)
	}
	series := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[end+1:]), 64)
		if err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		series[line[:end]] = value
	}
	return series
}

// awaitSeries scrapes until the series are as wanted.
func awaitSeries(t *testing.T, address string, want map[string]float64) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := scrape(t, address)
		var wrong []string
		for name, value := range want {
			if seen, ok := got[name]; !ok || seen != value {
				wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", name, seen, value))
			}
		}
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(strings.Join(wrong, "\n"))
		}
	}
}

// A known series of requests, and exactly what is told of it.
func TestMetricsAreExact(t *testing.T) {
	metrics, sockets := databasetest.FreeAddress(t), databasetest.FreeAddress(t)
	s := peopled(t, "SHOP_ROLES=api,notifications", "SHOP_METRICS_ADDR="+metrics, "SHOP_NOTIFICATIONS_ADDR="+sockets,
		"SHOP_RATE_LIMITS=register=2/h")
	for s.send(request{method: "POST", path: "/auth/api/register/", body: "{}"}).status != http.StatusTooManyRequests {
		continue // a Redis that is slow to answer refuses nobody
	}
	product := s.newProduct()
	socket := s.listen(sockets, s.owner)
	for range 2 {
		s.make(s.owner, "/api/cart/items/", fmt.Sprintf(`{"product_id": %d}`, product))
		s.make(s.owner, "/api/orders/", `{"shipping_address": "here"}`)
	}
	s.must(400, request{method: "POST", path: "/api/cart/items/", as: s.owner, body: fmt.Sprintf(`{"product_id": %d, "quantity": 5000}`, product)})
	s.make(s.owner, "/api/cart/items/", fmt.Sprintf(`{"product_id": %d}`, product))
	s.must(200, request{method: "PATCH", path: fmt.Sprintf("/api/products/%d/", product), as: s.staff, body: `{"stock": 0}`})
	s.must(400, request{method: "POST", path: "/api/orders/", as: s.owner, body: `{"shipping_address": "here"}`})
	for range 3 {
		s.must(404, request{method: "GET", path: "/api/orders/999/", as: s.owner})
	}
	for range 2 {
		if _, _, err := socket.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	const requests = `shop_http_request_duration_seconds_count{method="%s",route="%s",status="%d"}`
	awaitSeries(t, metrics, map[string]float64{
		fmt.Sprintf(requests, "POST", "/auth/api/register/", 201):        2,
		fmt.Sprintf(requests, "POST", "/auth/api/register/", 429):        1,
		fmt.Sprintf(requests, "POST", "/api/cart/items/", 201):           3,
		fmt.Sprintf(requests, "POST", "/api/cart/items/", 400):           1,
		fmt.Sprintf(requests, "POST", "/api/orders/", 201):               2,
		fmt.Sprintf(requests, "POST", "/api/orders/", 400):               1,
		fmt.Sprintf(requests, "GET", "/api/orders/:id/", 404):            3,
		fmt.Sprintf(requests, "GET", "/ws/notifications/:user_id/", 101): 1,
		`shop_rate_limit_refusals_total{limit="register"}`:               1,
		`shop_rate_limit_refusals_total{limit="user"}`:                   0,
		`shop_rate_limit_counting`:                                       1,
		`shop_stock_refusals_total{at="cart"}`:                           1,
		`shop_stock_refusals_total{at="order"}`:                          1,
		`shop_orders_placed_total`:                                       2,
		`shop_password_hash_wait_seconds_count`:                          4, // three users made, one logged in
		`shop_password_hashes_waiting`:                                   0,
		`shop_outbox_published_total{by="own"}`:                          2,
		`shop_outbox_published_total{by="relay"}`:                        0,
		`shop_outbox_oldest_seconds`:                                     0,
		`shop_outbox_listening`:                                          1,
		`shop_notification_sockets`:                                      1,
		`shop_notification_sockets_opened_total`:                         1,
		`shop_notification_lag_seconds_count`:                            2,
		`shop_notification_deliveries_total`:                             2,
		`shop_notification_users_behind`:                                 0,
		`shop_ready`:                                                     1,
		`shop_dependency_up{dependency="database"}`:                      1,
		`shop_dependency_up{dependency="redis"}`:                         1,
		`shop_schema_version{which="applied"}`:                           1,
		`shop_schema_version{which="needed"}`:                            1,
		`shop_database_connections_max`:                                  8,
	})
	_ = socket.Close()
	awaitSeries(t, metrics, map[string]float64{
		`shop_notification_sockets`: 0, `shop_notification_sockets_closed_total{reason="left"}`: 1,
	})
}

// listen opens a user's socket.
func (s *shop) listen(address string, as user) *websocket.Conn {
	s.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + as.access}}
	socket, response, err := websocket.DefaultDialer.DialContext(s.t.Context(), fmt.Sprintf("ws://%s/ws/notifications/%d/", address, as.id), header)
	if err != nil {
		s.t.Fatalf("open a socket: %v %v", err, response)
	}
	s.t.Cleanup(func() { _ = socket.Close() })
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return socket
}

// A dependency that is away shows at the next scrape, and so do the notifications that wait for it.
func TestMetricsOfAnOutage(t *testing.T) {
	metrics, redis := databasetest.FreeAddress(t), databasetest.StartRedis(t)
	s := peopled(t, "SHOP_METRICS_ADDR="+metrics, "SHOP_REDIS_URL="+redis.URL())
	redis.Stop(t)
	s.newOrder(s.owner)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := scrape(t, metrics)
		if got[`shop_dependency_up{dependency="redis"}`] == 0 && got["shop_outbox_oldest_seconds"] > 1 && got["shop_outbox_failures_total"] > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metrics are %v", got)
		}
	}
	redis.Start(t)
	awaitSeries(t, metrics, map[string]float64{
		`shop_dependency_up{dependency="redis"}`: 1, `shop_outbox_oldest_seconds`: 0, `shop_outbox_published_total{by="relay"}`: 1, "shop_ready": 1,
	})
}
