package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// Representation is a body, as JSON, that can be sent many times, with the strong tag that names it. It is
// not to be changed.
type Representation struct {
	Body []byte
	ETag string
}

// Represent encodes a value to be sent by [Representation.Send].
func Represent(value any) (Representation, error) {
	body, err := EncodeJSON(value)
	if err != nil {
		return Representation{}, err
	}
	hash := sha256.Sum256(body)
	return Representation{Body: body, ETag: `"` + hex.EncodeToString(hash[:16]) + `"`}, nil
}

// Send answers with the representation, or with 304 to a client that has it already. Clients may keep it but
// have to ask before they use it again.
func (r Representation) Send(c *fiber.Ctx) error {
	c.Set(fiber.HeaderCacheControl, "private, no-cache")
	if IsKnown(c, r.ETag) {
		return c.SendStatus(http.StatusNotModified)
	}
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyRaw(r.Body)
	return nil
}

// IsKnown names an answer by its tag and reports whether the client has it already.
func IsKnown(c *fiber.Ctx, tag string) bool {
	c.Set(fiber.HeaderETag, tag)
	return anyMatches(c.Get(fiber.HeaderIfNoneMatch), tag)
}

// anyMatches reports whether the tag is in an If-None-Match, a list of tags or *. Weak tags match as strong
// ones do, RFC 9110, 13.1.2; a comma within a tag, which no tag of ours has, ends it.
func anyMatches(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}
