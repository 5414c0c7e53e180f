package databasetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

var users atomic.Int64

// NewUser makes a user who cannot log in and returns its id.
func NewUser(t testing.TB, db *database.DB) (id int64) {
	t.Helper()
	name := fmt.Sprintf("user%d", users.Add(1))
	email, now := name+"@example.com", database.Now()
	err := db.WithContext(t.Context()).Raw(`INSERT INTO users (email, email_key, username, username_key, password_hash, created_at, updated_at)
		VALUES (?, ?, ?, ?, '', ?, ?) RETURNING id`, email, email, name, name, now, now).Scan(&id).Error
	if err != nil {
		t.Fatalf("make a user: %v", err)
	}
	return id
}
