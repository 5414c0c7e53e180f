package databasetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shopkeeper-dev/shopkeeper/hack/scratch"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second

	// nobody is the user that servers run as where the tests run as root, which PostgreSQL refuses.
	nobody = 65534
)

// Server is a database server of one test's own, which may pause, stop and start it again to see how
// the code under test takes that.
type Server struct {
	command []string
	folder  string // its working directory and data
	url     string
	ping    func(context.Context) error

	process *os.Process
	exited  chan struct{} // closed when process has ended
}

// StartPostgres starts a PostgreSQL that ends with the test.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	return startFor(t, newPostgres)
}

// StartRedis starts a Redis that ends with the test. It keeps nothing over Stop and Start.
func StartRedis(t testing.TB) *Server {
	t.Helper()
	return startFor(t, newRedis)
}

// URL is how to reach the server: postgres://… or redis://….
func (s *Server) URL() string { return s.url }

// Pause freezes the server: connections stay open and nothing answers.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.must(t, "pause", s.signalAll(syscall.SIGSTOP))
}

// Resume lets a paused server go on where it was.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	s.must(t, "resume", s.signalAll(syscall.SIGCONT))
}

// Stop ends the server and with it every connection.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.must(t, "stop", s.stop())
}

// Start starts a stopped server again, at the same URL, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.must(t, "start", s.start())
}

func (s *Server) must(t testing.TB, action string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s %s: %v", action, filepath.Base(s.command[0]), err)
	}
}

func startFor(t testing.TB, newServer func() (*Server, error)) *Server {
	t.Helper()
	server, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.stop(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(server.folder); err != nil {
			t.Error(err)
		}
	})
	if err := server.start(); err != nil {
		t.Fatal(err)
	}
	return server
}

func newPostgres() (*Server, error) {
	program, err := findPostgres()
	if err != nil {
		return nil, err
	}
	folder, port, err := scratchAndPort("postgres")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(folder, "data")
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	initdb := exec.CommandContext(ctx, filepath.Join(filepath.Dir(program), "initdb"),
		"--pgdata", data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = folder, unprivileged()
	if output, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, output)
	}
	server := &Server{
		folder: folder,
		// What only guards against a power cut is off: the data lives as long as the test.
		command: []string{program, "-D", data, "-p", port, "-k", folder, "-c", "listen_addresses=127.0.0.1",
			"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300"},
		url: "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable",
	}
	server.ping = server.pingPostgres
	return server, nil
}

func newRedis() (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, notInstalled("redis-server")
	}
	folder, port, err := scratchAndPort("redis")
	if err != nil {
		return nil, err
	}
	server := &Server{
		folder: folder,
		command: []string{program, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
			"--hz", "100"}, // looks for the signal to end every 10 ms,
		url: "redis://127.0.0.1:" + port,
	}
	server.ping = func(ctx context.Context) error { return pingRedis(ctx, "127.0.0.1:"+port) }
	return server, nil
}

func notInstalled(program string) error {
	return fmt.Errorf(`%s is not installed: run "make test", which installs postgresql and redis-server`, program)
}

// findPostgres prefers the newest of Debian's versions, which it keeps out of PATH.
func findPostgres() (string, error) {
	found, newest := "", 0
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // fails on a bad pattern only
	for _, program := range programs {
		if version, err := strconv.Atoi(strings.Split(program, "/")[4]); err == nil && version > newest {
			found, newest = program, version
		}
	}
	if found != "" {
		return found, nil
	}
	found, err := exec.LookPath("postgres")
	if err != nil {
		return "", notInstalled("postgresql")
	}
	return found, nil
}

func scratchAndPort(name string) (folder, port string, err error) {
	if folder, err = scratch.Folder(name); err != nil {
		return "", "", err
	}
	if os.Getuid() == 0 {
		if err := os.Chown(folder, nobody, nobody); err != nil {
			return "", "", err
		}
	}
	port, err = freePort()
	return folder, port, err
}

// FreeAddress is an address of the loopback that nobody listens at, host:port, for a server of the test's.
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}

// freePort picks a port below the range (32768 and up) that the kernel gives to outgoing connections:
// in that range a client that redials a stopped server can be connected to itself. No other process that picks
// ports like this gets the same one while this process lives, whether anybody listens there yet or not.
func freePort() (string, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000) //nolint:gosec // a port need not be unguessable
		claim, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("@shopkeeper-test-port-%d", port)})
		if err != nil {
			continue
		}
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			claims.Store(port, claim)
			return strconv.Itoa(port), listener.Close()
		}
		_ = claim.Close()
	}
	return "", errors.New("found no free port between 20000 and 32000")
}

// claims are sockets without a file that stand for the ports picked by this process; its end closes them.
var claims sync.Map

func unprivileged() *syscall.SysProcAttr {
	// A process group of its own, so that Ctrl-C reaches the tests alone and the ending stays orderly.
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		attributes.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return attributes
}

func (s *Server) start() error {
	log, err := os.Create(s.logFile())
	if err != nil {
		return err
	}
	// The shell leaves its process id, which becomes the server's, before there is a server: see hack/scratch.
	command := exec.CommandContext(context.Background(), "sh", append([]string{"-c", `echo $$ >pid && exec "$@"`, "sh"}, s.command...)...)
	command.Dir, command.Stdout, command.Stderr, command.SysProcAttr = s.folder, log, log, unprivileged()
	if err := errors.Join(command.Start(), log.Close()); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = command.Wait()                            // how it ended is in its log
		_ = os.Remove(filepath.Join(s.folder, "pid")) // the number may become another process's
		close(exited)
	}()
	s.process, s.exited = command.Process, exited
	if err := s.awaitAnswer(); err != nil {
		return fmt.Errorf("%s does not answer: %w\n%s", filepath.Base(s.command[0]), err, s.log())
	}
	return nil
}

func (s *Server) awaitAnswer() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the server, also a paused one, and does nothing to one that has ended.
func (s *Server) stop() error {
	if s.process == nil {
		return nil
	}
	// SIGINT is a fast shutdown to PostgreSQL, where SIGTERM waits for its clients, and to Redis the same as SIGTERM.
	if err := errors.Join(s.signalAll(syscall.SIGCONT), s.signal(s.process.Pid, syscall.SIGINT)); err != nil {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("%s did not end within %s:\n%s", s.command[0], stopTimeout, s.log()), s.signalAll(syscall.SIGKILL))
	}
}

// signalAll signals the server and its own children, each of which PostgreSQL puts in a session of its own.
func (s *Server) signalAll(signal syscall.Signal) error {
	pid := s.process.Pid
	err := s.signal(pid, signal)                                                   // first, so that no child comes after the list is read
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // gone with the server
	for child := range strings.FieldsSeq(string(children)) {
		if number, parseErr := strconv.Atoi(child); parseErr == nil {
			err = errors.Join(err, s.signal(number, signal))
		}
	}
	return err
}

// signal treats a process that is gone as having taken the signal.
func (s *Server) signal(pid int, signal syscall.Signal) error {
	select {
	case <-s.exited:
		return nil
	default:
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", signal, pid, err)
	}
	return nil
}

func (s *Server) logFile() string { return filepath.Join(s.folder, "log") }

func (s *Server) log() string {
	log, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(log))
}

// databaseURL is the server's URL with another database in it.
func (s *Server) databaseURL(name string) string {
	address, err := url.Parse(s.url)
	if err != nil {
		panic(err) // this package wrote it
	}
	address.Path = "/" + name
	return address.String()
}

func (s *Server) pingPostgres(ctx context.Context) error {
	connection, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	return connection.Close(ctx)
}

func pingRedis(ctx context.Context, address string) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := connection.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, len("+PONG\r\n"))
	if _, err := connection.Read(answer); err != nil {
		return err
	}
	if string(answer) != "+PONG\r\n" {
		return fmt.Errorf("redis answered %q to PING", answer)
	}
	return nil
}
