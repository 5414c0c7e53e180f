package tokens

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

func TestParseKeys(t *testing.T) {
	keys, err := ParseKeys("new:" + secretA + ", old:with:colon:" + secretB + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || keys[0].id != "new" || secretOf(keys[0]) != secretA ||
		keys[1].id != "old" || secretOf(keys[1]) != "with:colon:"+secretB {
		t.Errorf("got %d keys: %v", len(keys), keys)
	}
}

// secretOf is the secret of an HS256 key, else empty.
func secretOf(key Key) string {
	secret, _ := key.private.([]byte)
	return string(secret)
}

func TestParseKeysSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "signing key 1: want an id, a colon and a secret"},
		{secretA, "signing key 1: want an id, a colon and a secret"},
		{"a:" + secretA + ",", "signing key 2: want an id, a colon and a secret"},
		{":" + secretA, "signing key 1: want an id of at most 64"},
		{"a key:" + secretA, "signing key 1: want an id of at most 64"},
		{strings.Repeat("k", 65) + ":" + secretA, "signing key 1: want an id of at most 64"},
		{"a:hush", "signing key 1: its secret has 4 bytes, want at least 32"},
		{"a:" + secretA + ",b:x", "signing key 2: its secret has 1 bytes, want at least 32"},
		{"a:" + secretA + ",a:" + secretB, "signing key 2: it has the id of key 1"},
	} {
		if _, err := ParseKeys(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.text, err, test.want)
		}
	}
}

func TestKeysDoNotPrintTheirSecret(t *testing.T) {
	for _, format := range []string{"%v", "%+v", "%s"} {
		if text := fmt.Sprintf(format, Keys{newSecretKey("a", []byte(secretA))}); text != "[a]" {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

// plainError matches an error with nothing in it but numbers of its own.
var plainError = regexp.MustCompile(`^signing key \d+: (` +
	`want an id, a colon and a secret|` +
	`want an id of at most 64 letters, digits, dots, dashes and underscores|` +
	`its secret has \d+ bytes, want at least 32|` +
	`it has the id of key \d+|` +
	`not a JSON Web Key of kty oct, OKP with crv Ed25519, or EC with crv P-256|` +
	`its use is not sig|` +
	`its alg is another than (HS256|EdDSA|ES256), the one for its kind of key|` +
	`it is the first and signs, so its private part is needed|` +
	`its private and its public part do not belong together)$|` +
	`^signing keys: want {"keys": \[…\]} with at least one key$`)

func FuzzParseKeys(f *testing.F) {
	f.Add("a:" + secretA + ",b:hush")
	f.Add("a:" + secretA + ",a:" + secretA)
	f.Add(secretA)
	f.Add(setOf(jwkEd25519, jwkP256, jwkSecret))
	f.Add(setOf(strings.Replace(jwkP256, `"d":"`, `"d":"A`, 1)))
	f.Add(setOf(`{"kty":"EC","crv":"P-256","kid":"p","x":"AA","y":"AA","d":"AA"}`))
	f.Add(`{"keys":[{}]}`)
	f.Add("zwölf Boxkämpfer:jagen")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err != nil && !plainError.MatchString(err.Error()) {
			t.Errorf("the error says more than it should: %v", err)
		}
		for _, key := range keys {
			if key.id == "" || key.method == jwt.SigningMethodHS256 && len(secretOf(key)) < minSecret {
				t.Errorf("key %q has a secret of %d bytes", key.id, len(secretOf(key)))
			}
		}
		if err != nil {
			return
		}
		issuer := New(Settings{})
		issuer.Use(keys)
		token, err := issuer.access(1, "f")
		if err != nil {
			t.Fatalf("the keys do not sign: %v", err)
		}
		if _, err := issuer.Verify(token, Access); err != nil {
			t.Errorf("the keys do not verify what they sign: %v", err)
		}
	})
}

func TestFirstKeyIsTheSameForAll(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		const processes = 8
		var secrets [processes]string
		var group sync.WaitGroup
		for i := range processes {
			group.Go(func() {
				keys, err := LoadOrMakeKeys(t.Context(), db)
				if err != nil || len(keys) != 1 {
					t.Errorf("%d keys, %v", len(keys), err)
					return
				}
				secrets[i] = secretOf(keys[0])
			})
		}
		group.Wait()
		for _, secret := range secrets {
			if secret != secrets[0] || len(secret) < minSecret {
				t.Fatal("two processes have different keys")
			}
		}
	})
}

func TestNewestKeptKeySigns(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		if _, err := LoadOrMakeKeys(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		err := db.Exec(`INSERT INTO signing_keys (kid, secret, created_at) VALUES ('2', ?, ?)`, secretA, database.Now()).Error
		if err != nil {
			t.Fatal(err)
		}
		keys, err := LoadOrMakeKeys(t.Context(), db)
		if err != nil || fmt.Sprint(keys) != "[2 1]" {
			t.Errorf("the keys are %v, %v", keys, err)
		}
	})
}
