package tokens

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const (
	secretA = "the secret of key a has enough bytes"
	secretB = "the secret of key b has enough bytes"
)

var noon = time.Date(2026, 1, 8, 12, 0, 0, 0, time.UTC)

// issuerAt makes an issuer of the shop "acme" whose clock stands at noon.
func issuerAt(t testing.TB, keys string) *Issuer {
	t.Helper()
	issuer := New(Settings{Issuer: "acme"})
	issuer.now = func() time.Time { return noon }
	parsed, err := ParseKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	issuer.Use(parsed)
	return issuer
}

func TestAccessTokenSaysWhatSimpleJWTSays(t *testing.T) {
	token, err := issuerAt(t, "a:"+secretA).access(42, "f")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	if header := decode(t, parts[0]); header != `{"typ":"JWT","alg":"HS256","kid":"a"}` {
		t.Errorf("the header is %s", header)
	}
	var claims map[string]any
	if err := json.Unmarshal([]byte(decode(t, parts[1])), &claims); err != nil {
		t.Fatal(err)
	}
	if id, _ := claims["jti"].(string); len(id) < 20 {
		t.Errorf("the id of the token is %q", id)
	}
	delete(claims, "jti")
	want := map[string]any{
		"token_type": "access", "user_id": 42.0, "fam": "f", "iss": "acme", "aud": []any{"acme"},
		"iat": float64(noon.Unix()), "exp": float64(noon.Add(15 * time.Minute).Unix()),
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestTokensHaveIDsOfTheirOwn(t *testing.T) {
	issuer := issuerAt(t, "a:"+secretA)
	one, err1 := issuer.access(1, "f")
	two, err2 := issuer.access(1, "f")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Error("two tokens of one moment are the same")
	}
}

// good is what a sound access token says; the cases below spoil it.
func good() jwt.MapClaims {
	return jwt.MapClaims{
		"token_type": "access", "user_id": 42, "fam": "f", "jti": "x", "iss": "acme", "aud": "acme",
		"iat": noon.Unix(), "exp": noon.Add(time.Minute).Unix(),
	}
}

func with(name string, value any) jwt.MapClaims {
	claims := good()
	claims[name] = value
	return claims
}

func without(name string) jwt.MapClaims {
	claims := good()
	delete(claims, name)
	return claims
}

// forge signs claims with a library's own hands.
func forge(t testing.TB, method jwt.SigningMethod, key any, kid any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != nil {
		token.Header["kid"] = kid
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestVerify(t *testing.T) {
	sign := func(claims jwt.MapClaims) string {
		return forge(t, jwt.SigningMethodHS256, []byte(secretA), "a", claims)
	}
	refresh, reset := with("token_type", "refresh"), with("token_type", "reset")
	reset["seal"] = "s"
	delete(reset, "fam")
	oddReset := maps.Clone(reset)
	oddReset["fam"] = "f"
	tests := map[string]struct {
		token string
		good  bool
	}{
		"sound":                    {sign(good()), true},
		"audience among others":    {sign(with("aud", []string{"other", "acme"})), true},
		"empty":                    {"", false},
		"no token at all":          {"a.b.c", false},
		"a fourth part":            {sign(good()) + ".x", false},
		"a line break":             {sign(good()) + "\n", false},
		"another spelling":         {respell(sign(good())), false},
		"too long":                 {sign(with("padding", strings.Repeat("x", maxLength))), false},
		"not signed":               {forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "a", good()), false},
		"another algorithm":        {forge(t, jwt.SigningMethodHS512, []byte(secretA), "a", good()), false},
		"another secret":           {forge(t, jwt.SigningMethodHS256, []byte(secretB), "a", good()), false},
		"an unknown key":           {forge(t, jwt.SigningMethodHS256, []byte(secretA), "z", good()), false},
		"no key id":                {forge(t, jwt.SigningMethodHS256, []byte(secretA), nil, good()), false},
		"a key id that is no text": {forge(t, jwt.SigningMethodHS256, []byte(secretA), []string{"a"}, good()), false},
		"another shop's issuer":    {sign(with("iss", "other")), false},
		"another shop's audience":  {sign(with("aud", "other")), false},
		"no issuer":                {sign(without("iss")), false},
		"no audience":              {sign(without("aud")), false},
		"expired this moment":      {sign(with("exp", noon.Unix())), false},
		"no expiry":                {sign(without("exp")), false},
		"an expiry of text":        {sign(with("exp", "tomorrow")), false},
		"not yet":                  {sign(with("nbf", noon.Add(time.Minute).Unix())), false},
		"no id":                    {sign(without("jti")), false},
		"no user":                  {sign(without("user_id")), false},
		"a user below 1":           {sign(with("user_id", -1)), false},
		"a user of text":           {sign(with("user_id", "42")), false},
		"no kind":                  {sign(without("token_type")), false},
		"a refresh token":          {sign(refresh), false},
		"a reset token":            {sign(reset), false},
		"access of no login":       {sign(without("fam")), false},
		"access with a seal":       {sign(with("seal", "s")), false},
	}
	issuer := issuerAt(t, "b:"+secretB+",a:"+secretA)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			claims, err := issuer.Verify(test.token, Access)
			if test.good && (err != nil || claims.UserID != 42) {
				t.Errorf("user %d, %v", claims.UserID, err)
			}
			if !test.good && !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
	if claims, err := issuer.Verify(sign(refresh), Access, Refresh); err != nil || claims.Family != "f" {
		t.Errorf("a refresh token where both kinds are good: family %q, %v", claims.Family, err)
	}
	if claims, err := issuer.Verify(sign(reset), Reset); err != nil || claims.Seal != "s" {
		t.Errorf("a reset token where it is good: seal %q, %v", claims.Seal, err)
	}
	delete(reset, "seal")
	for name, token := range map[string]string{"without a seal": sign(reset), "with a family": sign(oddReset)} {
		if _, err := issuer.Verify(token, Reset); !errors.Is(err, ErrInvalid) {
			t.Errorf("a reset token %s: %v", name, err)
		}
	}
}

// respell sets a bit in a token's last letter that stands for nothing.
func respell(token string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(token) - 1
	return token[:last] + string(letters[strings.IndexByte(letters, token[last])+1])
}

func TestKeyIsGoodForItsAlgorithmAlone(t *testing.T) {
	keys := Keys{newSecretKey("a", []byte(secretA))}
	for method, want := range map[jwt.SigningMethod]bool{jwt.SigningMethodHS256: true, jwt.SigningMethodHS384: false} {
		_, err := keys.verifier(&jwt.Token{Method: method, Header: map[string]any{"kid": "a"}})
		if got := err == nil; got != want {
			t.Errorf("%s: %v", method.Alg(), err)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	issuer := issuerAt(t, "a:"+secretA)
	old, err := issuer.access(1, "f")
	if err != nil {
		t.Fatal(err)
	}
	issuer.Use(Keys{newSecretKey("b", []byte(secretB)), newSecretKey("a", []byte(secretA))})
	if _, err := issuer.Verify(old, Access); err != nil {
		t.Errorf("a token of the key before: %v", err)
	}
	signed, err := issuer.access(1, "f")
	if err != nil || !strings.Contains(decode(t, strings.Split(signed, ".")[0]), `"kid":"b"`) {
		t.Errorf("the first key does not sign: %s, %v", signed, err)
	}
	issuer.Use(Keys{newSecretKey("b", []byte(secretB))})
	if _, err := issuer.Verify(old, Access); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token of a key that is gone: %v", err)
	}
	if _, err := issuer.Verify(signed, Access); err != nil {
		t.Errorf("a token of the key that stays: %v", err)
	}
}

func TestNothingWithoutKeys(t *testing.T) {
	issuer := New(Settings{})
	if _, err := issuer.access(1, "f"); !errors.Is(err, ErrNoKeys) {
		t.Errorf("sign: %v", err)
	}
	if _, err := issuer.Verify("a.b.c", Access); !errors.Is(err, ErrNoKeys) {
		t.Errorf("verify: %v", err)
	}
	issuer.Use(nil)
	if _, err := issuer.access(1, "f"); !errors.Is(err, ErrNoKeys) {
		t.Errorf("sign with an empty set: %v", err)
	}
}

func TestResetTokenLivesForAnHour(t *testing.T) {
	issuer := issuerAt(t, "a:"+secretA)
	token, err := issuer.Reset(42, "s")
	if err != nil {
		t.Fatal(err)
	}
	issuer.now = func() time.Time { return noon.Add(time.Hour - time.Second) }
	if claims, err := issuer.Verify(token, Reset); err != nil || claims.UserID != 42 || claims.Seal != "s" {
		t.Errorf("within the hour: %+v, %v", claims, err)
	}
	issuer.now = func() time.Time { return noon.Add(time.Hour) }
	if _, err := issuer.Verify(token, Reset); !errors.Is(err, ErrInvalid) {
		t.Errorf("after an hour: %v", err)
	}
}

func TestNoChangedTokenIsGood(t *testing.T) {
	issuer := issuerAt(t, "a:"+secretA)
	token, err := issuer.access(42, "f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.Verify(token, Access); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		change := rapid.SampledFrom([]string{
			token[:at],
			token[:at] + token[at+1:],
			token[:at] + string(rapid.Byte().Draw(t, "byte")) + token[at:],
			token[:at] + string(rapid.Byte().Draw(t, "byte")) + token[at+1:],
		}).Draw(t, "changed")
		if _, err := issuer.Verify(change, Access); err == nil && change != token {
			t.Fatalf("%q is good", change)
		}
	})
}

func FuzzVerify(f *testing.F) {
	issuer := issuerAt(f, "a:"+secretA)
	minted := map[string]bool{}
	for _, claims := range []jwt.MapClaims{good(), with("aud", "other"), without("exp"), {}} {
		token := forge(f, jwt.SigningMethodHS256, []byte(secretA), "a", maps.Clone(claims))
		minted[token] = true
		f.Add(token)
	}
	for _, key := range sampleKeys(f) {
		f.Add(forge(f, key.method, key.private, key.id, good()))
	}
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := issuer.Verify(token, Access, Refresh); err == nil && !minted[token] {
			t.Errorf("%q is good and was never issued", token)
		}
	})
}

func decode(t *testing.T, part string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
