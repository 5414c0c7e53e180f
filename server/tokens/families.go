package tokens

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// ErrReused means a refresh token that was used before: it is in two hands, and one of them may be a
// thief's. Its family has been ended. It is an [ErrInvalid] too.
var ErrReused = fmt.Errorf("%w: it was used before", ErrInvalid)

// Pair is what a login buys.
type Pair struct {
	Refresh string `json:"refresh"`
	Access  string `json:"access"`
}

// Families keeps for each login, from which a family of refresh tokens descends, the one token that is good.
type Families struct {
	db     *database.DB
	issuer *Issuer
}

// NewFamilies keeps families in a database.
func NewFamilies(db *database.DB, issuer *Issuer) *Families { return &Families{db: db, issuer: issuer} }

// Start begins a family for a user, in the caller's transaction or on a plain handle with a context.
func (f *Families) Start(tx *gorm.DB, userID int64) (Pair, error) {
	pair, refresh, err := f.next(userID, rand.Text())
	if err != nil {
		return Pair{}, err
	}
	// What the user let expire goes in passing, so that no user ever has more than some days' logins here.
	err = tx.Exec(`DELETE FROM refresh_families WHERE user_id = ? AND expires_at <= ?`, userID, f.issuer.now().UTC()).Error
	if err != nil {
		return Pair{}, fmt.Errorf("delete the expired refresh families of user %d: %w", userID, err)
	}
	err = tx.Exec(`INSERT INTO refresh_families (id, user_id, current_jti, expires_at) VALUES (?, ?, ?, ?)`,
		refresh.Family, userID, refresh.ID, f.outlived(refresh)).Error
	if err != nil {
		return Pair{}, fmt.Errorf("start a refresh family of user %d: %w", userID, err)
	}
	return pair, nil
}

// Rotate takes a verified refresh token in payment for the next pair. If it was used before, its family ends
// and the error is [ErrReused].
func (f *Families) Rotate(ctx context.Context, used Claims) (Pair, error) {
	pair, refresh, err := f.next(used.UserID, used.Family)
	if err != nil {
		return Pair{}, err
	}
	// One statement decides: of two uses at once, on any two pods, only one finds the token current.
	update := f.db.WithContext(ctx).Exec(
		`UPDATE refresh_families SET current_jti = ?, expires_at = ? WHERE id = ? AND current_jti = ?`,
		refresh.ID, f.outlived(refresh), used.Family, used.ID)
	if update.Error != nil {
		return Pair{}, fmt.Errorf("rotate a refresh token of user %d: %w", used.UserID, update.Error)
	}
	if update.RowsAffected == 1 {
		return pair, nil
	}
	return Pair{}, f.endReused(ctx, used)
}

func (f *Families) endReused(ctx context.Context, used Claims) error {
	end := f.db.WithContext(ctx).Exec(`DELETE FROM refresh_families WHERE id = ?`, used.Family)
	switch {
	case end.Error != nil:
		return fmt.Errorf("end a refresh family of user %d: %w", used.UserID, end.Error)
	case end.RowsAffected == 0:
		return ErrInvalid // the family had ended before
	default:
		return ErrReused
	}
}

// End ends the family of a verified refresh token. If that was used before, its family ends too, and the error
// is [ErrReused].
func (f *Families) End(ctx context.Context, refresh Claims) error {
	end := f.db.WithContext(ctx).Exec(`DELETE FROM refresh_families WHERE id = ? AND current_jti = ?`, refresh.Family, refresh.ID)
	if end.Error != nil {
		return fmt.Errorf("end a login of user %d: %w", refresh.UserID, end.Error)
	}
	if end.RowsAffected == 1 {
		return nil
	}
	return f.endReused(ctx, refresh)
}

// EndAll ends a user's families but the one named, in the caller's transaction.
func (f *Families) EndAll(tx *gorm.DB, userID int64, but string) error {
	if err := tx.Exec(`DELETE FROM refresh_families WHERE user_id = ? AND id <> ?`, userID, but).Error; err != nil {
		return fmt.Errorf("end the logins of user %d: %w", userID, err)
	}
	return nil
}

// Check returns [ErrInvalid] unless a verified refresh token is the current one of its family.
func (f *Families) Check(ctx context.Context, refresh Claims) error {
	var current int64
	err := f.db.WithContext(ctx).Raw(`SELECT count(*) FROM refresh_families WHERE id = ? AND current_jti = ?`,
		refresh.Family, refresh.ID).Scan(&current).Error
	if err != nil {
		return fmt.Errorf("look up a refresh token of user %d: %w", refresh.UserID, err)
	}
	if current == 0 {
		return ErrInvalid
	}
	return nil
}

// next signs the next pair of a family.
func (f *Families) next(userID int64, family string) (pair Pair, refresh Claims, err error) {
	refresh = f.issuer.claims(Refresh, userID, f.issuer.settings.RefreshTTL)
	refresh.Family = family
	if pair.Refresh, err = f.issuer.sign(refresh); err != nil {
		return Pair{}, Claims{}, err
	}
	pair.Access, err = f.issuer.access(userID, family)
	return pair, refresh, err
}

// outlived is when a family may be forgotten: when its last tokens of both kinds have expired.
func (f *Families) outlived(refresh Claims) time.Time {
	settings := f.issuer.settings
	return refresh.IssuedAt.Add(max(settings.RefreshTTL, settings.AccessTTL)).UTC()
}
