package httpapi

import (
	"net/http"

	"github.com/gofiber/fiber/v2"
)

// AnswerOf answers a request about the one thing that {id} in its path names with what ask returns.
func AnswerOf[T any](c *fiber.Ctx, ask func(id int64) (T, error)) error {
	id, err := PathID(c, "id")
	if err != nil {
		return err
	}
	answer, err := ask(id)
	if err != nil {
		return err
	}
	return c.JSON(answer)
}

// AnswerChange is [AnswerOf] for a request with a body.
func AnswerChange[T any](c *fiber.Ctx, change func(id int64, fields *Fields) (T, error)) error {
	return AnswerOf(c, func(id int64) (answer T, err error) {
		fields, err := ReadFields(c)
		if err != nil {
			return answer, err
		}
		return change(id, fields)
	})
}

// AnswerErased is [AnswerOf] for a request that leaves nothing to show.
func AnswerErased(c *fiber.Ctx, erase func(id int64) error) error {
	id, err := PathID(c, "id")
	if err != nil {
		return err
	}
	if err := erase(id); err != nil {
		return err
	}
	return c.SendStatus(http.StatusNoContent)
}
