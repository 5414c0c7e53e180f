package databasetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// StartRedisCluster starts a Redis Cluster of three nodes that ends with the test.
func StartRedisCluster(t testing.TB) []*Server {
	t.Helper()
	nodes := make([]*Server, 3)
	command := []string{"--cluster", "create"}
	for i := range nodes {
		nodes[i] = startFor(t, newClusterNode)
		address, err := url.Parse(nodes[i].url)
		if err != nil {
			t.Fatal(err)
		}
		command = append(command, address.Host)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, "redis-cli", append(command, "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("make a cluster: %v\n%s", err, output)
	}
	for _, node := range nodes {
		awaitCluster(ctx, t, node)
	}
	return nodes
}

// awaitCluster waits until a node has heard that all slots are taken.
func awaitCluster(ctx context.Context, t testing.TB, node *Server) {
	t.Helper()
	for {
		output, err := exec.CommandContext(ctx, "redis-cli", "-u", node.url, "cluster", "info").CombinedOutput()
		if err == nil && strings.Contains(string(output), "cluster_state:ok") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cluster is not complete: %v\n%s", err, output)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func newClusterNode() (*Server, error) {
	server, err := newRedis()
	if err != nil {
		return nil, err
	}
	port, err := clusterPort()
	if err != nil {
		return nil, err
	}
	server.command = append(server.command, "--port", port, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
	server.url = "redis://127.0.0.1:" + port
	server.ping = func(ctx context.Context) error { return pingRedis(ctx, "127.0.0.1:"+port) }
	return server, nil
}

// clusterPort picks a port whose companion, 10000 above it, where the nodes talk to one another, is free too.
func clusterPort() (string, error) {
	for range 100 {
		port := 10000 + rand.IntN(10000) //nolint:gosec // a port need not be unguessable
		if isFree(port) && isFree(port+10000) {
			return strconv.Itoa(port), nil
		}
	}
	return "", fmt.Errorf("found no two free ports between 10000 and 30000")
}

func isFree(port int) bool {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	return err == nil && listener.Close() == nil
}
