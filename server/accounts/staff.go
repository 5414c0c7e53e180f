package accounts

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/mail"
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// staffAttempts bounds how often a username is tried for a new staff user; from the second on it has a
// random ending, so that the bound is only ever met by a fault.
const staffAttempts = 5

// EnsureStaff makes the user of an email staff, and adds that user with the password if there is none; the
// password of a user who was there stays. Any number of processes may do so at once.
func (a *Accounts) EnsureStaff(ctx context.Context, email, password string) (created bool, err error) {
	found, err := a.store.makeStaff(ctx, email)
	if found || err != nil {
		return false, err
	}
	staff, err := a.newStaff(ctx, email, password)
	if err != nil {
		return false, err
	}
	username := staff.Username
	for range staffAttempts {
		added, err := a.store.insertIfFree(ctx, &staff)
		if added || err != nil {
			return added, err
		}
		if found, err := a.store.makeStaff(ctx, email); found || err != nil {
			return false, err
		}
		staff.Username = username + "-" + strings.ToLower(rand.Text()[:8])
		staff.UsernameKey = fold(staff.Username)
	}
	return false, fmt.Errorf("found no free username like %s in %d tries", username, staffAttempts)
}

// KeepStaff is [Accounts.EnsureStaff] for a password that somebody sets from outside, now this one and later
// another: when it is not the one of the last time any more, it becomes the user's. A password that the user
// chose in between stays until then. Nobody is logged out.
func (a *Accounts) KeepStaff(ctx context.Context, email, password string) error {
	created, err := a.EnsureStaff(ctx, email, password)
	if err != nil {
		return err
	}
	u, err := a.store.byEmail(ctx, email)
	if err != nil {
		return err
	}
	if created {
		return a.store.followSettings(ctx, u, u.PasswordHash)
	}
	if u.SettingsHash != "" {
		isSame, err := a.hasher.matches(ctx, u.SettingsHash, password, func() error { return nil })
		if err != nil || isSame {
			return err
		}
		if faults := passwordFaults(password, u); len(faults) > 0 {
			return fmt.Errorf("the password of %s is refused: %s", email, strings.Join(faults, " "))
		}
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return a.store.followSettings(ctx, u, hash)
}

var notInUsername = regexp.MustCompile(`[^\p{L}\p{N}_.@+-]+`)

// newStaff is a staff user to be, with a username made of the email.
func (a *Accounts) newStaff(ctx context.Context, email, password string) (user, error) {
	if parsed, err := mail.ParseAddress(email); err != nil || parsed.Address != email {
		return user{}, fmt.Errorf("%q is not an email address", email)
	}
	local, _, _ := strings.Cut(email, "@")
	username := strings.Trim(notInUsername.ReplaceAllString(norm.NFKC.String(local), "-"), "-")
	if username == "" {
		username = "admin"
	}
	staff := user{Email: email, Username: username, IsStaff: true}
	staff.EmailKey, staff.UsernameKey = fold(email), fold(username)
	if faults := passwordFaults(password, staff); len(faults) > 0 {
		return user{}, fmt.Errorf("the password of %s is refused: %s", email, strings.Join(faults, " "))
	}
	err := a.complete(ctx, &staff, password)
	return staff, err
}
