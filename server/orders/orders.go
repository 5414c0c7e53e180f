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
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

// placedAtOnce is how many transactions of a process make orders at a time; what waits for its turn is made together.
// More only get in each other's way in PostgreSQL, and orders that wait for the lock of a product must not take every
// connection: see docs/decisions/connections.md.
const placedAtOnce = 4

// Orders answers the requests about orders.
type Orders struct {
	db        *database.DB
	catalog   *catalog.Catalog
	cart      *cart.Cart
	publisher outbox.Publisher
	turns     *database.Lanes[*wish] // to place an order
	metrics   metrics
}

// New makes the orders kept in db. They take their stock from the catalogue, their items from carts, and tell
// customers through the publisher.
func New(db *database.DB, products *catalog.Catalog, carts *cart.Cart, publisher outbox.Publisher) *Orders {
	return &Orders{
		db: db, catalog: products, cart: carts, publisher: publisher,
		turns: database.NewLanes(placedAtOnce, fits), metrics: newMetrics(),
	}
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
