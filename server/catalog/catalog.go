// Package catalog is what the shop sells: products in categories, searched by customers, written by staff,
// their stock taken by orders.
package catalog

import "github.com/shopkeeper-dev/shopkeeper/server/database"

// Catalog answers the requests about products and categories, and moves stock for orders.
type Catalog struct {
	db     *database.DB
	pages  *pages
	counts *counts
	news   *news
}

// New makes the catalogue kept in db.
func New(db *database.DB) *Catalog {
	return &Catalog{db: db, pages: newPages(), counts: newCounts(db), news: newNews()}
}
