package httpapi

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/gofiber/fiber/v2"
)

const (
	defaultPageSize = 20
	maxPageSize     = 100
)

// PageRequest is the page that a client asks for; Number counts from 1.
type PageRequest struct {
	Number, Size int
}

// ReadPage reads ?page= and ?page_size=. A size that does not parse means the default, as in DRF.
func ReadPage(c *fiber.Ctx) (PageRequest, error) {
	page := PageRequest{Number: 1, Size: defaultPageSize}
	if size, err := strconv.Atoi(c.Query("page_size")); err == nil && size > 0 {
		page.Size = min(size, maxPageSize)
	}
	if text := c.Query("page"); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 || number > 1<<31 {
			return PageRequest{}, invalidPage()
		}
		page.Number = number
	}
	return page, nil
}

func invalidPage() *Error { return &Error{Status: http.StatusNotFound, Message: "Invalid page."} }

// Offset is the number of rows before the page.
func (p PageRequest) Offset() int { return (p.Number - 1) * p.Size }

// Check returns the 404 of a page beyond the last of count rows. The first page always exists.
func (p PageRequest) Check(count int64) error {
	if p.Number > 1 && int64(p.Offset()) >= count {
		return invalidPage()
	}
	return nil
}

// Page is one page of a list with links to its neighbours.
type Page[T any] struct {
	Count    int64   `json:"count"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []T     `json:"results"`
}

// PageOf is one page of count rows in all.
func PageOf[T any](c *fiber.Ctx, request PageRequest, count int64, results []T) Page[T] {
	page := Page[T]{Count: count, Results: results}
	if page.Results == nil {
		page.Results = []T{}
	}
	if int64(request.Offset()+request.Size) < count {
		page.Next = pageLink(c, request.Number+1)
	}
	if request.Number > 1 {
		page.Previous = pageLink(c, request.Number-1)
	}
	return page
}

// AppendJSONPage appends a page as [EncodeJSON] writes it, with appendRow for each row.
func AppendJSONPage[T any](body []byte, p Page[T], appendRow func(body []byte, row *T) []byte) []byte {
	body = strconv.AppendInt(append(body, `{"count":`...), p.Count, 10)
	body = appendLink(append(body, `,"next":`...), p.Next)
	body = appendLink(append(body, `,"previous":`...), p.Previous)
	body = append(body, `,"results":[`...)
	for n := range p.Results {
		if n > 0 {
			body = append(body, ',')
		}
		body = appendRow(body, &p.Results[n])
	}
	return append(body, "]}"...)
}

func appendLink(body []byte, link *string) []byte {
	if link == nil {
		return append(body, "null"...)
	}
	return AppendJSONText(body, *link)
}

// SendPage answers with one page of count rows in all.
func SendPage[T any](c *fiber.Ctx, request PageRequest, count int64, results []T) error {
	return c.JSON(PageOf(c, request, count, results))
}

// pageLink is the URL of the request with another page number; every other parameter stays, as it was understood.
func pageLink(c *fiber.Ctx, number int) *string {
	query := url.Values{}
	for name, value := range c.Request().URI().QueryArgs().All() {
		query.Add(string(name), string(value))
	}
	query.Del("page")
	if number > 1 {
		query.Set("page", strconv.Itoa(number))
	}
	link := c.BaseURL() + c.Path()
	if encoded := query.Encode(); encoded != "" {
		link += "?" + encoded
	}
	return &link
}
