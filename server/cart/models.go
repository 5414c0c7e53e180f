package cart

import (
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

// item is a product in a cart, at today's price.
type item struct {
	ID         int64           `json:"id"`
	Product    catalog.Summary `json:"product"`
	Quantity   int64           `json:"quantity"`
	TotalPrice money.Total     `json:"total_price"`
}

// Line is what a customer orders of a product.
type Line struct {
	ProductID, Quantity int64
}

// contentsOf adds up the items of a cart.
func contentsOf(id int64, items []item) contents {
	cart := contents{ID: id, Items: make([]item, 0, len(items))}
	for _, i := range items {
		cart.Items = append(cart.Items, i.priced())
		cart.TotalPrice = cart.TotalPrice.Plus(i.Product.Price, i.Quantity)
		cart.TotalItems += i.Quantity
	}
	return cart
}

// priced is the item with its total.
func (i item) priced() item {
	i.TotalPrice = money.Total{}.Plus(i.Product.Price, i.Quantity)
	return i
}
