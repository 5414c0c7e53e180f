package builders

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const secret32 = "0123456789abcdef0123456789abcdef"

var monday = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// ids are the ring's keys in their order.
func ids(ring Keyring) string {
	var all []string
	for _, key := range ring.keys {
		all = append(all, key.id)
	}
	return strings.Join(all, " ")
}

// reread is the ring as the next turn finds it in its Secret.
func reread(t *testing.T, ring Keyring) Keyring {
	t.Helper()
	applied := KeyringSecret(&shopv1.Shop{}, ring)
	return KnownKeyring(&corev1.Secret{Data: applied.Data})
}

// TestKeyringRotates follows a key from its coming to its end.
func TestKeyringRotates(t *testing.T) {
	var ring Keyring
	for _, step := range []struct {
		wanted  string
		allKnow bool
		after   time.Duration
		want    string
	}{
		{"a:" + secret32, false, 0, "a"},
		{"b:" + secret32, true, 0, "a b"},            // b is made known
		{"b:" + secret32, false, time.Minute, "a b"}, // not yet to all
		{"b:" + secret32, true, time.Minute, "b a"},  // b signs; the end of a begins
		{"b:" + secret32, false, 168 * time.Hour, "b a"},
		{"b:" + secret32, true, 170 * time.Hour, "b"},
		{"c:" + secret32 + ",b:" + secret32, true, 171 * time.Hour, "b c"},
		{"c:" + secret32 + ",b:" + secret32, true, 171 * time.Hour, "c b"},
		{"c:" + secret32 + ",b:" + secret32, true, 999 * time.Hour, "c b"}, // both are wanted
		{`{"keys":[{"kid":"d","kty":"OKP"}]}`, true, 999 * time.Hour, "c d b"},
		{`{"keys":[{"kid":"d","kty":"OKP"}]}`, true, 999 * time.Hour, "d c b"},
	} {
		var err error
		ring, err = reread(t, ring).Rotate(step.wanted, step.allKnow, monday.Add(step.after), 168*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(ring); got != step.want {
			t.Errorf("%s, known to all: %v, after %s: %q, want %q", step.wanted, step.allKnow, step.after, got, step.want)
		}
		again, err := reread(t, ring).Rotate(step.wanted, false, monday.Add(step.after), 168*time.Hour)
		if err != nil || again.String() != ring.String() {
			t.Errorf("the same again gives %q, %v", ids(again), err)
		}
	}
	if until := ring.Until(168 * time.Hour); !until.Equal(monday.Add((999 + 169) * time.Hour)) {
		t.Errorf("until %s", until)
	}
}

// TestKeyringKeepsWhatItHas: keys that are no keys change nothing.
func TestKeyringKeepsWhatItHas(t *testing.T) {
	ring, err := Keyring{}.Rotate("a:"+secret32, true, monday, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "a", "a:short", `{"keys":[]}`, `{"keys":[{"kty":"oct"}]}`, "{"} {
		if after, err := ring.Rotate(bad, true, monday, time.Hour); err == nil || ids(after) != "a" {
			t.Errorf("%q: %q, %v", bad, ids(after), err)
		}
	}
}
