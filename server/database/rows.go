package database

import (
	"database/sql"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"gorm.io/gorm"
)

// connectionAttempts is how often a query is sent whose connection turns out to be dead, as database/sql does.
const connectionAttempts = 3

// Select runs a query and reads its rows without reflection: columns tells where the columns of a row go,
// in their order. A nullable column needs a pointer to a pointer. The rows are read to the end, so that the
// transaction is free for its next statement.
func Select[T any](query *gorm.DB, columns func(row *T) []any) (found []T, err error) {
	if pool, ok := query.Statement.ConnPool.(*pool); ok {
		statement, err := written(query)
		if err != nil {
			return nil, err
		}
		return selectDirectly(statement, pool.postgres, columns)
	}
	rows, err := query.Rows() //nolint:rowserrcheck // which collect does
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	return collect(rows, columns)
}

// pool is the connections that statements outside of a transaction use, by the way of database/sql or by none.
type pool struct {
	*sql.DB

	postgres *pgxpool.Pool
}

// written is a query as gorm writes it.
func written(query *gorm.DB) (*gorm.Statement, error) {
	// Set makes it a statement of its own, which stays when it is written.
	dry := query.Session(&gorm.Session{DryRun: true}).Set("rows", true)
	if _, err := dry.Rows(); !errors.Is(err, gorm.ErrDryRunModeUnsupported) { //nolint:sqlclosecheck,rowserrcheck // there are none
		return nil, err
	}
	return dry.Statement, nil
}

// selectDirectly does without database/sql, which boxes every value of every row.
func selectDirectly[T any](statement *gorm.Statement, postgres *pgxpool.Pool, columns func(row *T) []any) (found []T, err error) {
	for range connectionAttempts {
		var rows pgx.Rows
		if rows, err = postgres.Query(statement.Context, statement.SQL.String(), statement.Vars...); err == nil {
			found, err = collect(rows, columns)
			rows.Close()
		}
		if !pgconn.SafeToRetry(err) { // the connection had died before the query was on its way
			break
		}
	}
	return found, err
}

// collect reads rows to their end.
func collect[T any](rows interface {
	Next() bool
	Scan(destinations ...any) error
	Err() error
}, columns func(row *T) []any,
) (found []T, err error) {
	var row T
	destinations := columns(&row)
	for rows.Next() {
		if err := rows.Scan(destinations...); err != nil {
			return nil, err
		}
		found = append(found, row)
	}
	return found, rows.Err()
}

// SelectOne is [Select] for a query of at most one row; ok is false when there is none.
func SelectOne[T any](query *gorm.DB, columns func(row *T) []any) (row T, ok bool, err error) {
	found, err := Select(query, columns)
	if err != nil || len(found) == 0 {
		return row, false, err
	}
	return found[0], true, nil
}

// Values makes the rows of VALUES, of which row is one, such as "(CAST(? AS bigint), ?)". It fills up to a
// power of two with rows of NULL, which equal nothing, so that the number of different statements, which the
// driver prepares and keeps, stays small.
func Values(row string, arguments []any) (rows string, filled []any) {
	columns, count := strings.Count(row, "?"), 1
	for count*columns < len(arguments) {
		count *= 2
	}
	filled = append(make([]any, 0, count*columns), arguments...)
	return row + strings.Repeat(", "+row, count-1), filled[:count*columns]
}
