// Package databasetest gives tests a real PostgreSQL and a real Redis: servers of the test process's
// own, in a scratch folder and on free loopback ports, never the machine's services. They end and their
// folder goes with the test process, also when that is killed.
package databasetest

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shopkeeper-dev/shopkeeper/hack/scratch"
)

// statementTimeout bounds what this package itself asks of a database.
const statementTimeout = 30 * time.Second

// sharedPostgres is the one PostgreSQL that Postgres and PostgresTemplate carve databases out of:
// a database costs milliseconds, a server a second.
var sharedPostgres = sync.OnceValues(func() (*Server, error) {
	server, err := newPostgres()
	if err != nil {
		return nil, err
	}
	return server, server.start()
})

var (
	databases atomic.Int64

	templatesLock sync.Mutex
	templates     = map[uintptr]string{} // the address of a prepare function → the database it prepared
)

// Postgres returns the URL of an empty PostgreSQL database, dropped when the test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	return clone(t, "template1")
}

// PostgresTemplate returns the URL of a PostgreSQL database as prepare left it, dropped when the test
// ends. The first call runs prepare, with the URL of an empty database; every call with the same
// function clones the outcome. So prepare must close its connections and depend on no variable of a test.
func PostgresTemplate(t testing.TB, prepare func(url string) error) string {
	t.Helper()
	template, err := templateBy(prepare)
	if err != nil {
		t.Fatalf("prepare the template database: %v", err)
	}
	return clone(t, template)
}

// templateBy returns the name of the database that prepare has prepared, if need be now.
func templateBy(prepare func(url string) error) (string, error) {
	templatesLock.Lock()
	defer templatesLock.Unlock()
	address := reflect.ValueOf(prepare).Pointer()
	if name, prepared := templates[address]; prepared {
		return name, nil
	}
	server, err := sharedPostgres()
	if err != nil {
		return "", err
	}
	name, err := createDatabase(server, "template1")
	if err != nil {
		return "", err
	}
	if err := prepare(server.databaseURL(name)); err != nil {
		return "", err
	}
	templates[address] = name
	return name, nil
}

// Redis returns the URL of an empty Redis of the test's own, so that pub/sub too is nobody else's.
func Redis(t testing.TB) string {
	t.Helper()
	return StartRedis(t).URL()
}

// Main runs a package's tests and then waits until the servers they used have ended. A package without
// it leaves nothing behind either, but that may be a moment after its process has ended.
func Main(m *testing.M) {
	debug.SetGCPercent(scratch.Garbage)
	code := m.Run()
	scratch.Sweep()
	os.Exit(code)
}

// clone makes a database as template is and sees to it that it goes with the test.
func clone(t testing.TB, template string) string {
	t.Helper()
	server, err := sharedPostgres()
	if err != nil {
		t.Fatal(err)
	}
	name, err := createDatabase(server, template)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// FORCE, since a pool that the test still holds must not keep the next test from its memory.
		if err := server.administer("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return server.databaseURL(name)
}

func createDatabase(server *Server, template string) (string, error) {
	name := fmt.Sprintf("test_%d", databases.Add(1))
	// Copied as files, for through the log of changes it takes twice as long.
	return name, server.administer("CREATE DATABASE " + name + " TEMPLATE " + template + " STRATEGY file_copy")
}

// administer runs one statement as the superuser.
func (s *Server) administer(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	connection, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return fmt.Errorf("connect to the test's PostgreSQL: %w", err)
	}
	defer connection.Close(ctx)
	if _, err := connection.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
