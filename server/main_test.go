package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/jackc/pgx/v5"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

const registration = `{"email": "user@example.com", "username": "testuser", "first_name": "Test", "last_name": "User",
	"password": "securepassword123", "password_confirm": "securepassword123",
	"phone": "+1234567890", "address": "123 Main St, City, Country"}`

// examples returns the JSON examples of the API document, each in compact form.
func examples(t *testing.T) []string {
	t.Helper()
	document, err := os.ReadFile("../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(document), -1) {
		decoder := json.NewDecoder(strings.NewReader(block[1]))
		for decoder.More() {
			var example json.RawMessage
			if err := decoder.Decode(&example); err != nil {
				t.Fatalf("%v in %s", err, block[1])
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, example); err != nil {
				t.Fatal(err)
			}
			found = append(found, compact.String())
		}
	}
	return found
}

var (
	anyToken = regexp.MustCompile(`"(refresh|access)":"[^"]*"`)
	anyTime  = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`)
)

// mask leaves only that a token is a token and a time a time.
func mask(text string) string {
	return anyTime.ReplaceAllString(anyToken.ReplaceAllString(text, `"$1":"TOKEN"`), `"TIME"`)
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if mask(got) != mask(want) {
		t.Errorf("%s\n got %s\nwant %s", what, mask(got), mask(want))
	}
}

// The document's own requests, on an empty shop with the demo catalogue, get the document's own answers,
// byte for byte but for white space, tokens and times.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	s := start(t, postgresShop(t)...)
	awaitReady(t, s.api, http.StatusOK)
	example := examples(t)
	if len(example) != 8 {
		t.Fatalf("the document has %d examples, want 8: register, login, products, cart, two frames, two errors", len(example))
	}
	registered := want(t, 201, s.api, "POST", "/auth/api/register/", "", registration)
	expect(t, "register", registered, example[0])
	login := `{"email": "user@example.com", "password": "securepassword123"}`
	loggedIn := want(t, 200, s.api, "POST", "/auth/api/token/", "", login)
	expect(t, "login", loggedIn, example[1])
	token := field(t, loggedIn, "access")

	listed := want(t, 200, s.api, "GET", "/api/products/?search=smartphone+pro+max", token, "")
	item := example[2][strings.Index(example[2], `"results":[`):]
	expect(t, "products", listed, `{"count":1,"next":null,"previous":null,`+item)
	page := want(t, 200, s.api, "GET", "/api/products/?page_size=1", token, "")
	expect(t, "next page", field(t, page, "next"), "http://"+s.api+"/api/products/?page=2&page_size=1")

	socket := open(t, s.sockets, field(t, registered, "id"), token)
	want(t, 201, s.api, "POST", "/api/cart/items/", token, `{"product_id": 1, "quantity": 2}`)
	expect(t, "cart", want(t, 200, s.api, "GET", "/api/cart/", token, ""), example[3])
	want(t, 201, s.api, "POST", "/api/orders/", token,
		`{"shipping_address": "123 Main St, City, Country", "phone_number": "+1234567890", "notes": "Leave at door"}`)
	expect(t, "frame of the order", socket.read(t), example[4])

	output(t, false, []string{"createadmin", "staff@example.com"}, append(s.process.Env, "SHOP_ADMIN_PASSWORD=correct horse battery")...)
	staff := field(t, want(t, 200, s.api, "POST", "/auth/api/token/", "",
		`{"email": "staff@example.com", "password": "correct horse battery"}`), "access")
	want(t, 200, s.api, "PATCH", "/api/orders/1/status/", staff, `{"status": "shipped"}`)
	expect(t, "frame of the status", socket.read(t), example[5])
}

// Four processes as the operator deploys them: what one API pod commits reaches sockets on both
// notification pods, and a pod that stops sends its sockets elsewhere with 1012.
func TestNotificationsCrossPods(t *testing.T) {
	t.Parallel()
	settings := append(postgresShop(t), "SHOP_SIGNING_KEYS=k1:"+strings.Repeat("s", 32))
	apis := []*server{start(t, append(settings, "SHOP_ROLES=api")...), start(t, append(settings, "SHOP_ROLES=api")...)}
	hubs := []*server{start(t, append(settings, "SHOP_ROLES=notifications")...), start(t, append(settings, "SHOP_ROLES=notifications")...)}
	for _, api := range apis {
		awaitReady(t, api.api, http.StatusOK)
	}
	for _, hub := range hubs {
		awaitReady(t, hub.sockets, http.StatusOK)
	}
	registered := want(t, 201, apis[0].api, "POST", "/auth/api/register/", "", registration)
	token, userID := field(t, registered, "access"), field(t, registered, "id")
	sockets := []*socket{open(t, hubs[0].sockets, userID, token), open(t, hubs[1].sockets, userID, token)}
	parts := strings.Split(token, ".")
	for bad, status := range map[string]int{
		"":                                      401,
		"nonsense":                              401,
		field(t, registered, "refresh"):         401,
		parts[0] + "." + parts[1] + ".":         401,
		parts[0] + "." + parts[1] + ".AAAA":     401,
		"eyJhbGciOiJub25lIn0." + parts[1] + ".": 401, // {"alg":"none"}
		token + strings.Repeat("A", 5<<10):      401,
		token + strings.Repeat("A", 9<<10):      431,
	} {
		_, response, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+hubs[0].sockets+"/ws/notifications/"+userID+"/?token="+bad, nil)
		if err == nil || response == nil || response.StatusCode != status {
			t.Errorf("the token %.40q got %v, %v; want %d", bad, response, err, status)
		}
	}

	for order, api := range apis {
		want(t, 201, api.api, "POST", "/api/cart/items/", token, `{"product_id": 1}`)
		want(t, 201, api.api, "POST", "/api/orders/", token, `{"shipping_address": "here"}`)
		for _, socket := range sockets {
			expect(t, "frame", socket.read(t),
				fmt.Sprintf(`{"type":"order_notification","order_id":%d,"message":"Order created successfully"}`, order+1))
		}
	}
	closed := make(chan error, 1)
	go func() {
		_, _, err := sockets[0].ReadMessage()
		closed <- err
	}()
	hubs[0].stop(t)
	if err := <-closed; !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
		t.Errorf("the socket of a pod that stopped ended with %v, want 1012", err)
	}
}

// A server that is told to stop says so, opens no more sockets, delivers to those it has while it sends them
// elsewhere one by one, and ends.
func TestServerStopsInOrder(t *testing.T) {
	t.Parallel()
	const sockets = 6
	s := start(t, append(postgresShop(t), "SHOP_DRAIN_SECONDS=4")...)
	awaitReady(t, s.api, http.StatusOK)
	registered := want(t, 201, s.api, "POST", "/auth/api/register/", "", registration)
	token, userID := field(t, registered, "access"), field(t, registered, "id")
	want(t, 201, s.api, "POST", "/api/cart/items/", token, `{"product_id": 1}`)
	frames, closed := make(chan string, sockets), make(chan time.Time, sockets)
	for range sockets {
		one := open(t, s.sockets, userID, token)
		go func() {
			_, frame, err := one.ReadMessage()
			if err == nil {
				frames <- string(frame)
				_, _, err = one.ReadMessage()
			}
			if !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
				t.Errorf("a socket ended with %v, want 1012", err)
			}
			closed <- time.Now()
		}()
	}

	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, s.sockets, http.StatusServiceUnavailable)
	want(t, 201, s.api, "POST", "/api/orders/", token, `{"shipping_address": "here"}`)
	_, response, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+s.sockets+"/ws/notifications/"+userID+"/?token="+token, nil)
	if err == nil || response == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a new socket got %v, %v", response, err)
	}
	response.Body.Close()
	first := <-closed
	last := first
	for range sockets - 1 {
		last = <-closed
	}
	if spread := last.Sub(first); spread < 2*time.Second || spread > 5*time.Second {
		t.Errorf("the closes are spread over %s, want 3.3 s", spread)
	}
	if err := s.process.Wait(); err != nil {
		t.Errorf("the server ended with %v:\n%s", err, s.log)
	}
	if len(frames) == 0 {
		t.Error("nothing was delivered in the meantime")
	}
}

func TestEmbeddedDefaultTellsHowToLogIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	awaitReady(t, s.api, http.StatusOK)
	login := regexp.MustCompile(`staff login +(\S+), password (\S+)`).FindStringSubmatch(s.stdout.String())
	if login == nil || !strings.Contains(s.stdout.String(), "/api/products/") {
		t.Fatalf("it said:\n%s", s.stdout)
	}
	answer := want(t, 200, s.api, "POST", "/auth/api/token/", "", fmt.Sprintf(`{"email": %q, "password": %q}`, login[1], login[2]))
	listed := want(t, 200, s.api, "GET", "/api/products/", field(t, answer, "access"), "")
	if field(t, listed, "count") == "0" {
		t.Error("the demo catalogue is empty")
	}
	kept, err := os.ReadFile(filepath.Join(s.process.Dir, "shop.db.staff-password"))
	if err != nil || strings.TrimSpace(string(kept)) != login[2] {
		t.Errorf("the file beside the database holds %q, %v", kept, err)
	}
}

func TestServeRefusesAnOldSchema(t *testing.T) {
	text := output(t, true, nil, "SHOP_DATABASE_URL="+databasetest.Postgres(t),
		"SHOP_API_ADDR=127.0.0.1:0", "SHOP_NOTIFICATIONS_ADDR=127.0.0.1:0", "SHOP_METRICS_ADDR=off")
	if !strings.Contains(text, "schema version 0") || !strings.Contains(text, `"migrate up"`) {
		t.Errorf("it said:\n%s", text)
	}
}

func TestMigrateTellsTheSchemaVersion(t *testing.T) {
	t.Parallel()
	database, result := "SHOP_DATABASE_URL="+databasetest.Postgres(t), filepath.Join(t.TempDir(), "result")
	if text := output(t, true, []string{"migrate", "status"}, database); !strings.Contains(text, "run migrate up") {
		t.Errorf("the status of an empty database: %s", text)
	}
	for _, applied := range []string{"1 migrations applied now", "0 migrations applied now"} {
		if text := output(t, false, []string{"migrate", "up"}, database, "SHOP_RESULT_FILE="+result); !strings.Contains(text, applied) {
			t.Errorf("migrate up said %s, want %s", text, applied)
		}
	}
	if told, err := os.ReadFile(result); err != nil || string(told) != `{"schemaVersion":1}` {
		t.Errorf("the result is %s, %v", told, err)
	}
	output(t, false, []string{"migrate", "status"}, database)
}

func TestWaitsForDatabaseAndRedis(t *testing.T) {
	t.Parallel()
	postgres, redis := databasetest.StartPostgres(t), databasetest.StartRedis(t)
	settings := []string{"SHOP_DATABASE_URL=" + postgres.URL(), "SHOP_REDIS_URL=" + redis.URL()}
	output(t, false, []string{"migrate", "up"}, settings...)
	postgres.Stop(t)
	redis.Stop(t)

	s := start(t, settings...)
	awaitReady(t, s.api, http.StatusServiceUnavailable)
	want(t, 200, s.api, "GET", "/healthz", "", "")
	status, header, body := call(t, s.api, "GET", "/api/products/", "", "")
	if status != 503 || header.Get("Retry-After") == "" || !strings.HasPrefix(body, `{"error":`) {
		t.Errorf("a request meanwhile got %d %v %s", status, header, body)
	}
	postgres.Start(t)
	awaitLog(t, s, "Redis")
	awaitReady(t, s.sockets, http.StatusServiceUnavailable)
	redis.Start(t)
	awaitReady(t, s.api, http.StatusOK)

	redis.Stop(t) // once seen, it may be away
	if body := awaitReady(t, s.api, http.StatusOK); !strings.Contains(body, `"redis":"unreachable"`) {
		t.Errorf("readiness without Redis says %s", body)
	}
	postgres.Stop(t)
	awaitReady(t, s.api, http.StatusServiceUnavailable)
	status, header, body = call(t, s.api, "POST", "/auth/api/token/", "", `{"email": "a@example.com", "password": "x"}`)
	if status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("a login without a database got %d %v %s", status, header, body)
	}
	postgres.Start(t)
	awaitReady(t, s.api, http.StatusOK)
}

// A login that is taken away from a server at work shows as what it is: the operator tells of it.
func TestReadinessTellsARefusalFromAnOutage(t *testing.T) {
	t.Parallel()
	database, redis := databasetest.Postgres(t), databasetest.StartRedis(t)
	name := strings.TrimPrefix(mustParse(t, database).Path, "/")
	administer(t, database, `CREATE ROLE `+name+` LOGIN SUPERUSER`)
	t.Cleanup(func() { administer(t, database, `DROP OWNED BY `+name, `DROP ROLE `+name) })
	own := mustParse(t, database)
	own.User = url.User(name)
	settings := []string{"SHOP_DATABASE_URL=" + own.String(), "SHOP_REDIS_URL=" + redis.URL()}
	output(t, false, []string{"migrate", "up"}, settings...)
	s := start(t, settings...)
	awaitReady(t, s.api, http.StatusOK)

	administer(t, database, `ALTER ROLE `+name+` NOLOGIN`, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '`+name+`'`)
	awaitBody(t, s, http.StatusServiceUnavailable, `"database":"refused"`)
	administer(t, database, `ALTER ROLE `+name+` LOGIN`)
	awaitReady(t, s.api, http.StatusOK)

	tell(t, redis.URL(), "CONFIG SET requirepass hush\r\nCLIENT KILL TYPE normal SKIPME no\r\n")
	awaitBody(t, s, http.StatusOK, `"redis":"refused"`)
}

// awaitBody waits until the readiness says so.
func awaitBody(t *testing.T, s *server, status int, text string) {
	t.Helper()
	said := ""
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(said, text); time.Sleep(20 * time.Millisecond) {
		if said = awaitReady(t, s.api, status); time.Now().After(deadline) {
			t.Fatalf("readiness says %s, want %s", said, text)
		}
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func administer(t *testing.T, database string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	connection, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(ctx)
	for _, statement := range statements {
		if _, err := connection.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// tell sends commands to a Redis that asks for no password yet.
func tell(t *testing.T, address, commands string) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", mustParse(t, address).Host, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, commands); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, connection) // until it is cut too
}

func awaitLog(t *testing.T, s *server, text string) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !strings.Contains(s.log.String(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not mention %s:\n%s", text, s.log)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		name     string
		fails    bool
		args     []string
		settings []string
		want     string
	}{
		{"help", false, []string{"help"}, nil, "SHOP_TRUSTED_PROXIES"},
		{"version", false, []string{"version"}, nil, "dev"},
		{"unknown command", true, []string{"sell"}, nil, `unknown command "sell"; the command help lists them`},
		{"bad setting", true, nil, []string{"SHOP_ROLES=cashier"}, `SHOP_ROLES="cashier": unknown role; want api, notifications, or both`},
		{"bad signing keys", true, nil, []string{"SHOP_SIGNING_KEYS=short"}, "SHOP_SIGNING_KEYS"},
		{"nothing to check", true, []string{"healthcheck"}, []string{"SHOP_API_ADDR=127.0.0.1:1"}, "ask for readiness"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if text := output(t, test.fails, test.args, test.settings...); !strings.Contains(text, test.want) {
				t.Errorf("it said:\n%s\nwant: %s", text, test.want)
			}
		})
	}
}

func TestAddressInUse(t *testing.T) {
	occupied, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	text := output(t, true, nil, "SHOP_API_ADDR="+occupied.Addr().String())
	if !strings.Contains(text, "address already in use; stop what uses the address") {
		t.Errorf("it said:\n%s", text)
	}
}

func TestConventions(t *testing.T) {
	t.Parallel()
	s := start(t)
	awaitReady(t, s.api, http.StatusOK)
	for _, test := range []struct {
		method, path, body string
		status             int
		header, value      string
		want               string
	}{
		{"GET", "/api/cart/", "", 401, "WWW-Authenticate", `Bearer realm="api"`, `{"error":"Authentication credentials were not provided."}`},
		{"GET", "/api/nothing/", "", 404, "Content-Type", "application/json", `{"error":"Not found."}`},
		{"DELETE", "/auth/api/token/", "", 405, "Allow", "POST", `{"error":"Method \"DELETE\" not allowed."}`},
		{"POST", "/auth/api/token", `{"email": 1`, 400, "", "", `{"error":"JSON parse error - unexpected end of the body"}`},
		{"POST", "/auth/api/token/", `[]`, 400, "", "", `{"error":"Invalid data. Expected a dictionary, but got list."}`},
		{"POST", "/auth/api/token/", `{}`, 400, "", "", `{"email":["This field is required."],"password":["This field is required."]}`},
		{"POST", "/auth/api/token/", strings.Repeat(" ", 1<<20+1), 413, "", "", `{"error":"Request body too large."}`},
	} {
		status, header, body := call(t, s.api, test.method, test.path, "", test.body)
		if status != test.status || body != test.want || test.header != "" && header.Get(test.header) != test.value {
			t.Errorf("%s %s: got %d %v %s, want %d %s", test.method, test.path, status, header, body, test.status, test.want)
		}
	}
}

func TestRequestIDIsEchoedAndLogged(t *testing.T) {
	t.Parallel()
	s := start(t, "SHOP_LOG_LEVEL=debug", "SHOP_LOG_FORMAT=json")
	awaitReady(t, s.api, http.StatusOK)
	for sent, echoed := range map[string]bool{"trace-1/a": true, "with space": false, strings.Repeat("x", 200): false} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.api+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Request-ID", sent)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		got := response.Header.Get("X-Request-ID")
		if got == "" || (got == sent) != echoed {
			t.Errorf("sent the id %q, got %q", sent, got)
		}
		awaitLog(t, s, `"request_id":"`+got+`"`)
	}
}

// Only a configured proxy is believed about the host and the scheme that the client used.
func TestLinksFollowTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ setting, want string }{
		{"SHOP_TRUSTED_PROXIES=127.0.0.1", "https://shop.example.com/api/products/?page=2&page_size=1"},
		{"SHOP_TRUSTED_PROXIES=10.0.0.0/8", "http://%s/api/products/?page=2&page_size=1"},
	} {
		s := start(t, test.setting, "SHOP_PUBLIC_CATALOG=true")
		awaitReady(t, s.api, http.StatusOK)
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.api)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(connection, "GET /api/products/?page_size=1 HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Host: shop.example.com\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n", s.api)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "next", field(t, string(body), "next"), strings.Replace(test.want, "%s", s.api, 1))
		connection.Close()
	}
}
