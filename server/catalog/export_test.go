package catalog

import (
	"errors"
	"io"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// ReadRows reads all rows of an import and checks each as far as that goes without a database.
func ReadRows(r io.Reader, csv bool) (taken, refused int, err error) {
	var source rows = newJSONRows(r)
	if csv {
		if source, err = newCSVRows(r); err != nil {
			return 0, 0, err
		}
	}
	for {
		fields, err := source.next()
		if errors.Is(err, io.EOF) {
			return taken, refused, nil
		}
		var why *httpapi.Error
		if err != nil && !errors.As(err, &why) {
			return taken, refused, err
		}
		if err == nil {
			var p product
			p.take(fields)
			err = fields.Err()
		}
		if err != nil {
			refused++
		} else {
			taken++
		}
	}
}

// CountsAreLoaded tells whether products are counted without the database.
func CountsAreLoaded(s *Catalog) bool {
	s.counts.mutex.Lock()
	defer s.counts.mutex.Unlock()
	return s.counts.loaded
}

// RememberedSearches is how many searches need not be counted again.
func RememberedSearches(s *Catalog) int {
	s.counts.mutex.Lock()
	defer s.counts.mutex.Unlock()
	return len(s.counts.searches)
}
