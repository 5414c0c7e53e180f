package catalog

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// ListCategories answers GET /api/categories/.
func (s *Catalog) ListCategories(c *fiber.Ctx) error {
	return s.send(c, func() (*page, error) {
		request, err := httpapi.ReadPage(c)
		if err != nil {
			return nil, err
		}
		categories, count, err := listCategories(s.db.WithContext(c.UserContext()), request)
		if err != nil {
			return nil, err
		}
		return newPage(httpapi.PageOf(c, request, count, categories))
	})
}

// GetCategory answers GET /api/categories/{id}/.
func (s *Catalog) GetCategory(c *fiber.Ctx) error {
	return s.send(c, func() (*page, error) {
		id, err := httpapi.PathID(c, "id")
		if err != nil {
			return nil, err
		}
		found, err := findCategory(s.db.WithContext(c.UserContext()), id)
		if err != nil {
			return nil, err
		}
		return newPage(found)
	})
}

// CreateCategory answers POST /api/categories/.
func (s *Catalog) CreateCategory(c *fiber.Ctx) error {
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	created, err := s.writeCategory(c.UserContext(), fields, func(*gorm.DB) (category, error) { return category{}, nil })
	if err != nil {
		return err
	}
	return c.Status(http.StatusCreated).JSON(created)
}

// UpdateCategory answers PUT and PATCH /api/categories/{id}/.
func (s *Catalog) UpdateCategory(c *fiber.Ctx) error {
	return httpapi.AnswerChange(c, func(id int64, fields *httpapi.Fields) (categoryDetail, error) {
		return s.writeCategory(c.UserContext(), fields, func(tx *gorm.DB) (category, error) { return currentCategory(tx, id) })
	})
}

// DeleteCategory answers DELETE /api/categories/{id}/.
func (s *Catalog) DeleteCategory(c *fiber.Ctx) error {
	return httpapi.AnswerErased(c, func(id int64) error {
		err := s.change(c.UserContext(), func(tx *gorm.DB) error { return eraseCategory(tx, id) })
		if database.IsReferenced(err) {
			return httpapi.BadRequest("Cannot delete a category that has products, archived ones included.")
		}
		return err
	})
}

// writeCategory stores the category that current returns as a client wants it, and returns it as everyone
// sees it.
func (s *Catalog) writeCategory(ctx context.Context, fields *httpapi.Fields, current func(*gorm.DB) (category, error)) (written categoryDetail, err error) {
	err = s.change(ctx, func(tx *gorm.DB) error {
		if err := lockCategories(tx); err != nil {
			return err
		}
		c, err := current(tx)
		if err != nil {
			return err
		}
		if err := c.take(tx, fields); err != nil {
			return err
		}
		if err := tx.Save(&c).Error; err != nil {
			return fmt.Errorf("write category %q: %w", c.Name, err)
		}
		written, err = findCategory(tx, c.ID)
		return err
	})
	return written, err
}

// take puts in what the client sent and checks it against the other categories.
func (c *category) take(tx *gorm.DB, fields *httpapi.Fields) error {
	c.Name = fields.Text("name", c.Name, httpapi.Text{Required: true, Max: longestName})
	c.NameKey = fold(c.Name)
	c.Description = fields.Text("description", c.Description, httpapi.Text{Blank: true})
	c.Slug = fields.Text("slug", c.Slug, httpapi.Text{Blank: true, Max: longestName})
	if !validSlug.MatchString(c.Slug) {
		fields.Reject("slug", `Enter a valid "slug" consisting of letters, numbers, underscores or hyphens.`)
	}
	if err := checkUnique(tx, fields, c.ID, "name", "name_key", c.NameKey); err != nil {
		return err
	}
	if err := checkUnique(tx, fields, c.ID, "slug", "slug", c.Slug); err != nil {
		return err
	}
	if err := fields.Err(); err != nil || c.Slug != "" {
		return err
	}
	var err error
	c.Slug, err = freeSlug(tx, c.ID, slugOf(c.Name))
	return err
}

// checkUnique notes that another category than the given one has a valid field's text, kept in column, already.
func checkUnique(tx *gorm.DB, fields *httpapi.Fields, id int64, field, column, text string) error {
	if !fields.Valid(field) {
		return nil
	}
	taken, err := isTaken(tx, id, column, text)
	if taken {
		fields.Reject(field, "category with this "+field+" already exists.")
	}
	return err
}
