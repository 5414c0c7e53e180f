package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// The functions of this file run on a handle that bears its context: a transaction, or the database itself.

const (
	categoryName  = "(SELECT c.name FROM categories c WHERE c.id = p.category_id)" // planned in less time than a join
	listedColumns = "p.id, p.name, p.price_cents, p.stock, p.stock_moves, " + categoryName + ", p.image, p.stock > 0, p.featured"
	sortedColumns = "p.id, p.name, p.price_cents, p.stock, p.stock_moves, p.category_id, p.image, p.featured, p.created_at" // what a list needs besides
	detailColumns = listedColumns + ", p.description, p.category_id, p.created_at, p.updated_at"
)

func (p *listedProduct) columns() []any {
	return []any{&p.ID, &p.Name, &p.Price, &p.Stock, &p.moves, &p.CategoryName, &p.Image, &p.IsInStock, &p.Featured}
}

func (p *productDetail) columns() []any {
	return append(p.listedProduct.columns(), &p.Description, &p.Category, (*time.Time)(&p.CreatedAt), (*time.Time)(&p.UpdatedAt))
}

// listProducts returns one page of the products that a filter finds, and how many there are in all.
func (s *Catalog) listProducts(ctx context.Context, f filter, order string, page httpapi.PageRequest) (products []listedProduct, count int64, err error) {
	if page.Number > 1 {
		if count, err = s.counts.of(ctx, f); err != nil {
			return nil, 0, err
		}
		if err := page.Check(count); err != nil {
			return nil, 0, err
		}
	}
	// Names of categories come last: beside OFFSET they would be looked up for every product that is passed over.
	db := s.db.WithContext(ctx)
	where, arguments := f.where(db)
	rows := db.Raw("SELECT "+listedColumns+" FROM (SELECT "+sortedColumns+" FROM products p WHERE "+where+
		" ORDER BY "+order+" LIMIT ? OFFSET ?) p ORDER BY "+order, append(arguments, page.Size, page.Offset())...)
	if len(f.words) > 0 { // it may take long: nobody is to wait for it
		products, err = database.Select(rows, (*listedProduct).columns)
	} else {
		products, err = database.SelectTogether(s.db, rows, (*listedProduct).columns)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list products: %w", err)
	}
	if page.Number > 1 {
		return products, count, nil
	}
	if len(products) < page.Size {
		return products, int64(len(products)), nil
	}
	count, err = s.counts.of(ctx, f)
	return products, max(count, int64(len(products))), err
}

// findProduct returns a product that is on sale, or a 404.
func findProduct(tx *gorm.DB, id int64) (productDetail, error) {
	row := tx.Table("products AS p").Select(detailColumns).Where("p.id = ? AND p.archived_at IS NULL", id)
	found, ok, err := database.SelectOne(row, (*productDetail).columns)
	if err != nil {
		return productDetail{}, fmt.Errorf("read product %d: %w", id, err)
	}
	if !ok {
		return productDetail{}, httpapi.NotFound()
	}
	return found, nil
}

// lockProduct returns a product on sale for change, or a 404. Its stock stands still until tx ends.
func lockProduct(tx *gorm.DB, id int64) (locked product, err error) {
	err = database.Locked(tx).Where("archived_at IS NULL").Take(&locked, id).Error
	return locked, orNotFound(err, "lock product", id)
}

// eraseProduct deletes a product on sale, and with it its lines in carts. Where orders refer to it, the
// database refuses, see [database.IsReferenced].
func eraseProduct(tx *gorm.DB, id int64) error {
	erased := tx.Exec("DELETE FROM products WHERE id = ? AND archived_at IS NULL", id)
	return orNotFound(affected(erased), "erase product", id)
}

// archiveProduct withdraws a product from sale.
func archiveProduct(tx *gorm.DB, id int64) error {
	now := database.Now()
	archived := tx.Exec("UPDATE products SET archived_at = ?, updated_at = ? WHERE id = ? AND archived_at IS NULL", now, now, id)
	return orNotFound(affected(archived), "archive product", id)
}

const categoryColumns = `c.id, c.name, c.slug, c.description,
	(SELECT count(*) FROM products p WHERE p.category_id = c.id AND p.archived_at IS NULL)`

func (c *categoryDetail) columns() []any {
	return []any{&c.ID, &c.Name, &c.Slug, &c.Description, &c.ProductCount}
}

// listCategories returns one page of the categories by name, and how many there are in all.
func listCategories(tx *gorm.DB, page httpapi.PageRequest) (categories []categoryDetail, count int64, err error) {
	if err := tx.Table("categories").Count(&count).Error; err != nil {
		return nil, 0, fmt.Errorf("count categories: %w", err)
	}
	if err := page.Check(count); err != nil {
		return nil, 0, err
	}
	rows := tx.Table("categories AS c").Select(categoryColumns).Order("c.name_key").Limit(page.Size).Offset(page.Offset())
	categories, err = database.Select(rows, (*categoryDetail).columns)
	if err != nil {
		return nil, 0, fmt.Errorf("list categories: %w", err)
	}
	return categories, count, nil
}

// findCategory returns a category, or a 404.
func findCategory(tx *gorm.DB, id int64) (categoryDetail, error) {
	row := tx.Table("categories AS c").Select(categoryColumns).Where("c.id = ?", id)
	found, ok, err := database.SelectOne(row, (*categoryDetail).columns)
	if err != nil {
		return categoryDetail{}, fmt.Errorf("read category %d: %w", id, err)
	}
	if !ok {
		return categoryDetail{}, httpapi.NotFound()
	}
	return found, nil
}

// currentCategory returns a category's row, or a 404.
func currentCategory(tx *gorm.DB, id int64) (current category, err error) {
	err = tx.Take(&current, id).Error
	return current, orNotFound(err, "read category", id)
}

// lockCategories makes other writers of categories, but no reader and no writer of products, wait until tx
// ends: what is unique among categories can then be looked up before it is written.
func lockCategories(tx *gorm.DB) error {
	if tx.Name() == "sqlite" { // the transaction holds the only write lock already
		return nil
	}
	if err := tx.Exec("LOCK TABLE categories IN SHARE ROW EXCLUSIVE MODE").Error; err != nil {
		return fmt.Errorf("lock the categories: %w", err)
	}
	return nil
}

func categoryExists(tx *gorm.DB, id int64) (exists bool, err error) {
	err = tx.Raw("SELECT EXISTS (SELECT 1 FROM categories WHERE id = ?)", id).Scan(&exists).Error
	if err != nil {
		return false, fmt.Errorf("look for category %d: %w", id, err)
	}
	return exists, nil
}

// isTaken reports whether another category than the given one has this text in a column where it is unique.
func isTaken(tx *gorm.DB, id int64, column, text string) (taken bool, err error) {
	err = tx.Raw("SELECT EXISTS (SELECT 1 FROM categories WHERE id <> ? AND "+column+" = ?)", id, text).Scan(&taken).Error
	if err != nil {
		return false, fmt.Errorf("look for a category with %s %q: %w", column, text, err)
	}
	return taken, nil
}

// freeSlug is the first of slug, slug-2, slug-3 … that no category but the given one has.
func freeSlug(tx *gorm.DB, id int64, slug string) (string, error) {
	var others []string
	err := tx.Raw("SELECT slug FROM categories WHERE id <> ? AND slug LIKE ?", id, slug+"%").Scan(&others).Error
	if err != nil {
		return "", fmt.Errorf("look for a free slug: %w", err)
	}
	free := slug
	for n := 2; slices.Contains(others, free); n++ {
		free = fmt.Sprintf("%s-%d", slug, n)
	}
	return free, nil
}

func eraseCategory(tx *gorm.DB, id int64) error {
	return orNotFound(affected(tx.Exec("DELETE FROM categories WHERE id = ?", id)), "erase category", id)
}

// affected is the error of a statement; one that changed no row found none.
func affected(result *gorm.DB) error {
	if result.Error == nil && result.RowsAffected == 0 {
		return gorm.ErrRecordNotFound
	}
	return result.Error
}

// orNotFound makes a row that was not there a 404, and says of any other error what was being done.
func orNotFound(err error, doing string, id int64) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, gorm.ErrRecordNotFound):
		return httpapi.NotFound()
	default:
		return fmt.Errorf("%s %d: %w", doing, id, err)
	}
}
