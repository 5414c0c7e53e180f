package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	connections = 64
	roundTime   = time.Second
	patience    = 30 * time.Second // of one request
)

// result is what a round of load came to.
type result struct {
	requests int
	took     time.Duration
	times    []time.Duration // of each request, ascending
}

// add makes the result one of both rounds.
func (r *result) add(other result) {
	r.requests += other.requests
	r.took += other.took
	r.times = append(r.times, other.times...)
	slices.Sort(r.times)
}

func (r result) rate() float64 { return float64(r.requests) / r.took.Seconds() }

func (r result) percentile(p int) time.Duration {
	if len(r.times) == 0 {
		return 0
	}
	return r.times[min(len(r.times)*p/100, len(r.times)-1)]
}

// load runs work on every connection until the time is over, or for so many calls in all if that is not 0.
// work gets the number of its worker and of its call.
func load(ctx context.Context, calls int, work func(ctx context.Context, worker, call int) error) (result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mutex sync.Mutex
	var total result
	var everybody sync.WaitGroup
	started := time.Now()
	for worker := range connections {
		everybody.Go(func() {
			var times []time.Duration
			for call := worker; ctx.Err() == nil; call += connections {
				began := time.Now()
				if calls > 0 && call >= calls || calls == 0 && began.Sub(started) > roundTime {
					break
				}
				if err := work(ctx, worker, call); err != nil {
					cancel(err)
					return
				}
				times = append(times, time.Since(began))
			}
			mutex.Lock()
			defer mutex.Unlock()
			total.times = append(total.times, times...)
		})
	}
	everybody.Wait()
	total.took, total.requests = time.Since(started), len(total.times)
	slices.Sort(total.times)
	return total, context.Cause(ctx)
}

// connection is one connection that sends requests as they were written and reads no more of an answer than it must.
type connection struct {
	conn   net.Conn
	reader *bufio.Reader
}

// clients opens a connection for each worker.
func clients(ctx context.Context, address string) ([]*connection, error) {
	all := make([]*connection, connections)
	for n := range all {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", address, err)
		}
		all[n] = &connection{conn, bufio.NewReaderSize(conn, 32<<10)}
	}
	return all, nil
}

func closeAll(all []*connection) {
	for _, one := range all {
		_ = one.conn.Close()
	}
}

// do sends a request and wants an answer of a status.
func (c *connection) do(request []byte, status int) error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	if want := fmt.Appendf(nil, "HTTP/1.1 %d ", status); len(line) < len(want) || string(line[:len(want)]) != string(want) {
		rest, _ := c.reader.Peek(c.reader.Buffered())
		return fmt.Errorf("want status %d, got %s%s", status, line, rest)
	}
	length := 0
	for {
		header, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(header) <= 2 {
			break
		}
		const name = "content-length: "
		if len(header) > len(name) && strings.EqualFold(string(header[:len(name)]), name) {
			if _, err := fmt.Sscan(string(header[len(name):]), &length); err != nil {
				return fmt.Errorf("read the length of an answer: %w", err)
			}
		}
	}
	if n, err := c.reader.Discard(length); err != nil {
		return errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("read %d of %d bytes: %w", n, length, err))
	}
	return nil
}

// request writes a request as it goes over the wire.
func request(method, path, token, body string) []byte {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer %s\r\n", method, path, token)
	if method != http.MethodGet {
		head += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return []byte(head + "\r\n" + body)
}
