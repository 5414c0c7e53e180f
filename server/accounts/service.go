// Package accounts holds the shop's users: who they are, their passwords, and the tokens they log in for.
package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/mail"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

// Options is what the feature stands on.
type Options struct {
	DB        *database.DB
	Issuer    *tokens.Issuer // may get its keys later; until then what needs tokens is unavailable
	Redis     *pubsub.Client
	Limiter   *ratelimit.Limiter
	Proxies   httpapi.Proxies
	Mail      mail.Sender // nil if there is none
	PublicURL string      // where users reach the shop, for the links in mail
	HashCost  Cost        // of a password; zero is what OWASP chose
	Log       *slog.Logger
}

// Accounts is the feature: its methods are the handlers, and what other parts of the server ask of users.
type Accounts struct {
	store    store
	issuer   *tokens.Issuer
	families *tokens.Families
	hasher   *hasher
	guesses  *guesses
	resets   *resets
	proxies  httpapi.Proxies
	log      *slog.Logger
}

// New makes the feature.
func New(o Options) *Accounts {
	return &Accounts{
		store: newStore(o.DB), issuer: o.Issuer, families: tokens.NewFamilies(o.DB, o.Issuer),
		hasher: newHasher(cmp.Or(o.HashCost, owaspCost)), guesses: &guesses{redis: o.Redis, log: o.Log}, resets: newResets(o),
		proxies: o.Proxies, log: o.Log,
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
	return httpapi.Caller{
		UserID: claims.UserID, Staff: now.IsStaff, Login: claims.Family, Expires: claims.ExpiresAt.Time,
	}, nil
}

// standing refuses a valid token whose user is gone or no longer active, or whose login has ended.
func (a *Accounts) standing(ctx context.Context, claims tokens.Claims) (standing, error) {
	now, err := a.store.standing(ctx, login{claims.UserID, claims.Family})
	if err == nil && (!now.IsActive || !now.Lasts) {
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
func (a *Accounts) login(ctx context.Context, address, email, password string) (pair tokens.Pair, err error) {
	u, err := a.store.byEmail(ctx, email)
	if errors.Is(err, errNoUser) {
		u, err = user{EmailKey: fold(email), PasswordHash: a.hasher.decoy}, nil
	}
	if err != nil {
		return tokens.Pair{}, err
	}
	good, err := a.try(ctx, u, address, password)
	if err != nil {
		return tokens.Pair{}, err
	}
	if good {
		pair, good, err = a.start(ctx, u)
	}
	if err == nil && !good {
		err = httpapi.Unauthorized("No active account found with the given credentials")
	}
	return pair, answer(err)
}

// try reports whether a user is active and has this password. Guesses that come too fast are a 429.
func (a *Accounts) try(ctx context.Context, u user, address, password string) (good bool, err error) {
	key := guessKey(u.EmailKey, address)
	allowed := func() error { return a.guesses.allow(ctx, key) }
	if err := allowed(); err != nil {
		return false, err
	}
	// Asked again when it is this one's turn, so that many guesses at once are no more than few.
	good, err = a.hasher.matches(ctx, u.PasswordHash, password, allowed)
	if err != nil {
		return false, fmt.Errorf("check the password of user %d: %w", u.ID, err)
	}
	good = good && u.IsActive
	if good {
		a.guesses.right(ctx, key)
	} else {
		a.guesses.wrong(ctx, key)
	}
	return good, nil
}

// start logs a user in, unless the password that was checked has been changed since: a change ends the logins
// by the password before, and so it may not miss this one.
func (a *Accounts) start(ctx context.Context, u user) (pair tokens.Pair, started bool, err error) {
	err = a.store.db.InTx(ctx, func(tx *gorm.DB) error {
		started, err = a.store.holdPassword(tx, u)
		if err != nil || !started {
			return err
		}
		pair, err = a.families.Start(tx, u.ID)
		return err
	})
	return pair, started, err
}

// logout ends the login of a user's refresh token.
func (a *Accounts) logout(ctx context.Context, userID int64, token string) error {
	claims, err := a.issuer.Verify(token, tokens.Refresh)
	if err == nil && claims.UserID != userID {
		err = tokens.ErrInvalid
	}
	if err == nil {
		err = a.families.End(ctx, claims)
	}
	return answer(err)
}

// setPassword changes a user's password and ends the logins but the one named. It does neither if the
// password is not the one any more that was read.
func (a *Accounts) setPassword(ctx context.Context, u user, password, but string) (set bool, err error) {
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return false, err
	}
	err = a.store.db.InTx(ctx, func(tx *gorm.DB) error {
		set, err = a.store.replacePassword(tx, u, hash)
		if err != nil || !set {
			return err
		}
		return a.families.EndAll(tx, u.ID, but)
	})
	return set, err
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
