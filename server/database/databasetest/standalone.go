package databasetest

import "errors"

// Standalone starts a PostgreSQL and a Redis for a program that is no test, and returns their URLs. Both end
// when stop is called, or with the program.
func Standalone() (postgres, redis string, stop func(), err error) {
	database, err := sharedPostgres()
	if err != nil {
		return "", "", sweep, err
	}
	cache, err := newRedis()
	if err == nil {
		err = cache.start()
	}
	if err != nil {
		return "", "", sweep, errors.Join(err, database.stop())
	}
	return database.databaseURL("postgres"), cache.url, sweep, nil
}
