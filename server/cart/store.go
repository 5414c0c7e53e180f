package cart

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// The functions of this file run on a handle that bears its context: a transaction, or the database itself.

// findCart returns the id of a user's cart, and makes the cart when it is first needed.
func findCart(tx *gorm.DB, userID int64) (id int64, err error) {
	id, ok, err := scanID(tx.Raw("SELECT id FROM carts WHERE user_id = ?", userID))
	if err == nil && !ok {
		// The update, of nothing, lets a request that lost the race to make the cart read its id.
		id, _, err = scanID(tx.Raw(`INSERT INTO carts (user_id) VALUES (?)
			ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING id`, userID))
	}
	if err != nil {
		return 0, fmt.Errorf("find the cart of user %d: %w", userID, err)
	}
	return id, nil
}

func scanID(query *gorm.DB) (id int64, ok bool, err error) {
	return database.SelectOne(query, func(id *int64) []any { return []any{id} })
}

// selectItems reads items of a user's cart; products withdrawn from sale are not in it. The first column is the cart's id.
const selectItems = `SELECT i.cart_id, i.id, p.id, p.name, p.price_cents, c.name, i.quantity
	FROM carts k
	JOIN cart_items i ON i.cart_id = k.id
	JOIN products p ON p.id = i.product_id AND p.archived_at IS NULL
	JOIN categories c ON c.id = p.category_id
	WHERE k.user_id = ?`

type itemRow struct {
	cartID int64
	item
}

func (i *item) columns() []any {
	return []any{&i.ID, &i.Product.ID, &i.Product.Name, &i.Product.Price, &i.Product.CategoryName, &i.Quantity}
}

func (r *itemRow) columns() []any { return append([]any{&r.cartID}, r.item.columns()...) }

// read returns a user's cart.
func (s *Cart) read(ctx context.Context, userID int64) (contents, error) {
	tx := s.db.WithContext(ctx)
	rows, err := database.SelectTogether(s.db, tx.Raw(selectItems+" ORDER BY i.id", userID), (*itemRow).columns)
	if err != nil {
		return contents{}, fmt.Errorf("read the cart of user %d: %w", userID, err)
	}
	if len(rows) == 0 {
		id, err := findCart(tx, userID)
		return contents{ID: id, Items: []item{}}, err
	}
	return contentsOf(rows), nil
}

// readItem returns an item of a user's cart, or a 404.
func readItem(tx *gorm.DB, userID, itemID int64) (item, error) {
	row, ok, err := database.SelectOne(tx.Raw(selectItems+" AND i.id = ?", userID, itemID), (*itemRow).columns)
	if err != nil {
		return item{}, fmt.Errorf("read cart item %d: %w", itemID, err)
	}
	if !ok {
		return item{}, httpapi.NotFound()
	}
	return row.priced(), nil
}

// growItem puts more of a product into a user's cart, in one statement that looks at the stock and at what is
// in the cart already, and returns the item without its total. ok is false when that exceeds the stock, or when
// there is no such product or no cart.
func growItem(tx *gorm.DB, userID, productID, quantity int64) (grown item, ok bool, err error) {
	const product = "FROM products p WHERE p.id = cart_items.product_id"
	row := tx.Raw(`INSERT INTO cart_items (cart_id, product_id, quantity)
		SELECT k.id, p.id, CAST(? AS integer) FROM carts k, products p
			WHERE k.user_id = ? AND p.id = ? AND p.archived_at IS NULL AND p.stock >= ?
		ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = cart_items.quantity + excluded.quantity
			WHERE CAST(cart_items.quantity AS bigint) + excluded.quantity
				<= (SELECT p.stock FROM products p WHERE p.id = excluded.product_id)
		RETURNING id, product_id, (SELECT p.name `+product+`), (SELECT p.price_cents `+product+`),
			(SELECT c.name FROM categories c WHERE c.id = (SELECT p.category_id `+product+`)), quantity`,
		quantity, userID, productID, quantity)
	grown, ok, err = database.SelectOne(row, (*item).columns)
	if err != nil {
		return item{}, false, fmt.Errorf("put product %d into the cart of user %d: %w", productID, userID, err)
	}
	return grown, ok, nil
}

// setQuantity changes an item of a user's cart unless that exceeds the stock.
func setQuantity(tx *gorm.DB, userID, itemID, quantity int64) (ok bool, err error) {
	changed := tx.Exec(`UPDATE cart_items SET quantity = ?
		WHERE id = ? AND cart_id = (SELECT id FROM carts WHERE user_id = ?)
			AND EXISTS (SELECT 1 FROM products p
				WHERE p.id = cart_items.product_id AND p.archived_at IS NULL AND p.stock >= ?)`,
		quantity, itemID, userID, quantity)
	if changed.Error != nil {
		return false, fmt.Errorf("change cart item %d: %w", itemID, changed.Error)
	}
	return changed.RowsAffected == 1, nil
}

// removeItem takes an item out of a user's cart; ok is false when it is not there.
func removeItem(tx *gorm.DB, userID, itemID int64) (ok bool, err error) {
	removed := tx.Exec("DELETE FROM cart_items WHERE id = ? AND cart_id = (SELECT id FROM carts WHERE user_id = ?)", itemID, userID)
	if removed.Error != nil {
		return false, fmt.Errorf("remove cart item %d: %w", itemID, removed.Error)
	}
	return removed.RowsAffected == 1, nil
}

// emptyCart takes everything out of a user's cart, which it holds until tx ends, and returns it. Whoever takes
// several lines out holds the cart, and so never waits for another who does in a circle.
func emptyCart(tx *gorm.DB, userID int64) ([]Line, error) {
	taken := tx.Raw("DELETE FROM cart_items WHERE cart_id = (SELECT id FROM carts WHERE user_id = ?"+database.ForUpdate(tx)+
		") RETURNING product_id, quantity", userID)
	lines, err := database.Select(taken, func(l *Line) []any { return []any{&l.ProductID, &l.Quantity} })
	if err != nil {
		return nil, fmt.Errorf("empty the cart of user %d: %w", userID, err)
	}
	return lines, nil
}
