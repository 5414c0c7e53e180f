package builders

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const (
	keyRetired = "retired"
	// retiredSlack is how much longer than any of its tokens a key is kept: tokens
	// are signed with it until the last pod that does so has gone.
	retiredSlack = time.Hour
	// leastSigningKey is the least size of an HS256 secret in bytes (RFC 7518, 3.2).
	leastSigningKey = 32
)

// Keyring is what the server's pods sign and verify tokens with: the keys that
// are wanted, and those of before that tokens may still be around of. The first
// one signs.
//
// A new key is first added behind, and signs only when every pod knows it; the
// one of before stays until its last token has expired. So nobody is logged out,
// whatever becomes of the Secret that the keys come from.
type Keyring struct {
	keys    []signingKey
	retired map[string]time.Time // when a key was seen to be unwanted, by its id
}

// signingKey is a JSON Web Key. Its text has one form only.
type signingKey struct{ id, text string }

// KnownKeyring reads the ring that was made before. There is none in no Secret,
// nor in one that someone has spoilt.
func KnownKeyring(secret *corev1.Secret) Keyring {
	keys, err := parseSigningKeys(value(secret, keySigningKeys))
	if err != nil {
		return Keyring{}
	}
	ring := Keyring{keys: keys, retired: map[string]time.Time{}}
	if err := json.Unmarshal([]byte(value(secret, keyRetired)), &ring.retired); err != nil {
		ring.retired = map[string]time.Time{} // they are seen to be unwanted again, and kept for longer
	}
	return ring
}

// Rotate brings the ring nearer to what is wanted, which is text in one of the
// forms that SHOP_SIGNING_KEYS may have. allKnow says that every pod has the
// keys of the ring as it is; lifetime is how long tokens are good.
func (r Keyring) Rotate(wanted string, allKnow bool, now time.Time, lifetime time.Duration) (Keyring, error) {
	keys, err := parseSigningKeys(wanted)
	if err != nil {
		return r, err
	}
	if len(r.keys) == 0 {
		return Keyring{keys: keys}, nil
	}
	isWanted := func(id string) bool { return slices.ContainsFunc(keys, hasID(id)) }
	next := Keyring{retired: map[string]time.Time{}}
	signer := keys[0]
	if isNew := !slices.Contains(r.keys, signer); isNew || !allKnow && r.keys[0] != signer {
		signer = r.keys[0]
	}
	next.add(signer)
	for _, key := range slices.Concat(keys, r.keys) {
		switch since, isRetired := r.retired[key.id]; {
		case isWanted(key.id):
			next.add(key)
		case !isRetired:
			next.add(key)
			next.retired[key.id] = now.UTC().Truncate(time.Second)
		case now.Before(since.Add(lifetime + retiredSlack)):
			next.add(key)
			next.retired[key.id] = since
		}
	}
	if !isWanted(signer.id) {
		delete(next.retired, signer.id) // its time begins when it signs no more
	}
	return next, nil
}

// add puts a key last, unless there is one of its id: an id has one key.
func (r *Keyring) add(key signingKey) {
	if !slices.ContainsFunc(r.keys, hasID(key.id)) {
		r.keys = append(r.keys, key)
	}
}

func hasID(id string) func(signingKey) bool {
	return func(key signingKey) bool { return key.id == id }
}

// IsEmpty reports whether no key was ever in it.
func (r Keyring) IsEmpty() bool { return len(r.keys) == 0 }

// Until is when the next key can be dropped, or the zero time.
func (r Keyring) Until(lifetime time.Duration) time.Time {
	var next time.Time
	for since := range maps.Values(r.retired) {
		if until := since.Add(lifetime + retiredSlack); next.IsZero() || until.Before(next) {
			next = until
		}
	}
	return next
}

// String is the ring as SHOP_SIGNING_KEYS has it: a JWK Set.
func (r Keyring) String() string {
	texts := make([]string, 0, len(r.keys))
	for _, key := range r.keys {
		texts = append(texts, key.text)
	}
	return `{"keys":[` + strings.Join(texts, ",") + "]}"
}

// KeyringSecret has the ring that the pods read. It outlives the Shop, so that
// nobody is logged out when the same Shop is applied again.
func KeyringSecret(shop *shopv1.Shop, ring Keyring) *corev1ac.SecretApplyConfiguration {
	values := map[string]string{keySigningKeys: ring.String()}
	if len(ring.retired) > 0 {
		retired, _ := json.Marshal(ring.retired) // times always encode
		values[keyRetired] = string(retired)
	}
	return keptSecret(shop, KeyringName(shop), ComponentServer, values)
}

// TokenLifetime is how long the longest-lived token of the shop is good.
func TokenLifetime(shop *shopv1.Shop) time.Duration {
	access, _ := time.ParseDuration(string(shop.Spec.Auth.AccessTokenTTL)) // the schema has checked them
	refresh, _ := time.ParseDuration(string(shop.Spec.Auth.RefreshTokenTTL))
	return max(access, refresh)
}

var errNoKeySet = errors.New("it starts as a JWK Set does, and is none whose keys have ids")

// parseSigningKeys reads kid:secret pairs or a JWK Set. Its errors tell nothing
// of what is in them.
func parseSigningKeys(text string) ([]signingKey, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		return parseKeySet(text)
	}
	var keys []signingKey
	for i, entry := range strings.Split(text, ",") {
		id, secret, isPair := strings.Cut(strings.TrimSpace(entry), ":")
		if !isPair || id == "" || len(secret) < leastSigningKey {
			return nil, fmt.Errorf("its key %d is not of the form kid:secret with a secret of %d bytes or more", i+1, leastSigningKey)
		}
		key, err := json.Marshal(map[string]string{"kty": "oct", "kid": id, "k": base64.RawURLEncoding.EncodeToString([]byte(secret))})
		if err != nil {
			return nil, fmt.Errorf("its key %d cannot be written: %w", i+1, err)
		}
		keys = append(keys, signingKey{id, string(key)})
	}
	return keys, nil
}

func parseKeySet(text string) ([]signingKey, error) {
	set := struct {
		Keys []map[string]any `json:"keys"`
	}{}
	if err := json.Unmarshal([]byte(text), &set); err != nil || len(set.Keys) == 0 {
		return nil, errNoKeySet
	}
	var keys []signingKey
	for _, fields := range set.Keys {
		id, _ := fields["kid"].(string)
		key, err := json.Marshal(fields)
		if err != nil || id == "" {
			return nil, errNoKeySet
		}
		keys = append(keys, signingKey{id, string(key)})
	}
	return keys, nil
}
