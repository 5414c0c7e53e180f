package orders

import (
	"net/http"
	"slices"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// In characters.
const (
	longestPhoneNumber = 50
	longestStatus      = 50
)

// List answers GET /api/orders/.
func (s *Orders) List(c *fiber.Ctx) error {
	page, err := httpapi.ReadPage(c)
	if err != nil {
		return err
	}
	db := s.db.WithContext(c.UserContext())
	query := httpapi.ReadQuery(c)
	found := filtered(visible(db, httpapi.CallerOf(c)), query)
	if err := query.Err(); err != nil {
		return err
	}
	views, count, err := listOrders(db, found, page)
	if err != nil {
		return err
	}
	return httpapi.SendPage(c, page, count, views)
}

// filtered is the orders that a client asks for. A period begins with its first moment and ends before its
// last, so that periods side by side share no order. It is listed by time, as its index is: by id, all orders
// newer than a period of the past would be read to be left out.
func filtered(found *gorm.DB, query *httpapi.Query) *gorm.DB {
	if status, ok := query.Choice("status", statuses...); ok {
		found = found.Where("status = ?", status)
	}
	after, begun := query.Time("created_after")
	if begun {
		found = found.Where("created_at >= ?", after.UTC())
	}
	before, ended := query.Time("created_before")
	if ended {
		found = found.Where("created_at < ?", before.UTC())
	}
	if begun || ended {
		found = found.Order("created_at DESC")
	}
	if user, ok := query.Integer("user"); ok {
		found = found.Where("user_id = ?", user)
	}
	return found.Session(&gorm.Session{}) // counted and listed
}

// Get answers GET /api/orders/{id}/.
func (s *Orders) Get(c *fiber.Ctx) error {
	return httpapi.AnswerOf(c, func(id int64) (orderView, error) {
		return s.view(c.UserContext(), httpapi.CallerOf(c), id)
	})
}

// Create answers POST /api/orders/.
func (s *Orders) Create(c *fiber.Ctx) error {
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	wanted := order{
		UserID:          httpapi.CallerOf(c).UserID,
		ShippingAddress: fields.Text("shipping_address", "", httpapi.Text{Required: true}),
		PhoneNumber:     fields.Text("phone_number", "", httpapi.Text{Blank: true, Max: longestPhoneNumber}),
		Notes:           fields.Text("notes", "", httpapi.Text{Blank: true}),
	}
	if err := fields.Err(); err != nil {
		return err
	}
	key, err := readKey(c)
	if err != nil {
		return err
	}
	made, err := s.create(c.UserContext(), wanted, key)
	if err != nil {
		return err
	}
	if made.replayed {
		c.Set("Idempotent-Replayed", "true")
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Status(http.StatusCreated).Send(made.answer)
}

// Cancel answers POST /api/orders/{id}/cancel/.
func (s *Orders) Cancel(c *fiber.Ctx) error {
	return httpapi.AnswerOf(c, func(id int64) (orderView, error) {
		return s.move(c.UserContext(), httpapi.CallerOf(c), id, cancelled)
	})
}

// ChangeStatus answers PATCH /api/orders/{id}/status/.
func (s *Orders) ChangeStatus(c *fiber.Ctx) error {
	return httpapi.AnswerChange(c, func(id int64, fields *httpapi.Fields) (orderView, error) {
		status := readStatus(fields)
		if err := fields.Err(); err != nil {
			return orderView{}, err
		}
		return s.move(c.UserContext(), httpapi.CallerOf(c), id, status)
	})
}

// readStatus reads the one field of the body, which even a PATCH must send.
func readStatus(fields *httpapi.Fields) string {
	if !fields.Sent("status") {
		fields.Reject("status", httpapi.Required)
		return ""
	}
	status := fields.Text("status", "", httpapi.Text{Max: longestStatus})
	if fields.Valid("status") && !slices.Contains(statuses, status) {
		fields.Reject("status", `"`+status+`" is not a valid choice.`)
	}
	return status
}
