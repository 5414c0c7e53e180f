package accounts

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const (
	wrongOldPassword = "Your old password was entered incorrectly. Please enter it again." // Django's words
	badResetLink     = "The link is not valid, was used before or has expired. Please ask for another."
)

type confirmation struct {
	Message string `json:"message"`
}

// ChangePassword answers POST /auth/api/password/change/.
func (a *Accounts) ChangePassword(c *fiber.Ctx) error {
	ctx := c.UserContext()
	current, err := a.caller(c)
	if err != nil {
		return err
	}
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	old := fields.Text("old_password", "", httpapi.Text{Required: true, Verbatim: true})
	password := readNewPassword(fields, "new_password", current)
	if fields.Valid("old_password") {
		good, err := a.try(ctx, current, a.proxies.Network(c), old)
		if err != nil {
			return err
		}
		if !good {
			fields.Reject("old_password", wrongOldPassword)
		}
	}
	if err := fields.Err(); err != nil {
		return err
	}
	set, err := a.setPassword(ctx, current, password, httpapi.CallerOf(c).Login)
	if err != nil {
		return err
	}
	if !set { // another change was faster
		return httpapi.Invalid("old_password", wrongOldPassword)
	}
	return c.JSON(confirmation{"Password changed successfully"})
}

// ResetPassword answers POST /auth/api/password/reset/.
func (a *Accounts) ResetPassword(c *fiber.Ctx) error {
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	email := fields.Email("email", "", true)
	if err := fields.Err(); err != nil {
		return err
	}
	if err := a.resets.request(email); err != nil {
		return err
	}
	return c.JSON(confirmation{"If an account has this email, a link to reset its password is on the way"})
}

// ConfirmReset answers POST /auth/api/password/reset/confirm/.
func (a *Accounts) ConfirmReset(c *fiber.Ctx) error {
	ctx := c.UserContext()
	fields, err := httpapi.ReadFields(c)
	if err != nil {
		return err
	}
	var u user
	uid := fields.Text("uid", "", httpapi.Text{Required: true})
	token := fields.Text("token", "", httpapi.Text{Required: true})
	if fields.Valid("uid") && fields.Valid("token") {
		u, err = a.resetting(ctx, uid, token)
		switch {
		case errors.Is(err, errNoUser):
			fields.Reject("token", badResetLink)
		case err != nil:
			return err
		}
	}
	password := readNewPassword(fields, "new_password", u)
	if err := fields.Err(); err != nil {
		return err
	}
	set, err := a.setPassword(ctx, u, password, "")
	if err != nil {
		return err
	}
	if !set { // the link was used at the same time
		return httpapi.Invalid("token", badResetLink)
	}
	a.guesses.right(ctx, guessKey(u.EmailKey, a.proxies.Network(c)))
	return c.JSON(confirmation{"Password reset successfully"})
}
