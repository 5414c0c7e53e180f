// Package cart is what each customer means to buy: one cart a user, one line a product, never more of it than
// is in stock when it is put in.
package cart

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// Cart answers the requests about carts, and hands a cart over to an order.
type Cart struct {
	db      *database.DB
	catalog *catalog.Catalog
	short   prometheus.Counter // of what was refused
}

// New makes the carts kept in db of products in the catalogue.
func New(db *database.DB, products *catalog.Catalog) *Cart {
	return &Cart{db: db, catalog: products, short: catalog.NewRefusals("cart")}
}

// Metrics are those of carts.
func (s *Cart) Metrics() []prometheus.Collector { return []prometheus.Collector{s.short} }

// CheckOut empties a user's cart in the caller's transaction and returns what was in it in ascending order of
// product id, the order in which stock is taken. The cart stays locked until the transaction ends, so that a
// second order of the same cart finds it empty, and what is put in meanwhile stays for the next.
func (s *Cart) CheckOut(tx *gorm.DB, userID int64) ([]Line, error) {
	lines, err := emptyCart(tx, userID)
	slices.SortFunc(lines, func(a, b Line) int { return cmp.Compare(a.ProductID, b.ProductID) })
	return lines, err
}

// add puts more of a product into a user's cart.
func (s *Cart) add(ctx context.Context, userID, productID, quantity int64) (item, error) {
	tx := s.db.WithContext(ctx)
	grown, ok, err := growItem(tx, userID, productID, quantity)
	if err == nil && !ok {
		grown, err = s.addAgain(tx, userID, productID, quantity)
	}
	if database.IsReferenced(err) { // the product was erased a moment ago
		return item{}, productNotFound()
	}
	return grown.priced(), err
}

// addAgain finds out why a product could not be put into a user's cart: it may be that there was no cart yet.
func (s *Cart) addAgain(tx *gorm.DB, userID, productID, quantity int64) (item, error) {
	_, onSale, err := s.catalog.Find(tx, productID)
	if err != nil {
		return item{}, err
	}
	if !onSale {
		return item{}, productNotFound()
	}
	if _, err := findCart(tx, userID); err != nil {
		return item{}, err
	}
	grown, ok, err := growItem(tx, userID, productID, quantity)
	if err == nil && !ok {
		err = s.insufficient()
	}
	return grown, err
}

func productNotFound() error {
	return &httpapi.Error{Status: http.StatusNotFound, Message: "Product not found"}
}

// unchanged is the quantity of a PATCH that sends none.
const unchanged = 0

// change sets the quantity of an item of a user's cart and returns the item.
func (s *Cart) change(ctx context.Context, userID, itemID, quantity int64) (item, error) {
	tx := s.db.WithContext(ctx)
	enough := true
	if quantity != unchanged {
		var err error
		if enough, err = setQuantity(tx, userID, itemID, quantity); err != nil {
			return item{}, err
		}
	}
	found, err := readItem(tx, userID, itemID)
	if err == nil && !enough {
		return item{}, s.insufficient()
	}
	return found, err
}

func (s *Cart) insufficient() error {
	s.short.Inc()
	return httpapi.BadRequest("Insufficient stock")
}
