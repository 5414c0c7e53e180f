package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

const (
	newcomers  = 16  // who log in without a pause
	othersRate = 200 // requests a second of everybody else
	loginTime  = 3 * roundTime
)

// benchLogins measures what everybody else feels while logins take all the time that they get, and the logins
// beside their bare ceiling.
func benchLogins(ctx context.Context) error {
	shop, err := openShop(ctx, connections, addProducts...)
	defer shop.close()
	if err != nil {
		return err
	}
	if err := shop.start(ctx, "SHOP_ROLES=api"); err != nil {
		return err
	}
	hashes := bareHashes(ctx)
	rows := [][]string{{"", "per second", "p50", "p99"}}
	if rows, err = shop.others(ctx, rows, "alone"); err != nil {
		return err
	}
	logins, end, err := shop.logInWithoutPause(ctx)
	if err != nil {
		return err
	}
	before, began := logins(), time.Now()
	rows, err = shop.others(ctx, rows, "while others log in")
	made := float64(logins()-before) / time.Since(began).Seconds()
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	return printTable(append(rows,
		[]string{"logins meanwhile", fmt.Sprintf("%.1f", made), "-", "-"},
		[]string{"argon2id alone, on as many processors", fmt.Sprintf("%.1f", hashes), "-", "-"},
	)...)
}

// others adds what everybody else feels.
func (s *shop) others(ctx context.Context, rows [][]string, when string) ([][]string, error) {
	for _, path := range []string{"/api/products/", "/api/cart/"} {
		felt, err := s.steady(ctx, path)
		if err != nil {
			return rows, fmt.Errorf("%s, %s: %w", path, when, err)
		}
		rows = append(rows, append([]string{path + ", " + when}, figures(felt)...))
	}
	return rows, nil
}

// steady asks for a path at an even rate, whatever the answers take, and times them from when they were due.
func (s *shop) steady(ctx context.Context, path string) (result, error) {
	all, err := clients(ctx, s.pods[0].api)
	if err != nil {
		return result{}, err
	}
	defer closeAll(all)
	free := make(chan int, len(all))
	for n := range all {
		free <- n
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	times := make([]time.Duration, int(loginTime.Seconds()*othersRate))
	var everybody sync.WaitGroup
	started := time.Now()
	for call := range times {
		due := started.Add(time.Duration(call) * time.Second / othersRate)
		time.Sleep(time.Until(due))
		n := <-free
		everybody.Go(func() {
			if err := all[n].do(request(http.MethodGet, path, s.tokens[1+n], ""), http.StatusOK); err != nil {
				cancel(err)
			}
			times[call] = time.Since(due)
			free <- n
		})
	}
	everybody.Wait()
	slices.Sort(times)
	return result{requests: len(times), took: time.Since(started), times: times}, context.Cause(ctx)
}

// logInWithoutPause keeps logging in until end is called; count tells how often that went well.
func (s *shop) logInWithoutPause(ctx context.Context) (count func() int64, end func() error, err error) {
	all, err := clients(ctx, s.pods[0].api)
	if err != nil {
		return nil, nil, err
	}
	const who = `{"email":"one@example.com","username":"newcomer","password":"correct horse battery","password_confirm":"correct horse battery"}`
	if err := all[0].do(request(http.MethodPost, "/auth/api/register/", "", who), http.StatusCreated); err != nil {
		return nil, nil, fmt.Errorf("register: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	logIn := request(http.MethodPost, "/auth/api/token/", "", `{"email":"one@example.com","password":"correct horse battery"}`)
	var made atomic.Int64
	var everybody sync.WaitGroup
	for n := range newcomers {
		everybody.Go(func() {
			for ctx.Err() == nil {
				if err := all[n].do(logIn, http.StatusOK); err != nil {
					cancel(fmt.Errorf("log in: %w", err))
					return
				}
				made.Add(1)
			}
		})
	}
	return made.Load, func() error {
		cancel(nil)
		everybody.Wait()
		closeAll(all)
		if err := context.Cause(ctx); err != context.Canceled { //nolint:errorlint // what cancel(nil) makes it
			return err
		}
		return nil
	}, nil
}

// bareHashes is how many hashes the processors make in a second that the server gives to hashing: half of them.
func bareHashes(ctx context.Context) float64 {
	var made atomic.Int64
	var everybody sync.WaitGroup
	started := time.Now()
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		everybody.Go(func() {
			for ctx.Err() == nil && time.Since(started) < loginTime {
				argon2.IDKey([]byte("correct horse battery"), []byte("0123456789abcdef"), 2, 19<<10, 1, 32)
				made.Add(1)
			}
		})
	}
	everybody.Wait()
	return float64(made.Load()) / time.Since(started).Seconds()
}
