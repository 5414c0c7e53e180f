package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

const (
	signingKeys = "bench:0123456789abcdef0123456789abcdef"
	startLimit  = 30 * time.Second

	// sharedBuffers are those of config/samples/full.yaml: the default of 128 MB is less than a million products.
	sharedBuffers = "shared_buffers=512MB"
)

// shop is a PostgreSQL and a Redis of a benchmark's own, the servers on them, all on loopback, and its users.
type shop struct {
	postgres string // URL
	redis    *databasetest.Server
	pool     *pgxpool.Pool
	tokens   []string // access tokens of the users from 1; the first is empty
	pods     []pod

	scratch, program string
	stopDatabases    func()
}

// pod is one server.
type pod struct {
	process  *exec.Cmd
	api, hub string // addresses
}

// openShop makes a shop with so many users, which the statements fill, and no server. It is to be closed also when
// this fails.
func openShop(ctx context.Context, users int, statements ...string) (s *shop, err error) {
	s = &shop{}
	if s.postgres, s.redis, s.stopDatabases, err = databasetest.Standalone(sharedBuffers); err != nil {
		return s, err
	}
	if s.scratch, err = os.MkdirTemp("", "shopkeeper-bench-"); err != nil {
		return s, fmt.Errorf("make a scratch folder: %w", err)
	}
	s.program = filepath.Join(s.scratch, "shopkeeper-server")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.program, "./server")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return s, fmt.Errorf("build the server: %w", err)
	}
	config, err := pgxpool.ParseConfig(s.postgres + "&pool_max_conns=8") // as many as the server has
	if err != nil {
		return s, fmt.Errorf("read the URL of the database: %w", err)
	}
	config.AfterConnect = database.Tune
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return s, fmt.Errorf("open the database: %w", err)
	}
	db, err := database.Open(ctx, s.postgres)
	if err != nil {
		return s, err
	}
	defer db.Close() //nolint:errcheck // all that was written is committed
	if _, err := db.Migrate(ctx); err != nil {
		return s, err
	}
	if err := s.addUsers(ctx, db, users); err != nil {
		return s, err
	}
	return s, s.run(ctx, statements...)
}

// addUsers makes users, each with an empty cart and a login.
func (s *shop) addUsers(ctx context.Context, db *database.DB, users int) error {
	err := s.run(ctx,
		fmt.Sprintf(`INSERT INTO users (email, email_key, username, username_key, password_hash, created_at, updated_at)
			SELECT 'u' || n, 'u' || n, 'u' || n, 'u' || n, '', now(), now() FROM generate_series(1, %d) n`, users),
		"INSERT INTO carts (user_id) SELECT id FROM users")
	if err != nil {
		return err
	}
	keys, err := tokens.ParseKeys(signingKeys)
	if err != nil {
		return err
	}
	issuer := tokens.New(tokens.Settings{Issuer: "bench", AccessTTL: time.Hour, RefreshTTL: time.Hour})
	issuer.Use(keys)
	families := tokens.NewFamilies(db, issuer)
	s.tokens = []string{""}
	for user := range users {
		pair, err := families.Start(db.WithContext(ctx), int64(user+1))
		if err != nil {
			return err
		}
		s.tokens = append(s.tokens, pair.Access)
	}
	return nil
}

// run runs statements that prepare the shop.
func (s *shop) run(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := s.pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("prepare the shop: %w", err)
		}
	}
	return nil
}

// start starts one more server, without rate limits unless the settings bring some, and returns when it answers.
func (s *shop) start(ctx context.Context, settings ...string) (err error) {
	var p pod
	if p.api, err = freeAddress(ctx); err != nil {
		return err
	}
	if p.hub, err = freeAddress(ctx); err != nil {
		return err
	}
	p.process = exec.CommandContext(ctx, s.program)
	p.process.Env = append(append(os.Environ(), "SHOP_DATABASE_URL="+s.postgres, "SHOP_REDIS_URL="+s.redis.URL(),
		"SHOP_API_ADDR="+p.api, "SHOP_NOTIFICATIONS_ADDR="+p.hub, "SHOP_METRICS_ADDR=off", "SHOP_SIGNING_KEYS="+signingKeys,
		"SHOP_ISSUER=bench", "SHOP_RATE_LIMITS=off", "SHOP_DRAIN_SECONDS=0", "SHOP_LOG_LEVEL=error"), settings...)
	p.process.Stderr = os.Stderr
	p.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.process.Start(); err != nil {
		return fmt.Errorf("start a server: %w", err)
	}
	s.pods = append(s.pods, p)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	_, err = awaitAnswer(ctx, "http://"+p.api+"/api/products/", time.Now())
	return err
}

// stopLast stops the server that was started last.
func (s *shop) stopLast() {
	last := len(s.pods) - 1
	_ = s.pods[last].process.Process.Signal(syscall.SIGTERM)
	_ = s.pods[last].process.Wait() // it was told to end
	s.pods = s.pods[:last]
}

// close ends all that the shop is made of.
func (s *shop) close() {
	for len(s.pods) > 0 {
		s.stopLast()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	_ = os.RemoveAll(s.scratch)
	s.stopDatabases()
}

// status returns what the kernel says of a server under a name such as VmRSS or VmHWM, in kB, or 0.
func (p pod) status(name string) (value int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.process.Process.Pid)) // empty counts as nothing
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			_, _ = fmt.Sscan(rest, &value)
		}
	}
	return value
}

// processorTime is what a server has used so far.
func (p pod) processorTime() (total time.Duration) {
	const tick = 10 * time.Millisecond                                          // of the kernel's interface, on every architecture that Go has
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.process.Process.Pid)) // empty counts as nothing
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	for _, field := range fields[11:13] { // utime and stime
		var ticks int64
		_, _ = fmt.Sscan(field, &ticks)
		total += time.Duration(ticks) * tick
	}
	return total
}
