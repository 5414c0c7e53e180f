package cart

import (
	"math"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

type message struct {
	Message string `json:"message"`
}

// Get answers GET /api/cart/.
func (s *Cart) Get(c *fiber.Ctx) error {
	cart, err := s.read(c.UserContext(), httpapi.CallerOf(c).UserID)
	if err != nil {
		return err
	}
	return c.JSON(cart)
}

// Clear answers DELETE /api/cart/.
func (s *Cart) Clear(c *fiber.Ctx) error {
	if _, err := emptyCart(s.db.WithContext(c.UserContext()), httpapi.CallerOf(c).UserID); err != nil {
		return err
	}
	return c.JSON(message{"Cart cleared successfully"})
}

// AddItem answers POST /api/cart/items/.
func (s *Cart) AddItem(c *fiber.Ctx) error {
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	productID := fields.Integer("product_id", 0, true, math.MinInt64, math.MaxInt64)
	quantity := fields.Integer("quantity", 1, false, 1, math.MaxInt32)
	if err := fields.Err(); err != nil {
		return err
	}
	added, err := s.add(c.UserContext(), httpapi.CallerOf(c).UserID, productID, quantity)
	if err != nil {
		return err
	}
	return c.Status(http.StatusCreated).JSON(added)
}

// UpdateItem answers PUT and PATCH /api/cart/items/{id}/.
func (s *Cart) UpdateItem(c *fiber.Ctx) error {
	return httpapi.AnswerChange(c, func(itemID int64, fields *httpapi.Fields) (item, error) {
		quantity := fields.Integer("quantity", unchanged, true, 1, math.MaxInt32)
		if err := fields.Err(); err != nil {
			return item{}, err
		}
		return s.change(c.UserContext(), httpapi.CallerOf(c).UserID, itemID, quantity)
	})
}

// RemoveItem answers DELETE /api/cart/items/{id}/.
func (s *Cart) RemoveItem(c *fiber.Ctx) error {
	return httpapi.AnswerOf(c, func(itemID int64) (message, error) {
		removed, err := removeItem(s.db.WithContext(c.UserContext()), httpapi.CallerOf(c).UserID, itemID)
		if err == nil && !removed {
			err = httpapi.NotFound()
		}
		return message{"Item removed from cart"}, err
	})
}
