package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const (
	rowsAtOnce     = 500     // inserted in one statement
	bytesAtOnce    = 1 << 20 // of text in them, as near as it matters
	mostRefusals   = 100     // described in a report
	progressEvery  = 10000   // rows between two log lines
	jsonLines      = "application/x-ndjson"
	mimeCSV        = "text/csv"
	importLogLabel = "importing products"
)

// Refusal is a row that was not imported, and why.
type Refusal struct {
	Row    int                 `json:"row"` // 1 is the first, not counting the line that names the columns
	Error  string              `json:"error,omitempty"`
	Fields map[string][]string `json:"fields,omitempty"`
}

// Report is the outcome of an import.
type Report struct {
	Rows     int       `json:"rows"`
	Imported int       `json:"imported"`
	Refused  int       `json:"refused"`
	Refusals []Refusal `json:"refusals"`        // the first 100
	Error    string    `json:"error,omitempty"` // why it ended before its end
}

func (r *Report) refuse(row int, err error) {
	r.Refused++
	if len(r.Refusals) >= mostRefusals {
		return
	}
	if why, ok := errors.AsType[*httpapi.Error](err); ok {
		r.Refusals = append(r.Refusals, Refusal{Row: row, Error: why.Message, Fields: why.Fields})
	}
}

// Import answers POST /api/products/import/.
func (s *Catalog) Import(log *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) error {
		query := httpapi.ReadQuery(c)
		atomic, _ := query.Boolean("atomic")
		if err := query.Err(); err != nil {
			return err
		}
		kind, _, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
		body, ctx, cancel := httpapi.ReadStream(c)
		defer cancel()
		report, err := s.ImportFrom(ctx, body, kind, atomic, func(rows int) {
			log.InfoContext(ctx, importLogLabel, "rows", rows)
		})
		if err != nil {
			if report.Imported == 0 {
				return err
			}
			// To answer that the request had no effect would not be true.
			log.ErrorContext(ctx, "an import was interrupted", "imported", report.Imported, "error", err)
			report.Error = "the server was interrupted; the rows behind those that were imported are missing"
		}
		if report.Error != "" || atomic && report.Refused > 0 {
			c.Status(http.StatusBadRequest)
		}
		return c.JSON(report)
	}
}

// ImportFrom adds products from CSV (text/csv) or from one JSON object a line (application/x-ndjson), in the
// memory of a few hundred rows. A row that is refused is reported; if atomic it keeps all others out. progress
// hears of the rows read now and then. After an error the report tells what was imported before.
func (s *Catalog) ImportFrom(ctx context.Context, r io.Reader, kind string, atomic bool, progress func(rows int)) (Report, error) {
	var source rows
	switch kind {
	case mimeCSV:
		csv, err := newCSVRows(r)
		if err != nil {
			return Report{}, err
		}
		source = csv
	case jsonLines, "application/jsonl", "application/jsonlines":
		source = newJSONRows(r)
	default:
		return Report{}, &httpapi.Error{
			Status: http.StatusUnsupportedMediaType, Message: fmt.Sprintf("Unsupported media type %q in request.", kind),
		}
	}
	categories, err := categoryIDs(s.db.WithContext(ctx))
	if err != nil {
		return Report{}, err
	}
	job := &importJob{catalog: s, source: source, categories: categories, progress: progress, report: Report{Refusals: []Refusal{}}}
	if !atomic {
		err = job.run(ctx, s.db.WithContext(ctx))
		s.announceAll()
		return job.report, err
	}
	err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { // not to be tried again: the rows are read
		if err := job.run(ctx, tx); err != nil {
			return err
		}
		if job.report.Refused > 0 || job.report.Error != "" {
			return errRefused
		}
		return nil
	})
	if err != nil {
		job.report.Imported = 0
	}
	if errors.Is(err, errRefused) {
		return job.report, nil
	}
	s.announceAll()
	return job.report, err
}

var errRefused = errors.New("an atomic import has rows that were refused")

// importJob is one import under way.
type importJob struct {
	catalog    *Catalog
	source     rows
	categories map[int64]bool
	progress   func(rows int)
	report     Report
	batch      []product
	batchRows  []int // the number of each row in batch
	batchBytes int   // of text
}

// run imports row after row. Only what the database says is an error; all else is in the report.
func (j *importJob) run(ctx context.Context, tx *gorm.DB) error {
	for ctx.Err() == nil {
		fields, err := j.source.next()
		if errors.Is(err, io.EOF) {
			return j.flush(tx)
		}
		var refused *httpapi.Error
		if err != nil && !errors.As(err, &refused) {
			j.report.Error = err.Error()
			return errors.Join(ctx.Err(), j.flush(tx))
		}
		j.report.Rows++
		if err == nil {
			err = j.add(fields)
		}
		if err != nil {
			j.report.refuse(j.report.Rows, err)
		}
		if len(j.batch) == rowsAtOnce || j.batchBytes >= bytesAtOnce {
			if err := j.flush(tx); err != nil {
				return err
			}
		}
		if j.report.Rows%progressEvery == 0 {
			j.progress(j.report.Rows)
		}
	}
	return ctx.Err()
}

// add checks a row and puts it into the batch.
func (j *importJob) add(fields *httpapi.Fields) error {
	var p product
	p.take(fields)
	if fields.Sent("category") && fields.Valid("category") && !j.categories[p.CategoryID] {
		fields.Reject("category", noSuchCategory(p.CategoryID))
	}
	if err := fields.Err(); err != nil {
		return err
	}
	j.batch = append(j.batch, p)
	j.batchRows = append(j.batchRows, j.report.Rows)
	j.batchBytes += len(p.Name) + len(p.Description) + len(p.SearchText)
	return nil
}

// flush stores the batch.
func (j *importJob) flush(tx *gorm.DB) error {
	defer func() { j.batch, j.batchRows, j.batchBytes = j.batch[:0], j.batchRows[:0], 0 }()
	if len(j.batch) == 0 {
		return nil
	}
	err := insertProducts(tx, j.batch)
	if err == nil {
		j.report.Imported += len(j.batch)
		return nil
	}
	if !database.IsReferenced(err) {
		return err
	}
	// A category was deleted meanwhile: find out whose.
	for n := range j.batch {
		switch err := insertProducts(tx, j.batch[n:n+1]); {
		case err == nil:
			j.report.Imported++
		case database.IsReferenced(err):
			j.report.refuse(j.batchRows[n], httpapi.Invalid("category", noSuchCategory(j.batch[n].CategoryID)))
		default:
			return err
		}
	}
	return nil
}

// insertProducts stores new products, all or, in a transaction of their own or within another one, none.
func insertProducts(tx *gorm.DB, products []product) error {
	now := database.Now()
	for n := range products {
		products[n].ID, products[n].CreatedAt, products[n].UpdatedAt = 0, now, now
	}
	err := tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&products).Error })
	if err != nil {
		return fmt.Errorf("import %d products: %w", len(products), err)
	}
	return nil
}

func categoryIDs(tx *gorm.DB) (map[int64]bool, error) {
	var ids []int64
	if err := tx.Raw("SELECT id FROM categories").Scan(&ids).Error; err != nil {
		return nil, fmt.Errorf("read the categories: %w", err)
	}
	known := make(map[int64]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	return known, nil
}
