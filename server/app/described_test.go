package app

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// bound is a value at the edge of what a field takes, and what is said of one beyond.
type bound struct {
	value, refusal string
	beyond         bool
}

func boundsOf(schema *openapi3.Schema) (bounds []bound) {
	add := func(refusal string, inside, beyond any) {
		bounds = append(bounds, bound{fmt.Sprint(inside), refusal, false}, bound{fmt.Sprint(beyond), refusal, true})
	}
	text := func(length uint64) string { return `"` + strings.Repeat("ü", int(length)) + `"` } //nolint:gosec // it is small
	if schema.MaxLength != nil {
		add(fmt.Sprintf("no more than %d characters.", *schema.MaxLength), text(*schema.MaxLength), text(*schema.MaxLength+1))
	}
	if schema.MinLength > 0 {
		add(fmt.Sprintf("at least %d characters.", schema.MinLength), text(schema.MinLength), text(schema.MinLength-1))
	}
	if schema.Max != nil {
		most := int64(*schema.Max)
		add("Ensure this value is less than or equal to "+strconv.FormatInt(most, 10)+".", most, most+1)
	}
	if schema.Min != nil {
		least := int64(*schema.Min)
		add("Ensure this value is greater than or equal to "+strconv.FormatInt(least, 10)+".", least, least-1)
	}
	return bounds
}

// What the description says of a field's bounds is what holds: at a bound nothing is said of it, beyond it is
// refused. And what it says is required is.
func TestDescribedBoundsHold(t *testing.T) {
	s := peopled(t)
	seen := 0
	for _, o := range contract(t) {
		if o.schema() == nil {
			continue
		}
		as := o.caller(s)
		if o.endsLogins() {
			as = s.register()
		}
		path := s.object(o.path, s.owner)
		send := func(body string) answer {
			return s.send(request{method: o.method, path: path, as: as, body: body})
		}
		good := s.body(o)
		check := func(name string, schema *openapi3.Schema, field func(value string) string) {
			for _, b := range boundsOf(schema) {
				seen++
				got := send(withField(t, without(good, strings.Split(name, ".")[0]), strings.Split(name, ".")[0], field(b.value)))
				if refused := strings.Contains(got.body, b.refusal); refused != b.beyond || b.beyond && got.status != http.StatusBadRequest {
					t.Errorf("%s with %s %.40s: got %d %.300s; is it %q?", o.name(), name, b.value, got.status, got.body, b.refusal)
				}
			}
		}
		for name, field := range o.schema().Properties {
			check(name, field.Value, func(value string) string { return value })
			for inner, deeper := range field.Value.Properties {
				check(name+"."+inner, deeper.Value, func(value string) string { return fmt.Sprintf("{%q: %s}", inner, value) })
			}
		}
		for _, name := range o.schema().Required {
			if got := send(encode(t, without(good, name))); got.status != http.StatusBadRequest || !strings.Contains(got.body, `"`+name+`":["This field is required."]`) {
				t.Errorf("%s without %s: got %d %s", o.name(), name, got.status, got.body)
			}
		}
	}
	if seen < 80 {
		t.Errorf("there are %d bounds", seen)
	}
	longest := strings.Repeat("%C3%BC", 1000)
	s.must(200, request{method: "GET", path: "/api/products/?search=" + longest, as: s.owner})
	s.must(400, request{method: "GET", path: "/api/products/?search=" + longest + "a", as: s.owner})
}

func without(body map[string]any, name string) map[string]any {
	rest := maps.Clone(body)
	delete(rest, name)
	return rest
}

// The parameters that are described are those that are read: with a wrong one each says so.
func TestDescribedParametersAreRead(t *testing.T) {
	s := peopled(t)
	wrong := map[string]string{"page": "0", "category": "x", "price_min": "x", "price_max": "x", "in_stock": "x", "featured": "x", "search": "%00", "ordering": "%00",
		"atomic": "x", "format": "x", "status": "x", "created_after": "x", "created_before": "x", "user": "x", "unread": "x"}
	for _, o := range contract(t) {
		for _, parameter := range o.parameters("query") {
			r := request{method: o.method, path: s.object(o.path, s.owner), as: o.caller(s)}
			if parameter.Name == "page_size" { // one that does not parse means the default
				continue
			}
			value, known := wrong[parameter.Name]
			if !known {
				t.Errorf("%s: it is not known here what is wrong for %s", o.name(), parameter.Name)
			}
			r.path += "?" + parameter.Name + "=" + value
			want, status := fmt.Sprintf(`{"%s":[`, parameter.Name), http.StatusBadRequest
			if parameter.Name == "page" {
				want, status = `{"error":"Invalid page."}`, http.StatusNotFound
			}
			if got := s.send(r); got.status != status || !strings.HasPrefix(got.body, want) {
				t.Errorf("%s: got %d %s", r, got.status, got.body)
			}
			good := url.Values{parameter.Name: {fmt.Sprint(parameter.Example)}}.Encode()
			r.path = strings.SplitAfter(r.path, "?")[0] + good
			if got := s.send(r); got.status == http.StatusBadRequest && strings.HasPrefix(got.body, want) {
				t.Errorf("%s: got %d %s", r, got.status, got.body)
			}
		}
	}
}
