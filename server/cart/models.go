package cart

import (
	"slices"
	"strconv"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// contents is a user's cart with all that is in it.
type contents struct {
	ID         int64       `json:"id"`
	Items      []item      `json:"items"`
	TotalPrice money.Total `json:"total_price"`
	TotalItems int64       `json:"total_items"` // the sum of the quantities
}

// AppendJSON makes it a [httpapi.JSONAppender].
func (c contents) AppendJSON(body []byte) []byte {
	body = slices.Grow(body, 100+200*len(c.Items)) // about as much
	body = strconv.AppendInt(append(body, `{"id":`...), c.ID, 10)
	body = append(body, `,"items":[`...)
	for n := range c.Items {
		if n > 0 {
			body = append(body, ',')
		}
		body = c.Items[n].AppendJSON(body)
	}
	body = c.TotalPrice.Append(append(body, `],"total_price":"`...))
	body = strconv.AppendInt(append(body, `","total_items":`...), c.TotalItems, 10)
	return append(body, '}')
}

// item is a product in a cart, at today's price.
type item struct {
	ID         int64           `json:"id"`
	Product    catalog.Summary `json:"product"`
	Quantity   int64           `json:"quantity"`
	TotalPrice money.Total     `json:"total_price"`
}

// AppendJSON makes it a [httpapi.JSONAppender].
func (i item) AppendJSON(body []byte) []byte {
	body = strconv.AppendInt(append(body, `{"id":`...), i.ID, 10)
	body = i.Product.AppendJSON(append(body, `,"product":`...))
	body = strconv.AppendInt(append(body, `,"quantity":`...), i.Quantity, 10)
	body = i.TotalPrice.Append(append(body, `,"total_price":"`...))
	return append(body, `"}`...)
}

// Line is what a customer orders of a product.
type Line struct {
	ProductID, Quantity int64
}

// contentsOf adds up the rows of a cart, of which there is one at least.
func contentsOf(rows []itemRow) contents {
	cart := contents{ID: rows[0].cartID, Items: make([]item, len(rows))}
	for n, row := range rows {
		cart.Items[n] = row.priced()
		cart.TotalPrice = cart.TotalPrice.Plus(row.Product.Price, row.Quantity)
		cart.TotalItems += row.Quantity
	}
	return cart
}

// priced is the item with its total.
func (i item) priced() item {
	i.TotalPrice = money.Total{}.Plus(i.Product.Price, i.Quantity)
	return i
}
