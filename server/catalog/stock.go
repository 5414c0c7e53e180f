package catalog

import (
	"fmt"
	"math"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

func (p *Summary) columns() []any { return []any{&p.ID, &p.Name, &p.Price, &p.CategoryName} }

// Find returns a product that is on sale; ok is false when there is none of that id.
func (s *Catalog) Find(tx *gorm.DB, id int64) (found Summary, ok bool, err error) {
	row := tx.Raw(`SELECT p.id, p.name, p.price_cents, c.name FROM products p JOIN categories c ON c.id = p.category_id
		WHERE p.id = ? AND p.archived_at IS NULL`, id)
	found, ok, err = database.SelectOne(row, (*Summary).columns)
	if err != nil {
		return Summary{}, false, fmt.Errorf("read product %d: %w", id, err)
	}
	return found, ok, nil
}

// TakeStock takes units of a product out of stock and returns the product as it is at that moment. ok is
// false, and nothing taken, when fewer are left or the product is not on sale. The product's row stays locked
// until tx ends: to wait for one another and never in a circle, all take products in ascending order of id.
// What moved is noted for [Catalog.Announce].
func (s *Catalog) TakeStock(tx *gorm.DB, moves *Moves, id, units int64) (taken Summary, ok bool, err error) {
	row := tx.Raw(`UPDATE products SET stock = stock - ?, stock_moves = stock_moves + 1 WHERE id = ? AND stock >= ? AND archived_at IS NULL
		RETURNING id, name, price_cents, (SELECT c.name FROM categories c WHERE c.id = products.category_id), stock, stock_moves`, units, id, units)
	left := level{}
	taken, ok, err = database.SelectOne(row, func(s *Summary) []any { return append(s.columns(), &left.Stock, &left.Moves) })
	if err != nil {
		return Summary{}, false, fmt.Errorf("take stock of product %d: %w", id, err)
	}
	if ok {
		moves.Take(id, left.Stock, left.Moves)
	}
	return taken, ok, nil
}

// ReturnStock puts units back, up to the largest stock there can be, in ascending order of id like TakeStock.
func (s *Catalog) ReturnStock(tx *gorm.DB, moves *Moves, id, units int64) error {
	row := tx.Raw(`UPDATE products SET stock = CASE WHEN stock > ? THEN ? ELSE stock + ? END, stock_moves = stock_moves + 1
		WHERE id = ? RETURNING stock, stock_moves`, math.MaxInt32-units, math.MaxInt32, units, id)
	now, ok, err := database.SelectOne(row, func(l *level) []any { return []any{&l.Stock, &l.Moves} })
	if err != nil {
		return fmt.Errorf("return stock of product %d: %w", id, err)
	}
	if ok {
		now.Product = id
		moves.note(now, now.Stock == units)
	}
	return nil
}
