package cart

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// reflected and reflectedItem have no JSON of their own.
type (
	reflected     contents
	reflectedItem item
)

func TestCartIsEncodedAsReflectionDoes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		cart := contents{ID: rapid.Int64().Draw(r, "id"), Items: []item{}, TotalItems: rapid.Int64().Draw(r, "items in all")}
		for range rapid.IntRange(0, 3).Draw(r, "items") {
			one := item{
				ID: rapid.Int64().Draw(r, "item"), Quantity: rapid.Int64Min(0).Draw(r, "quantity"),
				Product: catalog.Summary{
					ID: rapid.Int64().Draw(r, "product"), Name: httpapitest.Texts().Draw(r, "name"),
					Price: money.Amount(rapid.Int64Min(0).Draw(r, "price")), CategoryName: httpapitest.Texts().Draw(r, "category"),
				},
			}.priced()
			cart.Items = append(cart.Items, one)
			cart.TotalPrice = cart.TotalPrice.Plus(one.Product.Price, one.Quantity)
			httpapitest.AsReflected(r, one, reflectedItem(one))
		}
		httpapitest.AsReflected(r, cart, reflected(cart))
	})
}

func BenchmarkEncodeCart(b *testing.B) {
	cart := contents{ID: 4711}
	for id := range int64(10) {
		product := catalog.Summary{ID: id, Name: "Product 4711", Price: 99999, CategoryName: "Electronics"}
		cart.Items = append(cart.Items, item{ID: id, Product: product, Quantity: 2}.priced())
	}
	for name, value := range map[string]any{"appended": cart, "reflected": reflected(cart)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := httpapi.EncodeJSON(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
