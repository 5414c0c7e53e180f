package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/shopkeeper-dev/shopkeeper/server/openapi"
)

const inJSON = "application/json"

// operation is one operation of the API's description, with what was seen of it.
type operation struct {
	method, path string
	item         *openapi3.PathItem
	*openapi3.Operation

	document *openapi3.T
	seen     map[string]bool // statuses
	fitting  map[string]bool // whole answers
}

func (o *operation) name() string { return o.method + " " + o.path }

func (o *operation) answers(status int) bool { return o.Responses.Status(status) != nil }

// caller is whoever may use an operation.
func (o *operation) caller(s *shop) user {
	switch {
	case o.Security != nil && len(*o.Security) == 0:
		return nobody
	case o.answers(http.StatusForbidden):
		return s.staff
	default:
		return s.owner
	}
}

// endsLogins tells whether the operation may end logins of its caller, who then is one that nothing else needs.
func (o *operation) endsLogins() bool {
	return o.OperationID == "logOut" || o.OperationID == "changePassword"
}

// parameters are those that stand in the query, a header or the path.
func (o *operation) parameters(in string) (found []*openapi3.Parameter) {
	for _, reference := range slices.Concat(o.item.Parameters, o.Parameters) {
		if reference.Value.In == in {
			found = append(found, reference.Value)
		}
	}
	return found
}

// bodies are the kinds of body that an operation takes.
func (o *operation) bodies() openapi3.Content {
	if o.RequestBody == nil {
		return nil
	}
	return o.RequestBody.Value.Content
}

// schema is that of a body in JSON, nil if an operation takes none.
func (o *operation) schema() *openapi3.Schema {
	if body := o.bodies()[inJSON]; body != nil {
		return body.Schema.Value
	}
	return nil
}

func contract(t *testing.T) []*operation {
	t.Helper()
	text, err := openapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	document, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	var operations []*operation
	for path, item := range document.Paths.Map() {
		for method, described := range item.Operations() {
			operations = append(operations, &operation{
				method: method, path: path, item: item, Operation: described, document: document, seen: map[string]bool{}, fitting: map[string]bool{},
			})
		}
	}
	slices.SortFunc(operations, func(a, b *operation) int { return strings.Compare(a.name(), b.name()) })
	return operations
}

// expect holds an answer against the description, and against what every answer has.
func (o *operation) expect(t *testing.T, r request, got answer) {
	t.Helper()
	o.seen[strconv.Itoa(got.status)] = true
	if got.status == http.StatusInternalServerError {
		t.Errorf("%s: 500 %s", r, got.body)
		return
	}
	if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("X-Request-ID") == "" {
		t.Errorf("%s: the headers of %d are %v", r, got.status, got.header)
	}
	bodiless := []int{http.StatusNoContent, http.StatusResetContent, http.StatusNotModified}
	if !o.answers(got.status) || slices.Contains(bodiless, got.status) && got.body != "" {
		t.Errorf("%s: got %d %.500s, which is not described", r, got.status, got.body)
		return
	}
	whole := got.withoutItsOwn()
	if o.fitting[whole] {
		return // to compile the schema once more would take long
	}
	err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: &http.Request{Method: o.method, URL: &url.URL{Path: o.path}},
			Route:   &routers.Route{Spec: o.document, Path: o.path, PathItem: o.item, Method: o.method, Operation: o.Operation},
		},
		Status: got.status, Header: got.header, Body: io.NopCloser(strings.NewReader(got.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		t.Errorf("%s: got %d %.500s\n%.500s", r, got.status, got.body, err.Error())
	}
	o.fitting[whole] = err == nil
}

// withoutItsOwn is an answer but for what differs from one to the next of the same kind.
func (a answer) withoutItsOwn() string {
	header := a.header.Clone()
	header.Del("Date")
	header.Del("X-Request-ID")
	return fmt.Sprint(a.status, header, a.body)
}

// body makes a good body of the description's own examples. What has to be there or to be new is put in.
func (s *shop) body(o *operation) map[string]any {
	body := map[string]any{}
	for name, field := range o.schema().Properties {
		body[name] = exampleOf(field.Value)
	}
	existing := map[string]func() any{
		"category":   func() any { return s.newCategory() },
		"product_id": func() any { return s.newProduct() },
		"refresh":    func() any { return s.register().refresh },
		"token":      func() any { return s.owner.access },
	}
	for name := range body {
		if value, ok := existing[name]; ok {
			body[name] = value()
		}
	}
	number := names.Add(1)
	switch o.OperationID {
	case "changePassword":
		body["old_password"] = "securepassword123"
	case "logIn":
		body["email"] = s.register().email
	case "register", "replaceProfile", "changeProfile":
		body["email"], body["username"] = fmt.Sprintf("new%d@example.com", number), fmt.Sprintf("new%d", number)
	case "addCategory", "replaceCategory", "changeCategory":
		body["name"], body["slug"] = fmt.Sprintf("New %d", number), fmt.Sprintf("new-%d", number)
	}
	return body
}

func exampleOf(schema *openapi3.Schema) any {
	switch {
	case len(schema.Examples) > 0:
		return schema.Examples[0]
	case schema.Type.Is("object"):
		object := map[string]any{}
		for name, field := range schema.Properties {
			object[name] = exampleOf(field.Value)
		}
		return object
	default:
		return nil
	}
}

func encode(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryRouteIsDescribedAndEveryDescriptionIsARoute(t *testing.T) {
	s := prepare(t)
	defer s.app.close()
	patterns := s.patterns()
	for _, o := range contract(t) {
		r, exists := patterns[o.name()]
		if !exists {
			t.Errorf("%s is described and is no route", o.name())
			continue
		}
		delete(patterns, o.name())
		open := o.Security != nil && len(*o.Security) == 0
		if open != (r.who == anyone) || o.answers(http.StatusForbidden) != (r.who == staff) || !open && !o.answers(http.StatusUnauthorized) {
			t.Errorf("%s: the description of who may is wrong", o.name())
		}
	}
	for name := range patterns {
		t.Errorf("%s is not described", name)
	}
}

// elsewhere are answers of other tests: too many requests, too slow ones, a server that is not there, or broken.
var elsewhere = []string{"408", "429", "500", "503"}

// mailed are operations that go well only with what a mail tells.
var mailed = map[string]bool{"confirmPasswordReset": true}

// Good requests, and requests that are wrong in one place each, get the answers that are described, all of
// which are seen. What is refused changes nothing, and nothing is a 500.
func TestContract(t *testing.T) {
	s := peopled(t)
	for _, o := range contract(t) {
		t.Run(o.OperationID, func(t *testing.T) {
			good := request{method: o.method, path: s.object(o.path, s.owner), as: o.caller(s)}
			if o.endsLogins() {
				good.as = s.register()
			}
			s.try(t, o, s.good(t, o)...)
			if o.schema() != nil {
				good.body = encode(t, s.body(o))
			}
			if o.schema() != nil {
				s.try(t, o, wrongFields(t, o, good, s.body(o))...)
			}
			s.try(t, o, wrongBodies(o, good)...)
			s.try(t, o, s.unlike(o, good)...)
			s.try(t, o, wrongParameters(o, good)...)
			s.try(t, o, wrongHeaders(o, good)...)
			for status := range o.Responses.Map() {
				if !o.seen[status] && !slices.Contains(elsewhere, status) && !(mailed[o.OperationID] && status == "200") {
					t.Errorf("the answer %s is described and was never seen", status)
				}
			}
		})
	}
}

// try sends requests. One that is refused must not change anything.
func (s *shop) try(t *testing.T, o *operation, requests ...request) {
	t.Helper()
	before := s.digest(t)
	for _, r := range requests {
		got := s.send(r)
		o.expect(t, r, got)
		if o.method == http.MethodGet {
			continue
		}
		after := s.digest(t)
		if got.status >= 400 && after != before {
			t.Errorf("%s: got %d %s, and it changed something", r, got.status, got.body)
		}
		before = after
	}
}

// digest is a sum of all that customers or staff may see. It is made anew when a transaction has written since.
func (s *shop) digest(t *testing.T) string {
	t.Helper()
	var next string // of the ids that transactions get when they first write
	db := s.app.db.WithContext(t.Context())
	if err := db.Raw("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").Scan(&next).Error; err != nil {
		t.Fatal(err)
	}
	if s.digested.before == next {
		return s.digested.sum
	}
	s.digested.before = next
	var parts []string
	const events = "(SELECT user_id, event_id, frame FROM notification_events)" // when they were published does not count
	for _, table := range []string{"users", "categories", "products", "cart_items", "orders", "order_items", "order_history", events} {
		parts = append(parts, fmt.Sprintf("(SELECT md5(string_agg(x::text, ' ' ORDER BY x::text)) FROM %s x)", table))
	}
	if err := db.Raw("SELECT concat(" + strings.Join(parts, ",") + ")").Scan(&s.digested.sum).Error; err != nil {
		t.Fatal(err)
	}
	return s.digested.sum
}

// good sends requests that all go well, with all that may be said and with the least, and returns some that
// follow from their answers.
func (s *shop) good(t *testing.T, o *operation) (following []request) {
	t.Helper()
	var query []string
	for _, parameter := range o.parameters("query") {
		query = append(query, parameter.Name+"="+url.QueryEscape(fmt.Sprint(parameter.Example)))
	}
	full := request{method: o.method, path: s.object(o.path, s.owner) + "?" + strings.Join(query, "&"), as: o.caller(s)}
	least := request{method: o.method, path: s.object(o.path, s.owner), as: o.caller(s)}
	requests := []request{full, least}
	for kind, body := range o.bodies() {
		if kind != inJSON {
			full.header, full.body = []string{"Content-Type: " + kind}, fmt.Sprint(body.Example)
			least.header, least.body = full.header, full.body
			requests = append(requests[:0:0], append(requests[2:], full, least)...)
			continue
		}
		full.body = encode(t, s.body(o))
		small := s.body(o)
		maps.DeleteFunc(small, func(name string, _ any) bool { return !slices.Contains(body.Schema.Value.Required, name) })
		least.body = encode(t, small)
		requests = []request{full, least}
	}
	for _, r := range requests {
		if o.OperationID == "order" {
			s.newCartItem(s.owner)
		}
		if o.endsLogins() {
			r.as = s.register()
		}
		if o.OperationID == "logOut" {
			r.body = encode(t, map[string]string{"refresh": r.as.refresh})
		}
		got := s.send(r)
		if got.status >= 300 && !mailed[o.OperationID] {
			t.Errorf("%s: a good request got %d %s", r, got.status, got.body)
		}
		o.expect(t, r, got)
		if etag := got.header.Get("ETag"); etag != "" && o.method == http.MethodGet {
			r.header = []string{"If-None-Match: " + etag}
			following = append(following, r)
		}
	}
	if o.OperationID == "order" { // a repetition, and its key used for something else
		s.newCartItem(s.owner)
		first := request{method: o.method, path: o.path, as: s.owner, body: full.body, header: []string{"Idempotency-Key: one"}}
		second := first
		second.body = `{"shipping_address": "elsewhere"}`
		following = append(following, first, first, second)
	}
	return following
}

// unlike are requests by the wrong people, about things that are not there, or that are hardly HTTP.
func (s *shop) unlike(o *operation, good request) (requests []request) {
	add := func(change func(r *request)) {
		r := good
		change(&r)
		requests = append(requests, r)
	}
	for _, token := range []string{"x", s.owner.access + "x", s.owner.refresh, strings.Repeat("a", 5000), "a.b.c", "\xff", "ey.ey.ey"} {
		add(func(r *request) { r.as.access = token })
	}
	for _, one := range []user{nobody, s.owner, s.other} {
		add(func(r *request) { r.as = one })
	}
	switch o.OperationID {
	case "logIn", "refreshTokens", "verifyToken", "logOut":
		add(func(r *request) {
			r.body = `{"email": "x@example.com", "password": "wrong", "refresh": "x", "token": "x"}`
		})
	case "addToCart":
		add(func(r *request) { r.body = `{"product_id": 123456789}` })
		add(func(r *request) { r.body = fmt.Sprintf(`{"product_id": %d, "quantity": 2147483647}`, s.newProduct()) })
	case "cancelOrder":
		add(func(*request) {}) // twice
		add(func(*request) {})
	}
	add(func(r *request) { r.header = []string{"X: \x00"} })
	add(func(r *request) { r.header = []string{"X: " + strings.Repeat("x", 17<<10)} })
	if o.schema() != nil {
		add(func(r *request) {
			r.header, r.body = []string{"Content-Length: 2000000", "Content-Type: application/json"}, strings.Repeat(" ", 1<<20)
		})
	}
	return requests
}

// wrongTexts are wrong almost everywhere, escaped for a URL.
var wrongTexts = []string{
	"", "0", "-1", "1.5", "abc", "true", "null", "NaN", "Infinity", "1e400", "0x10", "99999999999999999999", "-99999999999999999999",
	"%00", "a%00b", "%ff%fe", "%ed%a0%80", "%", "%zz", "%2e%2e", "%2F..%2F", "%20", "%0a", "%EF%BC%91", "'%20OR%201=1--", "[]", "%7B%7D",
	"2024-13-45", "0001-01-01", "9999-12-31T23:59:59%2B14:00", "%F0%9F%98%80", strings.Repeat("9", 400), strings.Repeat("a", 3000), strings.Repeat("%25", 1000),
}

func wrongParameters(o *operation, good request) (requests []request) {
	try := func(path string) {
		r := good
		r.path = path
		requests = append(requests, r)
	}
	for _, parameter := range o.parameters("query") {
		for _, wrong := range wrongTexts {
			try(good.path + "?" + parameter.Name + "=" + wrong)
		}
		try(good.path + "?" + strings.ReplaceAll("N=1&N=x&N[]=1&N", "N", parameter.Name))
	}
	if begin, end := strings.Index(o.path, "{"), strings.Index(o.path, "}"); begin >= 0 {
		for _, wrong := range wrongTexts {
			if wrong != "" && !strings.Contains(wrong, "2e") { // those are other paths
				try(o.path[:begin] + wrong + o.path[end+1:])
			}
		}
	}
	for _, query := range []string{"?", "?&&&", "?=", "?%00=%00", "?" + strings.Repeat("a=1&", 2000), "?\xff=\xff"} {
		try(good.path + query)
	}
	return requests
}

// ignored are headers that no operation reads, or that are read in one place for all.
var ignored = []string{
	"Accept", "Accept-Encoding", "Cookie", "Expect", "Origin", "Range", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-ID",
}

func wrongHeaders(o *operation, good request) (requests []request) {
	names := []string{"Authorization", "Content-Encoding", "Content-Type"}
	for _, parameter := range o.parameters("header") {
		names = append(names, parameter.Name)
	}
	for _, wrong := range []string{
		"", " ", "x", "*", ",", `"`, "\xff\xfe", "é", "Bearer", "bearer  ", "Basic eDp4", "text/plain", "application/json; charset=", "gzip", "bytes=0-",
		strings.Repeat("x", 1400), // ten of them are not too large
	} {
		all := good
		for _, name := range ignored {
			all.header = append(all.header, name+": "+wrong)
		}
		requests = append(requests, all)
		for _, name := range names {
			one := good
			one.header = []string{name + ": " + wrong}
			requests = append(requests, one)
		}
	}
	return requests
}

// wrongValues are wrong almost everywhere, in JSON or nearly so.
var wrongValues = []string{
	`null`, `true`, `0`, `-1`, `1.5`, `0.001`, `1e400`, `-1e400`, `99999999999999999999`, `-99999999999999999999`, `1e2`, `""`, `" "`, `"x"`, `"\u0000"`,
	`"a\u0000b"`, `"\ud800"`, `"\u202e"`, `"1e400"`, `"NaN"`, `"-0.01"`, `"99999999999999999999"`, `"' OR 1=1--"`, `"javascript:alert(1)"`, `"http://[::1"`, `"😀"`,
	`[]`, `[1]`, `{}`, `{"a": {"b": [null]}}`, `{"\u0000": "\u0000"}`, `"` + strings.Repeat("x", 20_000) + `"`, strings.Repeat("[", 500) + strings.Repeat("]", 500),
	strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500), strings.Repeat("9", 5000), "\"\xff\xfe\"", `nul`, `"`,
}

// wrongFields are good bodies with one field that is missing or wrong; of an object also each of its fields.
func wrongFields(t *testing.T, o *operation, good request, body map[string]any) (requests []request) {
	t.Helper()
	try := func(text string) {
		r := good
		r.body = text
		requests = append(requests, r)
	}
	for name, field := range o.schema().Properties {
		without := maps.Clone(body)
		delete(without, name)
		try(encode(t, without))
		for _, wrong := range wrongValues {
			try(withField(t, without, name, wrong))
			for inner := range field.Value.Properties {
				try(withField(t, without, name, fmt.Sprintf("{%q: %s}", inner, wrong)))
			}
		}
	}
	return requests
}

// withField adds a field, whose value may be no JSON at all, to a body.
func withField(t *testing.T, body map[string]any, name, value string) string {
	t.Helper()
	rest := strings.TrimPrefix(encode(t, body), "{")
	if rest != "}" {
		rest = "," + rest
	}
	return fmt.Sprintf("{%q: %s%s", name, value, rest)
}

// wrongBodies are bodies that are wrong as a whole, of each kind that an operation takes and of some it does not.
func wrongBodies(o *operation, good request) (requests []request) {
	if o.bodies() == nil {
		return nil
	}
	try := func(kind, body string) {
		r := good
		r.header, r.body = []string{"Content-Type: " + kind}, body
		requests = append(requests, r)
	}
	for kind := range o.bodies() {
		for _, wrong := range []string{
			"", " ", "null", "true", "1", `"x"`, "[]", "[{}]", "{}", "{", "}", `{"a"}`, `{"a": 1,}`, `{"a": 1} {"b": 2}`, "{\"\xff\": 1}", "\ufeff{}", "\x00", "<xml/>", "a=1&b=2",
			`{"unknown": 1}`, `{"": ""}`, `{"id": 1, "is_staff": true, "is_active": false, "user_id": 1, "total_amount": "0.00"}`,
			"a,b\n1,\"", "name,price,category\n\x00,1,1\n", "name,name\n", "name,price,category\n\xff,1,1\n,,\n1\n", "\n\n\n", ",,,,\n,,,,",
			strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000), `{"a": ` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}",
		} {
			try(kind, wrong)
		}
	}
	try("application/x-www-form-urlencoded", "a=1")
	try("", "x")
	return requests
}

// A client that asks too often gets the described 429 from every operation but the probes.
func TestThrottledAnswersAreDescribed(t *testing.T) {
	s := openShop(t, "SHOP_RATE_LIMITS=login=1/d,register=1/d,reset=1/d,anonymous=1/d,user=1/d")
	s.owner = s.register()
	s.staff = s.logInStaff()
	s.send(request{method: "GET", path: "/api/cart/", as: s.owner})
	s.send(request{method: "GET", path: "/api/cart/", as: s.staff})
	s.send(request{method: "GET", path: "/api/schema/"})
	s.send(request{method: "POST", path: "/auth/api/password/reset/", body: "{}"})
	for _, o := range contract(t) {
		r := request{method: o.method, path: somewhere(o), as: o.caller(s)}
		want := http.StatusTooManyRequests
		if !o.answers(want) {
			want = http.StatusOK
		}
		got := s.send(r)
		if got.status != want || want == http.StatusOK && o.path != "/healthz" && o.path != "/readyz" {
			t.Errorf("%s: got %d %s, want %d", o.name(), got.status, got.body, want)
		}
		o.expect(t, r, got)
	}
}

// somewhere is a path of an operation; what it names need not exist.
func somewhere(o *operation) string {
	return strings.NewReplacer("{id}", "1", "{file}", "docs.js").Replace(o.path)
}

// Before it has started, a server answers every operation as described.
func TestUnavailableAnswersAreDescribed(t *testing.T) {
	s := prepare(t)
	defer s.app.close()
	listener := s.app.apiListener()
	for _, o := range contract(t) {
		sent, err := http.NewRequestWithContext(t.Context(), o.method, "http://shop"+somewhere(o), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := listener.Test(sent, int(time.Minute.Milliseconds()))
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if o.path != "/healthz" && response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d", o.name(), response.StatusCode)
		}
		o.expect(t, request{method: o.method, path: somewhere(o)}, answer{status: response.StatusCode, header: response.Header, body: body.String()})
	}
}
