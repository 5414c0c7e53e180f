package accounts

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

func noLastCheck() error { return nil }

func TestHash(t *testing.T) {
	hasher := New(Options{}).hasher // as it is unless somebody asks for another
	hash, err := hasher.hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`).MatchString(hash) {
		t.Errorf("the hash is %s", hash)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct  horse": false} {
		if got, err := hasher.matches(t.Context(), hash, password, noLastCheck); err != nil || got != want {
			t.Errorf("%q: %t, %v", password, got, err)
		}
	}
}

// A hash of other parameters, made by the reference implementation's command: printf password |
// argon2 somesaltsomesalt -id -t 3 -k 64 -p 2 -l 32 -e.
const foreignHash = "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$1CPz4PuyeKkknCNTU5v52qlMt5LtwQsgM5BbeG7cH60"

func TestHashOfAnotherCostMatches(t *testing.T) {
	if matches, err := newHasher(owaspCost).matches(t.Context(), foreignHash, "password", noLastCheck); err != nil || !matches {
		t.Errorf("%t, %v", matches, err)
	}
}

func TestDecoyCostsWhatAHashDoes(t *testing.T) {
	hasher := newHasher(owaspCost)
	decoyCost, salt, key, err := decodeHash(hasher.decoy)
	if err != nil || decoyCost != owaspCost || len(salt) != saltLength || len(key) != hashLength {
		t.Errorf("the decoy is %s, %v", hasher.decoy, err)
	}
}

func TestHashWaitsForItsTurn(t *testing.T) {
	hasher := newHasher(Cost{Memory: 8, Passes: 1, Threads: 1})
	for range cap(hasher.slots) {
		hasher.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := hasher.hash(ctx, "correct horse"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with no free slot: %v", err)
	}
	<-hasher.slots
	for range 2 { // it gives its slot back
		if _, err := hasher.hash(t.Context(), "correct horse"); err != nil {
			t.Errorf("with a free slot: %v", err)
		}
	}
}

func TestNoHashButOursIsTaken(t *testing.T) {
	hasher := newHasher(Cost{Memory: 8, Passes: 1, Threads: 1})
	for _, encoded := range []string{
		"", "plain", "$$$$$", "$argon2id$v=19$m=8,t=1,p=1$$",
		strings.Replace(hasher.decoy, "argon2id", "argon2i", 1),
		strings.Replace(hasher.decoy, "v=19", "v=16", 1),
		strings.Replace(hasher.decoy, "t=1", "t=0", 1),
		strings.Replace(hasher.decoy, "p=1", "p=0", 1),
		strings.Replace(hasher.decoy, "p=1", "p=256", 1),
		strings.Replace(hasher.decoy, "m=8", "m=-8", 1),
		hasher.decoy + "!", hasher.decoy + "$",
	} {
		if matches, err := hasher.matches(t.Context(), encoded, "correct horse", noLastCheck); matches || !errors.Is(err, errBadHash) {
			t.Errorf("%q: %t, %v", encoded, matches, err)
		}
	}
}

func FuzzDecodeHash(f *testing.F) {
	f.Add(newHasher(owaspCost).decoy)
	f.Add(foreignHash)
	f.Add("$argon2id$v=19$m=08,t=1,p=1$$AA")
	f.Fuzz(func(t *testing.T, encoded string) {
		cost, salt, key, err := decodeHash(encoded)
		if err != nil {
			return
		}
		again, salt2, key2, err := decodeHash(encodeHash(cost, salt, key))
		if err != nil || again != cost || string(salt2) != string(salt) || string(key2) != string(key) {
			t.Errorf("%q does not survive a round: %+v, %v", encoded, again, err)
		}
	})
}
