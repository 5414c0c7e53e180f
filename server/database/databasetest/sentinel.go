package databasetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// StartRedisSentinel starts a Redis with a replica, and a Sentinel that knows both by the name shop and makes
// the replica the master when there is none. They end with the test.
func StartRedisSentinel(t testing.TB) (sentinel, master *Server) {
	t.Helper()
	master = StartRedis(t)
	address, err := url.Parse(master.url)
	if err != nil {
		t.Fatal(err)
	}
	replica := startFor(t, func() (*Server, error) {
		server, err := newRedis()
		if err == nil {
			server.command = append(server.command, "--replicaof", address.Hostname()+" "+address.Port(), "--repl-diskless-sync-delay", "0")
		}
		return server, err
	})
	awaitRedis(t, replica, "replication", "master_link_status:up")
	sentinel = startFor(t, func() (*Server, error) { return newSentinel(address) })
	awaitRedis(t, sentinel, "sentinel", "slaves=1")
	return sentinel, master
}

func newSentinel(master *url.URL) (*Server, error) {
	server, err := newRedis()
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(server.url)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(server.folder, "sentinel.conf") // which it writes to
	lines := []string{
		"bind 127.0.0.1", "port " + address.Port(),
		fmt.Sprintf("sentinel monitor shop %s %s 1", master.Hostname(), master.Port()),
		"sentinel down-after-milliseconds shop 300", "sentinel failover-timeout shop 3000",
	}
	err = os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	if os.Getuid() == 0 {
		err = errors.Join(err, os.Chown(file, nobody, nobody))
	}
	server.command = []string{server.command[0], file, "--sentinel"}
	return server, err
}

// awaitRedis waits until a section of a Redis's INFO has a text.
func awaitRedis(t testing.TB, server *Server, section, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		output, err := exec.CommandContext(ctx, "redis-cli", "-u", server.url, "info", section).CombinedOutput()
		if err == nil && strings.Contains(string(output), text) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("its %s never says %s: %v\n%s", section, text, err, output)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
