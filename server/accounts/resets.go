package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/mail"
	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

const (
	resetQueue    = 1000            // requests that wait to be mailed; more are unavailable
	mailers       = 4               // mails under way at once
	mailAttempts  = 3               // for one mail
	lookupTimeout = 5 * time.Second // for the database to find whom to mail
	farewell      = 5 * time.Second // to mail what is queued when the server stops
)

// mailsPerUser keeps anyone from filling a user's mailbox.
var mailsPerUser = ratelimit.Limit{Name: "reset-mail", Count: 5, Per: time.Hour}

// resets is the way of a forgotten password from the request to the mail. All that depends on whether there
// is such a user happens in the background, so that neither the answer nor its time can tell.
type resets struct {
	queue   chan string // emails as they were asked for
	mail    mail.Sender // nil if there is none
	limiter *ratelimit.Limiter
	link    string        // where a link leads, up to its parameters
	pause   time.Duration // before another attempt at a mail, and up to twice that
	log     *slog.Logger
}

func newResets(o Options) *resets {
	return &resets{
		queue: make(chan string, resetQueue), mail: o.Mail, limiter: o.Limiter, log: o.Log, pause: 2 * time.Second,
		link: strings.TrimSuffix(o.PublicURL, "/") + "/auth/api/password/reset/confirm/",
	}
}

// request takes an email to be mailed a link, whosever it is.
func (r *resets) request(email string) error {
	if r.mail == nil {
		return nil
	}
	select {
	case r.queue <- email:
		return nil
	default:
		return httpapi.Unavailable()
	}
}

// Run mails links to reset passwords until ctx ends, and then for some seconds more what was asked for before.
func (a *Accounts) Run(ctx context.Context) error {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(farewell, stop) })()
	var group sync.WaitGroup
	for range mailers {
		group.Go(func() { a.mailResets(working, ctx.Done()) })
	}
	group.Wait()
	return nil
}

// mailResets mails what is queued and, once the end is near, no more than that.
func (a *Accounts) mailResets(ctx context.Context, end <-chan struct{}) {
	for {
		select {
		case email := <-a.resets.queue:
			a.mailReset(ctx, email)
		case <-end:
			if len(a.resets.queue) == 0 || ctx.Err() != nil {
				return
			}
		}
	}
}

// mailReset mails a link to the active user of an email, if there is one.
func (a *Accounts) mailReset(ctx context.Context, email string) {
	u, message, err := a.resetMessage(ctx, email)
	switch {
	case errors.Is(err, errNoUser):
	case err != nil:
		a.log.ErrorContext(ctx, "a password reset was not mailed", "error", err)
	case !a.resets.limiter.Take(ctx, mailsPerUser, strconv.FormatInt(u.ID, 10)).Allowed:
		a.log.WarnContext(ctx, "a user was mailed enough password resets for now", "user_id", u.ID)
	default:
		if err := a.resets.send(ctx, message); err != nil {
			a.log.ErrorContext(ctx, "a password reset was not mailed", "user_id", u.ID, "error", err)
		}
	}
}

// resetMessage goes to the address that the user gave: one that is merely equal to it but for case may be
// somebody else's.
func (a *Accounts) resetMessage(ctx context.Context, email string) (user, mail.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	u, err := a.store.byEmail(ctx, email)
	if err == nil && !u.IsActive {
		err = errNoUser
	}
	if err != nil {
		return user{}, mail.Message{}, err
	}
	token, err := a.issuer.Reset(u.ID, seal(u))
	if err != nil {
		return user{}, mail.Message{}, err
	}
	// Behind a #, what is in a link stays out of the logs and the Referer of whoever it leads past.
	link := a.resets.link + "#" + url.Values{"uid": {encodeUID(u.ID)}, "token": {token}}.Encode()
	text := fmt.Sprintf(resetText, u.Username, int(tokens.ResetTTL.Minutes()), link)
	return u, mail.Message{To: u.Email, Subject: "Reset your password", Text: text}, nil
}

const resetText = `Hello %s,

someone asked to reset the password of your account. Within %d minutes you can set a new one here:

%s

The link works once. If it was not you who asked, there is nothing to do: your password stays as it is.
`

// send tries a few times to send a mail.
func (r *resets) send(ctx context.Context, message mail.Message) error {
	for attempt := 1; ; attempt++ {
		err := r.mail.Send(ctx, message)
		if err == nil || attempt == mailAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(r.pause + rand.N(r.pause)): //nolint:gosec // jitter is no secret
		}
	}
}

// seal is derived from what a reset of the password changes, and from the address it is mailed to.
func seal(u user) string {
	sum := sha256.Sum256([]byte(u.PasswordHash + "\x00" + u.EmailKey))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// encodeUID writes a user's id as Django does in its links.
func encodeUID(id int64) string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, id, 10))
}

// resetting returns the user whom a link lets set a new password, or [errNoUser].
func (a *Accounts) resetting(ctx context.Context, uid, token string) (user, error) {
	claims, err := a.issuer.Verify(token, tokens.Reset)
	if errors.Is(err, tokens.ErrInvalid) || err == nil && encodeUID(claims.UserID) != uid {
		return user{}, errNoUser
	}
	if err != nil {
		return user{}, answer(err)
	}
	u, err := a.store.byID(ctx, claims.UserID)
	if err == nil && (!u.IsActive || seal(u) != claims.Seal) {
		err = errNoUser
	}
	return u, err
}
