package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/accounts"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/settings"
)

const (
	patience      = 30 * time.Second
	adminEmail    = "admin@example.com"
	adminPassword = "correct horse battery"
)

func TestMain(m *testing.M) {
	hashCost = accounts.Cost{Memory: 8, Passes: 1, Threads: 1}
	databasetest.Main(m)
}

// shop is a whole server on PostgreSQL and Redis, and some of its users.
type shop struct {
	t       *testing.T
	app     *App
	address string

	staff, owner, other user

	digested struct{ before, sum string } // the sum of what there was before a transaction
}

// user is someone who calls the server; the zero user has no token.
type user struct {
	id                     int64
	email, access, refresh string
}

var nobody user

// prepare makes a server that does not run yet. Each setting is NAME=VALUE.
func prepare(t *testing.T, changed ...string) *shop {
	t.Helper()
	return prepareLogged(t, slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}), changed...)
}

func prepareLogged(t *testing.T, log slog.Handler, changed ...string) *shop {
	t.Helper()
	address := databasetest.FreeAddress(t)
	environment := map[string]string{
		"SHOP_DATABASE_URL": databasetest.Migrated(t), "SHOP_REDIS_URL": databasetest.Redis(t),
		"SHOP_ROLES": "api", "SHOP_API_ADDR": address, "SHOP_METRICS_ADDR": "off", "SHOP_RATE_LIMITS": "off",
		"SHOP_ADMIN_EMAIL": adminEmail, "SHOP_ADMIN_PASSWORD": adminPassword, "SHOP_DRAIN_SECONDS": "0",
	}
	for _, setting := range changed {
		name, value, _ := strings.Cut(setting, "=")
		environment[name] = value
	}
	s, err := settings.Load(func(name string) (string, bool) { value, ok := environment[name]; return value, ok })
	if err != nil {
		t.Fatal(err)
	}
	app, err := New(t.Context(), "test", s, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	return &shop{t: t, app: app, address: address}
}

// openShop runs a server until the test ends.
func openShop(t *testing.T, changed ...string) *shop {
	t.Helper()
	s := prepare(t, changed...)
	s.run()
	return s
}

// run runs a prepared server until the test ends.
func (s *shop) run() {
	t := s.t
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.app.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(patience); !s.app.health.is(serving); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not start")
		}
	}
}

// peopled runs a server with a staff user and two customers.
func peopled(t *testing.T, changed ...string) *shop {
	t.Helper()
	s := openShop(t, changed...)
	s.people()
	return s
}

// people makes a staff user and two customers.
func (s *shop) people() {
	s.t.Helper()
	s.staff = s.logInStaff()
	s.owner, s.other = s.register(), s.register()
}

var newcomers atomic.Int64

func (s *shop) register() user {
	s.t.Helper()
	name := fmt.Sprintf("customer%d", newcomers.Add(1))
	body := fmt.Sprintf(`{"email": "%[1]s@example.com", "username": %[1]q, "password": "securepassword123", "password_confirm": "securepassword123"}`, name)
	answer := s.must(201, request{method: "POST", path: "/auth/api/register/", body: body})
	var registered struct {
		User            struct{ ID int64 }
		Access, Refresh string
	}
	answer.read(s.t, &registered)
	return user{id: registered.User.ID, email: name + "@example.com", access: registered.Access, refresh: registered.Refresh}
}

func (s *shop) logInStaff() user {
	s.t.Helper()
	answer := s.must(200, request{method: "POST", path: "/auth/api/token/", body: fmt.Sprintf(`{"email": %q, "password": %q}`, adminEmail, adminPassword)})
	var pair struct{ Access, Refresh string }
	answer.read(s.t, &pair)
	return user{email: adminEmail, access: pair.Access, refresh: pair.Refresh}
}

// request is one HTTP request, sent as it is written here: no library mends it.
type request struct {
	method, path string // the path with its query, escaped
	as           user
	header       []string // lines
	body         string   // JSON, unless a header says otherwise
	endsThere    bool     // nothing comes behind it, whatever a header says
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) read(t *testing.T, target any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), target); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

func (r request) String() string {
	return strings.ToValidUTF8(fmt.Sprintf("%s %.200s %.300q %.300s", r.method, r.path, r.header, r.body), "�")
}

func (r request) text() string {
	lines := []string{r.method + " " + r.path + " HTTP/1.1", "Host: shop.example.com", "Connection: close"}
	lines = append(lines, r.header...)
	if r.as.access != "" && !hasHeader(r.header, "Authorization") {
		lines = append(lines, "Authorization: Bearer "+r.as.access)
	}
	if r.body != "" && !hasHeader(r.header, "Content-Type") {
		lines = append(lines, "Content-Type: application/json")
	}
	if !hasHeader(r.header, "Content-Length") && !hasHeader(r.header, "Transfer-Encoding") {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(r.body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + r.body
}

func hasHeader(lines []string, name string) bool {
	for _, line := range lines {
		if strings.HasPrefix(line, name+":") {
			return true
		}
	}
	return false
}

// send sends a request on a connection of its own.
func (s *shop) send(r request) answer {
	s.t.Helper()
	connection, err := net.DialTimeout("tcp", s.address, patience)
	if err != nil {
		s.t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(connection, r.text()); err != nil {
		s.t.Fatalf("%s: %v", r, err)
	}
	if tcp, ok := connection.(*net.TCPConn); r.endsThere && ok {
		if err := tcp.CloseWrite(); err != nil {
			s.t.Fatal(err)
		}
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: r.method})
	if err != nil {
		s.t.Fatalf("%s: %v", r, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatalf("%s: %v", r, err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: string(body)}
}

// must sends a request that must be answered with this status.
func (s *shop) must(status int, r request) answer {
	s.t.Helper()
	got := s.send(r)
	if got.status != status {
		s.t.Fatalf("%s: got %d %s, want %d", r, got.status, got.body, status)
	}
	return got
}

func (s *shop) make(as user, path, body string) (id int64) {
	s.t.Helper()
	var made struct{ ID int64 }
	s.must(201, request{method: "POST", path: path, as: as, body: body}).read(s.t, &made)
	return made.ID
}

var names atomic.Int64

func (s *shop) newCategory() int64 {
	s.t.Helper()
	return s.make(s.staff, "/api/categories/", fmt.Sprintf(`{"name": "Category %d"}`, names.Add(1)))
}

func (s *shop) newProduct() int64 {
	s.t.Helper()
	return s.make(s.staff, "/api/products/", fmt.Sprintf(`{"name": "Product", "price": "9.99", "stock": 1000, "category": %d}`, s.newCategory()))
}

// newCartItem puts a new product into a user's cart.
func (s *shop) newCartItem(as user) int64 {
	s.t.Helper()
	return s.make(as, "/api/cart/items/", fmt.Sprintf(`{"product_id": %d}`, s.newProduct()))
}

func (s *shop) newOrder(as user) int64 {
	s.t.Helper()
	s.newCartItem(as)
	return s.make(as, "/api/orders/", `{"shipping_address": "here"}`)
}

// object makes what the paths of a pattern such as /api/orders/{id}/ name, on behalf of its owner, and returns
// such a path.
func (s *shop) object(pattern string, owner user) string {
	s.t.Helper()
	var id any
	switch {
	case !strings.Contains(pattern, "{"):
		return pattern
	case strings.HasPrefix(pattern, "/api/products/"):
		id = s.newProduct()
	case strings.HasPrefix(pattern, "/api/categories/"):
		id = s.newCategory()
	case strings.HasPrefix(pattern, "/api/cart/items/"):
		id = s.newCartItem(owner)
	case strings.HasPrefix(pattern, "/api/orders/"):
		id = s.newOrder(owner)
	case strings.HasPrefix(pattern, "/api/notifications/"):
		s.newOrder(owner)
		id = 1 // each user's ids begin with it
	case strings.HasPrefix(pattern, "/api/docs/"):
		id = "docs.js"
	default:
		s.t.Fatalf("it is not known here what %s names", pattern)
	}
	begin, end := strings.Index(pattern, "{"), strings.Index(pattern, "}")
	return fmt.Sprint(pattern[:begin], id, pattern[end+1:])
}

// patterns are all routes of the API listener, as METHOD and path in the style of OpenAPI.
func (s *shop) patterns() map[string]route {
	routes := map[string]route{"GET /healthz": {who: anyone}, "GET /readyz": {who: anyone}}
	for _, r := range s.app.apiRoutes() {
		parts := strings.Split(r.path, "/")
		for i, part := range parts {
			if name, isParameter := strings.CutPrefix(part, ":"); isParameter {
				parts[i] = "{" + name + "}"
			}
		}
		routes[r.method+" "+strings.Join(parts, "/")] = r
	}
	return routes
}
