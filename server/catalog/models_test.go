package catalog

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// reflected is a list that has no JSON of its own.
type reflected productList

func TestProductListIsEncodedAsReflectionDoes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := httpapitest.Texts()
		list := &productList{Count: rapid.Int64().Draw(r, "count"), Results: []listedProduct{}}
		for _, link := range []**string{&list.Next, &list.Previous} {
			if rapid.Bool().Draw(r, "linked") {
				address := text.Draw(r, "link")
				*link = &address
			}
		}
		for range rapid.IntRange(0, 3).Draw(r, "products") {
			list.Results = append(list.Results, listedProduct{
				ID: rapid.Int64().Draw(r, "id"), Name: text.Draw(r, "name"), Price: money.Amount(rapid.Int64().Draw(r, "price")),
				Stock: rapid.Int64().Draw(r, "stock"), CategoryName: text.Draw(r, "category"), Image: text.Draw(r, "image"),
				IsInStock: rapid.Bool().Draw(r, "in stock"), Featured: rapid.Bool().Draw(r, "featured"),
			})
		}
		httpapitest.AsReflected(r, list, (*reflected)(list))
	})
}

func BenchmarkEncodeProductList(b *testing.B) {
	list := &productList{Count: 1000}
	for id := range int64(20) {
		list.Results = append(list.Results, listedProduct{
			ID: id, Name: "Product 4711", Price: 99999, Stock: 12, CategoryName: "Electronics", Image: "https://example.com/4711.jpg", IsInStock: true,
		})
	}
	for name, value := range map[string]any{"appended": list, "reflected": (*reflected)(list)} {
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
