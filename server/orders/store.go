package orders

import (
	"fmt"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// The functions of this file run on a handle that bears its context: a transaction, or the database itself.

const orderColumns = "id, user_id, status, total_cents, shipping_address, phone_number, notes, created_at, updated_at"

func (o *order) columns() []any {
	return []any{&o.ID, &o.UserID, &o.Status, &o.TotalCents, &o.ShippingAddress, &o.PhoneNumber, &o.Notes, &o.CreatedAt, &o.UpdatedAt}
}

func (i *orderItem) columns() []any {
	return []any{&i.ID, &i.OrderID, &i.ProductID, &i.ProductName, &i.CategoryName, &i.PriceCents, &i.Quantity}
}

func (s *orderStep) columns() []any { return []any{&s.ID, &s.OrderID, &s.Status, &s.At, &s.ByUser} }

// visible is the orders that a caller may see: their own, or to staff all.
func visible(tx *gorm.DB, caller httpapi.Caller) *gorm.DB {
	orders := tx.Table("orders")
	if caller.Staff {
		return orders
	}
	return orders.Where("user_id = ?", caller.UserID)
}

// listOrders returns one page of the orders found, newest first, and how many there are in all.
func listOrders(tx, found *gorm.DB, page httpapi.PageRequest) (views []orderView, count int64, err error) {
	if err := found.Count(&count).Error; err != nil {
		return nil, 0, fmt.Errorf("count orders: %w", err)
	}
	if err := page.Check(count); err != nil {
		return nil, 0, err
	}
	rows := found.Select(orderColumns).Order("id DESC").Limit(page.Size).Offset(page.Offset())
	orders, err := database.Select(rows, (*order).columns)
	if err != nil {
		return nil, 0, fmt.Errorf("list orders: %w", err)
	}
	views, err = completed(tx, orders)
	return views, count, err
}

// findOrder returns an order that the caller may see, or a 404.
func findOrder(tx *gorm.DB, caller httpapi.Caller, id int64) (order, error) {
	found, ok, err := database.SelectOne(visible(tx, caller).Select(orderColumns).Where("id = ?", id), (*order).columns)
	if err != nil {
		return order{}, fmt.Errorf("read order %d: %w", id, err)
	}
	if !ok {
		return order{}, httpapi.NotFound()
	}
	return found, nil
}

// completed reads what belongs to the given orders, in one query each for items and history.
func completed(tx *gorm.DB, orders []order) ([]orderView, error) {
	if len(orders) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(orders))
	for n, o := range orders {
		ids[n] = o.ID
	}
	items, err := itemsOf(tx, ids...)
	if err != nil {
		return nil, err
	}
	history, err := database.Select(
		tx.Raw("SELECT id, order_id, status, at, by_user FROM order_history WHERE order_id IN ? ORDER BY id", ids),
		(*orderStep).columns)
	if err != nil {
		return nil, fmt.Errorf("read the history of orders: %w", err)
	}
	itemsByOrder := groupBy(items, func(i orderItem) int64 { return i.OrderID })
	historyByOrder := groupBy(history, func(s orderStep) int64 { return s.OrderID })
	views := make([]orderView, len(orders))
	for n, o := range orders {
		views[n] = viewOf(o, itemsByOrder[o.ID], historyByOrder[o.ID])
	}
	return views, nil
}

func groupBy[T any](rows []T, key func(T) int64) map[int64][]T {
	groups := map[int64][]T{}
	for _, row := range rows {
		groups[key(row)] = append(groups[key(row)], row)
	}
	return groups
}

// itemsOf returns the items of orders in ascending order of product id, the order in which stock moves.
func itemsOf(tx *gorm.DB, orderIDs ...int64) ([]orderItem, error) {
	items, err := database.Select(
		tx.Raw(`SELECT id, order_id, product_id, product_name, category_name, price_cents, quantity
			FROM order_items WHERE order_id IN ? ORDER BY product_id, id`, orderIDs),
		(*orderItem).columns)
	if err != nil {
		return nil, fmt.Errorf("read the items of orders: %w", err)
	}
	return items, nil
}

// insertOrder stores a new order with its items and the first step of its history, and fills in their ids.
func insertOrder(tx *gorm.DB, o *order, items []orderItem) error {
	if err := tx.Create(o).Error; err != nil {
		return fmt.Errorf("insert an order of user %d: %w", o.UserID, err)
	}
	for n := range items {
		items[n].OrderID = o.ID
	}
	if err := tx.Create(&items).Error; err != nil {
		return fmt.Errorf("insert the items of order %d: %w", o.ID, err)
	}
	return insertStep(tx, firstStep(*o))
}

func firstStep(o order) orderStep {
	return orderStep{OrderID: o.ID, Status: o.Status, At: o.CreatedAt, ByUser: o.UserID}
}

func insertStep(tx *gorm.DB, step orderStep) error {
	if err := tx.Create(&step).Error; err != nil {
		return fmt.Errorf("insert a step of order %d: %w", step.OrderID, err)
	}
	return nil
}

// updateStatus moves an order to another status; ok is false when its status is no longer the given one.
func updateStatus(tx *gorm.DB, o order, step orderStep) (ok bool, err error) {
	updated := tx.Exec("UPDATE orders SET status = ?, updated_at = ? WHERE id = ? AND status = ?", step.Status, step.At, o.ID, o.Status)
	if updated.Error != nil {
		return false, fmt.Errorf("update the status of order %d: %w", o.ID, updated.Error)
	}
	return updated.RowsAffected == 1, nil
}
