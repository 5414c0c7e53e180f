package main

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// imported runs the import of a file and returns what it said; wantFailure tells how it ends.
func imported(t *testing.T, wantFailure bool, database, name, content string, options ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return output(t, wantFailure, append(append([]string{"import"}, options...), file), database)
}

// A file goes in by the command, row by row or as a whole, and comes out of the API again.
func TestImportCommand(t *testing.T) {
	t.Parallel()
	database := "SHOP_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "shop.db")
	output(t, false, []string{"seed"}, database)
	const csvRows = "name,price,category,stock\n" + `"Lamp, red",12.50,1,3` + "\nTable,300,1,\n"
	const oneRefused = `{"name":"Chair","price":"80","category":1}` + "\n" + `{"name":"Stool","price":"cheap","category":1}` + "\n"
	for _, test := range []struct {
		name, file, content string
		options             []string
		fails               bool
		want                []string
	}{
		{"CSV", "more.CSV", csvRows, nil, false, []string{`"rows": 2`, `"imported": 2`, `"refused": 0`, `"refusals": []`}},
		{"some rows are refused", "some.jsonl", oneRefused, nil, true, []string{
			`"imported": 1`, `"refused": 1`, `"row": 2`, `"A valid number is required."`, "1 of 2 rows were refused; 1 were imported",
		}},
		{"all or nothing", "none.jsonl", oneRefused, []string{"--atomic"}, true, []string{
			`"imported": 0`, `"refused": 1`, `"row": 2`, "1 of 2 rows were refused; 0 were imported",
		}},
		{"all", "all.jsonl", `{"name":"Sofa","price":"999.99","category":1}`, []string{"--atomic"}, false, []string{`"imported": 1`}},
		{"many rows", "many.csv", "name,price,category\n" + strings.Repeat("Many,1,\n", 10_000), nil, true, []string{
			"10000 rows\n", `"rows": 10000`, `"imported": 0`, `"refused": 10000`, `"row": 100,`,
		}},
		{"no CSV", "no.csv", "a,b\n", nil, true, []string{`The first line does not name the column`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			said := imported(t, test.fails, database, test.file, test.content, test.options...)
			for _, want := range test.want {
				if !strings.Contains(said, want) {
					t.Errorf("it said\n%s\nand not %s", said, want)
				}
			}
		})
	}
	if said := output(t, true, []string{"import", "nowhere.csv"}, database); !strings.Contains(said, "nowhere.csv: no such file") {
		t.Errorf("of a file that is not there it said\n%s", said)
	}
	checkExport(t, database, []string{"Lamp, red", "Table", "Chair", "Sofa"})
}

// checkExport compares the names of the newest products with those in both forms of an export.
func checkExport(t *testing.T, database string, newest []string) {
	t.Helper()
	s := start(t, database, "SHOP_ADMIN_EMAIL=staff@example.com", "SHOP_ADMIN_PASSWORD=correct horse battery")
	awaitReady(t, s.api, http.StatusOK)
	staff := field(t, want(t, 200, s.api, "POST", "/auth/api/token/", "", `{"email": "staff@example.com", "password": "correct horse battery"}`), "access")
	rows, err := csv.NewReader(strings.NewReader(want(t, 200, s.api, "GET", "/api/products/export/", staff, ""))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var fromCSV, fromLines []string
	for _, row := range rows[1:] {
		fromCSV = append(fromCSV, row[1])
	}
	for line := range strings.Lines(want(t, 200, s.api, "GET", "/api/products/export/?format=jsonl", staff, "")) {
		var product struct{ Name string }
		if err := json.Unmarshal([]byte(line), &product); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		fromLines = append(fromLines, product.Name)
	}
	if !slices.Equal(fromCSV, fromLines) || !slices.Equal(fromCSV[max(len(fromCSV)-len(newest), 0):], newest) {
		t.Errorf("exported %q and %q, want %q at the end", fromCSV, fromLines, newest)
	}
}
