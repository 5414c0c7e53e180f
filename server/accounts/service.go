// Package accounts holds the shop's users: who they are, their passwords, and the tokens they log in for.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

// Accounts is the feature: its methods are the handlers, and what other parts of the server ask of users.
type Accounts struct {
	store    store
	issuer   *tokens.Issuer
	families *tokens.Families
	hasher   *hasher
	log      *slog.Logger
}

// New makes the feature. The issuer may get its keys later; until then what needs tokens is unavailable.
func New(db *database.DB, issuer *tokens.Issuer, log *slog.Logger) *Accounts {
	return &Accounts{
		store: store{db}, issuer: issuer, families: tokens.NewFamilies(db, issuer),
		hasher: newHasher(owaspCost), log: log,
	}
}

// Authenticate returns the caller that a valid access token of an active user stands for.
func (a *Accounts) Authenticate(ctx context.Context, token string) (httpapi.Caller, error) {
	claims, err := a.issuer.Verify(token, tokens.Access)
	if err != nil {
		return httpapi.Caller{}, answer(err)
	}
	now, err := a.standing(ctx, claims)
	if err != nil {
		return httpapi.Caller{}, err
	}
	return httpapi.Caller{UserID: claims.UserID, Staff: now.IsStaff, Expires: claims.ExpiresAt.Time}, nil
}

// standing refuses a valid token whose user is gone or no longer active.
func (a *Accounts) standing(ctx context.Context, claims tokens.Claims) (standing, error) {
	now, err := a.store.standing(ctx, claims.UserID)
	if err == nil && !now.IsActive {
		err = httpapi.BadToken()
	}
	return now, err
}

// answer makes what the tokens package says an answer to a client.
func answer(err error) error {
	switch {
	case errors.Is(err, tokens.ErrInvalid):
		return httpapi.BadToken()
	case errors.Is(err, tokens.ErrNoKeys):
		return httpapi.Unavailable()
	default:
		return err
	}
}

// register adds a user, sets its id and logs it in: both or neither.
func (a *Accounts) register(ctx context.Context, u *user, password string) (pair tokens.Pair, err error) {
	if err := a.complete(ctx, u, password); err != nil {
		return tokens.Pair{}, err
	}
	err = a.store.db.InTx(ctx, func(tx *gorm.DB) error {
		u.ID = 0 // a second try is a new row
		if err := a.store.insert(tx, u); err != nil {
			return err
		}
		pair, err = a.families.Start(tx, u.ID)
		return err
	})
	return pair, answer(err)
}

// complete sets what a new user does not say.
func (a *Accounts) complete(ctx context.Context, u *user, password string) (err error) {
	u.IsActive, u.Preferences = true, "{}"
	u.CreatedAt = database.Now()
	u.UpdatedAt = u.CreatedAt
	u.PasswordHash, err = a.hasher.hash(ctx, password)
	return err
}

// login starts a session. An unknown user, a wrong password and an inactive user are told apart neither by
// the answer nor by its time: each costs one hash.
func (a *Accounts) login(ctx context.Context, email, password string) (tokens.Pair, error) {
	u, err := a.store.byEmail(ctx, email)
	if errors.Is(err, errNoUser) {
		u, err = user{PasswordHash: a.hasher.decoy}, nil
	}
	if err != nil {
		return tokens.Pair{}, err
	}
	matches, err := a.hasher.matches(ctx, u.PasswordHash, password)
	if err != nil {
		return tokens.Pair{}, fmt.Errorf("check the password of user %d: %w", u.ID, err)
	}
	if !matches || !u.IsActive {
		return tokens.Pair{}, httpapi.Unauthorized("No active account found with the given credentials")
	}
	pair, err := a.families.Start(a.store.db.WithContext(ctx), u.ID)
	return pair, answer(err)
}

// refresh trades a refresh token for the next pair.
func (a *Accounts) refresh(ctx context.Context, token string) (tokens.Pair, error) {
	claims, err := a.issuer.Verify(token, tokens.Refresh)
	if err != nil {
		return tokens.Pair{}, answer(err)
	}
	if _, err := a.standing(ctx, claims); err != nil {
		return tokens.Pair{}, err
	}
	pair, err := a.families.Rotate(ctx, claims)
	if errors.Is(err, tokens.ErrReused) {
		a.log.WarnContext(ctx, "a refresh token was used twice; that login was ended", "user_id", claims.UserID)
	}
	return pair, answer(err)
}

// verify tells whether a token of any kind would be taken.
func (a *Accounts) verify(ctx context.Context, token string) error {
	claims, err := a.issuer.Verify(token, tokens.Access, tokens.Refresh)
	if err != nil {
		return answer(err)
	}
	if _, err := a.standing(ctx, claims); err != nil || claims.Kind == tokens.Access {
		return err
	}
	return answer(a.families.Check(ctx, claims))
}
