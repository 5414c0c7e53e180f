package tokens

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

func TestParseKeys(t *testing.T) {
	keys, err := ParseKeys("new:" + secretA + ", old:with:colon:" + secretB + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || keys[0].id != "new" || string(keys[0].secret) != secretA ||
		keys[1].id != "old" || string(keys[1].secret) != "with:colon:"+secretB {
		t.Errorf("got %d keys: %v", len(keys), keys)
	}
}

func TestParseKeysSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "signing key 1: want an id, a colon and a secret"},
		{secretA, "signing key 1: want an id, a colon and a secret"},
		{"a:" + secretA + ",", "signing key 2: want an id, a colon and a secret"},
		{":" + secretA, "signing key 1: want an id of at most 64"},
		{"a key:" + secretA, "signing key 1: want an id of at most 64"},
		{strings.Repeat("k", 65) + ":x", "signing key 1: want an id of at most 64"},
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
		if text := fmt.Sprintf(format, Keys{newKey("a", secretA)}); text != "[a]" {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

// plainError matches an error with nothing in it but numbers of its own.
var plainError = regexp.MustCompile(`^signing key \d+: (` +
	`want an id, a colon and a secret|` +
	`want an id of at most 64 letters, digits, dots, dashes and underscores|` +
	`its secret has \d+ bytes, want at least 32|` +
	`it has the id of key \d+)$`)

func FuzzParseKeys(f *testing.F) {
	f.Add("a:" + secretA + ",b:hush")
	f.Add("a:" + secretA + ",a:" + secretA)
	f.Add(secretA)
	f.Add("zwölf Boxkämpfer:jagen")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err != nil && !plainError.MatchString(err.Error()) {
			t.Errorf("the error says more than it should: %v", err)
		}
		for _, key := range keys {
			if len(key.secret) < minSecret || key.id == "" {
				t.Errorf("key %q has a secret of %d bytes", key.id, len(key.secret))
			}
		}
		if err == nil && len(keys) == 0 {
			t.Error("neither keys nor an error")
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
				secrets[i] = string(keys[0].secret)
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
