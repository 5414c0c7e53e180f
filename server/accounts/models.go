package accounts

import (
	"encoding/json"
	"time"

	"golang.org/x/text/cases"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// user is a row of the table users.
type user struct {
	ID           int64
	Email        string
	EmailKey     string
	Username     string
	UsernameKey  string
	FirstName    string
	LastName     string
	Phone        string
	Address      string
	PasswordHash string
	SettingsHash string // of the password that the settings had for this user last
	IsStaff      bool
	IsActive     bool
	Avatar       string
	Preferences  string // a JSON object
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// fold is what two texts that differ in case alone have in common. It never has more than three times the
// bytes, which keeps a key below what an index of PostgreSQL takes.
func fold(text string) string { return cases.Fold().String(text) }

type userView struct {
	ID        int64       `json:"id"`
	Email     string      `json:"email"`
	Username  string      `json:"username"`
	FirstName string      `json:"first_name"`
	LastName  string      `json:"last_name"`
	Phone     string      `json:"phone"`
	Address   string      `json:"address"`
	Profile   profileView `json:"profile"`
}

type profileView struct {
	Avatar      string          `json:"avatar"`
	Preferences json.RawMessage `json:"preferences"`
	CreatedAt   httpapi.Time    `json:"created_at"`
	UpdatedAt   httpapi.Time    `json:"updated_at"`
}

func view(u user) userView {
	return userView{
		ID: u.ID, Email: u.Email, Username: u.Username, FirstName: u.FirstName, LastName: u.LastName,
		Phone: u.Phone, Address: u.Address,
		Profile: profileView{
			Avatar: u.Avatar, Preferences: json.RawMessage(u.Preferences),
			CreatedAt: httpapi.Time(u.CreatedAt), UpdatedAt: httpapi.Time(u.UpdatedAt),
		},
	}
}
