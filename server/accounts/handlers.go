package accounts

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

type registration struct {
	User    userView `json:"user"`
	Refresh string   `json:"refresh"`
	Access  string   `json:"access"`
	Message string   `json:"message"`
}

// Register answers POST /auth/api/register/.
func (a *Accounts) Register(c *fiber.Ctx) error {
	ctx := c.UserContext()
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	newcomer := readUser(fields, user{})
	password := readNewPassword(fields, "password", newcomer)
	if err := a.refuse(ctx, fields, newcomer); err != nil {
		return err
	}
	pair, err := a.register(ctx, &newcomer, password)
	if database.IsDuplicate(err) { // someone was faster
		return cmp.Or(a.refuse(ctx, fields, newcomer), err)
	}
	if err != nil {
		return err
	}
	return c.Status(http.StatusCreated).JSON(registration{
		User: view(newcomer), Refresh: pair.Refresh, Access: pair.Access, Message: "User registered successfully",
	})
}

// refuse is the 400 that names all that is wrong with what a user says, another user's email or username
// included, or nil.
func (a *Accounts) refuse(ctx context.Context, fields *httpapi.Fields, u user) error {
	// What is not valid is nobody's, and may hold what the database does not take.
	if !fields.Valid("email") {
		u.EmailKey = ""
	}
	if !fields.Valid("username") {
		u.UsernameKey = ""
	}
	email, username, err := a.store.taken(ctx, u)
	if err != nil {
		return err
	}
	if email {
		fields.Reject("email", "user with this email already exists.")
	}
	if username {
		fields.Reject("username", "A user with that username already exists.")
	}
	return fields.Err()
}

// Token answers POST /auth/api/token/.
func (a *Accounts) Token(c *fiber.Ctx) error {
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	email := fields.Text("email", "", httpapi.Text{Required: true})
	password := fields.Text("password", "", httpapi.Text{Required: true, Verbatim: true})
	if err := fields.Err(); err != nil {
		return err
	}
	pair, err := a.login(c.UserContext(), a.proxies.Network(c), email, password)
	if err != nil {
		return err
	}
	return c.JSON(pair)
}

type refreshed struct {
	Access  string `json:"access"`
	Refresh string `json:"refresh"`
}

// Refresh answers POST /auth/api/token/refresh/.
func (a *Accounts) Refresh(c *fiber.Ctx) error {
	token, err := readToken(c, "refresh")
	if err != nil {
		return err
	}
	pair, err := a.refresh(c.UserContext(), token)
	if err != nil {
		return err
	}
	return c.JSON(refreshed{Access: pair.Access, Refresh: pair.Refresh})
}

// Verify answers POST /auth/api/token/verify/.
func (a *Accounts) Verify(c *fiber.Ctx) error {
	token, err := readToken(c, "token")
	if err != nil {
		return err
	}
	if err := a.verify(c.UserContext(), token); err != nil {
		return err
	}
	return c.JSON(struct{}{})
}

// Logout answers POST /auth/api/logout/.
func (a *Accounts) Logout(c *fiber.Ctx) error {
	token, err := readToken(c, "refresh")
	if err != nil {
		return err
	}
	if err := a.logout(c.UserContext(), httpapi.CallerOf(c).UserID, token); err != nil {
		return err
	}
	c.Status(http.StatusResetContent)
	return nil
}

func readToken(c *fiber.Ctx, name string) (string, error) {
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return "", err
	}
	token := fields.Text(name, "", httpapi.Text{Required: true})
	return token, fields.Err()
}

// Profile answers GET /auth/api/profile/.
func (a *Accounts) Profile(c *fiber.Ctx) error {
	caller, err := a.caller(c)
	if err != nil {
		return err
	}
	return c.JSON(view(caller))
}

// UpdateProfile answers PUT and PATCH /auth/api/profile/.
func (a *Accounts) UpdateProfile(c *fiber.Ctx) error {
	ctx := c.UserContext()
	current, err := a.caller(c)
	if err != nil {
		return err
	}
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	changed := readUser(fields, current)
	readProfile(fields, &changed)
	if err := a.refuse(ctx, fields, changed); err != nil {
		return err
	}
	err = a.store.update(ctx, current, &changed)
	if database.IsDuplicate(err) { // someone was faster
		return cmp.Or(a.refuse(ctx, fields, changed), err)
	}
	if err != nil {
		return err
	}
	return c.JSON(view(changed))
}

// caller reads the user who is asking.
func (a *Accounts) caller(c *fiber.Ctx) (user, error) {
	caller, err := a.store.byID(c.UserContext(), httpapi.CallerOf(c).UserID)
	if errors.Is(err, errNoUser) {
		return user{}, httpapi.BadToken()
	}
	return caller, err
}
