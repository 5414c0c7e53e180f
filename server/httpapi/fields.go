package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// Texts of validation errors that features use too.
const (
	Required    = "This field is required."
	NotNull     = "This field may not be null."
	NotBlank    = "This field may not be blank."
	NotInteger  = "A valid integer is required."
	NotNumber   = "A valid number is required."
	NotBoolean  = "Must be a valid boolean."
	NotText     = "Not a valid string."
	NotEmail    = "Enter a valid email address."
	NotURL      = "Enter a valid URL."
	NoNull      = "Null characters are not allowed."
	NotUTF8     = "Not UTF-8."
	notADict    = "Invalid data. Expected a dictionary, but got %s."
	tooLong     = "Ensure this field has no more than %d characters."
	tooShort    = "Ensure this field has at least %d characters."
	tooSmall    = "Ensure this value is greater than or equal to %s."
	tooLarge    = "Ensure this value is less than or equal to %s."
	tooPrecise  = "Ensure that there are no more than 2 decimal places."
	emailLength = 254 // RFC 5321, 4.5.3.1.3
	urlLength   = 2000
)

// Fields is a JSON object sent by a client, read field by field. Each reader returns the field's value, or
// the given current one when the field is absent and may be, and notes what is wrong; Err then reports all
// of it at once.
type Fields struct {
	raw     map[string]json.RawMessage
	partial bool
	wrong   map[string][]string
}

// ReadFields reads the body of a request. In a PATCH every field may be absent.
func ReadFields(c *fiber.Ctx) (*Fields, error) {
	fields := &Fields{partial: c.Method() == http.MethodPatch, wrong: map[string][]string{}}
	body := c.BodyRaw() // a decoded one may be a thousand times as large
	if len(body) == 0 {
		return fields, nil
	}
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" {
		return nil, &Error{Status: http.StatusUnsupportedMediaType, Message: fmt.Sprintf("Unsupported content encoding %q in request.", encoding)}
	}
	if kind, _, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType)); kind != fiber.MIMEApplicationJSON {
		message := fmt.Sprintf("Unsupported media type %q in request.", c.Get(fiber.HeaderContentType))
		return nil, &Error{Status: http.StatusUnsupportedMediaType, Message: message}
	}
	if err := fields.parse(body); err != nil {
		return nil, err
	}
	return fields, nil
}

// ParseFields reads a JSON object that came in another way than as the body of a request.
func ParseFields(object []byte) (*Fields, error) {
	fields := &Fields{wrong: map[string][]string{}}
	return fields, fields.parse(object)
}

// TextFields is an object whose fields are texts.
func TextFields(texts map[string]string) (*Fields, error) {
	fields := &Fields{raw: make(map[string]json.RawMessage, len(texts)), wrong: map[string][]string{}}
	for name, text := range texts {
		if !utf8.ValidString(text) {
			return nil, Invalid(name, NotUTF8)
		}
		encoded, err := json.Marshal(text)
		if err != nil {
			return nil, fmt.Errorf("encode the field %s: %w", name, err)
		}
		fields.raw[name] = encoded
	}
	return fields, nil
}

func (f *Fields) parse(body []byte) error {
	if !utf8.Valid(body) {
		return BadRequest("JSON parse error - the body is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	var whole json.RawMessage
	if err := decoder.Decode(&whole); err != nil {
		return jsonError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return BadRequest("JSON parse error - extra data after the first value")
	}
	if kind := kindOf(whole); kind != "dict" {
		return BadRequest(fmt.Sprintf(notADict, kind))
	}
	if err := json.Unmarshal(whole, &f.raw); err != nil {
		return jsonError(err)
	}
	return nil
}

func jsonError(err error) *Error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return BadRequest(fmt.Sprintf("JSON parse error - %s (char %d)", syntax.Error(), syntax.Offset))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return BadRequest("JSON parse error - unexpected end of the body")
	default:
		return BadRequest("JSON parse error - not a JSON value")
	}
}

// kindOf names a JSON value as Python does, which the texts of the API follow.
func kindOf(raw json.RawMessage) string {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	switch {
	case len(raw) == 0:
		return "NoneType"
	case raw[0] == '{':
		return "dict"
	case raw[0] == '[':
		return "list"
	case raw[0] == '"':
		return "str"
	case raw[0] == 't' || raw[0] == 'f':
		return "bool"
	case raw[0] == 'n':
		return "NoneType"
	case bytes.ContainsAny(raw, ".eE"):
		return "float"
	default:
		return "int"
	}
}

// Reject notes that a field is wrong.
func (f *Fields) Reject(name, message string) { f.wrong[name] = append(f.wrong[name], message) }

// Valid reports whether nothing is wrong with a field so far.
func (f *Fields) Valid(name string) bool { return len(f.wrong[name]) == 0 }

// Sent reports whether the client sent a field.
func (f *Fields) Sent(name string) bool { return f.raw[name] != nil }

// Err is the 400 that names all that is wrong, or nil.
func (f *Fields) Err() error {
	if len(f.wrong) == 0 {
		return nil
	}
	return &Error{Status: http.StatusBadRequest, Fields: f.wrong}
}

// value returns the raw field; ok is false when it is absent or null, and that is noted if it matters.
func (f *Fields) value(name string, required bool) (raw json.RawMessage, ok bool) {
	raw, sent := f.raw[name]
	switch {
	case !sent && required && !f.partial:
		f.Reject(name, Required)
	case sent && string(raw) == "null":
		f.Reject(name, NotNull)
	case sent:
		return raw, true
	}
	return nil, false
}

// Text says what a text field may be. Lengths are in characters; a Max of 0 means 10,000.
type Text struct {
	Required bool // must be sent, unless in a PATCH
	Blank    bool // may be empty
	Verbatim bool // surrounding white space stays
	Min, Max int
}

// Text reads a text. A number is taken as its digits.
func (f *Fields) Text(name, current string, rule Text) string {
	raw, ok := f.value(name, rule.Required)
	if !ok {
		return current
	}
	var text string
	switch kindOf(raw) {
	case "str":
		if err := json.Unmarshal(raw, &text); err != nil {
			f.Reject(name, NotText)
			return current
		}
	case "int", "float":
		text = string(raw)
	default:
		f.Reject(name, NotText)
		return current
	}
	if !rule.Verbatim {
		text = strings.TrimSpace(text)
	}
	f.checkText(name, text, rule)
	return text
}

func (f *Fields) checkText(name, text string, rule Text) {
	limit := rule.Max
	if limit == 0 {
		limit = 10_000
	}
	length := utf8.RuneCountInString(text)
	switch {
	case text == "" && !rule.Blank:
		f.Reject(name, NotBlank)
	case strings.ContainsRune(text, 0):
		f.Reject(name, NoNull)
	case length > limit:
		f.Reject(name, fmt.Sprintf(tooLong, limit))
	case length < rule.Min:
		f.Reject(name, fmt.Sprintf(tooShort, rule.Min))
	}
}

var plainAddress = regexp.MustCompile(`^[^\s<>"(),:;\\@\[\]]+@[^\s<>"(),:;\\@\[\]]+\.[^\s<>"(),:;\\@\[\].]{2,}$`)

// Email reads an address of the form local@domain.tld.
func (f *Fields) Email(name, current string, required bool) string {
	address := f.Text(name, current, Text{Required: required, Max: emailLength})
	if !f.Sent(name) || !f.Valid(name) {
		return address
	}
	if _, err := mail.ParseAddress(address); err != nil || !plainAddress.MatchString(address) {
		f.Reject(name, NotEmail)
	}
	return address
}

// URL reads an absolute http or https URL, or an empty text.
func (f *Fields) URL(name, current string) string {
	text := f.Text(name, current, Text{Blank: true, Max: urlLength})
	if text == "" || !f.Sent(name) || !f.Valid(name) {
		return text
	}
	parsed, err := url.Parse(text)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "" {
		f.Reject(name, NotURL)
	}
	return text
}

// Integer reads a whole number, or a text of one, from lowest to highest.
func (f *Fields) Integer(name string, current int64, required bool, lowest, highest int64) int64 {
	raw, ok := f.value(name, required)
	if !ok {
		return current
	}
	value, err := parseInteger(scalar(raw))
	beyond := errors.Is(err, strconv.ErrRange) // and value is the nearest that there is
	switch {
	case err != nil && !beyond:
		f.Reject(name, NotInteger)
		return current
	case value < lowest, beyond && value < 0:
		f.Reject(name, fmt.Sprintf(tooSmall, strconv.FormatInt(lowest, 10)))
	case value > highest, beyond:
		f.Reject(name, fmt.Sprintf(tooLarge, strconv.FormatInt(highest, 10)))
	}
	return value
}

var zeroFraction = regexp.MustCompile(`\.0*$`)

func parseInteger(text string) (int64, error) {
	text = zeroFraction.ReplaceAllString(strings.TrimSpace(text), "")
	return strconv.ParseInt(text, 10, 64)
}

// Money reads an amount sent as a text or a number, from 0 to highest.
func (f *Fields) Money(name string, current money.Amount, required bool, highest money.Amount) money.Amount {
	raw, ok := f.value(name, required)
	if !ok {
		return current
	}
	amount, err := money.Parse(strings.TrimSpace(scalar(raw)))
	switch {
	case errors.Is(err, money.ErrPrecision):
		f.Reject(name, tooPrecise)
	case err != nil && !errors.Is(err, money.ErrRange):
		f.Reject(name, NotNumber)
	case amount < 0:
		f.Reject(name, fmt.Sprintf(tooSmall, "0"))
	case amount > highest:
		f.Reject(name, fmt.Sprintf(tooLarge, highest))
	}
	return amount
}

// Boolean reads true or false.
func (f *Fields) Boolean(name string, current, required bool) bool {
	raw, ok := f.value(name, required)
	if !ok {
		return current
	}
	value, err := parseBoolean(scalar(raw))
	if err != nil {
		f.Reject(name, NotBoolean)
		return current
	}
	return value
}

func parseBoolean(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "t", "1", "yes", "y", "on":
		return true, nil
	case "false", "f", "0", "no", "n", "off":
		return false, nil
	default:
		return false, errors.New("not a boolean")
	}
}

// Object reads a JSON object of at most limit bytes and returns it in compact form.
func (f *Fields) Object(name string, current json.RawMessage, limit int) json.RawMessage {
	raw, ok := f.value(name, false)
	if !ok {
		return current
	}
	var compact bytes.Buffer
	switch kind := kindOf(raw); {
	case kind != "dict":
		f.Reject(name, fmt.Sprintf("Expected a dictionary of items but got type %q.", kind))
	case json.Compact(&compact, raw) != nil:
		f.Reject(name, "Value must be valid JSON.")
	case compact.Len() > limit:
		f.Reject(name, fmt.Sprintf("Ensure this value has no more than %d bytes.", limit))
	case bytes.Contains(bytes.ReplaceAll(compact.Bytes(), []byte(`\\`), nil), []byte(`\u0000`)): // a \\ escapes nothing behind it
		f.Reject(name, NoNull)
	default:
		return compact.Bytes()
	}
	return current
}

// Nested reads an object whose fields are read like those of the body; what is wrong with them is noted
// under the nested field's own name.
func (f *Fields) Nested(name string) (nested *Fields, sent bool) {
	raw, ok := f.value(name, false)
	if !ok {
		return nil, false
	}
	nested = &Fields{partial: true, wrong: f.wrong}
	if kind := kindOf(raw); kind != "dict" {
		f.Reject(name, fmt.Sprintf(notADict, kind))
		return nil, false
	}
	if err := json.Unmarshal(raw, &nested.raw); err != nil {
		f.Reject(name, "Value must be valid JSON.")
		return nil, false
	}
	return nested, true
}

// scalar is the text of a JSON string, or the literal itself.
func scalar(raw json.RawMessage) string {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return text
	}
	return string(raw)
}
