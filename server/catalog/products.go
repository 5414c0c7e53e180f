package catalog

import (
	"context"
	"fmt"
	"math"
	"net/http"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

const longestName = 255 // characters

// ListProducts answers GET /api/products/.
func (s *Catalog) ListProducts(c *fiber.Ctx) error {
	return s.send(c, func() (*page, error) {
		request, err := httpapi.ReadPage(c)
		if err != nil {
			return nil, err
		}
		query := httpapi.ReadQuery(c)
		f := readFilter(query)
		ordering, _ := query.Text("ordering")
		if err := query.Err(); err != nil {
			return nil, err
		}
		products, count, err := s.listProducts(c.UserContext(), f, orderBy(ordering), request)
		if err != nil {
			return nil, err
		}
		shown := make([]*listedProduct, len(products))
		for n := range products {
			shown[n] = &products[n]
		}
		list := productList(httpapi.PageOf(c, request, count, products))
		return newPage(&list, shown...)
	})
}

// GetProduct answers GET /api/products/{id}/.
func (s *Catalog) GetProduct(c *fiber.Ctx) error {
	return s.send(c, func() (*page, error) {
		id, err := httpapi.PathID(c, "id")
		if err != nil {
			return nil, err
		}
		found, err := findProduct(s.db.WithContext(c.UserContext()), id)
		if err != nil {
			return nil, err
		}
		return newPage(&found, &found.listedProduct)
	})
}

// CreateProduct answers POST /api/products/.
func (s *Catalog) CreateProduct(c *fiber.Ctx) error {
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	created, err := s.createProduct(c.UserContext(), fields)
	if err != nil {
		return err
	}
	return c.Status(http.StatusCreated).JSON(created)
}

// UpdateProduct answers PUT and PATCH /api/products/{id}/.
func (s *Catalog) UpdateProduct(c *fiber.Ctx) error {
	return httpapi.AnswerChange(c, func(id int64, fields *httpapi.Fields) (productDetail, error) {
		return s.updateProduct(c.UserContext(), id, fields)
	})
}

// DeleteProduct answers DELETE /api/products/{id}/.
func (s *Catalog) DeleteProduct(c *fiber.Ctx) error {
	return httpapi.AnswerErased(c, func(id int64) error { return s.deleteProduct(c.UserContext(), id) })
}

func (s *Catalog) createProduct(ctx context.Context, fields *httpapi.Fields) (created productDetail, err error) {
	err = s.change(ctx, func(tx *gorm.DB) error {
		created, err = writeProduct(tx, product{}, fields)
		return err
	})
	return created, err
}

// updateProduct holds the product from read to write, so that no order takes stock in between.
func (s *Catalog) updateProduct(ctx context.Context, id int64, fields *httpapi.Fields) (updated productDetail, err error) {
	err = s.change(ctx, func(tx *gorm.DB) error {
		current, err := lockProduct(tx, id)
		if err != nil {
			return err
		}
		updated, err = writeProduct(tx, current, fields)
		return err
	})
	return updated, err
}

// writeProduct stores a product as a client wants it and returns it as everyone sees it.
func writeProduct(tx *gorm.DB, p product, fields *httpapi.Fields) (productDetail, error) {
	p.take(fields)
	if err := checkCategory(tx, p, fields); err != nil {
		return productDetail{}, err
	}
	if err := fields.Err(); err != nil {
		return productDetail{}, err
	}
	err := tx.Save(&p).Error
	if database.IsReferenced(err) { // its category was deleted a moment ago
		return productDetail{}, httpapi.Invalid("category", noSuchCategory(p.CategoryID))
	}
	if err != nil {
		return productDetail{}, fmt.Errorf("write product %q: %w", p.Name, err)
	}
	return findProduct(tx, p.ID)
}

// take puts in what the client sent.
func (p *product) take(fields *httpapi.Fields) {
	p.Name = fields.Text("name", p.Name, httpapi.Text{Required: true, Max: longestName})
	p.Description = fields.Text("description", p.Description, httpapi.Text{Blank: true})
	p.PriceCents = fields.Money("price", p.PriceCents, true, money.Max)
	p.Stock = fields.Integer("stock", p.Stock, false, 0, math.MaxInt32)
	p.CategoryID = fields.Integer("category", p.CategoryID, true, math.MinInt64, math.MaxInt64)
	p.Image = fields.URL("image", p.Image)
	p.Featured = fields.Boolean("featured", p.Featured, false)
	p.SearchText = searchText(p.Name, p.Description)
}

func checkCategory(tx *gorm.DB, p product, fields *httpapi.Fields) error {
	if !fields.Sent("category") || !fields.Valid("category") {
		return nil
	}
	exists, err := categoryExists(tx, p.CategoryID)
	if err == nil && !exists {
		fields.Reject("category", noSuchCategory(p.CategoryID))
	}
	return err
}

func noSuchCategory(id int64) string {
	return fmt.Sprintf(`Invalid pk "%d" - object does not exist.`, id)
}

// deleteProduct erases a product, or archives it when orders refer to it.
func (s *Catalog) deleteProduct(ctx context.Context, id int64) error {
	err := s.change(ctx, func(tx *gorm.DB) error { return eraseProduct(tx, id) })
	if database.IsReferenced(err) {
		return s.change(ctx, func(tx *gorm.DB) error { return archiveProduct(tx, id) })
	}
	return err
}
