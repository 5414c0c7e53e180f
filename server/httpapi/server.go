package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// Bounds of one request.
const (
	bodyLimit      = 1 << 20          // bytes
	headerLimit    = 16 << 10         // bytes
	readTimeout    = 15 * time.Second // for a whole request to arrive
	writeTimeout   = 30 * time.Second // for a whole answer to leave
	idleTimeout    = 75 * time.Second // between two requests: longer than the 60 s of usual proxies
	handlerTimeout = 10 * time.Second // for a handler, with all its queries
)

// Bounds of a listener for WebSockets: its requests are handshakes, and its memory is for what comes after.
const (
	handshakeLimit   = 8 << 10         // bytes
	handshakeTimeout = 5 * time.Second // for a whole one to arrive
	handshakesAtOnce = 4 << 10         // connections that are no WebSocket yet: see newcomers
)

// Options says how a listener treats its clients.
type Options struct {
	Log            *slog.Logger
	TrustedProxies []string      // addresses and CIDR ranges whose X-Forwarded-* headers are believed
	CORSOrigins    []string      // web origins whose scripts may use the API; "*" for all
	Sockets        bool          // the listener is for WebSockets
	Streamed       []string      // paths whose handlers read bodies of any length themselves, by [ReadStream]
	Metrics        *Metrics      // may be nil
	Trace          fiber.Handler // makes a span of each request; may be nil
}

// New makes a Fiber application that answers in the API's dialect.
func New(options Options) *fiber.App {
	app := fiber.New(config(options))
	if options.Sockets {
		app.Server().KeepHijackedConns = true // a socket outlives the handler of its handshake, and closes itself
		app.Server().ConnState = newNewcomers(handshakesAtOnce).note
	}
	app.Server().Handler = nameOther(app.Server().Handler)
	app.Use(identify)
	if options.Trace != nil {
		app.Use(options.Trace)
	}
	app.Use(protect, observe(options), crossOrigin(options.CORSOrigins), allow, bound, recoverPanic(options.Log), readWhole(options.Streamed))
	return app
}

func config(options Options) fiber.Config {
	config := fiber.Config{
		AppName:                      "shopkeeper",
		BodyLimit:                    bodyLimit,
		StreamRequestBody:            true, // see readWhole
		DisablePreParseMultipartForm: true,
		ReadBufferSize:               headerLimit,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		DisableStartupMessage:        true,
		EnableTrustedProxyCheck:      true,
		TrustedProxies:               options.TrustedProxies, // about host and scheme; see [Proxies] about the address
		JSONEncoder:                  EncodeJSON,
		ErrorHandler:                 ErrorHandler(options.Log),
	}
	if options.Sockets {
		config.ReadBufferSize = handshakeLimit
		config.ReadTimeout = handshakeTimeout
		config.Concurrency = 2 * handshakesAtOnce // those that have to go take a moment
		config.ReduceMemoryUsage = true
		config.StreamRequestBody = false // with it, memory is not reduced
	}
	return config
}

// otherMethod is what Fiber takes for all methods that it does not know, which it would answer by itself and in
// other words. No route has it.
const otherMethod = fiber.MethodTrace

type methodKey struct{}

// nameOther makes requests of methods that Fiber does not know such of one that no path has.
func nameOther(handle fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(r *fasthttp.RequestCtx) {
		if method := r.Method(); !isMethod(method) {
			r.SetUserValue(methodKey{}, string(method))
			r.Request.Header.SetMethod(otherMethod)
		}
		handle(r)
	}
}

func isMethod(name []byte) bool {
	return slices.ContainsFunc(fiber.DefaultMethods, func(known string) bool { return string(name) == known })
}

// methodOf is the method that the client sent.
func methodOf(c *fiber.Ctx) string {
	if other, ok := c.Locals(methodKey{}).(string); ok {
		return other
	}
	return c.Method()
}

var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9._:/+=-]{1,128}$`)

// identify takes the client's request id if it is sane, else makes one, and echoes it.
func identify(c *fiber.Ctx) error {
	setRequestID(c)
	return c.Next()
}

func setRequestID(c *fiber.Ctx) {
	id := strings.Clone(c.Get(fiber.HeaderXRequestID))
	if id == "" || !saneRequestID.MatchString(id) {
		id = rand.Text()
	}
	c.SetUserContext(WithRequestID(context.Background(), id))
	c.Set(fiber.HeaderXRequestID, id)
}

// RequestID is the id that the request's log lines bear.
func RequestID(c *fiber.Ctx) string { return RequestIDOf(c.UserContext()) }

// observe times and logs each request once it is answered. The query stays out of the log: it may hold a token.
func observe(options Options) fiber.Handler {
	return func(c *fiber.Ctx) error {
		started := time.Now()
		if err := c.Next(); err != nil {
			if err := c.App().ErrorHandler(c, err); err != nil {
				return err
			}
		}
		took, status := time.Since(started), c.Response().StatusCode()
		if options.Metrics != nil {
			options.Metrics.observe(c.Route(), status, took)
		}
		if options.Log.Enabled(c.UserContext(), slog.LevelDebug) {
			options.Log.DebugContext(c.UserContext(), "request", "method", c.Method(), "path", c.Path(), "status", status, "user_id", CallerOf(c).UserID, "duration", took.String())
		}
		return nil
	}
}

// bound gives the handler a context that ends.
func bound(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), handlerTimeout)
	defer cancel()
	c.SetUserContext(ctx)
	return c.Next()
}

var errPanic = errors.New("panic")

// recoverPanic makes a panic a 500 whose log line has the stack.
func recoverPanic(log *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				log.ErrorContext(c.UserContext(), "panic", "cause", cause, "stack", string(debug.Stack()))
				err = errPanic
			}
		}()
		return c.Next()
	}
}
