package databasetest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// serveAndHang names the variable that makes this test binary a test process to be killed: it starts a
// paused server of each kind, prints how to reach them and waits.
const serveAndHang = "DATABASETEST_SERVE_AND_HANG"

func TestMain(m *testing.M) {
	databasetest.Main(m)
}

func TestDatabasesAreApart(t *testing.T) {
	first, second := connect(t, databasetest.Postgres(t)), connect(t, databasetest.Postgres(t))
	run(t, first, "CREATE TABLE things (id int)")
	run(t, second, "CREATE TABLE things (id int)") // would fail were it the same database
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	var address string
	t.Run("inner", func(t *testing.T) {
		address = databasetest.Postgres(t)
		connect(t, address) // still open when the database is dropped
	})
	if _, err := pgx.Connect(t.Context(), address); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("connecting to the database of a test that ended: got %v, want that it does not exist", err)
	}
}

var prepared int // how often one thing was, by this process

func prepareOneThing(address string) error {
	prepared++
	connection, err := pgx.Connect(context.Background(), address)
	if err != nil {
		return err
	}
	_, err = connection.Exec(context.Background(), "CREATE TABLE things AS SELECT 1 AS id")
	return errors.Join(err, connection.Close(context.Background()))
}

func TestTemplateIsPreparedOnceAndClonedPristine(t *testing.T) {
	for range 3 {
		connection := connect(t, databasetest.PostgresTemplate(t, prepareOneThing))
		if things := count(t, connection); things != 1 {
			t.Errorf("a clone has %d rows, want 1", things)
		}
		run(t, connection, "INSERT INTO things VALUES (2)")
	}
	if prepared != 1 {
		t.Errorf("prepared %d times, want once", prepared)
	}
}

func TestPostgresKeepsItsDataOverARestart(t *testing.T) {
	server := databasetest.StartPostgres(t)
	connection := connect(t, server.URL())
	run(t, connection, "CREATE TABLE things AS SELECT 1 AS id")

	server.Stop(t)
	if err := connection.Ping(t.Context()); err == nil {
		t.Error("a connection outlived its server")
	}
	server.Start(t)
	if things := count(t, connect(t, server.URL())); things != 1 {
		t.Errorf("%d rows after the restart, want 1", things)
	}
}

func TestPausedPostgresAnswersNothingUntilResumed(t *testing.T) {
	server := databasetest.StartPostgres(t)
	connection := connect(t, server.URL())
	answered := make(chan error, 1)

	server.Pause(t)
	go func() {
		_, err := connection.Exec(context.Background(), "SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}

	server.Resume(t)
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("after it was resumed: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("no answer within 10 s of being resumed")
	}
}

func TestRedis(t *testing.T) {
	if first, second := databasetest.Redis(t), databasetest.Redis(t); first == second {
		t.Errorf("two tests share the Redis %s", first)
	}
	server := databasetest.StartRedis(t)
	send(t, server.URL(), "SET greeting hello", "+OK")
	send(t, server.URL(), "GET greeting", "$5")

	server.Pause(t)
	server.Stop(t) // also when paused
	server.Start(t)
	send(t, server.URL(), "GET greeting", "$-1")
}

func TestKilledTestProcessLeavesNothingBehind(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temporary := openFolder(t)
	victim := exec.CommandContext(t.Context(), program, "-test.run", "^TestServeAndHang$", "-test.v")
	victim.Env = append(os.Environ(), serveAndHang+"=1", "TMPDIR="+temporary)
	victim.Stderr = os.Stderr
	output, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for lines := bufio.NewScanner(output); len(addresses) < 2 && lines.Scan(); {
		if address, found := strings.CutPrefix(lines.Text(), "serving "); found {
			addresses = append(addresses, address)
		}
	}
	if len(addresses) < 2 {
		t.Fatalf("the test process served only %q", addresses)
	}

	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed, it says
	eventually(t, "the scratch folder is gone", func() bool {
		left, err := os.ReadDir(temporary)
		return err == nil && len(left) == 0
	})
	for _, address := range addresses {
		eventually(t, address+" is closed", func() bool {
			connection, err := net.Dial("tcp", host(t, address))
			if err == nil {
				connection.Close()
			}
			return err != nil
		})
	}
}

// TestServeAndHang is the test process of TestKilledTestProcessLeavesNothingBehind.
func TestServeAndHang(t *testing.T) {
	if os.Getenv(serveAndHang) == "" {
		return
	}
	for _, server := range []*databasetest.Server{databasetest.StartPostgres(t), databasetest.StartRedis(t)} {
		server.Pause(t)
		fmt.Println("serving " + server.URL())
	}
	select {}
}

// openFolder is a t.TempDir that other users may pass through.
func openFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "databasetest-test-") //nolint:usetesting // whose folders are the owner's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	return folder
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return connection
}

func run(t *testing.T, connection *pgx.Conn, statement string) {
	t.Helper()
	if _, err := connection.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func count(t *testing.T, connection *pgx.Conn) (things int) {
	t.Helper()
	if err := connection.QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&things); err != nil {
		t.Fatal(err)
	}
	return things
}

// send gives Redis a command and expects the first line of its answer.
func send(t *testing.T, address, command, want string) {
	t.Helper()
	connection, err := net.Dial("tcp", host(t, address))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(answer); got != want {
		t.Errorf("%s: got %q, want %q", command, got, want)
	}
}

func host(t *testing.T, address string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Host
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}
