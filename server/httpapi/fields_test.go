package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// fieldsOf reads a body as a handler would.
func fieldsOf(t testing.TB, method, contentType, body string) (*httpapi.Fields, error) {
	t.Helper()
	app := fiber.New()
	c := app.AcquireCtx(&fasthttp.RequestCtx{})
	defer app.ReleaseCtx(c)
	c.Request().Header.SetMethod(method)
	c.Request().Header.SetContentType(contentType)
	c.Request().SetBodyString(body)
	c.Method(method)
	return httpapi.ReadFields(c)
}

// posted reads the body of a POST that must be a JSON object.
func posted(t testing.TB, body string) *httpapi.Fields {
	t.Helper()
	fields, err := fieldsOf(t, http.MethodPost, "application/json", body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return fields
}

// refusal is the body that answers an error, "" for none.
func refusal(t testing.TB, err error) string {
	t.Helper()
	var known *httpapi.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &known):
		t.Fatalf("%T %v is no answer", err, err)
	case known.Fields == nil:
		return known.Message
	}
	body, err := json.Marshal(known.Fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestBodiesThatAreNoObject(t *testing.T) {
	for body, want := range map[string]string{
		`[]`:         "Invalid data. Expected a dictionary, but got list.",
		` "text"`:    "Invalid data. Expected a dictionary, but got str.",
		`1`:          "Invalid data. Expected a dictionary, but got int.",
		`1.5`:        "Invalid data. Expected a dictionary, but got float.",
		`true`:       "Invalid data. Expected a dictionary, but got bool.",
		`null`:       "Invalid data. Expected a dictionary, but got NoneType.",
		` `:          "JSON parse error - unexpected end of the body",
		`{`:          "JSON parse error - unexpected end of the body",
		`{"a":1`:     "JSON parse error - unexpected end of the body",
		`{"a":}`:     "JSON parse error - invalid character '}' looking for beginning of value (char 6)",
		`{'a':1}`:    `JSON parse error - invalid character '\'' looking for beginning of object key string (char 2)`,
		`{} {}`:      "JSON parse error - extra data after the first value",
		`{}]`:        "JSON parse error - extra data after the first value",
		"{\"\xff\"}": "JSON parse error - the body is not UTF-8",
		strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000): "JSON parse error - invalid character '{' exceeded max depth (char 50001)",
	} {
		_, err := fieldsOf(t, http.MethodPost, "application/json", body)
		if got := refusal(t, err); got != want {
			t.Errorf("%.40s: %q, want %q", body, got, want)
		}
	}
}

func TestContentTypes(t *testing.T) {
	for contentType, want := range map[string]string{
		"application/json":                  "",
		"application/json; charset=utf-8":   "",
		"Application/JSON":                  "",
		"text/plain":                        `Unsupported media type "text/plain" in request.`,
		"application/x-www-form-urlencoded": `Unsupported media type "application/x-www-form-urlencoded" in request.`,
		"":                                  `Unsupported media type "" in request.`,
		"application/json-patch+json":       `Unsupported media type "application/json-patch+json" in request.`,
	} {
		_, err := fieldsOf(t, http.MethodPost, contentType, `{}`)
		if got := refusal(t, err); got != want {
			t.Errorf("%q: %q, want %q", contentType, got, want)
		}
		if _, err := fieldsOf(t, http.MethodPost, contentType, ""); err != nil {
			t.Errorf("%q without a body: %v", contentType, err)
		}
	}
}

// Each row is one field "f" of a body, read in one way: the value that comes out, or what is wrong with it.
func TestReaders(t *testing.T) {
	text := func(rule httpapi.Text) func(*httpapi.Fields) string {
		return func(f *httpapi.Fields) string { return f.Text("f", "now", rule) }
	}
	email := func(f *httpapi.Fields) string { return f.Email("f", "now", true) }
	link := func(f *httpapi.Fields) string { return f.URL("f", "now") }
	integer := func(f *httpapi.Fields) string { return strconv.FormatInt(f.Integer("f", 7, true, -5, 1000), 10) }
	amount := func(f *httpapi.Fields) string { return f.Money("f", 700, true, money.Max).String() }
	boolean := func(f *httpapi.Fields) string { return strconv.FormatBool(f.Boolean("f", false, true)) }
	object := func(f *httpapi.Fields) string { return string(f.Object("f", json.RawMessage("now"), 20)) }
	wrong := func(message string) string { return fmt.Sprintf("{\"f\":[%q]}", message) }
	for _, row := range []struct {
		name string
		read func(*httpapi.Fields) string
		f    string
		want string
	}{
		{"a text", text(httpapi.Text{}), `" ab "`, "ab"},
		{"a verbatim text", text(httpapi.Text{Verbatim: true}), `" ab "`, " ab "},
		{"a number as text", text(httpapi.Text{}), `12.50`, "12.50"},
		{"an escaped text", text(httpapi.Text{}), `"\u00fc\ud83d\ude00<&>"`, "ü😀<&>"},
		{"half a surrogate pair", text(httpapi.Text{}), `"\ud83d"`, "\uFFFD"},
		{"a blank text", text(httpapi.Text{}), `"  "`, wrong(httpapi.NotBlank)},
		{"a blank text that may be", text(httpapi.Text{Blank: true}), `"  "`, ""},
		{"a null text", text(httpapi.Text{}), `null`, wrong(httpapi.NotNull)},
		{"a boolean text", text(httpapi.Text{}), `true`, wrong(httpapi.NotText)},
		{"a list for a text", text(httpapi.Text{}), `["a"]`, wrong(httpapi.NotText)},
		{"an object for a text", text(httpapi.Text{}), `{}`, wrong(httpapi.NotText)},
		{"a text with NUL", text(httpapi.Text{}), `"a\u0000b"`, wrong(httpapi.NoNull)},
		{"the longest text", text(httpapi.Text{Max: 3}), `"üüü"`, "üüü"},
		{"a text too long", text(httpapi.Text{Max: 3}), `"üüüü"`, wrong("Ensure this field has no more than 3 characters.")},
		{"a text too long by default", text(httpapi.Text{}), `"` + strings.Repeat("a", 10_001) + `"`, wrong("Ensure this field has no more than 10000 characters.")},
		{"a text too short", text(httpapi.Text{Min: 8}), `"short"`, wrong("Ensure this field has at least 8 characters.")},

		{"an address", email, `"Ann.O'Neil+shop@mail.example.com"`, "Ann.O'Neil+shop@mail.example.com"},
		{"an address without domain", email, `"ann"`, wrong(httpapi.NotEmail)},
		{"an address in a flat domain", email, `"ann@localhost"`, wrong(httpapi.NotEmail)},
		{"an address with a name", email, `"Ann <ann@example.com>"`, wrong(httpapi.NotEmail)},
		{"an address with a line break", email, `"ann@example.com\r\nBcc: x@example.com"`, wrong(httpapi.NotEmail)},
		{"two addresses", email, `"a@example.com,b@example.com"`, wrong(httpapi.NotEmail)},
		{"a blank address", email, `""`, wrong(httpapi.NotBlank)},
		{"an address too long", email, `"` + strings.Repeat("a", 250) + `@example.com"`, wrong("Ensure this field has no more than 254 characters.")},

		{"a URL", link, `"https://example.com:8443/a.jpg?b=c#d"`, "https://example.com:8443/a.jpg?b=c#d"},
		{"no URL", link, `""`, ""},
		{"a script for a URL", link, `"javascript:alert(1)"`, wrong(httpapi.NotURL)},
		{"a path for a URL", link, `"/image.jpg"`, wrong(httpapi.NotURL)},
		{"a URL without host", link, `"https:///image.jpg"`, wrong(httpapi.NotURL)},
		{"a URL with a bad port", link, `"http://example.com:port/"`, wrong(httpapi.NotURL)},
		{"a URL too long", link, `"https://example.com/` + strings.Repeat("a", 2000) + `"`, wrong("Ensure this field has no more than 2000 characters.")},

		{"an integer", integer, `12`, "12"},
		{"an integer as text", integer, `" 12 "`, "12"},
		{"an integer with a fraction of zeros", integer, `12.00`, "12"},
		{"a fraction", integer, `12.5`, wrong(httpapi.NotInteger)},
		{"an exponent", integer, `1e2`, wrong(httpapi.NotInteger)},
		{"a boolean for an integer", integer, `true`, wrong(httpapi.NotInteger)},
		{"an empty text for an integer", integer, `""`, wrong(httpapi.NotInteger)},
		{"a hexadecimal integer", integer, `"0x10"`, wrong(httpapi.NotInteger)},
		{"a null integer", integer, `null`, wrong(httpapi.NotNull)},
		{"the lowest integer", integer, `-5`, "-5"},
		{"an integer too low", integer, `-6`, wrong("Ensure this value is greater than or equal to -5.")},
		{"an integer too high", integer, `1001`, wrong("Ensure this value is less than or equal to 1000.")},
		{"an integer beyond 64 bits", integer, `9223372036854775808`, wrong("Ensure this value is less than or equal to 1000.")},
		{"an integer far below 64 bits", integer, `"-99999999999999999999"`, wrong("Ensure this value is greater than or equal to -5.")},

		{"an amount", amount, `"999.99"`, "999.99"},
		{"an amount as number", amount, `999.990`, "999.99"},
		{"an amount with an exponent", amount, `1e2`, "100.00"},
		{"an amount with an exponent and decimals", amount, `1.5E1`, "15.00"},
		{"an amount with an exponent as text", amount, `"1250e-2"`, "12.50"},
		{"an amount with white space", amount, `" 5 "`, "5.00"},
		{"the largest amount", amount, `99999999.99`, "99999999.99"},
		{"an amount too large", amount, `100000000`, wrong("Ensure this value is less than or equal to 99999999.99.")},
		{"an amount beyond 64 bits", amount, `1` + strings.Repeat("0", 100), wrong("Ensure this value is less than or equal to 99999999.99.")},
		{"an amount with an exponent too large", amount, `1e8`, wrong("Ensure this value is less than or equal to 99999999.99.")},
		{"an amount with a huge exponent", amount, `1e999999999`, wrong("Ensure this value is less than or equal to 99999999.99.")},
		{"an amount with a huge exponent below nothing", amount, `-1e999999999`, wrong("Ensure this value is greater than or equal to 0.")},
		{"an amount with an exponent and too many decimals", amount, `1.5e-2`, wrong("Ensure that there are no more than 2 decimal places.")},
		{"an amount with an exponent beyond 32 bits", amount, `1e2147483648`, wrong(httpapi.NotNumber)},
		{"an amount with an exponent that is none", amount, `"1e"`, wrong(httpapi.NotNumber)},
		{"an amount below nothing", amount, `-0.01`, wrong("Ensure this value is greater than or equal to 0.")},
		{"half a cent", amount, `0.005`, wrong("Ensure that there are no more than 2 decimal places.")},
		{"a word for an amount", amount, `"ten"`, wrong(httpapi.NotNumber)},
		{"not a number", amount, `"NaN"`, wrong(httpapi.NotNumber)},
		{"a list for an amount", amount, `[1]`, wrong(httpapi.NotNumber)},

		{"true", boolean, `true`, "true"},
		{"true as text", boolean, `"True"`, "true"},
		{"true as number", boolean, `1`, "true"},
		{"perhaps", boolean, `"perhaps"`, wrong(httpapi.NotBoolean)},
		{"a number for a boolean", boolean, `2`, wrong(httpapi.NotBoolean)},

		{"an object", object, `{ "a" : [ 1 ] }`, `{"a":[1]}`},
		{"a list for an object", object, `[]`, wrong(`Expected a dictionary of items but got type "list".`)},
		{"an object too large", object, `{"a":"` + strings.Repeat("b", 20) + `"}`, wrong("Ensure this value has no more than 20 bytes.")},
		{"an object with NUL", object, `{"a":"\u0000"}`, wrong(httpapi.NoNull)},
	} {
		fields := posted(t, `{"f":`+row.f+`}`)
		got := row.read(fields)
		if err := fields.Err(); err != nil {
			got = refusal(t, err)
		}
		if got != row.want {
			t.Errorf("%s: %.60s gives %s, want %s", row.name, row.f, got, row.want)
		}
	}
}

func TestAbsentFields(t *testing.T) {
	read := func(f *httpapi.Fields) string {
		return fmt.Sprintln(
			f.Text("text", "now", httpapi.Text{Required: true}), f.Email("email", "a@b.cc", true), f.URL("url", "now"),
			f.Integer("integer", 7, true, 0, 9), f.Money("money", 700, true, money.Max), f.Boolean("boolean", true, true),
			string(f.Object("object", json.RawMessage("now"), 9)))
	}
	const current = "now a@b.cc now 7 7.00 true now\n"
	fields := posted(t, `{}`)
	const required = `["This field is required."]`
	want := `{"boolean":` + required + `,"email":` + required + `,"integer":` + required + `,"money":` + required + `,"text":` + required + `}`
	if got := read(fields); got != current || refusal(t, fields.Err()) != want {
		t.Errorf("an empty POST gives %s, %v", got, refusal(t, fields.Err()))
	}
	patch, err := fieldsOf(t, http.MethodPatch, "application/json", `{}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(patch); got != current || patch.Err() != nil || patch.Sent("text") {
		t.Errorf("an empty PATCH gives %s, %v", got, patch.Err())
	}
}

func TestNestedFields(t *testing.T) {
	fields := posted(t, `{"profile":{"avatar":"nonsense","age":1},"name":""}`)
	fields.Text("name", "", httpapi.Text{})
	profile, sent := fields.Nested("profile")
	if !sent {
		t.Fatal("the nested object was not read")
	}
	profile.URL("avatar", "")
	if got := profile.Integer("age", 0, true, 0, 9); got != 1 {
		t.Errorf("the nested integer is %d", got)
	}
	if got, want := refusal(t, fields.Err()), `{"avatar":["Enter a valid URL."],"name":["This field may not be blank."]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for body, want := range map[string]string{
		`{}`: "", `{"profile":null}`: `{"profile":["This field may not be null."]}`,
		`{"profile":[]}`: `{"profile":["Invalid data. Expected a dictionary, but got list."]}`,
	} {
		fields := posted(t, body)
		if _, sent := fields.Nested("profile"); sent || refusal(t, fields.Err()) != want {
			t.Errorf("%s: %v, %s; want %s", body, sent, refusal(t, fields.Err()), want)
		}
	}
}

func TestIntegersComeThroughExactly(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := rapid.Int64().Draw(r, "integer")
		body := fmt.Sprintf(`{"number":%d,"text":"%d"}`, want, want)
		fields := posted(t, body)
		for _, name := range []string{"number", "text"} {
			if got := fields.Integer(name, 0, true, math.MinInt64, math.MaxInt64); got != want || fields.Err() != nil {
				r.Fatalf("%s of %s is read as %d, %v", name, body, got, fields.Err())
			}
		}
	})
}

func TestTextsComeThroughExactly(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := rapid.String().Filter(func(s string) bool { return !strings.ContainsRune(s, 0) }).Draw(r, "text")
		body, err := httpapi.EncodeJSON(map[string]string{"f": want})
		if err != nil {
			r.Fatal(err)
		}
		fields := posted(t, string(body))
		if got := fields.Text("f", "", httpapi.Text{Blank: true, Verbatim: true}); got != want || fields.Err() != nil {
			r.Fatalf("%q is read as %q, %v", want, got, fields.Err())
		}
	})
}

// Whatever the body, every reader answers with a value within its rule or with a text for the client.
func FuzzReadFields(f *testing.F) {
	for _, seed := range []string{
		`{"f":"text"}`, `{"f":1.50}`, `{"f":{"f":[null,true]}}`, `{"f":"\ud800\u0000"}`, `[]`, `{"f":1e400}`, `{"f":"1"} x`, "{\"f\":\"\xff\"}", `{"f":-0}`, "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		fields, err := fieldsOf(t, http.MethodPost, "application/json", body)
		if err == nil {
			checkReaders(t, fields, body)
			err = fields.Err()
		}
		if err != nil && refusal(t, err) == "" {
			t.Errorf("%q is refused without a word", body)
		}
	})
}

func checkReaders(t *testing.T, fields *httpapi.Fields, body string) {
	fields.Boolean("f", false, false)
	fields.Email("f", "", false)
	fields.URL("f", "")
	if nested, ok := fields.Nested("f"); ok {
		nested.Text("f", "", httpapi.Text{})
	}
	object := fields.Object("f", nil, 100)
	if object != nil && !json.Valid(object) || len(object) > 100 {
		t.Errorf("%q gives the object %s", body, object)
	}
	// Each of the others alone, since what one refuses is refused.
	fields = posted(t, body)
	text := fields.Text("f", "", httpapi.Text{Blank: true, Max: 20})
	if fields.Valid("f") && (!utf8.ValidString(text) || strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > 20) {
		t.Errorf("%q gives the text %q", body, text)
	}
	fields = posted(t, body)
	if integer := fields.Integer("f", 0, false, -5, 5); fields.Valid("f") && (integer < -5 || integer > 5) {
		t.Errorf("%q gives the integer %d", body, integer)
	}
	fields = posted(t, body)
	if amount := fields.Money("f", 0, false, money.Max); fields.Valid("f") && (amount < 0 || amount > money.Max) {
		t.Errorf("%q gives the amount %s", body, amount)
	}
}
