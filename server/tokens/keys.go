package tokens

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// minSecret is the least length of an HS256 secret, the size of the hash (RFC 7518, 3.2).
const minSecret = 32

// Key signs and verifies tokens with one algorithm.
type Key struct {
	id     string
	method jwt.SigningMethod
	secret []byte
	header string // the first part of every token that it signs
}

// Keys is a set of keys: the first signs, all verify.
type Keys []Key

// String is the key's id: its secret stays out of every log.
func (k Key) String() string { return k.id }

func newKey(id, secret string) Key {
	key := Key{id: id, method: jwt.SigningMethodHS256, secret: []byte(secret)}
	header, _ := json.Marshal(struct { // strings always encode
		Type      string `json:"typ"`
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"JWT", key.method.Alg(), id})
	key.header = base64.RawURLEncoding.EncodeToString(header)
	return key
}

// verifier finds the secret of the key that a token names, if it has that key's algorithm.
func (k Keys) verifier(token *jwt.Token) (any, error) {
	for _, key := range k {
		if token.Header["kid"] == key.id && token.Method == key.method {
			return key.secret, nil
		}
	}
	return nil, errors.New("no such key")
}

var saneKeyID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ParseKeys reads "kid:secret,kid:secret". Its errors say which entry is wrong by its place alone, for what
// stands there may be a secret in the wrong spot.
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	for entry := range strings.SplitSeq(text, ",") {
		place := len(keys) + 1
		id, secret, found := strings.Cut(strings.TrimSpace(entry), ":")
		switch {
		case !found:
			return nil, fmt.Errorf("signing key %d: want an id, a colon and a secret", place)
		case !saneKeyID.MatchString(id):
			return nil, fmt.Errorf("signing key %d: want an id of at most 64 letters, digits, dots, dashes and underscores", place)
		case len(secret) < minSecret:
			return nil, fmt.Errorf("signing key %d: its secret has %d bytes, want at least %d", place, len(secret), minSecret)
		}
		for other, key := range keys {
			if key.id == id {
				return nil, fmt.Errorf("signing key %d: it has the id of key %d", place, other+1)
			}
		}
		keys = append(keys, newKey(id, secret))
	}
	return keys, nil
}

// firstKeyID is fixed, so that of two processes that make the first key at once only one succeeds.
const firstKeyID = "1"

// LoadOrMakeKeys returns the keys kept in the database, the newest first, and makes one if there is none.
func LoadOrMakeKeys(ctx context.Context, db *database.DB) (Keys, error) {
	keys, err := loadKeys(ctx, db)
	if err != nil || len(keys) > 0 {
		return keys, err
	}
	secret := make([]byte, minSecret)
	_, _ = rand.Read(secret) // never fails, says crypto/rand
	err = db.WithContext(ctx).Exec(
		`INSERT INTO signing_keys (kid, secret, created_at) VALUES (?, ?, ?) ON CONFLICT (kid) DO NOTHING`,
		firstKeyID, base64.RawURLEncoding.EncodeToString(secret), database.Now()).Error
	if err != nil {
		return nil, fmt.Errorf("keep the first signing key: %w", err)
	}
	return loadKeys(ctx, db)
}

func loadKeys(ctx context.Context, db *database.DB) (Keys, error) {
	var rows []struct{ Kid, Secret string }
	err := db.WithContext(ctx).Raw(`SELECT kid, secret FROM signing_keys ORDER BY created_at DESC, kid`).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	var keys Keys
	for _, row := range rows {
		keys = append(keys, newKey(row.Kid, row.Secret))
	}
	return keys, nil
}
