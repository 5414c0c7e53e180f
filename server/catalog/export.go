package catalog

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// Export answers GET /api/products/export/ with all products, as CSV or, with ?format=jsonl, as one JSON object
// a line, in the form that an import takes.
func (s *Catalog) Export(c *fiber.Ctx) error {
	query := httpapi.ReadQuery(c)
	format, _ := query.Choice("format", "csv", "jsonl")
	if err := query.Err(); err != nil {
		return err
	}
	encode, kind := encodeCSV, mimeCSV+"; charset=utf-8"
	if format == "jsonl" {
		encode, kind = encodeLines, jsonLines
	}
	first, err := s.productsAfter(c.UserContext(), 0) // while a failure can be told
	if err != nil {
		return err
	}
	return httpapi.SendStream(c, kind, func(ctx context.Context, w io.Writer) error {
		return s.export(ctx, w, first, encode)
	})
}

// export writes products in pieces, ordered by id. Each piece is a query of its own: a slow client holds no
// connection to the database.
func (s *Catalog) export(ctx context.Context, w io.Writer, products []productDetail, encode func(w *bytes.Buffer, products []productDetail, first bool) error) (err error) {
	var piece bytes.Buffer
	for first := true; ; first = false {
		piece.Reset()
		if err := encode(&piece, products, first); err != nil {
			return fmt.Errorf("export products: %w", err)
		}
		if _, err := w.Write(piece.Bytes()); err != nil {
			return fmt.Errorf("send products: %w", err)
		}
		if len(products) < rowsAtOnce {
			return nil
		}
		if products, err = s.productsAfter(ctx, products[len(products)-1].ID); err != nil {
			return err
		}
	}
}

// productsAfter is one piece.
func (s *Catalog) productsAfter(ctx context.Context, id int64) ([]productDetail, error) {
	products, err := database.Select(s.db.WithContext(ctx).Raw("SELECT "+detailColumns+" FROM products p"+
		" WHERE p.archived_at IS NULL AND p.id > ? ORDER BY p.id LIMIT ?", id, rowsAtOnce), (*productDetail).columns)
	if err != nil {
		return nil, fmt.Errorf("export products: %w", err)
	}
	return products, nil
}

func encodeCSV(w *bytes.Buffer, products []productDetail, first bool) error {
	lines := csv.NewWriter(w)
	if first {
		if err := lines.Write([]string{"id", "name", "description", "price", "stock", "category", "category_name", "image", "featured"}); err != nil {
			return err
		}
	}
	for _, p := range products {
		err := lines.Write([]string{
			strconv.FormatInt(p.ID, 10), p.Name, p.Description, p.Price.String(), strconv.FormatInt(p.Stock, 10),
			strconv.FormatInt(p.Category, 10), p.CategoryName, p.Image, strconv.FormatBool(p.Featured),
		})
		if err != nil {
			return err
		}
	}
	lines.Flush()
	return lines.Error()
}

func encodeLines(w *bytes.Buffer, products []productDetail, _ bool) error {
	for _, p := range products {
		line, err := httpapi.EncodeJSON(p)
		if err != nil {
			return err
		}
		w.Write(line)
		w.WriteByte('\n')
	}
	return nil
}
