// The shop server: the REST API, the WebSocket notifications and their upkeep. `go run ./server` opens a
// shop with no setting at all; `go run ./server help` lists commands and settings.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/shopkeeper-dev/shopkeeper/server/app"
)

// version is stamped at build time.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := app.Command(ctx, version, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shopkeeper-server:", err)
		os.Exit(1)
	}
}
