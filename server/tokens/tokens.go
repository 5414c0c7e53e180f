// Package tokens issues and verifies the JSON Web Tokens that stand for a user, with SimpleJWT's claims, and
// keeps the families of refresh tokens that can be rotated once each.
package tokens

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxLength bounds a token before any work is done on it; one of ours has some 400 bytes.
const maxLength = 4 << 10

// Kind is what a token may be used for.
type Kind string

// The kinds of token.
const (
	Access  Kind = "access"  // goes with every request, short-lived
	Refresh Kind = "refresh" // buys the next pair of tokens, once
	Reset   Kind = "reset"   // lets a user who forgot the password set another, once
)

// ResetTTL is how long a reset token is good.
const ResetTTL = time.Hour

var (
	// ErrInvalid means a token that is forged, expired, used up, of another shop or of the wrong kind.
	ErrInvalid = errors.New("token is not valid")
	// ErrNoKeys means that [Issuer.Use] has not been called yet.
	ErrNoKeys = errors.New("there are no signing keys yet")
)

// Settings says whose tokens these are and how long they live. What is zero is "shopkeeper", 15 minutes
// and 7 days.
type Settings struct {
	Issuer     string // names the shop: the iss and the aud of its tokens, so that another shop's are no good here
	AccessTTL  time.Duration
	RefreshTTL time.Duration
}

// Claims is what a token says.
type Claims struct {
	Kind Kind `json:"token_type"`
	jwt.RegisteredClaims
	UserID int64  `json:"user_id"`
	Family string `json:"fam,omitempty"`  // of an access and a refresh token: the login they descend from
	Seal   string `json:"seal,omitempty"` // of a reset token: see [Issuer.Reset]
}

// Validate completes the checks of a signed token's claims.
func (c Claims) Validate() error {
	ofReset := c.Kind == Reset
	if c.UserID < 1 || c.ID == "" || ofReset != (c.Seal != "") || ofReset != (c.Family == "") {
		return errors.New("a claim is missing, or of another kind of token")
	}
	return nil
}

// Issuer signs and verifies the tokens of one shop. It is safe for concurrent use.
type Issuer struct {
	settings Settings
	parser   *jwt.Parser
	keys     atomic.Pointer[Keys]
	now      func() time.Time
}

// New makes an issuer that can do nothing until it has keys: see [Issuer.Use].
func New(settings Settings) *Issuer {
	if settings.Issuer == "" {
		settings.Issuer = "shopkeeper"
	}
	if settings.AccessTTL == 0 {
		settings.AccessTTL = 15 * time.Minute
	}
	if settings.RefreshTTL == 0 {
		settings.RefreshTTL = 7 * 24 * time.Hour
	}
	issuer := &Issuer{settings: settings, now: time.Now}
	issuer.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg(), jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodES256.Alg()}),
		jwt.WithIssuer(settings.Issuer), jwt.WithAudience(settings.Issuer), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return issuer.now() }),
	)
	return issuer
}

// Use sets the keys from now on: the first signs, all verify.
func (i *Issuer) Use(keys Keys) { i.keys.Store(&keys) }

// access issues an access token of a login.
func (i *Issuer) access(userID int64, family string) (string, error) {
	claims := i.claims(Access, userID, i.settings.AccessTTL)
	claims.Family = family
	return i.sign(claims)
}

// Reset issues a reset token. The seal is what must still be so when it is used: whoever issues it derives
// the seal from what the reset changes, and so the token works once and dies with any other such change.
func (i *Issuer) Reset(userID int64, seal string) (string, error) {
	claims := i.claims(Reset, userID, ResetTTL)
	claims.Seal = seal
	return i.sign(claims)
}

func (i *Issuer) claims(kind Kind, userID int64, ttl time.Duration) Claims {
	now := i.now()
	return Claims{
		Kind: kind, UserID: userID,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: i.settings.Issuer, Audience: jwt.ClaimStrings{i.settings.Issuer},
			ExpiresAt: jwt.NewNumericDate(now.Add(ttl)), IssuedAt: jwt.NewNumericDate(now),
			ID: rand.Text(),
		},
	}
}

func (i *Issuer) sign(claims Claims) (string, error) {
	keys := i.keys.Load()
	if keys == nil || len(*keys) == 0 {
		return "", ErrNoKeys
	}
	key := (*keys)[0]
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode the claims of a token: %w", err)
	}
	text := key.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := key.method.Sign(text, key.private)
	if err != nil {
		return "", fmt.Errorf("sign a token with key %s: %w", key, err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// Verify returns what a token of one of the given kinds says. A token that is not good is [ErrInvalid].
func (i *Issuer) Verify(token string, kinds ...Kind) (Claims, error) {
	keys := i.keys.Load()
	if keys == nil {
		return Claims{}, ErrNoKeys
	}
	// The base64 decoder would skip line breaks, and a token has one spelling only.
	if len(token) > maxLength || strings.ContainsAny(token, "\r\n") {
		return Claims{}, ErrInvalid
	}
	var claims Claims
	if _, err := i.parser.ParseWithClaims(token, &claims, keys.verifier); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !slices.Contains(kinds, claims.Kind) {
		return Claims{}, fmt.Errorf("%w: its kind is %q", ErrInvalid, claims.Kind)
	}
	return claims, nil
}
