package notifications

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// bearer is the subprotocol whose successor in the client's list is the access token. A browser can send
// no other header, and unlike a query it stays out of the logs of proxies.
const bearer = "bearer"

// admissionKey is where a handshake leaves its outcome for the socket: the library keeps strings alone.
const admissionKey = "notifications.admission"

// admission is what a handshake found out.
type admission struct {
	userID  int64
	cursor  int64     // the event after which the socket begins
	resumes bool      // the client said after which
	expires time.Time // of the token; zero when that is not known
}

// Handler answers GET /ws/notifications/{user_id}/. Whoever is refused is refused before the upgrade, with
// a status and a body like any other request's.
func (h *Hub) Handler(c *fiber.Ctx) error {
	userID, err := httpapi.PathID(c, "user_id")
	if err != nil {
		return err
	}
	if err := checkUpgrade(c); err != nil {
		return err
	}
	if !h.originAllowed(c) {
		return &httpapi.Error{Status: http.StatusForbidden, Message: "Origin not allowed."}
	}
	if h.draining.Load() {
		return httpapi.Unavailable()
	}
	admitted, err := h.admit(c, userID)
	if err != nil {
		return err
	}
	c.Locals(admissionKey, admitted)
	return h.upgrade(c)
}

// admit checks the token, and finds where the socket begins.
func (h *Hub) admit(c *fiber.Ctx, userID int64) (admission, error) {
	token, sent := tokenOf(c)
	if !sent {
		return admission{}, httpapi.NoCredentials()
	}
	caller, err := h.authenticate(c.UserContext(), token)
	if err != nil {
		return admission{}, err
	}
	if !mayWatch(caller, userID) {
		return admission{}, httpapi.Forbidden()
	}
	seen, resumes, err := lastEventID(c)
	if err != nil {
		return admission{}, err
	}
	newest, err := h.outbox.Last(c.UserContext(), userID)
	if err != nil {
		return admission{}, err
	}
	admitted := admission{userID: userID, cursor: newest, resumes: resumes, expires: caller.Expires}
	if resumes {
		admitted.cursor = min(seen, newest)
	}
	return admitted, nil
}

// lastEventID is the last event that a client has seen, if it says so.
func lastEventID(c *fiber.Ctx) (id int64, sent bool, err error) {
	const name = "last_event_id"
	if !c.Context().QueryArgs().Has(name) {
		return 0, false, nil
	}
	id, err = strconv.ParseInt(c.Query(name), 10, 64)
	if err != nil || id < 0 {
		return 0, false, httpapi.Invalid(name, httpapi.NotInteger)
	}
	return id, true, nil
}

// checkUpgrade checks what RFC 6455 (4.2.1) wants of a handshake; the library would call every fault 426.
func checkUpgrade(c *fiber.Ctx) error {
	switch {
	case c.Method() != http.MethodGet, !websocket.IsWebSocketUpgrade(c):
		return upgradeRequired(fiber.HeaderUpgrade, "websocket")
	case c.Get("Sec-WebSocket-Version") != "13":
		return upgradeRequired("Sec-WebSocket-Version", "13")
	}
	if key, err := base64.StdEncoding.DecodeString(c.Get("Sec-WebSocket-Key")); err != nil || len(key) != 16 {
		return httpapi.BadRequest("Sec-WebSocket-Key must be 16 bytes in base64.")
	}
	return nil
}

func upgradeRequired(header, value string) error {
	return &httpapi.Error{
		Status: http.StatusUpgradeRequired, Message: "This address speaks WebSocket, version 13.",
		Header: map[string]string{header: value},
	}
}

// originOf is the origin of a web address as browsers write it, in small letters and without the usual port.
func originOf(address string) string {
	parsed, err := url.Parse(strings.ToLower(address))
	if err != nil || parsed.Host == "" {
		return address
	}
	usual := map[string]string{"http": ":80", "https": ":443"}[parsed.Scheme]
	return parsed.Scheme + "://" + strings.TrimSuffix(parsed.Host, usual)
}

// originAllowed checks where the page comes from that opens the socket; only browsers say. It may be one of
// the list, or the host that was asked, at whatever port: REST and notifications have one each.
func (h *Hub) originAllowed(c *fiber.Ctx) bool {
	origin := strings.ToLower(c.Get(fiber.HeaderOrigin))
	if origin == "" || slices.Contains(h.origins, origin) || slices.Contains(h.origins, "*") {
		return true
	}
	page, err := url.Parse(origin)
	asked := url.URL{Host: strings.ToLower(c.Hostname())}
	return err == nil && page.Hostname() != "" && page.Hostname() == asked.Hostname()
}

// tokenOf returns a copy of the access token, from the first of the three places that has one.
func tokenOf(c *fiber.Ctx) (token string, sent bool) {
	if token, sent := httpapi.BearerToken(c); sent {
		return token, true
	}
	if token, sent := protocolToken(c); sent {
		return token, true
	}
	token = c.Query("token")
	return strings.Clone(token), token != ""
}

func protocolToken(c *fiber.Ctx) (token string, sent bool) {
	var offered []string
	for _, line := range c.Request().Header.PeekAll("Sec-WebSocket-Protocol") {
		for protocol := range strings.SplitSeq(string(line), ",") {
			offered = append(offered, strings.TrimSpace(protocol))
		}
	}
	at := slices.Index(offered, bearer) + 1
	if at == 0 || at == len(offered) {
		return "", false
	}
	return offered[at], true
}
