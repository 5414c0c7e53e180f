package web_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
	"github.com/shopkeeper-dev/shopkeeper/server/web"
)

func serve(t *testing.T) *httpapitest.Client {
	t.Helper()
	pages, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	return httpapitest.Serve(t, func(app *fiber.App) {
		app.Get("/api/schema/", pages.Schema)
		app.Get("/api/docs/", pages.Docs)
		app.Get("/api/docs/:file", pages.DocsFile)
	}).Customer(1)
}

func TestSchemaIsAnOpenAPIDocument(t *testing.T) {
	document := httpapitest.Has[map[string]any](t, serve(t).Get("/api/schema/"), http.StatusOK)
	if document["openapi"] != "3.1.0" || document["x-answers"] != nil {
		t.Errorf("it is %v with %v", document["openapi"], document["x-answers"])
	}
}

var address = regexp.MustCompile(`(?:href|src)="([^"]*)"`)

// The page is whole by itself: what it refers to is there, on this host, under a policy without exceptions.
func TestDocsAskNoOtherHost(t *testing.T) {
	client := serve(t)
	page := client.Get("/api/docs/")
	policy := page.Header.Get("Content-Security-Policy")
	if page.Status != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") ||
		strings.Contains(policy, "http") || strings.Contains(policy, "*") {
		t.Errorf("got %d under the policy %s", page.Status, policy)
	}
	for kind, pattern := range map[string]string{"inline script": `<script>|\son\w+=`, "inline style": `<style|\sstyle=`, "other host": `//\w`} {
		if found := regexp.MustCompile(pattern).FindString(page.Body); found != "" {
			t.Errorf("the page has an %s: %s", kind, found)
		}
	}
	for _, reference := range address.FindAllStringSubmatch(page.Body, -1) {
		got := client.Get(reference[1])
		if got.Status != http.StatusOK || got.Header.Get("ETag") == "" || regexp.MustCompile(`https?://|innerHTML|url\(|@import`).MatchString(got.Body) && reference[1] != "/api/schema/" {
			t.Errorf("%s: got %d %v", reference[1], got.Status, got.Header)
		}
	}
	client.Get("/api/docs/web.go").Is(t, http.StatusNotFound, `{"error":"Not found."}`)
}

func TestClientIsAModule(t *testing.T) {
	pages, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	client := httpapitest.Serve(t, func(app *fiber.App) { app.Get("/web/notifications.js", pages.Client) })
	got := client.Customer(1).Get("/web/notifications.js")
	if got.Status != http.StatusOK || got.Header.Get("Content-Type") != "text/javascript; charset=utf-8" ||
		got.Header.Get("X-Content-Type-Options") != "nosniff" || got.Header.Get("ETag") == "" {
		t.Errorf("got %d %v", got.Status, got.Header)
	}
	if !strings.Contains(got.Body, "export class Notifications ") {
		t.Error("it exports no Notifications")
	}
}

func TestAKnownAnswerIsNotSentAgain(t *testing.T) {
	pages, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	app := fiber.New()
	app.Get("/", pages.Schema)
	get := func(known string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("If-None-Match", known)
		response, err := app.Test(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	etag := get("").Header.Get("ETag")
	for known, want := range map[string]int{
		etag: 304, `"other", ` + etag: 304, "W/" + etag: 304, "*": 304, `"other"`: 200, strings.Trim(etag, `"`): 200, "": 200,
	} {
		got := get(known)
		if got.StatusCode != want || got.Header.Get("ETag") != etag {
			t.Errorf("If-None-Match %s: got %d %s, want %d", known, got.StatusCode, got.Header.Get("ETag"), want)
		}
		var body any
		if want == 200 && json.NewDecoder(got.Body).Decode(&body) != nil {
			t.Errorf("If-None-Match %s: the body is no JSON", known)
		}
	}
}
