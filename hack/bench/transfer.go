package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const transferLimit = 10 * time.Minute // of one import or export

// benchTransfer measures what imports and exports of many products take of a server's memory. Each size has a
// server of its own.
func benchTransfer(ctx context.Context) error {
	opened, err := openShop(ctx, 1, addCategories, "UPDATE users SET is_staff = true")
	defer opened.close()
	if err != nil {
		return err
	}
	rows := [][]string{{"", "rows per second", "memory before", "at most"}}
	for _, count := range []int{10_000, 100_000} {
		for _, transfer := range []struct {
			name string
			run  func(ctx context.Context, s *shop, count int) (int, error)
		}{
			{"import, CSV", importRows("text/csv", "name,price,category,stock,description\n", "Product %d,9.99,%d,5,"+sentence+"\n")},
			{"import, JSON lines", importRows("application/x-ndjson", "", `{"name":"Product %d","price":"9.99","category":%d,"stock":5,"description":"`+sentence+"\"}\n")},
			{"export, CSV", exportRows},
		} {
			row, err := opened.measureTransfer(ctx, fmt.Sprintf("%s, %d rows", transfer.name, count), count, transfer.run)
			if err != nil {
				return errors.Join(err, printTable(rows...))
			}
			rows = append(rows, row)
		}
	}
	return printTable(rows...)
}

var sentence = strings.Repeat("What it is made of and good for. ", 10)

// measureTransfer has one server do one thing.
func (s *shop) measureTransfer(ctx context.Context, name string, count int, transfer func(context.Context, *shop, int) (int, error)) ([]string, error) {
	if err := s.start(ctx, "SHOP_ROLES=api"); err != nil {
		return nil, err
	}
	defer s.stopLast()
	server := s.pods[len(s.pods)-1]
	before, began := server.status("VmHWM"), time.Now()
	done, err := transfer(ctx, s, count)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	rate := float64(done) / time.Since(began).Seconds()
	return []string{name, fmt.Sprintf("%.0f", rate), fmt.Sprintf("%d MB", before>>10), fmt.Sprintf("%d MB", server.status("VmHWM")>>10)}, nil
}

// importRows sends rows as they are made.
func importRows(kind, head, line string) func(context.Context, *shop, int) (int, error) {
	return func(ctx context.Context, s *shop, count int) (int, error) {
		body, write := io.Pipe()
		go func() {
			buffered := bufio.NewWriterSize(write, 64<<10)
			_, err := buffered.WriteString(head)
			for n := 0; n < count && err == nil; n++ {
				_, err = fmt.Fprintf(buffered, line, n, 1+n%benchCategories)
			}
			write.CloseWithError(errors.Join(err, buffered.Flush()))
		}()
		answer, err := s.transfer(ctx, http.MethodPost, "/api/products/import/", kind, body)
		if err != nil {
			return 0, err
		}
		defer answer.Close()
		report, err := io.ReadAll(answer)
		if want := fmt.Sprintf(`"imported":%d,`, count); err == nil && !strings.Contains(string(report), want) {
			err = fmt.Errorf("the report is %s", report)
		}
		return count, err
	}
}

// exportRows reads as many rows as there are asked for, or more, and counts them.
func exportRows(ctx context.Context, s *shop, least int) (count int, err error) {
	answer, err := s.transfer(ctx, http.MethodGet, "/api/products/export/", "", nil)
	if err != nil {
		return 0, err
	}
	defer answer.Close()
	lines := bufio.NewScanner(answer)
	lines.Scan() // names the columns
	for lines.Scan() {
		count++
	}
	if err := lines.Err(); err != nil || count < least {
		return count, errors.Join(err, fmt.Errorf("%d rows came", count))
	}
	return count, nil
}

// transfer sends a request of any length to the last server and returns an answer of any length.
func (s *shop) transfer(ctx context.Context, method, path, kind string, body io.Reader) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.pods[len(s.pods)-1].api+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.tokens[1])
	request.Header.Set("Content-Type", kind)
	answer, err := (&http.Client{Timeout: transferLimit}).Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return nil, errors.Join(fmt.Errorf("status %d: %s", answer.StatusCode, text), answer.Body.Close())
	}
	return answer.Body, nil
}
