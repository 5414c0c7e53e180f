package orders

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

// placed is an order that was made, and what is to be told of it after the commit.
type placed struct {
	answer   []byte // to the request
	replayed bool   // the answer is that of an earlier request: nothing was made
	moves    catalog.Moves
	event    outbox.Event
}

// placeOrders spans the tables of all whom an order concerns, for the sake of time: three statements that go to
// PostgreSQL together lock a product that many buy for much less than a statement for each step does, and orders that
// wait for their turn share them.
//
//go:embed place.sql
var placeOrders string

const (
	// planOnce keeps PostgreSQL from planning anew, however many the orders.
	planOnce = "SET LOCAL plan_cache_mode = force_generic_plan"

	// lockCarts keeps others from ordering what is in the carts, and from putting something new into them.
	lockCarts = "SELECT id FROM carts WHERE user_id = ANY($1::bigint[]) ORDER BY id FOR UPDATE"

	// lockLines locks what is ordered, in ascending order of product id, as all do who take stock. It is a
	// statement of its own, so that the next one begins, and looks at the stock, when it has waited for others.
	lockLines = `SELECT p.id FROM carts k JOIN cart_items i ON i.cart_id = k.id
			JOIN products p ON p.id = i.product_id AND p.archived_at IS NULL
		WHERE k.user_id = ANY($1::bigint[]) ORDER BY p.id, i.id FOR UPDATE OF i FOR NO KEY UPDATE OF p`
)

// wish is an order that waits to be placed.
type wish struct {
	order

	ctx    context.Context // of its request
	key    idempotencyKey
	origin string // of its notification
	alone  bool   // whether it is placed in a transaction of its own

	done bool
	made placed
	err  error
}

const ordersTogether = 4 // in one transaction

// fits keeps the orders of one transaction few and of different users.
func fits(together []*wish, next *wish) bool {
	return len(together) < ordersTogether && !next.alone && !together[0].alone &&
		!slices.ContainsFunc(together, func(w *wish) bool { return w.UserID == next.UserID })
}

// atOnce is what makes orders of their users' carts in PostgreSQL.
func atOnce(wishes []*wish) []database.Statement {
	count := len(wishes)
	users, at := make([]int64, count), make([]time.Time, count)
	addresses, phones, notes, origins := make([]string, count), make([]string, count), make([]string, count), make([]string, count)
	for n, w := range wishes {
		users[n], at[n], origins[n] = w.UserID, w.CreatedAt, w.origin
		addresses[n], phones[n], notes[n] = w.ShippingAddress, w.PhoneNumber, w.Notes
	}
	return []database.Statement{
		{SQL: planOnce},
		{SQL: lockCarts, Arguments: []any{users}},
		{SQL: lockLines, Arguments: []any{users}},
		{SQL: placeOrders, Arguments: []any{users, addresses, phones, notes, at, origins}},
	}
}

// errNotAtOnce says that a cart cannot be ordered as it is. Why not is found out step by step.
var errNotAtOnce = errors.New("the cart made no order at once")

// create makes an order of what is in its user's cart. All of it happens or nothing. A request that bears the
// key of an earlier one is that one: it changes nothing and gets its answer.
func (s *Orders) create(ctx context.Context, wanted order, key idempotencyKey) (placed, error) {
	made, err := s.place(ctx, wanted, key)
	if err == nil && !made.replayed {
		s.metrics.placed.Inc()
		s.catalog.Announce(made.moves)
		s.publisher.Publish(ctx, made.event)
	}
	return made, err
}

// place makes the order when its turn comes, and tells nobody yet.
func (s *Orders) place(ctx context.Context, wanted order, key idempotencyKey) (placed, error) {
	wanted.Status, wanted.CreatedAt = pending, database.Now()
	wanted.UpdatedAt = wanted.CreatedAt
	traced := trace.SpanContextFromContext(ctx).IsSampled() // for its trace to show what becomes of it
	one := &wish{
		order: wanted, ctx: ctx, key: key, origin: outbox.OriginOf(ctx),
		alone: s.db.Embedded() || key.name != "" || traced,
	}
	if err := s.turns.Pass(ctx, one, s.grant); err != nil {
		return placed{}, fmt.Errorf("wait to place an order of user %d: %w", wanted.UserID, err)
	}
	one.made.event.Origin = one.origin
	return one.made, one.err
}

// grant makes orders together if it can, and those that are left over one after the other.
func (s *Orders) grant(wishes []*wish) {
	if len(wishes) > 1 {
		s.grantTogether(wishes)
	}
	for _, w := range wishes {
		if !w.done {
			w.made, w.err = s.placeAlone(w)
		}
	}
}

// grantTogether makes orders in one transaction. What it cannot make so it leaves over: for want of a stock that is
// enough for all, or because one failed, which then fails by itself, or is out of time.
func (s *Orders) grantTogether(wishes []*wish) {
	ctx, cancel := together(wishes)
	defer cancel()
	rows, err := database.SelectAtOnce(ctx, s.db, atOnce(wishes), (*placedItem).columns)
	for _, w := range wishes {
		switch own := rowsOf(rows, w.UserID); {
		case errors.Is(err, database.ErrUncertain):
			w.done, w.err = true, fmt.Errorf("place an order of user %d: %w", w.UserID, err)
		case err == nil && len(own) > 0:
			w.done = true
			w.made, w.err = w.placed(own, nil)
		}
	}
}

// together is the context of several orders, which ends with the first of theirs.
func together(wishes []*wish) (context.Context, context.CancelFunc) {
	ctx := context.WithoutCancel(wishes[0].ctx)
	var first time.Time
	for _, w := range wishes {
		if deadline, ok := w.ctx.Deadline(); ok && (first.IsZero() || deadline.Before(first)) {
			first = deadline
		}
	}
	if first.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, first)
}

func rowsOf(rows []placedItem, userID int64) (own []placedItem) {
	for _, row := range rows {
		if row.userID == userID {
			own = append(own, row)
		}
	}
	return own
}

func (s *Orders) placeAlone(w *wish) (made placed, err error) {
	if s.db.Embedded() {
		return s.placeWith(w.ctx, w.key, w.order, s.placeStepByStep)
	}
	statements := atOnce([]*wish{w})
	if w.key.name == "" {
		made, err = w.placed(database.SelectAtOnce(w.ctx, s.db, statements, (*placedItem).columns))
	} else {
		made, err = s.placeWith(w.ctx, w.key, w.order, func(tx *gorm.DB, o order) (placed, error) {
			return o.placed(database.SelectInTx(tx, statements, (*placedItem).columns))
		})
	}
	if errors.Is(err, errNotAtOnce) {
		made, err = s.placeWith(w.ctx, w.key, w.order, s.placeStepByStep)
	}
	return made, err
}

// placeWith claims the key, makes the order by place, and keeps the answer, in one transaction.
func (s *Orders) placeWith(ctx context.Context, key idempotencyKey, wanted order, place func(*gorm.DB, order) (placed, error)) (made placed, err error) {
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		made = placed{}
		// First of all, so that of two requests at once the second waits here, holding nothing.
		if made.answer, made.replayed, err = key.claim(tx, wanted.UserID); err != nil || made.replayed {
			return err
		}
		if made, err = place(tx, wanted); err != nil {
			return err
		}
		return key.keep(tx, wanted.UserID, made.answer)
	})
	return made, err
}

// placedItem is a row that [placeOrders] returns.
type placedItem struct {
	orderItem

	userID      int64
	total       money.Amount
	event       int64
	frame       []byte
	left, moves int64
}

func (i *placedItem) columns() []any {
	return []any{
		&i.userID, &i.OrderID, &i.total, &i.event, &i.frame,
		&i.ID, &i.ProductID, &i.ProductName, &i.CategoryName, &i.PriceCents, &i.Quantity, &i.left, &i.moves,
	}
}

// placed is the order that made of itself the given rows.
func (o order) placed(rows []placedItem, err error) (made placed, _ error) {
	if err != nil {
		return placed{}, fmt.Errorf("place an order of user %d: %w", o.UserID, err)
	}
	if len(rows) == 0 {
		return placed{}, errNotAtOnce
	}
	items := make([]orderItem, len(rows))
	for n, row := range rows {
		items[n] = row.orderItem
		made.moves.Take(row.ProductID, row.left, row.moves)
	}
	o.ID, o.TotalCents = rows[0].OrderID, rows[0].total
	made.event = outbox.Event{UserID: o.UserID, EventID: rows[0].event, Frame: rows[0].frame, CreatedAt: o.CreatedAt}
	made.answer, err = answerOf(o, items)
	return made, err
}

// placeStepByStep makes the order, or finds out why there can be none.
func (s *Orders) placeStepByStep(tx *gorm.DB, o order) (made placed, err error) {
	items, err := s.sell(tx, &made.moves, o.UserID)
	if err != nil {
		return placed{}, err
	}
	if o.TotalCents, err = totalOf(items); err != nil {
		return placed{}, err
	}
	if err := insertOrder(tx, &o, items); err != nil {
		return placed{}, err
	}
	if made.answer, err = answerOf(o, items); err != nil {
		return placed{}, err
	}
	made.event, err = outbox.Record(tx, o.UserID, orderNotification{
		Type: "order_notification", OrderID: o.ID, Message: "Order created successfully",
	})
	return made, err
}

func answerOf(o order, items []orderItem) ([]byte, error) {
	answer, err := httpapi.EncodeJSON(viewOf(o, items, []orderStep{firstStep(o)}))
	if err != nil {
		return nil, fmt.Errorf("encode order %d: %w", o.ID, err)
	}
	return answer, nil
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
