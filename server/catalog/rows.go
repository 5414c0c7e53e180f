package catalog

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const longestRow = 256 << 10 // bytes, or in CSV of a line

// rows reads products one by one.
type rows interface {
	// next returns the fields of the next row, or why it has none. io.EOF ends the rows; any other error that is
	// no *httpapi.Error means, in words for the client, that no more can be read.
	next() (*httpapi.Fields, error)
}

// jsonRows is one JSON object a line. Blank lines are none.
type jsonRows struct{ lines *bufio.Scanner }

func newJSONRows(r io.Reader) *jsonRows {
	lines := bufio.NewScanner(skipMark(r))
	lines.Buffer(make([]byte, 0, 16<<10), longestRow)
	return &jsonRows{lines}
}

func (r *jsonRows) next() (*httpapi.Fields, error) {
	for r.lines.Scan() {
		if line := bytes.TrimSpace(r.lines.Bytes()); len(line) > 0 {
			return httpapi.ParseFields(bytes.Clone(line))
		}
	}
	switch err := r.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, errLongRow
	case err != nil:
		return nil, err
	}
	return nil, io.EOF
}

// csvRows is CSV whose first line names the columns.
type csvRows struct {
	bound   *boundedReader
	reader  *csv.Reader
	columns []string
}

func newCSVRows(r io.Reader) (*csvRows, error) {
	bound := &boundedReader{skipMark(r), longestRow}
	reader := csv.NewReader(bound)
	reader.ReuseRecord = true
	reader.FieldsPerRecord = -1 // a row of another length is refused alone
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, httpapi.BadRequest("The first line has to name the columns.")
	}
	if err = csvError(err); err != nil {
		return nil, unreadable(err)
	}
	rows := &csvRows{bound: bound, reader: reader}
	seen := map[string]bool{}
	for _, name := range header {
		name = strings.ToLower(strings.TrimSpace(strings.Clone(name)))
		if seen[name] {
			return nil, httpapi.BadRequest(fmt.Sprintf("The first line names %q twice.", name))
		}
		seen[name] = true
		rows.columns = append(rows.columns, name)
	}
	for _, required := range []string{"name", "price", "category"} {
		if !seen[required] {
			return nil, httpapi.BadRequest(fmt.Sprintf("The first line does not name the column %q.", required))
		}
	}
	return rows, nil
}

func (r *csvRows) next() (*httpapi.Fields, error) {
	r.bound.left = longestRow
	record, err := r.reader.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, csvError(err)
	case len(record) != len(r.columns):
		return nil, httpapi.BadRequest(fmt.Sprintf("The row has %d columns, the first line %d.", len(record), len(r.columns)))
	}
	texts := make(map[string]string, len(record))
	for n, text := range record {
		if text != "" || r.columns[n] == "name" { // an empty cell is one not filled in
			texts[r.columns[n]] = text
		}
	}
	return httpapi.TextFields(texts)
}

// csvError makes what is wrong with the text of a row its refusal. The reader goes on behind it.
func csvError(err error) error {
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		return httpapi.BadRequest(fmt.Sprintf("CSV parse error - %v (line %d)", parse.Err, parse.Line))
	}
	return err
}

// unreadable is the refusal of rows whose first line cannot be read.
func unreadable(err error) error {
	if refused, ok := errors.AsType[*httpapi.Error](err); ok {
		return refused
	}
	return httpapi.BadRequest(fmt.Sprintf("The first line cannot be read: %v.", err))
}

// skipMark leaves out the mark that some spreadsheets begin a file with.
func skipMark(r io.Reader) io.Reader {
	buffered := bufio.NewReader(r)
	if start, err := buffered.Peek(3); err == nil && string(start) == "\ufeff" {
		_, _ = buffered.Discard(3)
	}
	return buffered
}

var errLongRow = errors.New("a row is longer than 256 KiB")

// boundedReader ends a row that is too long: a reader of CSV would keep all of it, to a quote that nobody closes.
type boundedReader struct {
	r    io.Reader
	left int // bytes that may be read for the row under way
}

// Read reads on while the row is short enough.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errLongRow
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
