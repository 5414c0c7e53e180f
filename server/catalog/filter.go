package catalog

import (
	"fmt"
	"math"
	"strings"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// filter is the products that a client asks for.
type filter struct {
	hasCategory     bool
	category        int64
	lowest, highest int64 // price, in cents
	inStock         *bool
	featured        *bool
	words           []string // that must all be in the search text
}

// readFilter reads a filter. What does not parse is noted in query.
func readFilter(query *httpapi.Query) filter {
	f := filter{lowest: math.MinInt64, highest: math.MaxInt64}
	f.category, f.hasCategory = query.Integer("category")
	if lowest, ok := query.Money("price_min"); ok {
		f.lowest = int64(lowest)
	}
	if highest, ok := query.Money("price_max"); ok {
		f.highest = int64(highest)
	}
	if inStock, ok := query.Boolean("in_stock"); ok {
		f.inStock = &inStock
	}
	if featured, ok := query.Boolean("featured"); ok {
		f.featured = &featured
	}
	if search, ok := query.Text("search"); ok {
		f.words = strings.Fields(fold(search))
	}
	return f
}

// key is the same for filters that find the same.
func (f filter) key() string {
	mask, want := f.marks()
	return fmt.Sprint(f.hasCategory, f.category, f.lowest, f.highest, mask, want, f.words)
}

// marks are those that matter, and how they must be.
func (f filter) marks() (mask, want uint8) {
	mask, want = onSale, onSale
	for mark, wanted := range map[uint8]*bool{inStock: f.inStock, featured: f.featured} {
		if wanted != nil {
			mask |= mark
			if *wanted {
				want |= mark
			}
		}
	}
	return mask, want
}

// ofTexts reports whether the filter looks at nothing but texts and the category.
func (f filter) ofTexts() bool {
	return f.lowest == math.MinInt64 && f.highest == math.MaxInt64 && f.inStock == nil && f.featured == nil
}

// where is the filter as a condition on products p of a database, with its arguments.
func (f filter) where(db *gorm.DB) (condition string, arguments []any) {
	var where strings.Builder
	where.WriteString("p.archived_at IS NULL")
	and := func(condition string, values ...any) {
		where.WriteString(" AND " + condition)
		arguments = append(arguments, values...)
	}
	if f.hasCategory {
		and("p.category_id = ?", f.category)
	}
	if f.lowest != math.MinInt64 {
		and("p.price_cents >= ?", f.lowest)
	}
	if f.highest != math.MaxInt64 {
		and("p.price_cents <= ?", f.highest)
	}
	if f.inStock != nil && *f.inStock {
		and("p.stock > 0")
	} else if f.inStock != nil {
		and("p.stock = 0")
	}
	if f.featured != nil {
		and("p.featured = ?", *f.featured)
	}
	like := "p.search_text LIKE ?"
	if db.Name() == "sqlite" { // PostgreSQL has no other, and writes the pattern anew for each product when told
		like += ` ESCAPE '\'`
	}
	for _, word := range f.words {
		and(like, contains(word))
	}
	return where.String(), arguments
}

// sortable are the columns behind ?ordering=.
var sortable = map[string]string{"price": "price_cents", "name": "name", "created_at": "created_at", "id": "id"}

const newestFirst = "p.created_at DESC, p.id DESC"

// orderBy turns ?ordering=, a list such as price,-name, into SQL. As in Django REST Framework unknown names
// count for nothing. The id decides between equals, in the direction of the last name, so that the pages of
// a list never repeat or skip a product.
func orderBy(ordering string) string {
	var terms []string
	direction := " ASC"
	for name := range strings.SplitSeq(ordering, ",") {
		name, descending := strings.CutPrefix(strings.TrimSpace(name), "-")
		column, known := sortable[name]
		if !known {
			continue
		}
		direction = " ASC"
		if descending {
			direction = " DESC"
		}
		terms = append(terms, "p."+column+direction)
	}
	if len(terms) == 0 {
		return newestFirst
	}
	return strings.Join(append(terms, "p.id"+direction), ", ")
}
