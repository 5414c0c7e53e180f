package tokens

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

var (
	errNotASet   = errors.New(`signing keys: want {"keys": […]} with at least one key`)
	errNotAKey   = errors.New("not a JSON Web Key of kty oct, OKP with crv Ed25519, or EC with crv P-256")
	errNotToSign = errors.New("its use is not sig")
	errNoPrivate = errors.New("it is the first and signs, so its private part is needed")
	errNoPair    = errors.New("its private and its public part do not belong together")
)

// parseSet reads a JWK Set. A key without its private part verifies only.
func parseSet(text []byte) (Keys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) == 0 {
		return nil, errNotASet // the cause may quote a secret
	}
	var keys Keys
	for i, entry := range set.Keys {
		key, err := parseJWK(entry)
		if err == nil {
			err = keys.add(key)
		}
		if err == nil && keys[0].private == nil {
			err = errNoPrivate
		}
		if err != nil {
			return nil, fmt.Errorf("signing key %d: %w", i+1, err)
		}
	}
	return keys, nil
}

func parseJWK(text []byte) (Key, error) {
	var parsed jose.JSONWebKey
	if err := json.Unmarshal(text, &parsed); err != nil {
		return Key{}, errNotAKey // the cause may quote a secret
	}
	if parsed.Use != "" && parsed.Use != "sig" {
		return Key{}, errNotToSign
	}
	key, err := keyOf(parsed)
	if err != nil {
		return Key{}, err
	}
	if algorithm := key.method.Alg(); parsed.Algorithm != "" && parsed.Algorithm != algorithm {
		return Key{}, fmt.Errorf("its alg is another than %s, the one for its kind of key", algorithm)
	}
	return key, key.prove()
}

// keyOf gives each kind of key the one algorithm that it is good for here.
func keyOf(parsed jose.JSONWebKey) (Key, error) {
	switch material := parsed.Key.(type) {
	case []byte:
		return newSecretKey(parsed.KeyID, material), checkSecret(len(material))
	case ed25519.PrivateKey:
		return newKey(parsed.KeyID, jwt.SigningMethodEdDSA, material, material.Public()), nil
	case ed25519.PublicKey:
		return newKey(parsed.KeyID, jwt.SigningMethodEdDSA, nil, material), nil
	case *ecdsa.PrivateKey:
		return newKey(parsed.KeyID, jwt.SigningMethodES256, material, &material.PublicKey), checkCurve(material.Curve)
	case *ecdsa.PublicKey:
		return newKey(parsed.KeyID, jwt.SigningMethodES256, nil, material), checkCurve(material.Curve)
	default:
		return Key{}, errNotAKey
	}
}

func checkCurve(curve elliptic.Curve) error {
	if curve != elliptic.P256() {
		return errNotAKey
	}
	return nil
}

// prove signs and verifies once, so that no shop finds out by its customers that a key's parts do not match.
func (k Key) prove() error {
	if k.private == nil {
		return nil
	}
	const probe = "probe"
	signature, err := k.method.Sign(probe, k.private)
	if err != nil || k.method.Verify(probe, signature, k.public) != nil {
		return errNoPair
	}
	return nil
}
