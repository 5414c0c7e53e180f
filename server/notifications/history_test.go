package notifications

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

// historyAPI answers as user 7, or as whom the token names.
func historyAPI(t *testing.T, p *pod) func(method, path, token string) (status int, body string) {
	history := NewHistory(p.outbox)
	app := httpapi.New(httpapi.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	app.Use(httpapi.Authenticated(authenticate))
	app.Get("/api/notifications/", history.List)
	app.Post("/api/notifications/read-all/", history.MarkAllRead)
	app.Post("/api/notifications/:id/read/", history.MarkRead)
	return func(method, path, token string) (int, string) {
		t.Helper()
		request := httptest.NewRequestWithContext(t.Context(), method, "/api/notifications/"+path, http.NoBody)
		request.Host = "shop.example.com"
		request.Header.Set(fiber.HeaderAuthorization, "Bearer "+token)
		response, err := app.Test(request, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		p := &pod{db: db, outbox: outbox.New(db, nil, slog.Default())}
		p.addUsers(t, 7, 8)
		var shown []string
		for n := range 3 {
			event := p.commit(t, 7, numbered{User: 7, N: n + 1})
			shown = append(shown, fmt.Sprintf(`{"id":%d,"user":7,"n":%d,"created_at":"%s","read":false}`,
				n+1, n+1, event.CreatedAt.Format("2006-01-02T15:04:05Z")))
		}
		p.commit(t, 8, struct{}{})
		ask := historyAPI(t, p)
		read := func(entry string) string { return strings.Replace(entry, `"read":false`, `"read":true`, 1) }
		page := func(count int, next, previous string, entries ...string) string {
			return fmt.Sprintf(`{"count":%d,"next":%s,"previous":%s,"results":[%s]}`, count, next, previous, strings.Join(entries, ","))
		}
		const null, invalid, unknown = "null", `{"error":"Invalid page."}`, `{"error":"Not found."}`
		for _, step := range []struct {
			method, path string
			status       int
			body         string
		}{
			{"GET", "", 200, page(3, null, null, shown[2], shown[1], shown[0])},
			{"GET", "?page_size=2&unread=true", 200, page(3, `"http://shop.example.com/api/notifications/?page=2&page_size=2&unread=true"`, null, shown[2], shown[1])},
			{"GET", "?page_size=2&page=2", 200, page(3, null, `"http://shop.example.com/api/notifications/?page_size=2"`, shown[0])},
			{"GET", "?page=2", 404, invalid},
			{"GET", "?unread=maybe", 400, `{"unread":["Must be a valid boolean."]}`},
			{"POST", "2/read/", 200, read(shown[1])},
			{"POST", "2/read/", 200, read(shown[1])},
			{"POST", "4/read/", 404, unknown},
			{"POST", "0/read/", 404, unknown},
			{"GET", "", 200, page(3, null, null, shown[2], read(shown[1]), shown[0])},
			{"GET", "?unread=true", 200, page(2, null, null, shown[2], shown[0])},
			{"POST", "read-all/", 200, `{"count":2}`},
			{"POST", "read-all/", 200, `{"count":0}`},
			{"GET", "?unread=true", 200, page(0, null, null)},
			{"GET", "?unread=false", 200, page(3, null, null, read(shown[2]), read(shown[1]), read(shown[0]))},
		} {
			if status, body := ask(step.method, step.path, "user-7"); status != step.status || body != step.body {
				t.Errorf("%s %s: %d %s\nwant %d %s", step.method, step.path, status, body, step.status, step.body)
			}
		}
		if status, body := ask("GET", "?unread=true", "user-8"); status != 200 || !strings.Contains(body, `{"id":1,"created_at":`) {
			t.Errorf("another user: %d %s", status, body)
		}
		if status, _ := ask("GET", "", "nobody"); status != http.StatusUnauthorized {
			t.Errorf("nobody: %d, want 401", status)
		}
	})
}
