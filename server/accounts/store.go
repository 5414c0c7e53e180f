package accounts

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// errNoUser means that there is no such user.
var errNoUser = errors.New("no such user")

// store is all SQL on users.
type store struct {
	db        *database.DB
	standings *database.Batch[login, standing]
}

func newStore(db *database.DB) store {
	s := store{db: db}
	s.standings = database.NewBatch(s.readStandings)
	return s
}

// insert adds a user in a transaction and sets its id. A taken email or username is [database.IsDuplicate].
func (s store) insert(tx *gorm.DB, u *user) error {
	if err := tx.Create(u).Error; err != nil {
		return fmt.Errorf("add a user: %w", err)
	}
	return nil
}

// insertIfFree adds a user unless its email or username is taken.
func (s store) insertIfFree(ctx context.Context, u *user) (added bool, err error) {
	err = s.insert(s.db.WithContext(ctx), u)
	if database.IsDuplicate(err) {
		return false, nil
	}
	return err == nil, err
}

func (s store) byID(ctx context.Context, id int64) (user, error) {
	return s.find(ctx, "id = ?", id)
}

func (s store) byEmail(ctx context.Context, email string) (user, error) {
	return s.find(ctx, "email_key = ?", fold(email))
}

func (s store) find(ctx context.Context, condition string, value any) (user, error) {
	var found user
	err := s.db.WithContext(ctx).Where(condition, value).Take(&found).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return user{}, errNoUser
	case err != nil:
		return user{}, fmt.Errorf("read a user: %w", err)
	}
	return found, nil
}

// login is a user's login, from which tokens descend.
type login struct {
	userID int64
	family string
}

// standing is what every request has to know of its user and the login of its token.
type standing struct{ IsActive, IsStaff, Lasts bool }

// standing is the zero one, not active, if there is no such user. Many that are asked for at once are read in
// one query.
func (s store) standing(ctx context.Context, of login) (standing, error) {
	return s.standings.Ask(ctx, of)
}

func (s store) readStandings(ctx context.Context, logins []login) (map[login]standing, error) {
	var arguments []any
	for _, one := range logins {
		arguments = append(arguments, one.userID, one.family)
	}
	values, arguments := database.Values("(CAST(? AS bigint), CAST(? AS text))", arguments)
	type row struct {
		login
		standing
	}
	found, err := database.Select(s.db.WithContext(ctx).Raw(`WITH asked (user_id, family) AS (VALUES `+values+`)
		SELECT asked.user_id, asked.family, users.is_active, users.is_staff, f.id IS NOT NULL
		FROM asked JOIN users ON users.id = asked.user_id
		LEFT JOIN refresh_families f ON f.id = asked.family AND f.user_id = users.id`, arguments...),
		func(r *row) []any { return []any{&r.userID, &r.family, &r.IsActive, &r.IsStaff, &r.Lasts} })
	if err != nil {
		return nil, fmt.Errorf("read the standing of %d users: %w", len(logins), err)
	}
	standings := make(map[login]standing, len(found))
	for _, one := range found {
		standings[one.login] = one.standing
	}
	return standings, nil
}

// holdPassword reports whether a user's password is still the one that was read, and keeps it so until the
// transaction ends.
func (s store) holdPassword(tx *gorm.DB, u user) (still bool, err error) {
	var held []int64
	err = database.Locked(tx).Model(&user{}).Where("id = ? AND password_hash = ?", u.ID, u.PasswordHash).Pluck("id", &held).Error
	if err != nil {
		return false, fmt.Errorf("hold the password of user %d: %w", u.ID, err)
	}
	return len(held) == 1, nil
}

// replacePassword sets a user's password, unless it is not the one any more that was read.
func (s store) replacePassword(tx *gorm.DB, u user, hash string) (replaced bool, err error) {
	update := tx.Exec(`UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?`, hash, u.ID, u.PasswordHash)
	if update.Error != nil {
		return false, fmt.Errorf("set the password of user %d: %w", u.ID, update.Error)
	}
	return update.RowsAffected == 1, nil
}

// followSettings notes the password that the settings have for a user. If they had another before, it becomes
// the user's; and if another process noted one meanwhile, nothing changes.
func (s store) followSettings(ctx context.Context, u user, hash string) error {
	err := s.db.WithContext(ctx).Exec(`UPDATE users
		SET password_hash = CASE settings_hash WHEN '' THEN password_hash ELSE ? END, settings_hash = ?
		WHERE id = ? AND settings_hash = ?`, hash, hash, u.ID, u.SettingsHash).Error
	if err != nil {
		return fmt.Errorf("set the password of user %d: %w", u.ID, err)
	}
	return nil
}

// taken tells which of a user's unique fields another user has.
func (s store) taken(ctx context.Context, u user) (email, username bool, err error) {
	var others []struct{ EmailKey, UsernameKey string }
	err = s.db.WithContext(ctx).Raw(
		`SELECT email_key, username_key FROM users WHERE (email_key = ? OR username_key = ?) AND id <> ?`,
		u.EmailKey, u.UsernameKey, u.ID).Scan(&others).Error
	if err != nil {
		return false, false, fmt.Errorf("look for users of the same name: %w", err)
	}
	for _, other := range others {
		email = email || other.EmailKey == u.EmailKey
		username = username || other.UsernameKey == u.UsernameKey
	}
	return email, username, nil
}

// update writes what differs, so that a change of another field at the same time is not undone.
func (s store) update(ctx context.Context, before user, after *user) error {
	changed := map[string]any{}
	for column, value := range map[string][2]string{
		"email":        {before.Email, after.Email},
		"email_key":    {before.EmailKey, after.EmailKey},
		"username":     {before.Username, after.Username},
		"username_key": {before.UsernameKey, after.UsernameKey},
		"first_name":   {before.FirstName, after.FirstName},
		"last_name":    {before.LastName, after.LastName},
		"phone":        {before.Phone, after.Phone},
		"address":      {before.Address, after.Address},
		"avatar":       {before.Avatar, after.Avatar},
		"preferences":  {before.Preferences, after.Preferences},
	} {
		if value[0] != value[1] {
			changed[column] = value[1]
		}
	}
	if len(changed) == 0 {
		return nil
	}
	after.UpdatedAt = database.Now()
	changed["updated_at"] = after.UpdatedAt
	err := s.db.WithContext(ctx).Model(&user{}).Where("id = ?", before.ID).UpdateColumns(changed).Error
	if err != nil {
		return fmt.Errorf("change user %d: %w", before.ID, err)
	}
	return nil
}

// makeStaff tells whether there is a user of that email, who is staff then.
func (s store) makeStaff(ctx context.Context, email string) (found bool, err error) {
	update := s.db.WithContext(ctx).Exec(`UPDATE users SET is_staff = true WHERE email_key = ?`, fold(email))
	if update.Error != nil {
		return false, fmt.Errorf("make a user staff: %w", update.Error)
	}
	return update.RowsAffected > 0, nil
}
