package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// runAsServer makes this test binary the server itself, race detector and all: tests start it as a process.
const runAsServer = "SHOPKEEPER_TEST_RUN_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(runAsServer) != "" {
		main()
		return
	}
	databasetest.Main(m)
}

// command prepares a server process with these arguments and settings, in a folder of its own.
func command(t *testing.T, args []string, settings ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(program, args...) // it outlives the test's context by its clean end
	process.Dir = t.TempDir()
	process.Env = append([]string{runAsServer + "=1"}, settings...)
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return process
}

// output runs a command of the server to its end.
func output(t *testing.T, wantFailure bool, args []string, settings ...string) string {
	t.Helper()
	text, err := command(t, args, settings...).CombinedOutput()
	if (err != nil) != wantFailure {
		t.Fatalf("%v ended with %v:\n%s", args, err, text)
	}
	return string(text)
}

// server is a running shop server process.
type server struct {
	process *exec.Cmd
	api     string // host:port
	sockets string
	log     *lockedBuffer
	stdout  *lockedBuffer
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

// start starts a server and stops it when the test ends; it may not be ready yet.
func start(t *testing.T, settings ...string) *server {
	t.Helper()
	s := &server{api: freeAddress(t), sockets: freeAddress(t), log: &lockedBuffer{}, stdout: &lockedBuffer{}}
	s.process = command(t, nil, append([]string{
		"SHOP_API_ADDR=" + s.api, "SHOP_NOTIFICATIONS_ADDR=" + s.sockets, "SHOP_METRICS_ADDR=off", "SHOP_DRAIN_SECONDS=1",
	}, settings...)...)
	s.process.Stderr, s.process.Stdout = s.log, s.stdout
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	return s
}

// stop asks the server to end, which it must do well and within 15 s.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.process.ProcessState != nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	impatience := time.AfterFunc(15*time.Second, func() { _ = s.process.Process.Kill() })
	err := s.process.Wait()
	impatience.Stop()
	if err != nil {
		t.Errorf("the server ended with %v:\n%s", err, s.log)
	}
	if strings.Contains(s.log.String(), "DATA RACE") {
		t.Errorf("the server raced:\n%s", s.log)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	return socket.Addr().String()
}

// awaitReady waits until a listener's readiness is what it should be.
func awaitReady(t *testing.T, address string, want int) string {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		status, body := 0, ""
		response, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			status, body = response.StatusCode, string(text)
		}
		if status == want {
			return body
		}
		if time.Now().After(deadline) {
			t.Fatalf("readiness of %s is %d %s %v, want %d", address, status, body, err, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// call sends a request and returns the answer.
func call(t *testing.T, address, method, path, token, body string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// want sends a request that must be answered with this status.
func want(t *testing.T, status int, address, method, path, token, body string) string {
	t.Helper()
	got, _, text := call(t, address, method, path, token, body)
	if got != status {
		t.Fatalf("%s %s: got %d %s, want %d", method, path, got, text, status)
	}
	return text
}

// field takes a text or a number out of a JSON answer by its first mention.
func field(t *testing.T, answer, name string) string {
	t.Helper()
	found := regexp.MustCompile(`"` + name + `":"?([^",}]*)`).FindStringSubmatch(answer)
	if found == nil {
		t.Fatalf("no %s in %s", name, answer)
	}
	return found[1]
}

// postgresShop makes a migrated database with the demo catalogue, and a Redis, and returns their settings.
func postgresShop(t *testing.T) []string {
	t.Helper()
	settings := []string{"SHOP_DATABASE_URL=" + databasetest.Postgres(t), "SHOP_REDIS_URL=" + databasetest.Redis(t)}
	output(t, false, []string{"migrate", "up"}, settings...)
	output(t, false, []string{"seed"}, settings...)
	return settings
}

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

// open opens a notification socket the way a browser does.
func open(t *testing.T, address, userID, token string) *socket {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"bearer", token}, HandshakeTimeout: 5 * time.Second}
	opened, response, err := dialer.DialContext(t.Context(), "ws://"+address+"/ws/notifications/"+userID+"/", nil)
	if err != nil {
		t.Fatalf("open a socket: %v %v", err, response)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return &socket{opened}
}

type socket struct{ *websocket.Conn }

func (s *socket) read(t *testing.T) string {
	t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, frame, err := s.ReadMessage()
	if err != nil {
		t.Fatalf("read a frame: %v", err)
	}
	return string(frame)
}

// Four processes as the operator deploys them: what one API pod commits reaches sockets on both
// notification pods, and a pod that stops sends its sockets elsewhere with 1012.
func TestNotificationsCrossPods(t *testing.T) {
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

func TestEmbeddedDefaultTellsHowToLogIn(t *testing.T) {
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
