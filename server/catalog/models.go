package catalog

import (
	"slices"
	"strconv"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// product is a row of the table products.
type product struct {
	ID          int64
	Name        string
	Description string
	PriceCents  money.Amount
	Stock       int64
	CategoryID  int64
	Image       string
	Featured    bool
	SearchText  string     // see searchText
	ArchivedAt  *time.Time // when it was withdrawn; orders still refer to it
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// category is a row of the table categories.
type category struct {
	ID          int64
	Name        string
	NameKey     string // the name regardless of case
	Slug        string
	Description string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Summary is a product as carts and orders show it.
type Summary struct {
	ID           int64        `json:"id"`
	Name         string       `json:"name"`
	Price        money.Amount `json:"price"`
	CategoryName string       `json:"category_name"`
}

// AppendJSON makes it a [httpapi.JSONAppender].
func (p Summary) AppendJSON(body []byte) []byte {
	body = strconv.AppendInt(append(body, `{"id":`...), p.ID, 10)
	body = httpapi.AppendJSONText(append(body, `,"name":`...), p.Name)
	body = p.Price.Append(append(body, `,"price":"`...))
	body = httpapi.AppendJSONText(append(body, `","category_name":`...), p.CategoryName)
	return append(body, '}')
}

// listedProduct is a product as lists show it.
type listedProduct struct {
	ID           int64        `json:"id"`
	Name         string       `json:"name"`
	Price        money.Amount `json:"price"`
	Stock        int64        `json:"stock"`
	CategoryName string       `json:"category_name"`
	Image        string       `json:"image"`
	IsInStock    bool         `json:"is_in_stock"`
	Featured     bool         `json:"featured"`

	moves int64 // see level
}

// productList is a page of products.
type productList httpapi.Page[listedProduct]

// AppendJSON makes it a [httpapi.JSONAppender].
func (l *productList) AppendJSON(body []byte) []byte {
	body = slices.Grow(body, 200+250*len(l.Results)) // about as much
	return httpapi.AppendJSONPage(body, httpapi.Page[listedProduct](*l), appendListed)
}

// appendListed is no method, which productDetail would have too.
func appendListed(body []byte, p *listedProduct) []byte {
	body = strconv.AppendInt(append(body, `{"id":`...), p.ID, 10)
	body = httpapi.AppendJSONText(append(body, `,"name":`...), p.Name)
	body = p.Price.Append(append(body, `,"price":"`...))
	body = strconv.AppendInt(append(body, `","stock":`...), p.Stock, 10)
	body = httpapi.AppendJSONText(append(body, `,"category_name":`...), p.CategoryName)
	body = httpapi.AppendJSONText(append(body, `,"image":`...), p.Image)
	body = strconv.AppendBool(append(body, `,"is_in_stock":`...), p.IsInStock)
	body = strconv.AppendBool(append(body, `,"featured":`...), p.Featured)
	return append(body, '}')
}

// productDetail is a product as its own page shows it.
type productDetail struct {
	listedProduct

	Description string       `json:"description"`
	Category    int64        `json:"category"`
	CreatedAt   httpapi.Time `json:"created_at"`
	UpdatedAt   httpapi.Time `json:"updated_at"`
}

// categoryDetail is a category as everyone sees it.
type categoryDetail struct {
	ID           int64  `json:"id"`
	Name         string `json:"name"`
	Slug         string `json:"slug"`
	Description  string `json:"description"`
	ProductCount int64  `json:"product_count"`
}
