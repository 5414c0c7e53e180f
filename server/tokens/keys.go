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
	id      string
	method  jwt.SigningMethod
	private any    // what method signs with; nil in a key that only verifies
	public  any    // what it verifies with: the same, if it is a secret
	header  string // the first part of every token that it signs
}

// Keys is a set of keys: the first signs, all verify.
type Keys []Key

// String is the key's id: its secret stays out of every log.
func (k Key) String() string { return k.id }

func newKey(id string, method jwt.SigningMethod, private, public any) Key {
	header, _ := json.Marshal(struct { // strings always encode
		Type      string `json:"typ"`
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"JWT", method.Alg(), id})
	return Key{
		id: id, method: method, private: private, public: public,
		header: base64.RawURLEncoding.EncodeToString(header),
	}
}

func newSecretKey(id string, secret []byte) Key {
	return newKey(id, jwt.SigningMethodHS256, secret, secret)
}

// verifier finds the key that a token names, if it has that key's algorithm.
func (k Keys) verifier(token *jwt.Token) (any, error) {
	for _, key := range k {
		if token.Header["kid"] == key.id && token.Method == key.method {
			return key.public, nil
		}
	}
	return nil, errors.New("no such key")
}

var saneKeyID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// add appends a key whose id is sane and not another's.
func (k *Keys) add(key Key) error {
	if !saneKeyID.MatchString(key.id) {
		return errors.New("want an id of at most 64 letters, digits, dots, dashes and underscores")
	}
	for place, other := range *k {
		if other.id == key.id {
			return fmt.Errorf("it has the id of key %d", place+1)
		}
	}
	*k = append(*k, key)
	return nil
}

// ParseKeys reads "kid:secret,kid:secret" or a JWK Set (RFC 7517). Its errors say which key is wrong by its
// place alone, for what stands there may be a secret in the wrong spot.
func ParseKeys(text string) (Keys, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return parseSet([]byte(text))
	}
	var keys Keys
	for entry := range strings.SplitSeq(text, ",") {
		key, err := parseSecret(strings.TrimSpace(entry))
		if err == nil {
			err = keys.add(key)
		}
		if err != nil {
			return nil, fmt.Errorf("signing key %d: %w", len(keys)+1, err)
		}
	}
	return keys, nil
}

func parseSecret(entry string) (Key, error) {
	id, secret, found := strings.Cut(entry, ":")
	if !found {
		return Key{}, errors.New("want an id, a colon and a secret")
	}
	if err := checkSecret(len(secret)); err != nil {
		return Key{}, err
	}
	return newSecretKey(id, []byte(secret)), nil
}

func checkSecret(length int) error {
	if length < minSecret {
		return fmt.Errorf("its secret has %d bytes, want at least %d", length, minSecret)
	}
	return nil
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
		keys = append(keys, newSecretKey(row.Kid, []byte(row.Secret)))
	}
	return keys, nil
}
