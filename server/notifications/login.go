package notifications

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const authTimeout = 5 * time.Second

// mayWatch lets users watch themselves, and staff anyone.
func mayWatch(caller httpapi.Caller, userID int64) bool {
	return caller.UserID == userID || caller.Staff
}

// hear takes a client's message. The one that means something is {"type":"auth","token":"…"}, with which a
// socket outlives the token that opened it.
func (h *Hub) hear(s *socket, text []byte) {
	var said struct{ Type, Token string }
	if json.Unmarshal(text, &said) != nil || said.Type != "auth" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), authTimeout)
	defer cancel()
	caller, err := h.authenticate(ctx, said.Token)
	refusal, refused := errors.AsType[*httpapi.Error](err)
	switch {
	case err == nil && mayWatch(caller, s.userID):
		s.extend(caller.Expires)
	case err == nil, refused && refusal.Status == http.StatusUnauthorized:
		s.close(closeTokenExpired, tokenInvalid)
	default: // not known now: the token before is good for as long as it was
		h.log.Warn("a token on an open socket could not be checked", "user_id", s.userID, "error", err)
	}
}
