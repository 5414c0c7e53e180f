package databasetest

import (
	"errors"
	"fmt"

	"github.com/shopkeeper-dev/shopkeeper/hack/scratch"
)

// Standalone starts a PostgreSQL, whose URL it returns, and a Redis for a program that is no test. Both end when
// stop is called, or with the program. PostgreSQL has settings such as shared_buffers=512MB besides those of tests.
func Standalone(settings ...string) (postgres string, redis *Server, stop func(), err error) {
	database, err := newPostgres()
	if err != nil {
		return "", nil, scratch.Sweep, err
	}
	for _, setting := range settings {
		database.command = append(database.command, "-c", setting)
	}
	if err := database.start(); err != nil {
		return "", nil, scratch.Sweep, err
	}
	if redis, err = newRedis(); err == nil {
		err = redis.start()
	}
	if err != nil {
		return "", nil, scratch.Sweep, errors.Join(err, database.stop())
	}
	return database.databaseURL("postgres"), redis, scratch.Sweep, nil
}

// Restart stops the server and starts it again. It returns when the server answers.
func (s *Server) Restart() error {
	if err := errors.Join(s.stop(), s.start()); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
}
