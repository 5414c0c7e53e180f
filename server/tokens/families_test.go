package tokens

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// forEachEngine gives a test families in a database that has the users 1 and 2.
func forEachEngine(t *testing.T, test func(t *testing.T, families *Families)) {
	t.Helper()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		for id := 1; id <= 2; id++ {
			name := fmt.Sprint("user", id)
			err := db.Exec(`INSERT INTO users (id, email, email_key, username, username_key, password_hash, created_at, updated_at)
				VALUES (?, ?, ?, ?, ?, '', ?, ?)`, id, name, name, name, name, noon, noon).Error
			if err != nil {
				t.Fatal(err)
			}
		}
		test(t, NewFamilies(db, issuerAt(t, "a:"+secretA)))
	})
}

func (f *Families) start(t *testing.T, userID int64) Pair {
	t.Helper()
	pair, err := f.Start(f.db.WithContext(t.Context()), userID)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (f *Families) verified(t *testing.T, token string) Claims {
	t.Helper()
	claims, err := f.issuer.Verify(token, Refresh)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestRotation(t *testing.T) {
	forEachEngine(t, func(t *testing.T, families *Families) {
		first := families.start(t, 1)
		second, err := families.Rotate(t.Context(), families.verified(t, first.Refresh))
		if err != nil {
			t.Fatal(err)
		}
		if access, err := families.issuer.Verify(second.Access, Access); err != nil || access.UserID != 1 {
			t.Errorf("the new access token is of user %d, %v", access.UserID, err)
		}
		if err := families.Check(t.Context(), families.verified(t, second.Refresh)); err != nil {
			t.Errorf("the new refresh token: %v", err)
		}
		if err := families.Check(t.Context(), families.verified(t, first.Refresh)); !errors.Is(err, ErrInvalid) {
			t.Errorf("the used refresh token: %v", err)
		}
		if _, err := families.Rotate(t.Context(), families.verified(t, second.Refresh)); err != nil {
			t.Errorf("the second rotation: %v", err)
		}
	})
}

func TestReuseEndsTheFamilyAlone(t *testing.T) {
	forEachEngine(t, func(t *testing.T, families *Families) {
		stolen, otherLogin, otherUser := families.start(t, 1), families.start(t, 1), families.start(t, 2)
		used := families.verified(t, stolen.Refresh)
		next, err := families.Rotate(t.Context(), used)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := families.Rotate(t.Context(), used); !errors.Is(err, ErrReused) || !errors.Is(err, ErrInvalid) {
			t.Errorf("the second use: %v", err)
		}
		if _, err := families.Rotate(t.Context(), families.verified(t, next.Refresh)); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrReused) {
			t.Errorf("the token that was current: %v", err)
		}
		for _, other := range []Pair{otherLogin, otherUser} {
			if err := families.Check(t.Context(), families.verified(t, other.Refresh)); err != nil {
				t.Errorf("another login: %v", err)
			}
		}
	})
}

func TestEnd(t *testing.T) {
	forEachEngine(t, func(t *testing.T, families *Families) {
		ended, reused, other := families.start(t, 1), families.start(t, 1), families.start(t, 1)
		if err := families.End(t.Context(), families.verified(t, ended.Refresh)); err != nil {
			t.Fatal(err)
		}
		if err := families.End(t.Context(), families.verified(t, ended.Refresh)); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrReused) {
			t.Errorf("the second time: %v", err)
		}
		next, err := families.Rotate(t.Context(), families.verified(t, reused.Refresh))
		if err != nil {
			t.Fatal(err)
		}
		if err := families.End(t.Context(), families.verified(t, reused.Refresh)); !errors.Is(err, ErrReused) {
			t.Errorf("with a token used before: %v", err)
		}
		for name, pair := range map[string]Pair{"the ended login": ended, "the login of a reused token": next} {
			if err := families.Check(t.Context(), families.verified(t, pair.Refresh)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s goes on: %v", name, err)
			}
		}
		if err := families.Check(t.Context(), families.verified(t, other.Refresh)); err != nil {
			t.Errorf("another login: %v", err)
		}
	})
}

func TestEndAllButOne(t *testing.T) {
	forEachEngine(t, func(t *testing.T, families *Families) {
		kept, ended, otherUser := families.start(t, 1), families.start(t, 1), families.start(t, 2)
		but := families.verified(t, kept.Refresh).Family
		if err := families.EndAll(families.db.WithContext(t.Context()), 1, but); err != nil {
			t.Fatal(err)
		}
		for _, pair := range []Pair{kept, otherUser} {
			if err := families.Check(t.Context(), families.verified(t, pair.Refresh)); err != nil {
				t.Errorf("a login that was to stay: %v", err)
			}
		}
		if err := families.Check(t.Context(), families.verified(t, ended.Refresh)); !errors.Is(err, ErrInvalid) {
			t.Errorf("a login that was to end: %v", err)
		}
	})
}

func TestFamilyOutlivesItsAccessTokens(t *testing.T) {
	forEachEngine(t, func(t *testing.T, families *Families) {
		families.issuer.settings.RefreshTTL = time.Minute
		access, err := families.issuer.Verify(families.start(t, 1).Access, Access)
		if err != nil {
			t.Fatal(err)
		}
		families.issuer.now = func() time.Time { return access.ExpiresAt.Add(-time.Second) }
		families.start(t, 1)
		var left int64
		err = families.db.Raw(`SELECT count(*) FROM refresh_families WHERE id = ?`, access.Family).Scan(&left).Error
		if err != nil || left != 1 {
			t.Errorf("%d families of a good access token are left, %v", left, err)
		}
	})
}

func TestUsesAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, families *Families) {
		used := families.verified(t, families.start(t, 1).Refresh)
		var won atomic.Int64
		var winner atomic.Pointer[Pair]
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				pair, err := families.Rotate(t.Context(), used)
				switch {
				case err == nil:
					won.Add(1)
					winner.Store(&pair)
				case !errors.Is(err, ErrInvalid):
					t.Error(err)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d uses of one token won", won.Load())
		}
		if err := families.Check(t.Context(), families.verified(t, winner.Load().Refresh)); !errors.Is(err, ErrInvalid) {
			t.Errorf("the family goes on: %v", err)
		}
	})
}

func TestExpiredFamiliesGoWithTheNextLogin(t *testing.T) {
	forEachEngine(t, func(t *testing.T, families *Families) {
		families.start(t, 1)
		families.start(t, 2)
		count := func() (families1, families2 int64) {
			t.Helper()
			err := families.db.Raw(`SELECT count(*) FROM refresh_families WHERE user_id = 1`).Scan(&families1).Error
			err = errors.Join(err, families.db.Raw(`SELECT count(*) FROM refresh_families WHERE user_id = 2`).Scan(&families2).Error)
			if err != nil {
				t.Fatal(err)
			}
			return families1, families2
		}
		expiry := noon.Add(families.issuer.settings.RefreshTTL)

		families.issuer.now = func() time.Time { return expiry.Add(-time.Second) }
		families.start(t, 1)
		if one, two := count(); one != 2 || two != 1 {
			t.Errorf("a second before the expiry there are %d and %d families, want 2 and 1", one, two)
		}
		families.issuer.now = func() time.Time { return expiry }
		families.start(t, 1)
		if one, two := count(); one != 2 || two != 1 {
			t.Errorf("with the expiry there are %d and %d families, want 2 and 1", one, two)
		}
	})
}
