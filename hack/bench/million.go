package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	manyProducts = 1_000_000
	manyReads    = 200 // of each kind, one after the other
)

// benchMillion measures reads of a catalogue of a million products. No two ask for the same.
func benchMillion(ctx context.Context) error {
	shop, err := openShop(ctx, 1, addMany...)
	defer shop.close()
	if err != nil {
		return err
	}
	if err := shop.start(ctx, "SHOP_ROLES=api"); err != nil {
		return err
	}
	rows := [][]string{{"of a million products", "p50", "p99", "wanted"}}
	for _, row := range []struct {
		name, wanted string
		reads        int
		path         func(n int) string
	}{
		{"first page", "p50 < 10 ms", manyReads, func(n int) string { return fmt.Sprintf("/api/products/?read=%d", n) }},
		{"filtered page", "p50 < 10 ms", manyReads, func(int) string {
			return fmt.Sprintf("/api/products/?category=%d&price_min=%d.%02d&in_stock=true", 1+random(benchCategories), random(990), random(100))
		}},
		{"search page", "p50 < 10 ms", manyReads, func(int) string {
			return fmt.Sprintf("/api/products/?search=%s+%s+%d", adjectives[random(len(adjectives))], nouns[random(len(nouns))], random(100))
		}},
		{"page 50,000", "an answer", 10, func(n int) string { return fmt.Sprintf("/api/products/?page=50000&read=%d", n) }},
	} {
		measured, err := readOneByOne(ctx, shop, row.reads, row.path)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", row.name, err), printTable(rows...))
		}
		rows = append(rows, []string{row.name, rounded(measured.percentile(50)), rounded(measured.percentile(99)), row.wanted})
	}
	rows = append(rows, []string{"memory of the server, at most", fmt.Sprintf("%d MB", shop.pods[0].status("VmHWM")>>10)})
	return printTable(rows...)
}

func rounded(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

var (
	adjectives = []string{"amber", "brass", "cedar", "cotton", "copper", "dark", "folding", "glass", "green", "heavy", "ivory", "large", "leather", "light", "linen", "marble", "metal", "oak", "plain", "round", "silver", "small", "soft", "steel", "velvet", "white", "wooden", "woollen", "yellow", "zinc"}
	nouns      = []string{"basket", "bench", "blanket", "bottle", "bowl", "box", "candle", "chair", "clock", "cup", "curtain", "cushion", "desk", "fork", "frame", "jug", "kettle", "knife", "lamp", "mirror", "mug", "pan", "plate", "rug", "shelf", "spoon", "stool", "table", "tray", "vase"}
)

// addMany fills the catalogue with "Oak Lamp 77" and the like. What counts the changes of the catalogue is off
// meanwhile: nobody has counted yet.
var addMany = []string{
	addCategories,
	"ALTER TABLE products DISABLE TRIGGER catalog_came_or_went",
	fmt.Sprintf(`INSERT INTO products (name, description, price_cents, stock, category_id, image, featured, search_text, created_at, updated_at)
		SELECT name, 'Made by hand.', 100 + n * 7919 %% 99000, n %% 10, 1 + n * 31 %% %d, 'https://example.com/' || n || '.jpg', n %% 10 = 0,
			name || chr(10) || 'made by hand.', now() - n * interval '1 second', now()
		FROM (SELECT n, (%s)[1 + n * 7919 / 100 %% %d] || ' ' || (%s)[1 + n * 104729 / 1000 %% %d] || ' ' || n %% 100 AS name
			FROM generate_series(1, %d::bigint) n) named`,
		benchCategories, array(adjectives), len(adjectives), array(nouns), len(nouns), manyProducts),
	"ALTER TABLE products ENABLE TRIGGER catalog_came_or_went",
	"VACUUM ANALYZE",
}

// array is texts in SQL.
func array(texts []string) string { return "ARRAY['" + strings.Join(texts, "', '") + "']" }

// readOneByOne reads paths on one connection.
func readOneByOne(ctx context.Context, s *shop, count int, path func(n int) string) (total result, err error) {
	all, err := clients(ctx, s.pods[0].api)
	if err != nil {
		return total, err
	}
	defer closeAll(all)
	for n := range count {
		began := time.Now()
		if err := all[0].do(request(http.MethodGet, path(n), s.tokens[1], ""), http.StatusOK); err != nil {
			return total, err
		}
		total.times = append(total.times, time.Since(began))
	}
	slices.Sort(total.times)
	return total, nil
}
