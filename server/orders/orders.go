// Package orders is what customers bought: a cart becomes an order in one transaction, which staff then move
// from status to status. Every step is recorded and told to the customer.
package orders

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/cart"
	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

// Orders answers the requests about orders.
type Orders struct {
	db        *database.DB
	catalog   *catalog.Catalog
	cart      *cart.Cart
	publisher outbox.Publisher
	metrics   metrics
}

// New makes the orders kept in db. They take their stock from the catalogue, their items from carts, and tell
// customers through the publisher.
func New(db *database.DB, products *catalog.Catalog, carts *cart.Cart, publisher outbox.Publisher) *Orders {
	return &Orders{db: db, catalog: products, cart: carts, publisher: publisher, metrics: newMetrics()}
}

// create makes an order of what is in its user's cart and returns the answer to its request. All of it happens
// or nothing. A request that bears the key of an earlier one is that one: it changes nothing and gets its answer.
func (s *Orders) create(ctx context.Context, wanted order, key idempotencyKey) (answer []byte, replayed bool, err error) {
	var event outbox.Event
	var moves catalog.Moves
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		moves = catalog.Moves{}
		// First of all, so that of two requests at once the second waits here, holding nothing.
		if answer, replayed, err = key.claim(tx, wanted.UserID); err != nil || replayed {
			return err
		}
		var view orderView
		if view, err = s.place(tx, &moves, wanted); err != nil {
			return err
		}
		if answer, err = httpapi.EncodeJSON(view); err != nil {
			return fmt.Errorf("encode order %d: %w", view.ID, err)
		}
		if err := key.keep(tx, wanted.UserID, answer); err != nil {
			return err
		}
		event, err = outbox.Record(tx, wanted.UserID, orderNotification{
			Type: "order_notification", OrderID: view.ID, Message: "Order created successfully",
		})
		return err
	})
	if err == nil && !replayed {
		s.metrics.placed.Inc()
		s.catalog.Announce(moves)
		s.publisher.Publish(ctx, event)
	}
	return answer, replayed, err
}

// place turns the cart of an order's user into the order.
func (s *Orders) place(tx *gorm.DB, moves *catalog.Moves, o order) (orderView, error) {
	items, err := s.sell(tx, moves, o.UserID)
	if err != nil {
		return orderView{}, err
	}
	if o.TotalCents, err = totalOf(items); err != nil {
		return orderView{}, err
	}
	o.Status, o.CreatedAt = pending, database.Now()
	o.UpdatedAt = o.CreatedAt
	history, err := insertOrder(tx, &o, items)
	if err != nil {
		return orderView{}, err
	}
	return viewOf(o, items, history), nil
}

// sell takes what is in a user's cart out of it and out of stock, at the prices of this moment.
func (s *Orders) sell(tx *gorm.DB, moves *catalog.Moves, userID int64) ([]orderItem, error) {
	lines, err := s.cart.CheckOut(tx, userID)
	if err != nil {
		return nil, err
	}
	items := make([]orderItem, 0, len(lines))
	for _, line := range lines {
		product, ok, err := s.catalog.TakeStock(tx, moves, line.ProductID, line.Quantity)
		if err != nil {
			return nil, err
		}
		if ok {
			items = append(items, orderItem{
				ProductID: product.ID, ProductName: product.Name, CategoryName: product.CategoryName,
				PriceCents: product.Price, Quantity: line.Quantity,
			})
			continue
		}
		short, onSale, err := s.catalog.Find(tx, line.ProductID)
		if err != nil {
			return nil, err
		}
		if onSale { // a product that is not has left the cart already, for its owner too
			s.metrics.short.Inc()
			return nil, httpapi.BadRequest("Insufficient stock for " + short.Name)
		}
	}
	if len(items) == 0 {
		return nil, httpapi.BadRequest("Cart is empty")
	}
	return items, nil
}

func totalOf(items []orderItem) (money.Amount, error) {
	var total money.Total
	for _, i := range items {
		total = total.Plus(i.PriceCents, i.Quantity)
	}
	sum, ok := total.Amount()
	if !ok {
		return 0, httpapi.BadRequest("The order's total is too large")
	}
	return sum, nil
}

// move takes an order that the caller may see to another status and returns it as it is then.
func (s *Orders) move(ctx context.Context, caller httpapi.Caller, id int64, status string) (orderView, error) {
	db := s.db.WithContext(ctx)
	o, err := findOrder(db, caller, id)
	if err != nil {
		return orderView{}, err
	}
	if !mayFollow(o.Status, status) {
		return orderView{}, httpapi.Invalid("status", fmt.Sprintf("Cannot change the status from %s to %s.", o.Status, status))
	}
	var event outbox.Event
	var moves catalog.Moves
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		moves = catalog.Moves{}
		event, err = s.step(tx, &moves, o, orderStep{OrderID: o.ID, Status: status, At: database.Now(), ByUser: caller.UserID})
		return err
	})
	if err != nil {
		return orderView{}, err
	}
	s.catalog.Announce(moves)
	s.publisher.Publish(ctx, event)
	return s.view(ctx, caller, id)
}

// step records one step of an order, with all that it brings about.
func (s *Orders) step(tx *gorm.DB, moves *catalog.Moves, o order, step orderStep) (outbox.Event, error) {
	ok, err := updateStatus(tx, o, step)
	if err != nil {
		return outbox.Event{}, err
	}
	if !ok {
		return outbox.Event{}, httpapi.Invalid("status", "The status was changed by another request just now.")
	}
	if err := insertStep(tx, step); err != nil {
		return outbox.Event{}, err
	}
	if step.Status == cancelled {
		if err := s.returnStock(tx, moves, o); err != nil {
			return outbox.Event{}, err
		}
	}
	return outbox.Record(tx, o.UserID, orderStatusUpdate{
		Type: "order_status_update", OrderID: o.ID, OldStatus: o.Status, NewStatus: step.Status,
		Message: fmt.Sprintf("Order #%d status updated from %s to %s", o.ID, o.Status, step.Status),
	})
}

func (s *Orders) returnStock(tx *gorm.DB, moves *catalog.Moves, o order) error {
	items, err := itemsOf(tx, o.ID)
	if err != nil {
		return err
	}
	for _, i := range items {
		if err := s.catalog.ReturnStock(tx, moves, i.ProductID, i.Quantity); err != nil {
			return err
		}
	}
	return nil
}

// view returns an order that the caller may see.
func (s *Orders) view(ctx context.Context, caller httpapi.Caller, id int64) (orderView, error) {
	db := s.db.WithContext(ctx)
	o, err := findOrder(db, caller, id)
	if err != nil {
		return orderView{}, err
	}
	views, err := completed(db, []order{o})
	if err != nil {
		return orderView{}, err
	}
	return views[0], nil
}
