package catalog

import (
	"context"
	"net/url"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// send answers a read with the page kept for it, or else the one that load makes.
func (s *Catalog) send(c *fiber.Ctx, load func() (*page, error)) error {
	var buffer [256]byte
	answer, err := s.pages.get(c.UserContext(), appendKey(buffer[:0], c), load)
	if err != nil {
		return err
	}
	return answer.Send(c)
}

// newPage encodes an answer, which shows the given products: they are parts of the value.
func newPage(value any, shown ...*listedProduct) (*page, error) {
	encoded, err := httpapi.Represent(value)
	return &page{value: value, shown: shown, encoded: encoded}, err
}

// appendKey appends what an answer depends on: links in it name the host, and keep parameters that mean nothing.
func appendKey(key []byte, c *fiber.Ctx) []byte {
	key = append(key, c.Protocol()...)
	key = append(key, ' ')
	key = append(key, c.Hostname()...)
	key = append(key, c.Path()...)
	query := c.Request().URI().QueryString()
	if len(query) == 0 {
		return key
	}
	key = append(key, '?')
	parsed, err := url.ParseQuery(string(query))
	if err != nil {
		return append(key, query...)
	}
	return append(key, parsed.Encode()...) // the same in any order
}

// change runs a transaction that writes to the catalogue and, once it is committed, makes that known.
func (s *Catalog) change(ctx context.Context, write func(tx *gorm.DB) error) error {
	err := s.db.InTx(ctx, write)
	if err == nil {
		s.announceAll()
	}
	return err
}
