package database

import (
	"errors"
	"strings"

	"gorm.io/gorm"
)

// Select runs a query and reads its rows without reflection: columns tells where the columns of a row go,
// in their order. A nullable column needs a pointer to a pointer. The rows are read to the end, so that the
// transaction is free for its next statement.
func Select[T any](query *gorm.DB, columns func(row *T) []any) (found []T, err error) {
	rows, err := query.Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
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
