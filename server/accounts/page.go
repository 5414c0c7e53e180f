package accounts

import (
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// resetPage is where the link in a mail leads, so that a shop without pages of its own can reset passwords.
// It reads the link's parameters from behind the #, where no server sees them.
//
//go:embed reset.html
var resetPage string

// resetPolicy lets the page's own script and style run, send to the page's own server, and nothing else.
var resetPolicy = "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"script-src " + sourceOf(resetPage, "script") + "; style-src " + sourceOf(resetPage, "style")

// sourceOf names what stands in a tag of a page by its hash, as Content-Security-Policy does.
func sourceOf(page, tag string) string {
	_, rest, _ := strings.Cut(page, "<"+tag+">")
	content, _, _ := strings.Cut(rest, "</"+tag+">")
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// ResetPage answers GET /auth/api/password/reset/confirm/.
func (a *Accounts) ResetPage(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentSecurityPolicy, resetPolicy)
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	return c.SendString(resetPage)
}
