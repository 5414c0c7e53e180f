package accounts

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gofiber/fiber/v2"
	"golang.org/x/crypto/argon2"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/mail"
	"github.com/shopkeeper-dev/shopkeeper/server/mail/mailtest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// published is the body of the API document's example.
const published = `{
  "email": "user@example.com",
  "username": "testuser",
  "first_name": "Test",
  "last_name": "User",
  "password": "securepassword123",
  "password_confirm": "securepassword123",
  "phone": "+1234567890",
  "address": "123 Main St, City, Country"
}`

// shop is the accounts behind a real listener, with hashes that cost next to nothing.
type shop struct {
	*Accounts
	app    *fiber.App
	hashes atomic.Int64 // how many passwords were hashed
	inbox  *mailtest.Server
	from   string // the address of the client
}

func forEachEngine(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) { test(t, newShop(t, db)) })
}

func newShop(t *testing.T, db *database.DB) *shop {
	t.Helper()
	keys, err := tokens.ParseKeys("a:" + strings.Repeat("secret", 6))
	if err != nil {
		t.Fatal(err)
	}
	issuer := tokens.New(tokens.Settings{Issuer: "acme"})
	issuer.Use(keys)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	redis, err := pubsub.Open(pubsub.Embedded, "acme", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Close() })
	s := &shop{from: "192.0.2.1", app: httpapi.New(httpapi.Options{Log: log}), inbox: mailtest.Start(t, mailtest.Options{})}
	sender, err := mail.Open(s.inbox.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := httpapi.ParseProxies([]string{"0.0.0.0"}) // the peer of a request without a connection
	if err != nil {
		t.Fatal(err)
	}
	s.Accounts = New(Options{
		DB: db, Issuer: issuer, Redis: redis, Limiter: ratelimit.New(redis, log), Proxies: proxies,
		Mail: sender, PublicURL: "https://shop.example.com", Log: log,
	})
	s.hasher = newHasher(Cost{Memory: 8, Passes: 1, Threads: 1})
	s.hasher.derive = func(password, salt []byte, passes, memory uint32, threads uint8, length uint32) []byte {
		s.hashes.Add(1)
		return argon2.IDKey(password, salt, passes, memory, threads, length)
	}
	s.app.Post("/auth/api/register/", s.Register)
	s.app.Post("/auth/api/token/", s.Token)
	s.app.Post("/auth/api/token/refresh/", s.Refresh)
	s.app.Post("/auth/api/token/verify/", s.Verify)
	authenticated := httpapi.Authenticated(s.Authenticate)
	s.app.Get("/auth/api/profile/", authenticated, s.Profile)
	s.app.Put("/auth/api/profile/", authenticated, s.UpdateProfile)
	s.app.Patch("/auth/api/profile/", authenticated, s.UpdateProfile)
	s.app.Post("/auth/api/logout/", authenticated, s.Logout)
	s.app.Post("/auth/api/password/change/", authenticated, s.ChangePassword)
	s.app.Post("/auth/api/password/reset/", s.ResetPassword)
	s.app.Post("/auth/api/password/reset/confirm/", s.ConfirmReset)
	s.app.Get("/auth/api/password/reset/confirm/", s.ResetPage)
	return s
}

// answered is what a client got.
type answered struct {
	status int
	header http.Header
	body   string
}

// call sends a request with a JSON body and an access token, either of which may be empty.
func (s *shop) call(t *testing.T, method, path, token, body string) answered {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Forwarded-For", s.from)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.app.Test(request, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{response.StatusCode, response.Header, string(text)}
}

func (s *shop) post(t *testing.T, path, body string) answered {
	t.Helper()
	return s.call(t, http.MethodPost, path, "", body)
}

// want checks an answer to the byte.
func (a answered) want(t *testing.T, status int, body string) {
	t.Helper()
	if a.status != status || a.body != body {
		t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, status, body)
	}
}

// wantBadToken checks for the answer to a token that is no good.
func (a answered) wantBadToken(t *testing.T) {
	t.Helper()
	a.want(t, http.StatusUnauthorized, `{"error":"Given token not valid for any token type"}`)
	if challenge := a.header.Get("WWW-Authenticate"); challenge != `Bearer realm="api"` {
		t.Errorf("the challenge is %q", challenge)
	}
}

// pair reads the tokens in an answer.
func (a answered) pair(t *testing.T) (pair tokens.Pair) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &pair); err != nil || pair.Access == "" || pair.Refresh == "" {
		t.Fatalf("no tokens in %d %s", a.status, a.body)
	}
	return pair
}

// join registers a user of a name and returns the tokens.
func (s *shop) join(t *testing.T, name string) tokens.Pair {
	t.Helper()
	return s.post(t, "/auth/api/register/", registrationOf(name)).pair(t)
}

func registrationOf(name string) string {
	return `{"email":"` + name + `@example.com","username":"` + name + `","password":"correct horse","password_confirm":"correct horse"}`
}

func (s *shop) exec(t *testing.T, statement string) {
	t.Helper()
	if err := s.store.db.Exec(statement).Error; err != nil {
		t.Fatal(err)
	}
}
