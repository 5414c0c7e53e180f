// The benchmarks of Shopkeeper. Each prints a table; none judges.
//
//	go run ./hack/bench coldstart       go run ./server with empty Go caches → the first answer
//	go run ./hack/bench ready [N]       kubectl apply of a Shop → Ready, N times with its own databases, N times with others
//	go run ./hack/bench rest            the operator with nothing to do: memory and API writes in a minute
//	go run ./hack/bench api [WORD]      each hot path of the API, or those named so, beside its bare ceiling, on databases of its own
//	go run ./hack/bench million         reads of a catalogue of a million products
//	go run ./hack/bench logins          what everybody else feels while logins take all the time they get
//	go run ./hack/bench transfer        memory that imports and exports of 10,000 and of 100,000 products take
//	go run ./hack/bench notifications   what connections and notifications cost two servers, on databases of their own
//	go run ./hack/bench shops [N [T]]   the operator with N Shops (1000) on a simulated cluster of its own: apply → Ready, rest,
//	                                    restart, and ten changes a second for T (2m)
//
// ready and rest need the cluster of `make up`, or another one in KUBECONFIG.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	args = append(args, "", "", "")
	name, argument := args[0], args[1]
	switch name {
	case "api":
		return benchAPI(ctx, argument)
	case "prebuilt": // the ceiling of api, a process of its own
		return prebuilt(argument)
	case "coldstart":
		return coldStart(ctx)
	case "logins":
		return benchLogins(ctx)
	case "million":
		return benchMillion(ctx)
	case "notifications":
		return benchNotifications(ctx)
	case "ready":
		count, err := strconv.Atoi(cmp.Or(argument, "3"))
		if err != nil || count < 1 || count > 20 {
			return fmt.Errorf("bad count %q: want 1 to 20", argument)
		}
		return applyToReady(ctx, count)
	case "transfer":
		return benchTransfer(ctx)
	case "rest":
		return atRest(ctx)
	case "shops":
		return runShops(ctx, cmp.Or(argument, "1000"), cmp.Or(args[2], "2m"))
	default:
		return fmt.Errorf("unknown benchmark %q: want api, coldstart, logins, million, notifications, ready, rest, shops or transfer", name)
	}
}

func runShops(ctx context.Context, number, lasting string) error {
	count, err := strconv.Atoi(number)
	if err != nil || count < 1 || count > 10000 {
		return fmt.Errorf("bad number of Shops %q: want 1 to 10000", number)
	}
	changes, err := time.ParseDuration(lasting)
	if err != nil {
		return fmt.Errorf("how long to change specs: %w", err)
	}
	return benchShops(ctx, count, changes)
}

// printTable writes rows of columns under each other.
func printTable(rows ...[]string) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for _, cell := range row {
			if _, err := fmt.Fprintf(table, "%s\t", cell); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(table); err != nil {
			return err
		}
	}
	return table.Flush()
}
