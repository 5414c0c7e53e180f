package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const coldStartLimit = 10 * time.Minute

// coldStart times `go run ./server` in a fresh folder, with no module and no build in Go's caches, from
// the command to the first answer of the API; then the same again, warm.
func coldStart(ctx context.Context) error {
	scratch, err := os.MkdirTemp("", "shopkeeper-coldstart-")
	if err != nil {
		return fmt.Errorf("make a scratch folder: %w", err)
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // a scratch folder
	rows := [][]string{{"go run ./server", "answers after"}}
	for _, state := range []string{"cold caches", "warm caches"} {
		fmt.Fprintf(os.Stderr, "==> %s\n", state)
		took, err := timeToAnswer(ctx, scratch)
		if err != nil {
			return err
		}
		rows = append(rows, []string{state, fmt.Sprintf("%.1f s", took.Seconds())})
	}
	return printTable(rows...)
}

func timeToAnswer(ctx context.Context, scratch string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, coldStartLimit)
	defer cancel()
	address, err := freeAddress(ctx)
	if err != nil {
		return 0, err
	}
	server := exec.CommandContext(ctx, "go", "run", "-modcacherw", "./server")
	server.Env = append(os.Environ(),
		"GOCACHE="+filepath.Join(scratch, "build"), "GOMODCACHE="+filepath.Join(scratch, "modules"),
		"SHOP_DATABASE_URL=sqlite:"+filepath.Join(scratch, "shop.db"),
		"SHOP_API_ADDR="+address, "SHOP_NOTIFICATIONS_ADDR=127.0.0.1:0", "SHOP_METRICS_ADDR=off")
	server.Stderr = os.Stderr
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the server is a child of go run
	server.Cancel = func() error { return syscall.Kill(-server.Process.Pid, syscall.SIGTERM) }
	server.WaitDelay = 10 * time.Second
	started := time.Now()
	if err := server.Start(); err != nil {
		return 0, fmt.Errorf("start the server: %w", err)
	}
	took, err := awaitAnswer(ctx, "http://"+address+"/api/products/", started)
	cancel()
	_ = server.Wait() // it was told to end
	return took, err
}

// awaitAnswer asks until the API answers: 401, for want of a token.
func awaitAnswer(ctx context.Context, url string, started time.Time) (time.Duration, error) {
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, fmt.Errorf("ask the server: %w", err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			continue
		}
		if err := response.Body.Close(); err == nil && response.StatusCode == http.StatusUnauthorized {
			return time.Since(started), nil
		}
	}
	return 0, errors.New("the server did not answer in time")
}

func freeAddress(ctx context.Context) (string, error) {
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return socket.Addr().String(), socket.Close()
}
