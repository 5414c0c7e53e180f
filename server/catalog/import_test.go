package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

const (
	importPath = products + "import/"
	exportPath = products + "export/"
)

func (s *shop) load(t *testing.T, path, kind, body string, status int) catalog.Report {
	t.Helper()
	return httpapitest.Has[catalog.Report](t, s.staff.With("Content-Type", kind).Post(path, body), status)
}

// checkReport checks the report of five rows, of which the second to the fourth are refused.
func checkReport(t *testing.T, report catalog.Report) {
	t.Helper()
	const refusedRow = `{"category":["Invalid pk \"9\" - object does not exist."],"price":["A valid number is required."]}`
	if report.Rows != 5 || report.Imported != 2 || report.Refused != 3 || len(report.Refusals) != 3 {
		t.Fatalf("the report is %+v", report)
	}
	if why, _ := json.Marshal(report.Refusals[0].Fields); report.Refusals[0].Row != 2 || string(why) != refusedRow {
		t.Errorf("row %d was refused for %s", report.Refusals[0].Row, why)
	}
	for n, refusal := range report.Refusals[1:] {
		if refusal.Row != n+3 || refusal.Error == "" {
			t.Errorf("refused: %+v", refusal)
		}
	}
}

func TestImport(t *testing.T) {
	for name, one := range map[string]struct{ kind, body string }{
		"csv": {"text/csv", "\ufeffName,price,category,stock,description\n" +
			"Lamp,12.50,1,3,\"two\nlines, and a \"\"quote\"\"\"\n" +
			"Table,x,9,,\n" +
			"Chair,1,1\n" +
			"a\"b,1,1,,\n" +
			"Sofa,300,1,,\n"},
		"json lines": {"application/x-ndjson; charset=utf-8",
			"\ufeff" + `{"name":"Lamp","price":12.5,"category":1,"stock":3,"description":"two\nlines, and a \"quote\""}` + "\n\n" +
				`{"name":"Table","price":"x","category":9}` + "\r\n" + `[1]` + "\n" + `{"name":` + "\n" +
				`{"name":"Sofa","price":"300","category":"1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, s *shop) {
				s.addCategory(t, "Furniture")
				s.customer.Get(products).Is(t, http.StatusOK, `{"count":0,"next":null,"previous":null,"results":[]}`)
				checkReport(t, s.load(t, importPath, one.kind, one.body, http.StatusOK))
				if found := names(t, s.customer.Get(products)); found != "Sofa Lamp" {
					t.Errorf("the catalogue has %q", found)
				}
				lamp := httpapitest.Has[struct {
					Description, Price string
					Stock              int
				}](t, s.customer.Get(products+"1/"), http.StatusOK)
				if lamp.Description != "two\nlines, and a \"quote\"" || lamp.Price != "12.50" || lamp.Stock != 3 {
					t.Errorf("imported %+v", lamp)
				}
				atomic := s.load(t, importPath+"?atomic=true", one.kind, one.body, http.StatusBadRequest)
				if atomic.Rows != 5 || atomic.Imported != 0 || atomic.Refused != 3 || s.count(t, "products") != 2 {
					t.Errorf("atomic: %+v, %d products", atomic, s.count(t, "products"))
				}
			})
		})
	}
}

func TestImportsThatAreRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for body, want := range map[string]string{
			"":                         `{"error":"The first line has to name the columns."}`,
			"name,price\nLamp,1\n":     `{"error":"The first line does not name the column \"category\"."}`,
			"name,price,category,name": `{"error":"The first line names \"name\" twice."}`,
			"\"name":                   `{"error":"CSV parse error - extraneous or missing \" in quoted-field (line 1)"}`,
		} {
			s.staff.With("Content-Type", "text/csv").Post(importPath, body).Is(t, http.StatusBadRequest, want)
		}
		s.staff.With("Content-Type", "text/plain").Post(importPath, "x").Is(t, http.StatusUnsupportedMediaType,
			`{"error":"Unsupported media type \"text/plain\" in request."}`)
		// The answer is seen however much of the body nobody wanted.
		s.staff.With("Content-Type", "text/plain").Post(importPath, strings.Repeat("x", 3<<20)).Is(t, http.StatusUnsupportedMediaType,
			`{"error":"Unsupported media type \"text/plain\" in request."}`)
		s.staff.With("Content-Type", "text/csv").Post(importPath, strings.Repeat("a", 300<<10)).Is(t, http.StatusBadRequest,
			`{"error":"The first line cannot be read: a row is longer than 256 KiB."}`)
		s.staff.With("Content-Type", "text/csv").Post(importPath+"?atomic=perhaps", "x").Is(t, http.StatusBadRequest, `{"atomic":["Must be a valid boolean."]}`)
		for kind, start := range map[string]string{"text/csv": "name,price,category\n\"", "application/x-ndjson": `{"name":"`} {
			report := s.load(t, importPath, kind, start+strings.Repeat("a", 300<<10), http.StatusBadRequest)
			if report.Error != "a row is longer than 256 KiB" || report.Imported != 0 {
				t.Errorf("%s: a row without end gives %+v", kind, report)
			}
		}
	})
}

// onPostgres is a shop whose database can be broken in ways that only PostgreSQL knows.
func onPostgres(t *testing.T, statements ...string) *shop {
	t.Helper()
	db := databasetest.Open(t, databasetest.Migrated(t))
	s := &shop{Catalog: catalog.New(db), db: db}
	server := serve(t, s.Catalog)
	s.staff, s.customer = server.Staff(staffID), server.Customer(2)
	s.addCategory(t, "Furniture")
	for _, statement := range append([]string{goAway}, statements...) {
		if err := db.WithContext(t.Context()).Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// goAway makes a function that ends statements as a PostgreSQL does that stops.
const goAway = `CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P01'; END $$`

// Who is told that the server is unavailable may rely on that nothing was done.
func TestAnInterruptedImportTellsWhatItDid(t *testing.T) {
	s := onPostgres(t, "CREATE TRIGGER gone BEFORE INSERT ON products FOR EACH ROW WHEN (NEW.name = 'Last straw') EXECUTE FUNCTION go_away()")
	const header, straw = "name,price,category\n", "Last straw,1,1\n"
	lamps := strings.Repeat("Lamp,1,1\n", 500) // as many as are inserted at once
	report := s.load(t, importPath, "text/csv", header+lamps+straw, http.StatusBadRequest)
	if report.Rows != 501 || report.Imported != 500 || report.Refused != 0 || !strings.Contains(report.Error, "interrupted") {
		t.Errorf("the report is %+v", report)
	}
	for path, rows := range map[string]string{importPath: straw, importPath + "?atomic=true": lamps + straw} {
		answer := s.staff.With("Content-Type", "text/csv").Post(path, header+rows)
		if answer.Status != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s: got %d %s", path, answer.Status, answer.Body)
		}
	}
	if count := s.count(t, "products"); count != 500 {
		t.Errorf("there are %d products, want the 500 that the report counted", count)
	}
}

// An import whose time is up ends, also when it comes to no row that is for the database.
func TestAnImportEndsWithItsTime(t *testing.T) {
	s := onPostgres(t)
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	go func() {
		_, err := io.WriteString(writer, "name,price,category\n")
		for row := 0; err == nil; row++ {
			if row == 1000 {
				cancel()
			}
			_, err = io.WriteString(writer, "Lamp,cheap,1\n")
		}
	}()
	report, err := s.ImportFrom(ctx, reader, "text/csv", false, func(int) {})
	if !errors.Is(err, context.Canceled) || report.Imported != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	_ = reader.Close()
}

// A database that is away is told of as ever: an export begins when there is something to send.
func TestAnExportWithoutADatabase(t *testing.T) {
	s := onPostgres(t, "ALTER TABLE products RENAME TO kept",
		"CREATE FUNCTION gone() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P01'; END $$",
		"CREATE VIEW products AS SELECT * FROM kept WHERE gone()", "INSERT INTO kept (name, price_cents, stock, category_id, search_text, created_at, updated_at) VALUES ('Lamp', 1, 1, 1, '', now(), now())")
	if answer := s.staff.Get(exportPath); answer.Status != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", answer.Status, answer.Body)
	}
}

// What was exported can be imported, and is the same.
func TestExport(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		if _, err := s.SeedDemo(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.addProduct(t, `"name":"=1+1, \"quoted\"","description":"two\nlines","price":"0.00","category":1`)
		for format, kind := range map[string]string{"": "text/csv", "?format=csv": "text/csv", "?format=jsonl": "application/x-ndjson"} {
			whole := s.staff.Get(exportPath + format)
			if whole.Status != http.StatusOK || !strings.HasPrefix(whole.Header.Get("Content-Type"), kind) {
				t.Fatalf("%s: %d, %s", format, whole.Status, whole.Header.Get("Content-Type"))
			}
			before := s.count(t, "products")
			if report := s.load(t, importPath+"?atomic=true", kind, whole.Body, http.StatusOK); int64(report.Imported) != before {
				t.Fatalf("%s: %+v, want %d imported", format, report, before)
			}
			var differ int
			err := s.db.WithContext(t.Context()).Raw(`SELECT count(*) FROM products a JOIN products b ON b.id = a.id + ? WHERE a.name <> b.name
				OR a.description <> b.description OR a.price_cents <> b.price_cents OR a.stock <> b.stock OR a.category_id <> b.category_id
				OR a.image <> b.image OR a.featured <> b.featured OR a.search_text <> b.search_text`, before).Scan(&differ).Error
			if err != nil || differ != 0 {
				t.Errorf("%s: %d products differ, %v", format, differ, err)
			}
		}
		s.staff.Get(exportPath+"?format=xml").Is(t, http.StatusBadRequest, `{"format":["Select a valid choice. That choice is not one of the available choices."]}`)
	})
}

// An import of twice its bound of memory takes no more than a small one.
func TestALargeImportTakesLittleMemory(t *testing.T) {
	const rows = 10_000
	description := strings.Repeat("long ", 200) // 1 KB
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.addCategory(t, "Furniture")
		before, highest, heard := heapInUse(), uint64(0), 0
		reader, writer := io.Pipe()
		go func() {
			_, err := io.WriteString(writer, "name,price,category,description\n")
			for n := 0; n < rows && err == nil; n++ {
				_, err = fmt.Fprintf(writer, "Product %d,%d.99,%d,%s\n", n, n%100, 1+n/(rows-1), description)
			}
			_ = writer.CloseWithError(err)
		}()
		report, err := s.ImportFrom(t.Context(), reader, "text/csv", false, func(int) {
			highest = max(highest, heapInUse())
			heard++
		})
		if err != nil || report.Imported != rows-1 || report.Refused != 1 || report.Refusals[0].Row != rows || heard != rows/10_000 {
			t.Errorf("%+v, %v; told %d times", report, err, heard)
		}
		if grown := int64(highest - before); grown > 6<<20 {
			t.Errorf("the heap grew by %d MiB", grown>>20)
		}
		if count := httpapitest.Has[struct{ Count int }](t, s.customer.Get(products+"?page=500"), http.StatusOK).Count; count != rows-1 {
			t.Errorf("the list counts %d", count)
		}
	})
}

// heapInUse is what is reachable on the heap, in bytes.
func heapInUse() uint64 {
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}

func FuzzImport(f *testing.F) {
	for _, seed := range []string{"name,price,category\nLamp,1,1\n", "name,price,category\n\"a\nb\",\"1\",1\r\n", "\ufeffname,price,category,x\n,,,\n", "name,price,category\na\"b,1,1\n\xff,1,1", "\""} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Add(`{"name":"Lamp","price":1,"category":1}`+"\n{}\n[]\n{", false)
	f.Fuzz(func(t *testing.T, text string, csv bool) {
		rows, refused, err := catalog.ReadRows(strings.NewReader(text), csv)
		if err == nil && rows+refused > len(text)+1 {
			t.Errorf("%d rows and %d refused ones in %d bytes", rows, refused, len(text))
		}
	})
}
