package catalog

import (
	"strings"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// filtered is the products that a client asks for. What does not parse is noted in query.
func filtered(tx *gorm.DB, query *httpapi.Query) *gorm.DB {
	found := tx.Table("products AS p").Where("p.archived_at IS NULL")
	if category, ok := query.Integer("category"); ok {
		found = found.Where("p.category_id = ?", category)
	}
	if lowest, ok := query.Money("price_min"); ok {
		found = found.Where("p.price_cents >= ?", lowest)
	}
	if highest, ok := query.Money("price_max"); ok {
		found = found.Where("p.price_cents <= ?", highest)
	}
	if inStock, ok := query.Boolean("in_stock"); ok && inStock {
		found = found.Where("p.stock > 0")
	} else if ok {
		found = found.Where("p.stock = 0")
	}
	if featured, ok := query.Boolean("featured"); ok {
		found = found.Where("p.featured = ?", featured)
	}
	if search, ok := query.Text("search"); ok {
		for word := range strings.FieldsSeq(fold(search)) {
			found = found.Where(`p.search_text LIKE ? ESCAPE '\'`, contains(word))
		}
	}
	return found.Session(&gorm.Session{}) // counted and listed
}

// sortable are the columns behind ?ordering=.
var sortable = map[string]string{"price": "p.price_cents", "name": "p.name", "created_at": "p.created_at", "id": "p.id"}

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
		terms = append(terms, column+direction)
	}
	if len(terms) == 0 {
		return newestFirst
	}
	return strings.Join(append(terms, "p.id"+direction), ", ")
}
