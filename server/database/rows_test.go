package database_test

import (
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

type pair struct {
	id   int64
	name *string
}

func (p *pair) columns() []any { return []any{&p.id, &p.name} }

func TestSelect(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		names := func(query *gorm.DB) (all []string) {
			t.Helper()
			rows, err := database.Select(query, (*pair).columns)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				if row.name == nil {
					all = append(all, "none")
					continue
				}
				all = append(all, *row.name)
			}
			return all
		}
		err := db.InTx(t.Context(), func(tx *gorm.DB) error {
			// One statement after the other on the transaction's one connection: each must be read to its end.
			for _, want := range [][]string{{"a", "none", "c"}, {"a", "none", "c"}} {
				got := names(tx.Raw("SELECT 1, 'a' UNION ALL SELECT 2, NULL UNION ALL SELECT 3, 'c' ORDER BY 1"))
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		row, ok, err := database.SelectOne(db.WithContext(t.Context()).Raw("SELECT 7, 'g'"), (*pair).columns)
		if err != nil || !ok || row.id != 7 || *row.name != "g" {
			t.Errorf("got %+v, %v, %v", row, ok, err)
		}
		if _, ok, err := database.SelectOne(db.WithContext(t.Context()).Raw("SELECT 7, 'g' WHERE 1 = 0"), (*pair).columns); ok || err != nil {
			t.Errorf("no row: %v, %v", ok, err)
		}
		for _, bad := range []string{"SELECT nonsense", "SELECT 'x', 'g'", "SELECT 1"} {
			if _, err := database.Select(db.WithContext(t.Context()).Raw(bad), (*pair).columns); err == nil {
				t.Errorf("%s gave no error", bad)
			}
		}
	})
}

func TestValuesAreFilledUpWithRowsThatMatchNothing(t *testing.T) {
	t.Parallel()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		rows, arguments := database.Values("(CAST(? AS bigint), CAST(? AS text))", []any{1, "a", 2, "b", 3, "c"})
		if len(arguments) != 8 || strings.Count(rows, "?") != 8 {
			t.Fatalf("%d arguments for %s", len(arguments), rows)
		}
		var found []int
		err := db.WithContext(t.Context()).Raw(`WITH one (n, text) AS (VALUES `+rows+`)
			SELECT other.n FROM one JOIN one other ON other.n = one.n AND other.text = one.text ORDER BY 1`, arguments...).Scan(&found).Error
		if err != nil || !slices.Equal(found, []int{1, 2, 3}) {
			t.Errorf("got %d, %v", found, err)
		}
	})
}

// BenchmarkSelect reads a page of a list.
func BenchmarkSelect(b *testing.B) {
	db := databasetest.Open(b, databasetest.Migrated(b))
	b.ReportAllocs()
	for b.Loop() {
		rows := db.WithContext(b.Context()).Raw("SELECT n, 'name ' || n FROM generate_series(?::bigint, ?) n", 1, 20)
		if found, err := database.Select(rows, (*pair).columns); err != nil || len(found) != 20 {
			b.Fatal(found, err)
		}
	}
}
