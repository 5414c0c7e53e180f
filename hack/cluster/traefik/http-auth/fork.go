package auth

import (
	"net/http"
	"strings"
)

// RequireAuthStale asks the client to authenticate again.
func (a *DigestAuth) RequireAuthStale(w http.ResponseWriter, r *http.Request) { a.RequireAuth(w, r) }

// CheckSecret reports whether password is the one that secret was made from.
func CheckSecret(password, secret string) bool {
	compare := compareFuncs[0].compare
	for _, f := range compareFuncs[1:] {
		if strings.HasPrefix(secret, f.prefix) {
			compare = f.compare
			break
		}
	}
	return compare([]byte(secret), []byte(password)) == nil
}
