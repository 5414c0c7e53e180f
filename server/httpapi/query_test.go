package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

// answer is the body of the only handler there is, for GET /things/ with a query.
func answer(t testing.TB, handler fiber.Handler, query string) string {
	t.Helper()
	return request(t, httpapi.Options{}, handler, httpGet("/things/?"+query)).Body
}

func TestQueryValues(t *testing.T) {
	read := func(c *fiber.Ctx) error {
		query := httpapi.ReadQuery(c)
		var read []string
		note := func(value any, ok bool) {
			if ok {
				read = append(read, fmt.Sprint(value))
			}
		}
		note2 := func(value time.Time, ok bool) { note(value.UTC().Format(time.RFC3339), ok) }
		text, ok := query.Text("text")
		note(text, ok)
		integer, ok := query.Integer("integer")
		note(integer, ok)
		amount, ok := query.Money("money")
		note(amount, ok)
		boolean, ok := query.Boolean("boolean")
		note(boolean, ok)
		moment, ok := query.Time("time")
		note2(moment, ok)
		choice, ok := query.Choice("choice", "red", "blue")
		note(choice, ok)
		if err := query.Err(); err != nil {
			return err
		}
		return c.SendString(strings.Join(read, " "))
	}
	for query, want := range map[string]string{
		"":                           "",
		"text=&integer=&money=&time": "",
		"text=+a+%C3%BC%F0%9F%98%80": "a ü😀",
		"integer=-9223372036854775808&money=12.5&boolean=Yes&choice=blue": "-9223372036854775808 12.50 true blue",
		"money=-1&boolean=off":               "-1.00 false",
		"money=1.5e%2B2":                     "150.00",
		"time=2026-01-02":                    "2026-01-02T00:00:00Z",
		"time=2026-01-02T03:04:05Z":          "2026-01-02T03:04:05Z",
		"time=2026-01-02T03:04:05.6%2B01:00": "2026-01-02T02:04:05Z",
		"time=2026-01-02T03:04:05+01:00":     "2026-01-02T02:04:05Z",
		"integer=1&integer=2":                "1",

		"integer=1.5&money=1e&boolean=2&time=now&choice=Red": `{"boolean":["Must be a valid boolean."],` +
			`"choice":["Select a valid choice. That choice is not one of the available choices."],"integer":["A valid integer is required."],` +
			`"money":["A valid number is required."],"time":["Enter a valid date/time."]}`,
		"integer=9223372036854775808":            `{"integer":["A valid integer is required."]}`,
		"money=1e999999999":                      `{"money":["A valid number is required."]}`,
		"money=0.001&time=2026-02-30":            `{"money":["A valid number is required."],"time":["Enter a valid date/time."]}`,
		"text=%00":                               `{"text":["Null characters are not allowed."]}`,
		"text=%FF":                               `{"text":["Not UTF-8."]}`,
		"text=" + strings.Repeat("%C3%BC", 1000): strings.Repeat("ü", 1000),
		"text=" + strings.Repeat("a", 1001):      `{"text":["Ensure this value has no more than 1000 characters."]}`,
	} {
		if got := answer(t, read, query); got != want {
			t.Errorf("%.60s: got %s, want %s", query, got, want)
		}
	}
}

// pages answers with one page of count numbers.
func pages(count int) fiber.Handler {
	return func(c *fiber.Ctx) error {
		page, err := httpapi.ReadPage(c)
		if err != nil {
			return err
		}
		if err := page.Check(int64(count)); err != nil {
			return err
		}
		var numbers []int
		for n := page.Offset(); n < min(page.Offset()+page.Size, count); n++ {
			numbers = append(numbers, n)
		}
		return httpapi.SendPage(c, page, int64(count), numbers)
	}
}

func TestPages(t *testing.T) {
	const first, invalid = "http://localhost:8000/things/", `{"error":"Invalid page."}`
	for query, want := range map[string]string{
		"page_size=2":                     `{"count":5,"next":"` + first + `?page=2&page_size=2","previous":null,"results":[0,1]}`,
		"page_size=2&page=2":              `{"count":5,"next":"` + first + `?page=3&page_size=2","previous":"` + first + `?page_size=2","results":[2,3]}`,
		"page_size=2&page=3":              `{"count":5,"next":null,"previous":"` + first + `?page=2&page_size=2","results":[4]}`,
		"search=a%26b+c&page_size=4":      `{"count":5,"next":"` + first + `?page=2&page_size=4&search=a%26b+c","previous":null,"results":[0,1,2,3]}`,
		"a=1&a=2&page_size=4&page=2&page": `{"count":5,"next":null,"previous":"` + first + `?a=1&a=2&page_size=4","results":[4]}`,
		"search=50%;a+b&page_size=4":      `{"count":5,"next":"` + first + `?page=2&page_size=4&search=50%25%3Ba+b","previous":null,"results":[0,1,2,3]}`,
		"":                                `{"count":5,"next":null,"previous":null,"results":[0,1,2,3,4]}`,
		"page=":                           `{"count":5,"next":null,"previous":null,"results":[0,1,2,3,4]}`,
		"page_size=0":                     `{"count":5,"next":null,"previous":null,"results":[0,1,2,3,4]}`,
		"page_size=-1":                    `{"count":5,"next":null,"previous":null,"results":[0,1,2,3,4]}`,
		"page_size=all":                   `{"count":5,"next":null,"previous":null,"results":[0,1,2,3,4]}`,
		"page=2":                          invalid,
		"page=0":                          invalid,
		"page=-1":                         invalid,
		"page=one":                        invalid,
		"page=1.0":                        invalid,
		"page=%00":                        invalid,
		"page=2147483648&page_size=100":   invalid,
		"page=99999999999999999999":       invalid,
	} {
		if got := answer(t, pages(5), query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	if got, want := answer(t, pages(0), ""), `{"count":0,"next":null,"previous":null,"results":[]}`; got != want {
		t.Errorf("an empty list: got %s, want %s", got, want)
	}
	if got := strings.Count(answer(t, pages(500), "page_size=1000"), ","); got != 3+99 {
		t.Errorf("the largest page has %d numbers, want 100", got-2)
	}
}

// Following the links from the first page to the last and back passes every row once, whatever else the
// query says.
func TestLinksLeadThroughThePages(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		count, size := rapid.IntRange(0, 60).Draw(r, "count"), rapid.IntRange(1, 25).Draw(r, "page_size")
		other := rapid.StringMatching(`[ -~ü%&=+#]{0,10}`).Draw(r, "other")
		start := "/things/?" + url.Values{"page_size": {strconv.Itoa(size)}, "search": {other}}.Encode()
		type page struct {
			Count          int
			Next, Previous string
			Results        []int
		}
		read := func(path string) (p page) {
			got := request(t, httpapi.Options{}, func(c *fiber.Ctx) error {
				if search := c.Query("search"); search != other {
					r.Errorf("the link %s searches for %q, not %q", path, search, other)
				}
				return pages(count)(c)
			}, httpGet(path))
			return httpapitest.Has[page](t, got, http.StatusOK)
		}
		seen, visited, path := 0, 1, start
		for p := read(path); ; p = read(path) {
			for _, n := range p.Results {
				if n != seen {
					r.Fatalf("%s begins with %d, want %d", path, n, seen)
				}
				seen++
			}
			if p.Next == "" {
				break
			}
			path = strings.TrimPrefix(p.Next, "http://localhost:8000")
			visited++
		}
		for p := read(path); p.Previous != ""; p = read(path) {
			path = strings.TrimPrefix(p.Previous, "http://localhost:8000")
			visited--
		}
		if seen != count || visited != 1 {
			r.Fatalf("the links showed %d of %d rows, and %d pages more forward than back", seen, count, visited-1)
		}
	})
}

func TestPathIDs(t *testing.T) {
	show := func(c *fiber.Ctx) error {
		id, err := httpapi.PathID(c, "id")
		if err != nil {
			return err
		}
		return c.JSON(id)
	}
	for id, want := range map[string]string{
		"1": "1", "9223372036854775807": "9223372036854775807", "007": "7",
		"0": missing, "-1": missing, "9223372036854775808": missing, "1.0": missing, "one": missing, "%31x": missing, "1%00": missing,
	} {
		if got := request(t, httpapi.Options{}, show, httpGet("/things/"+id+"/")).Body; got != want {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
}

// Whatever the query, every reader answers with a value within its rule or with a text for the client.
func FuzzReadQuery(f *testing.F) {
	for _, seed := range []string{
		"f=text&page=2&page_size=7", "f=1.50", "f=2026-01-02", "f=true;f=%ff", "f=%00&f", "f[]=1&f=%zz", "page=0&page_size=-1", "f=99999999999999999999", "&&=&", "\xff=\xff", "f=" + strings.Repeat("ü", 1000),
	} {
		f.Add(seed)
	}
	app := fiber.New()
	f.Fuzz(func(t *testing.T, text string) {
		var sent fasthttp.RequestCtx
		sent.URI().SetQueryString(text)
		c := app.AcquireCtx(&sent)
		defer app.ReleaseCtx(c)
		checkQuery(t, httpapi.ReadQuery(c), text)
		if page, err := httpapi.ReadPage(c); err == nil && (page.Number < 1 || page.Size < 1 || page.Size > 100 || page.Offset() < 0) {
			t.Errorf("%q gives the page %+v", text, page)
		}
	})
}

func checkQuery(t *testing.T, query *httpapi.Query, text string) {
	t.Helper()
	if word, ok := query.Text("f"); ok && (word == "" || utf8.RuneCountInString(word) > 1000 || !utf8.ValidString(word) || strings.ContainsRune(word, 0)) {
		t.Errorf("%q gives the text %q", text, word)
	}
	query.Integer("f")
	query.Money("f")
	query.Boolean("f")
	query.Time("f")
	if chosen, ok := query.Choice("f", "a", "b"); ok && chosen != "a" && chosen != "b" {
		t.Errorf("%q gives the choice %q", text, chosen)
	}
	if err := query.Err(); err != nil && refusal(t, err) == "" {
		t.Errorf("%q is refused without a word", text)
	}
}
