package databasetest

import (
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// CountStatements counts the statements that a database is asked from now on: each call of the function it
// returns gives how many there were since the one before.
func CountStatements(t testing.TB, db *database.DB) func() int64 {
	t.Helper()
	var count atomic.Int64
	note := func(*gorm.DB) { count.Add(1) }
	const name = "databasetest:count"
	callbacks := db.Callback()
	for _, err := range []error{
		callbacks.Create().Register(name, note), callbacks.Query().Register(name, note), callbacks.Update().Register(name, note),
		callbacks.Delete().Register(name, note), callbacks.Row().Register(name, note), callbacks.Raw().Register(name, note),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return func() int64 { return count.Swap(0) }
}
