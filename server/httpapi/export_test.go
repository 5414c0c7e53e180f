package httpapi

import "github.com/gofiber/fiber/v2"

// LimitNewcomers lets no more connections of a listener for WebSockets wait for their handshake.
func LimitNewcomers(app *fiber.App, limit int) {
	app.Server().ConnState = newNewcomers(limit).note
}
