package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// What is hardly HTTP, or is of no kind that the API knows, gets an answer of the API's form all the same.
func TestStrangeRequests(t *testing.T) {
	s := openShop(t)
	const notHere = `{"error":"Method \"%s\" not allowed."}`
	for _, row := range []struct {
		request request
		status  int
		body    string // "" for any
	}{
		{request{method: "SELL", path: "/auth/api/token/"}, 405, fmt.Sprintf(notHere, "SELL")},
		{request{method: "post", path: "/auth/api/token/", body: "{}"}, 405, fmt.Sprintf(notHere, "post")},
		{request{method: "TRACE", path: "/auth/api/token/"}, 405, fmt.Sprintf(notHere, "TRACE")},
		{request{method: strings.Repeat("X", 5000), path: "/auth/api/token/"}, 405, fmt.Sprintf(notHere, strings.Repeat("X", 5000))},
		{request{method: "SELL", path: "/nothing/"}, 404, `{"error":"Not found."}`},
		{request{method: "GET", path: "//auth//api/token/"}, 404, `{"error":"Not found."}`},
		{request{method: "GET", path: "/api/../../etc/passwd"}, 404, `{"error":"Not found."}`},
		{request{method: "GET", path: "/api/docs/..%2f..%2fweb.go"}, 404, `{"error":"Not found."}`},
		{request{method: "GET", path: "*"}, 0, ""},
		{request{method: "GET", path: "http://elsewhere.example.com/nothing/"}, 404, `{"error":"Not found."}`},
		{request{method: "GET", path: ""}, 0, ""},
		{request{method: "", path: "/"}, 0, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"Transfer-Encoding: chunked"}, body: "zz\r\n{}\r\n0\r\n\r\n"}, 400, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"Transfer-Encoding: chunked"}, body: "2\r\n{}\r\n0\r\n\r\n"}, 400, `{"email":["This field is required."],"password":["This field is required."]}`},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"Transfer-Encoding: gzip"}, body: "{}", endsThere: true}, 0, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"Content-Length: 2", "Content-Length: 3"}, body: "{}", endsThere: true}, 0, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"Content-Length: -1"}, body: "{}", endsThere: true}, 0, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"Content-Length: 99999999999999999999"}, body: "{}", endsThere: true}, 0, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"Content-Length: x"}, body: "{}", endsThere: true}, 0, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{"no colon"}, body: "{}"}, 0, ""},
		{request{method: "POST", path: "/auth/api/token/", header: []string{" : x"}, body: "{}"}, 0, ""},
	} {
		got := s.send(row.request)
		var wrong map[string]any
		inForm := json.Unmarshal([]byte(got.body), &wrong) == nil && len(wrong) > 0 && got.header.Get("Content-Type") == "application/json" &&
			got.header.Get("X-Request-ID") != "" && got.header.Get("X-Content-Type-Options") == "nosniff"
		if row.status != 0 && got.status != row.status || row.body != "" && got.body != row.body || got.status < 400 || got.status >= 500 || !inForm {
			t.Errorf("%s: got %d %v %.300s, want %d %.300s", row.request, got.status, got.header, got.body, row.status, row.body)
		}
		if allow := got.header.Get("Allow"); got.status == 405 && allow != "POST" {
			t.Errorf("%s: Allow is %q", row.request, allow)
		}
	}
}

// Half a body is none, however good it is as far as it goes.
func TestABodyThatIsCutOffHasNoEffect(t *testing.T) {
	s := peopled(t)
	category := s.newCategory()
	before := s.digest(t)
	const notThere = `{"error":"The body of the request did not arrive."}`
	rows := "name,price,category\n" + strings.Repeat(fmt.Sprintf("Lamp,1,%d\n", category), 2000)
	for _, row := range []struct {
		path, kind, body string
		header           string
		want             string
	}{
		{"/api/categories/", inJSON, `{"name": "Half"}` + strings.Repeat(" ", 20_000), "Content-Length: 30000", notThere},
		{"/api/categories/", inJSON, `{"name": "Half"}`, "Content-Length: 17", ""},
		{"/api/categories/", inJSON, "10\r\n" + `{"name": "Half"}` + "\r\n", "Transfer-Encoding: chunked", notThere},
		{"/api/categories/", inJSON, "10\r\n" + `{"name": "Half"}` + "\r\n0", "Transfer-Encoding: chunked", notThere},
		{"/api/products/import/?atomic=true", "text/csv", rows, "Content-Length: 1000000", "the body of the request did not arrive"},
		{"/api/products/import/?atomic=true", "text/csv", fmt.Sprintf("%x\r\n%s\r\n", len(rows), rows), "Transfer-Encoding: chunked", "the body of the request did not arrive"},
	} {
		got := s.send(request{method: "POST", path: row.path, as: s.staff, header: []string{"Content-Type: " + row.kind, row.header}, body: row.body, endsThere: true})
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, row.want) {
			t.Errorf("%s with %s: got %d %s", row.path, row.header, got.status, got.body)
		}
	}
	if after := s.digest(t); after != before {
		t.Error("something changed")
	}
}

// HEAD is GET without the body, also where that is sent as it is made.
func TestHeadIsGetWithoutABody(t *testing.T) {
	s := peopled(t)
	for _, o := range contract(t) {
		if o.method != http.MethodGet {
			continue
		}
		r := request{method: http.MethodGet, path: s.object(o.path, s.owner), as: o.caller(s)}
		get := s.send(r)
		r.method = http.MethodHead
		for range 3 {
			head := s.send(r)
			if head.status != get.status || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") ||
				head.header.Get("Content-Length") != get.header.Get("Content-Length") || head.header.Get("ETag") != get.header.Get("ETag") {
				t.Errorf("%s: got %d %v, and GET %d %v", r, head.status, head.header, get.status, get.header)
			}
		}
	}
}
