package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gofiber/fiber/v2"
)

// Time that requests under way get to finish, after the sockets were drained.
const shutdownTimeout = 15 * time.Second

// Run serves until ctx ends, then drains and stops. It returns early with an error when the server cannot
// start: an address in use, a schema that is not current.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	group, running := errgroup.WithContext(context.WithoutCancel(ctx)) // outlives ctx by the drain
	working, stopWork := context.WithCancel(running)
	defer stopWork()

	servers, err := a.listen(ctx, group)
	if err != nil {
		return err
	}
	group.Go(func() error {
		defer stopWork()
		defer a.drain(servers)
		until, cancel := context.WithCancel(ctx) // the end of ctx, or of a listener
		defer cancel()
		defer context.AfterFunc(running, cancel)()
		if err := a.start(until); err != nil {
			return err
		}
		group.Go(func() error { return a.outbox.Run(working) })
		if a.settings.API {
			group.Go(func() error { return a.orders.Run(working, a.log) })
			group.Go(func() error { return a.catalog.Run(working, a.redis, a.log) })
		}
		if a.settings.API {
			group.Go(func() error { return a.accounts.Run(working) })
		}
		if a.settings.Notifications {
			group.Go(func() error { return a.hub.Run(working) })
		}
		<-until.Done()
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// start waits for what the server stands on, then opens it for requests.
func (a *App) start(ctx context.Context) error {
	if err := a.db.Await(ctx, a.log); err != nil {
		return err
	}
	if err := a.checkSchema(ctx); err != nil {
		return err
	}
	if err := a.loadKeys(ctx); err != nil {
		return err
	}
	if err := a.redis.Await(ctx); err != nil {
		return err
	}
	if err := a.firstSteps(ctx); err != nil {
		return err
	}
	a.health.enter(serving)
	a.log.Info("serving", "issuer", a.settings.Issuer, "api", a.settings.API, "notifications", a.settings.Notifications)
	return nil
}

// listen opens every listener, so that a probe is answered from the first moment.
func (a *App) listen(ctx context.Context, group *errgroup.Group) (servers []shutdowner, err error) {
	if a.settings.API {
		servers, err = a.serve(ctx, group, servers, a.apiListener(), a.settings.APIAddr)
	}
	if a.settings.Notifications && err == nil {
		servers, err = a.serve(ctx, group, servers, a.socketListener(), a.settings.NotificationsAddr)
	}
	if a.settings.MetricsAddr != "" && err == nil {
		server := a.metricsListener()
		var socket net.Listener
		if socket, err = listenTCP(ctx, a.settings.MetricsAddr); err == nil {
			group.Go(func() error { return ignoreClosed(server.Serve(socket)) })
			servers = append(servers, server.Shutdown)
		}
	}
	if err != nil {
		a.shutDown(servers)
	}
	return servers, err
}

// shutdowner stops a listener once what it has under way is finished, or the context ends.
type shutdowner func(context.Context) error

func (a *App) serve(ctx context.Context, group *errgroup.Group, servers []shutdowner, app *fiber.App, address string) ([]shutdowner, error) {
	socket, err := listenTCP(ctx, address)
	if err != nil {
		return servers, err
	}
	group.Go(func() error { return app.Listener(socket) })
	return append(servers, app.ShutdownWithContext), nil
}

func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; stop what uses the address, or set another one (see the command help)", err)
	}
	return socket, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// drain makes the probes fail, spreads the closes of the sockets over the drain time, and lets requests finish.
func (a *App) drain(servers []shutdowner) {
	started := a.health.is(serving)
	a.health.enter(draining)
	if started {
		a.log.Info("draining", "over", a.settings.Drain.String(), "sockets", a.hub.Open())
		a.hub.Drain(context.Background(), a.settings.Drain)
	}
	a.shutDown(servers)
}

func (a *App) shutDown(servers []shutdowner) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for _, shutDown := range servers {
		if err := shutDown(ctx); err != nil {
			a.log.Warn("a listener did not stop in time", "error", err)
		}
	}
}

func (a *App) close() {
	if err := errors.Join(a.redis.Close(), a.db.Close(), a.traces.Close()); err != nil {
		a.log.Warn("close", "error", err)
	}
	a.log.Info("stopped")
}
