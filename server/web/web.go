// Package web holds what the server gives to browsers: the API's documentation, on a page of its own that asks
// no other host for anything, and a module that receives notifications.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/openapi"
)

//go:embed docs.html docs.css docs.js notifications.js
var files embed.FS

// policy lets the page run and look like its own files say, and send requests to its own server.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Web answers the requests for what it holds.
type Web struct {
	schema file
	docs   map[string]file // "docs.html" and what it needs
	client file
}

// file is a body that does not change while the server runs.
type file struct {
	kind, etag string
	body       []byte
}

// New prepares every answer.
func New() (*Web, error) {
	schema, err := openapi.Document()
	if err != nil {
		return nil, err
	}
	w := &Web{schema: newFile(fiber.MIMEApplicationJSON, schema), docs: map[string]file{}}
	for name, kind := range map[string]string{
		"docs.html": fiber.MIMETextHTMLCharsetUTF8, "docs.css": "text/css; charset=utf-8", "docs.js": fiber.MIMETextJavaScriptCharsetUTF8,
	} {
		body, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the embedded page: %w", err)
		}
		w.docs[name] = newFile(kind, body)
	}
	client, err := files.ReadFile("notifications.js")
	if err != nil {
		return nil, fmt.Errorf("read the embedded client: %w", err)
	}
	w.client = newFile(fiber.MIMETextJavaScriptCharsetUTF8, client)
	return w, nil
}

func newFile(kind string, body []byte) file {
	sum := sha256.Sum256(body)
	return file{kind: kind, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, body: body}
}

// Schema answers GET /api/schema/.
func (w *Web) Schema(c *fiber.Ctx) error { return w.schema.send(c) }

// Docs answers GET /api/docs/.
func (w *Web) Docs(c *fiber.Ctx) error { return w.docs["docs.html"].send(c) }

// DocsFile answers GET /api/docs/{file}.
func (w *Web) DocsFile(c *fiber.Ctx) error {
	found, ok := w.docs[c.Params("file")]
	if !ok {
		return httpapi.NotFound()
	}
	return found.send(c)
}

// Client answers GET /web/notifications.js.
func (w *Web) Client(c *fiber.Ctx) error { return w.client.send(c) }

// send answers with the file, or with a 304 to a client that has it.
func (f file) send(c *fiber.Ctx) error {
	c.Set(fiber.HeaderCacheControl, "no-cache") // kept, but asked for each time
	if httpapi.IsKnown(c, f.etag) {
		return c.SendStatus(fiber.StatusNotModified)
	}
	c.Set(fiber.HeaderContentSecurityPolicy, policy)
	c.Set(fiber.HeaderContentType, f.kind)
	return c.Send(f.body)
}
