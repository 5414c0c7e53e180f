package app

import (
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"
	"github.com/valyala/fasthttp"

	"github.com/shopkeeper-dev/shopkeeper/server/mail/mailtest"
)

// What Fiber says of a request is in memory that the next request overwrites. This test overwrites it as soon as a
// handler has returned, so that whatever was kept of it and not copied has marks in it.
const (
	mark  = '~'
	marks = "~~~" // as long as the shortest thing worth keeping, a method
)

// Whatever an operation keeps of its requests, in a cache, a queue, a log, the database or a measurement, is its own.
func TestNoRequestOutlivesItsHandler(t *testing.T) {
	var log lockedLog
	var observed App
	t.Cleanup(func() { // once it has stopped
		for _, path := range kept(&observed) {
			t.Errorf("%s holds memory of a request", path)
		}
		if strings.Contains(log.text.String(), marks) {
			t.Errorf("the log has memory of a request:\n%s", log.text.String())
		}
	})
	mailbox := mailtest.Start(t, mailtest.Options{})
	s := openShop(t, "SHOP_SMTP_URL="+mailbox.URL(), "SHOP_RATE_LIMITS=login=1000/s,register=1000/s,reset=1000/s,anonymous=1000/s,user=1000/s")
	observed = *s.app
	observed.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	observed.metrics = newMetrics("test") // those of the app itself have a listener already
	s.address = overwriting(t, observed.apiListener())
	s.staff = s.logInStaff()
	s.owner, s.other = s.register(), s.register()
	for _, o := range contract(t) {
		for _, r := range s.good(t, o) {
			o.expect(t, r, s.send(r))
		}
		s.send(request{method: o.method, path: "/somewhere/else/?a=b", as: s.owner, header: []string{"X-Request-ID: mine"}})
	}
	s.must(200, request{method: "POST", path: "/auth/api/password/reset/", body: `{"email": "` + s.other.email + `"}`})
	if to := mailbox.Next(t).To; to != s.other.email {
		t.Errorf("the mail for %s went to %s", s.other.email, to)
	}
	s.checkStored(t)
}

// checkStored looks for marks in all tables.
func (s *shop) checkStored(t *testing.T) {
	t.Helper()
	db := s.app.db.WithContext(t.Context())
	var tables []string
	if err := db.Raw("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'").Scan(&tables).Error; err != nil {
		t.Fatal(err)
	}
	if len(tables) < 10 {
		t.Errorf("there are no tables but %q", tables)
	}
	for _, table := range tables {
		var rows []string
		if err := db.Raw("SELECT x::text FROM "+table+" x WHERE x::text LIKE ?", "%"+marks+"%").Scan(&rows).Error; err != nil {
			t.Fatal(err)
		}
		if len(rows) > 0 {
			t.Errorf("the table %s has memory of a request: %q", table, rows)
		}
	}
}

// What is kept without a copy is found, from wherever in a request it comes.
func TestWhatOutlivesItsHandlerIsFound(t *testing.T) {
	type words struct {
		Host, Header, Parameter, Path, Query, Method, Body, Copied []string
		Keys                                                       map[string]bool
	}
	said := &words{Keys: map[string]bool{}}
	keep := func(words *[]string, word string) { *words = append(*words, word) }
	listener := fiber.New(fiber.Config{DisableStartupMessage: true})
	listener.Post("/:parameter/", func(c *fiber.Ctx) error {
		keep(&said.Host, c.Hostname())
		keep(&said.Header, c.Get("X-Word"))
		keep(&said.Parameter, c.Params("parameter"))
		keep(&said.Path, c.Path())
		keep(&said.Query, c.Query("word"))
		keep(&said.Method, c.Method())
		keep(&said.Body, utils.UnsafeString(c.Body()))
		keep(&said.Copied, strings.Clone(c.Query("word")))
		said.Keys[c.Query("word")] = true
		return nil
	})
	s := &shop{t: t, address: overwriting(t, listener)}
	for range 20 { // contexts are pooled, and with the race detector the pool loses some
		s.must(200, request{method: "POST", path: "/parameter/?word=query", header: []string{"X-Word: header"}, body: "body"})
	}
	found := strings.Join(kept(said), " ")
	for _, name := range []string{"Host", "Header", "Parameter", "Path", "Query", "Method", "Body", "Keys"} {
		if !strings.Contains(found, "."+name+"[") {
			t.Errorf("of %s nothing was found: %s", name, found)
		}
	}
	if strings.Contains(found, "Copied") {
		t.Errorf("a copy was found: %s", found)
	}
}

// overwriting serves a listener that overwrites each request behind its handler, and returns its address.
func overwriting(t *testing.T, listener *fiber.App) string {
	t.Helper()
	socket, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handle := listener.Handler()
	listener.Server().Handler = func(c *fasthttp.RequestCtx) {
		handle(c)
		overwrite(&c.Request)
		listener.ReleaseCtx(listener.AcquireCtx(c)) // which has a copy of the path
	}
	ended := make(chan error, 1)
	go func() { ended <- listener.Listener(socket) }()
	t.Cleanup(func() {
		if err := listener.ShutdownWithTimeout(patience); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket.Addr().String()
}

// overwrite fills with marks what a request consists of. The names of headers, and Connection, may be constants.
func overwrite(r *fasthttp.Request) {
	for name, value := range r.Header.All() {
		if string(name) != fiber.HeaderConnection {
			fill(value)
		}
	}
	if !r.Header.IsHead() { // which matters to the answer
		fill(r.Header.Method())
	}
	for name, value := range r.URI().QueryArgs().All() {
		fill(name)
		fill(value)
	}
	if !r.IsBodyStream() {
		fill(r.Body())
	}
	for _, part := range [][]byte{r.URI().PathOriginal(), r.URI().Path(), r.URI().QueryString(), r.URI().Host(), r.Header.Host(), r.Header.RequestURI()} {
		fill(part)
	}
}

func fill(memory []byte) {
	for i := range memory {
		memory[i] = mark
	}
}

// kept returns where, in what can be reached from a pointer, there are marks. It looks into the types of this
// module, and into measurements.
func kept(root any) (paths []string) {
	seen := map[[2]any]bool{}
	var look func(v reflect.Value, path string)
	look = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.String:
			if strings.Contains(v.String(), marks) {
				paths = append(paths, path)
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				look(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
			}
		case reflect.Map:
			for key, value := range v.Seq2() {
				look(key, path+"[key]")
				look(value, path+"[]")
			}
		case reflect.Pointer:
			if place := [2]any{v.Pointer(), v.Type()}; !v.IsNil() && !seen[place] {
				seen[place] = true
				look(v.Elem(), path)
			}
		case reflect.Interface:
			look(v.Elem(), path)
		case reflect.Struct:
			if home := v.Type().PkgPath(); strings.HasPrefix(home, "github.com/shopkeeper-dev/") || strings.HasPrefix(home, "github.com/prometheus/") {
				for i := range v.NumField() {
					look(v.Field(i), path+"."+v.Type().Field(i).Name)
				}
			}
		}
	}
	look(reflect.ValueOf(root), "")
	return paths
}

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	lock sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(line []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.Write(line)
}
