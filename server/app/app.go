// Package app wires the shop server: settings → stores → features → listeners, and the order in which
// they start, drain and stop.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/accounts"
	"github.com/shopkeeper-dev/shopkeeper/server/cart"
	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/mail"
	"github.com/shopkeeper-dev/shopkeeper/server/notifications"
	"github.com/shopkeeper-dev/shopkeeper/server/orders"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
	"github.com/shopkeeper-dev/shopkeeper/server/settings"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
	"github.com/shopkeeper-dev/shopkeeper/server/tracing"
	"github.com/shopkeeper-dev/shopkeeper/server/web"
)

// App is one shop server process. Make it with [New]; it does nothing until [App.Run].
type App struct {
	settings settings.Settings
	log      *slog.Logger
	health   *health
	metrics  *metrics
	traces   *tracing.Tracing // nil while nothing is traced

	db     *database.DB
	redis  *pubsub.Client
	tokens *tokens.Issuer
	outbox *outbox.Outbox
	guard  *ratelimit.Guard

	callers  *httpapi.Callers
	accounts *accounts.Accounts
	catalog  *catalog.Catalog
	cart     *cart.Cart
	orders   *orders.Orders
	hub      *notifications.Hub
	history  *notifications.History
	web      *web.Web
}

// hashCost is accounts' own choice but in tests, which hash hundreds of passwords.
var hashCost accounts.Cost

// New prepares a server. Neither the database nor Redis needs to answer yet.
func New(ctx context.Context, version string, s settings.Settings, log *slog.Logger) (*App, error) {
	issuer := tokens.New(tokens.Settings{Issuer: s.Issuer, AccessTTL: s.AccessTokenTTL, RefreshTTL: s.RefreshTokenTTL})
	if s.SigningKeys != "" {
		keys, err := tokens.ParseKeys(s.SigningKeys)
		if err != nil {
			return nil, fmt.Errorf("SHOP_SIGNING_KEYS: %w", err)
		}
		issuer.Use(keys)
	}
	proxies, err := httpapi.ParseProxies(s.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("SHOP_TRUSTED_PROXIES: %w", err)
	}
	sender, err := mailSender(s, log)
	if err != nil {
		return nil, err
	}
	pages, err := web.New()
	if err != nil {
		return nil, err
	}
	a := &App{settings: s, log: log, tokens: issuer, web: pages}
	if err := a.openStores(ctx, version); err != nil {
		return nil, err
	}
	db, redis := a.db, a.redis
	limiter := ratelimit.New(redis, log)
	a.guard = ratelimit.NewGuard(limiter, s.RateLimits, proxies)
	a.accounts = accounts.New(accounts.Options{
		DB: db, Issuer: issuer, Redis: redis, Limiter: limiter, Proxies: proxies,
		Mail: sender, PublicURL: cmp.Or(s.PublicURL, "http://localhost"+portOf(s.APIAddr)), HashCost: hashCost, Log: log,
	})
	a.callers = httpapi.RememberCallers(a.accounts.Authenticate)
	a.catalog = catalog.New(db)
	a.cart = cart.New(db, a.catalog)
	a.orders = orders.New(db, a.catalog, a.cart, a.outbox)
	a.hub = notifications.New(notifications.Options{
		Outbox: a.outbox, Authenticate: a.accounts.Authenticate, AllowedOrigins: s.AllowedOrigins, PublicURL: s.PublicURL, Log: log,
	})
	a.history = notifications.NewHistory(a.outbox)
	a.metrics = newMetrics(version)
	a.metrics.add(a.health, db, redis, a.outbox, limiter, a.accounts, a.cart, a.orders, a.hub)
	return a, nil
}

// openStores opens the database and Redis, and what traces their use if the environment asks for it.
func (a *App) openStores(ctx context.Context, version string) (err error) {
	if a.traces, err = tracing.Start(ctx, version, a.settings.Issuer, a.log); err != nil {
		return err
	}
	if a.db, err = database.Open(ctx, a.settings.DatabaseURL, a.traces.Postgres()...); err != nil {
		return fmt.Errorf("SHOP_DATABASE_URL: %w", err)
	}
	if a.redis, err = pubsub.Open(a.settings.RedisURL, a.settings.Issuer, a.log, a.traces.Redis()...); err != nil {
		return fmt.Errorf("SHOP_REDIS_URL: %w", errors.Join(err, a.db.Close()))
	}
	a.health = &health{db: a.db, redis: a.redis}
	a.outbox = outbox.New(a.db, a.redis, a.log)
	a.outbox.TraceWith(a.traces.Tracer())
	return nil
}

// mailSender sends mail if the settings name a mail server. If not, a server on its embedded database shows
// mail in its log; any other one has none, for its log is not for the eyes that the mail is for.
func mailSender(s settings.Settings, log *slog.Logger) (mail.Sender, error) {
	switch {
	case s.SMTPURL != "":
		sender, err := mail.Open(s.SMTPURL)
		if err != nil {
			return nil, fmt.Errorf("SHOP_SMTP_URL: %w", err)
		}
		return sender, nil
	case strings.HasPrefix(s.DatabaseURL, "sqlite:"):
		return mail.Log{To: log}, nil
	default:
		return nil, nil //nolint:nilnil // no sender is one of the cases
	}
}

// apiListener is the REST API.
func (a *App) apiListener() *fiber.App {
	listener := a.listener("api", httpapi.Options{Streamed: []string{importPath}})
	mount(listener, a.apiRoutes(), a.guards)
	return listener
}

// socketListener is the notifications.
func (a *App) socketListener() *fiber.App {
	listener := a.listener("notifications", httpapi.Options{Sockets: true})
	mount(listener, a.socketRoutes(), unguarded)
	return listener
}

// listener is one with what both have in common.
func (a *App) listener(name string, options httpapi.Options) *fiber.App {
	options.Log, options.Metrics, options.Trace = a.log, a.metrics.requests, a.traces.HTTP()
	options.TrustedProxies, options.CORSOrigins = a.settings.TrustedProxies, a.settings.CORSOrigins
	listener := httpapi.New(options)
	a.health.mount(listener)
	a.metrics.watch(name, listener)
	return listener
}

// metricsListener is /metrics, apart from what an ingress can reach.
func (a *App) metricsListener() *http.Server { return a.metrics.server(a.settings.MetricsAddr) }
