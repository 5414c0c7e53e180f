package tokens

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Keys that protect nothing: the first is of RFC 8037, A.1, the second of RFC 7517, A.2.
const (
	jwkEd25519 = `{"kty":"OKP","crv":"Ed25519","kid":"ed","use":"sig","alg":"EdDSA",` +
		`"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	jwkP256 = `{"kty":"EC","crv":"P-256","kid":"ec","use":"sig","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}`
	jwkSecret = `{"kty":"oct","kid":"oct","alg":"HS256","k":"dGhlIHNlY3JldCBvZiBrZXkgYSBoYXMgZW5vdWdoIGJ5dGVz"}`
)

func setOf(keys ...string) string { return ` {"keys":[` + strings.Join(keys, ",") + `]} ` }

func sampleKeys(t testing.TB) Keys {
	t.Helper()
	keys, err := ParseKeys(setOf(jwkEd25519, jwkP256, jwkSecret))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// encoded is a key as JSON, made by the library.
func encoded(t *testing.T, id string, key any) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: id})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEachAlgorithmSignsAndVerifies(t *testing.T) {
	keys := sampleKeys(t)
	if got := secretOf(keys[2]); got != secretA {
		t.Errorf("the secret is %q", got)
	}
	for at, algorithm := range []string{"EdDSA", "ES256", "HS256"} {
		issuer := issuerAt(t, "a:"+secretA)
		issuer.Use(Keys{keys[at], keys[(at+1)%3], keys[(at+2)%3]})
		token, err := issuer.access(42, "f")
		if err != nil {
			t.Fatal(err)
		}
		want := `{"typ":"JWT","alg":"` + algorithm + `","kid":"` + keys[at].id + `"}`
		if header := decode(t, strings.Split(token, ".")[0]); header != want {
			t.Errorf("the header is %s, want %s", header, want)
		}
		// Any order of the same keys verifies, and another shop's keys of that id do not.
		issuer.Use(keys)
		if claims, err := issuer.Verify(token, Access); err != nil || claims.UserID != 42 {
			t.Errorf("%s: user %d, %v", algorithm, claims.UserID, err)
		}
		issuer.Use(strangers(t, keys[at].id))
		if _, err := issuer.Verify(token, Access); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s with another key: %v", algorithm, err)
		}
	}
}

// strangers is a key of another shop that has the same id and, of the kinds of keys, the same algorithm.
func strangers(t *testing.T, id string) Keys {
	t.Helper()
	text := "oct:" + secretB
	switch id {
	case "ed":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		text = setOf(encoded(t, id, key))
		if err != nil {
			t.Fatal(err)
		}
	case "ec":
		text = setOf(encoded(t, id, newP256(t)))
	}
	keys, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestPublicKeysVerifyOnly(t *testing.T) {
	keys := sampleKeys(t)
	shared, err := ParseKeys(setOf(jwkSecret, encoded(t, "ed", keys[0].public), encoded(t, "ec", keys[1].public)))
	if err != nil {
		t.Fatal(err)
	}
	issuer := issuerAt(t, "a:"+secretA)
	for _, key := range keys[:2] {
		issuer.Use(Keys{key})
		token, err := issuer.access(1, "f")
		if err != nil {
			t.Fatal(err)
		}
		issuer.Use(shared)
		if _, err := issuer.Verify(token, Access); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A public key is no secret: nobody may use it as one.
func TestPublicKeyIsNoSecret(t *testing.T) {
	issuer := issuerAt(t, "a:"+secretA)
	keys := sampleKeys(t)
	issuer.Use(keys)
	public, isEd25519 := keys[0].public.(ed25519.PublicKey)
	if !isEd25519 {
		t.Fatalf("the first key is a %T", keys[0].public)
	}
	for _, secret := range []string{string(public), base64.RawURLEncoding.EncodeToString(public)} {
		token := forge(t, jwt.SigningMethodHS256, []byte(secret), "ed", good())
		if _, err := issuer.Verify(token, Access); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
}

func TestParseSetSaysWhatIsWrong(t *testing.T) {
	const unlike = "not a JSON Web Key of kty oct, OKP with crv Ed25519, or EC with crv P-256"
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	change := func(key, from, to string) string {
		t.Helper()
		if !strings.Contains(key, from) {
			t.Fatalf("%s does not hold %s", key, from)
		}
		return strings.Replace(key, from, to, 1)
	}
	for name, test := range map[string]struct{ text, want string }{
		"cut off":               {`{"keys":[`, errNotASet.Error()},
		"no keys":               {`{"keys":[]}`, errNotASet.Error()},
		"no set":                {jwkEd25519, errNotASet.Error()},
		"keys that are none":    {`{"keys":{"a":1}}`, errNotASet.Error()},
		"more after it":         {setOf(jwkSecret) + "x", errNotASet.Error()},
		"null":                  {setOf("null"), "signing key 1: " + unlike},
		"a text":                {setOf(`"hush"`), "signing key 1: " + unlike},
		"no kty":                {setOf(jwkSecret, `{"kid":"x"}`), "signing key 2: " + unlike},
		"an unknown kty":        {setOf(jwkSecret, `{"kty":"hush","kid":"x"}`), "signing key 2: " + unlike},
		"an RSA key":            {setOf(encoded(t, "x", rsaKey)), "signing key 1: " + unlike},
		"another curve":         {setOf(encoded(t, "x", p384)), "signing key 1: " + unlike},
		"another public curve":  {setOf(jwkSecret, encoded(t, "x", &p384.PublicKey)), "signing key 2: " + unlike},
		"another Edwards":       {setOf(change(jwkEd25519, "Ed25519", "X25519")), "signing key 1: " + unlike},
		"a point off the curve": {setOf(change(jwkP256, `"x":"MK`, `"x":"MM`)), "signing key 1: " + unlike},
		"no x":                  {setOf(change(jwkEd25519, `"x":`, `"z":`)), "signing key 1: " + unlike},
		"another x":             {setOf(change(jwkEd25519, `"x":"11`, `"x":"12`)), "signing key 1: " + unlike},
		"another d":             {setOf(change(jwkP256, `"d":"87`, `"d":"77`)), "signing key 1: " + errNoPair.Error()},
		"no id":                 {setOf(change(jwkEd25519, `"kid"`, `"kit"`)), "signing key 1: want an id of at most 64"},
		"an id with a space":    {setOf(change(jwkEd25519, `"ed"`, `"e d"`)), "signing key 1: want an id of at most 64"},
		"one id twice":          {setOf(jwkSecret, jwkP256, change(jwkEd25519, `"ed"`, `"ec"`)), "signing key 3: it has the id of key 2"},
		"to encrypt":            {setOf(change(jwkEd25519, `"sig"`, `"enc"`)), "signing key 1: its use is not sig"},
		"another algorithm":     {setOf(jwkEd25519, change(jwkSecret, "HS256", "HS512")), "signing key 2: its alg is another than HS256"},
		"the wrong algorithm":   {setOf(change(jwkEd25519, "EdDSA", "HS256")), "signing key 1: its alg is another than EdDSA"},
		"a short secret":        {setOf(`{"kty":"oct","kid":"x","k":"aHVzaA"}`), "signing key 1: its secret has 4 bytes, want at least 32"},
		"a public key first":    {setOf(change(jwkEd25519, `"d":`, `"z":`), jwkSecret), "signing key 1: " + errNoPrivate.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeys(test.text)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			if !plainError.MatchString(err.Error()) {
				t.Errorf("%v says more than it should", err)
			}
		})
	}
}
