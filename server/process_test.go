package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
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
	for name, value := range map[string]string{
		"rapid.checks":  "5", // a step of a property is a request to a real server: the usual 100 runs would take long
		"test.parallel": "4", // tests of processes mostly wait
	} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	databasetest.Main(m)
}

// process prepares a server process with these arguments and settings, in a folder.
func process(folder string, args []string, settings ...string) *exec.Cmd {
	process := exec.Command("/proc/self/exe", args...) // it outlives the test's context by its clean end
	process.Dir = folder
	process.Env = append([]string{runAsServer + "=1", "GORACE=" + os.Getenv("GORACE")}, settings...)
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return process
}

// command is process in a folder of its own.
func command(t *testing.T, args []string, settings ...string) *exec.Cmd {
	t.Helper()
	return process(t.TempDir(), args, settings...)
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

// lockedBuffer is read while a process still writes it. It embeds nothing: io.Copy would find the buffer's own,
// unlocked ReadFrom.
type lockedBuffer struct {
	lock    sync.Mutex
	content bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.content.Write(p)
}

func (b *lockedBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.content.String()
}

// start starts a server and stops it when the test ends; it may not be ready yet.
func start(t *testing.T, settings ...string) *server {
	t.Helper()
	s := &server{api: databasetest.FreeAddress(t), sockets: databasetest.FreeAddress(t), log: &lockedBuffer{}, stdout: &lockedBuffer{}}
	s.process = command(t, nil, append([]string{
		"SHOP_API_ADDR=" + s.api, "SHOP_NOTIFICATIONS_ADDR=" + s.sockets, "SHOP_METRICS_ADDR=off", "SHOP_DRAIN_SECONDS=1",
		"SHOP_RATE_LIMITS=off", // as many requests as a test likes
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

// seed gives an empty database the current schema and the demo catalogue.
func seed(url string) error {
	for _, args := range [][]string{{"migrate", "up"}, {"seed"}} {
		if text, err := process(os.TempDir(), args, "SHOP_DATABASE_URL="+url).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, text)
		}
	}
	return nil
}

// postgresShop makes a migrated database with the demo catalogue, and a Redis, and returns their settings.
func postgresShop(t *testing.T) []string {
	t.Helper()
	return []string{"SHOP_DATABASE_URL=" + databasetest.PostgresTemplate(t, seed), "SHOP_REDIS_URL=" + databasetest.Redis(t)}
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
