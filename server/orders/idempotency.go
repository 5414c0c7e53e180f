package orders

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"time"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const (
	keyLifetime  = 24 * time.Hour
	sweepEvery   = time.Hour
	sweepBatch   = 500 // rows deleted in one statement
	sweepTimeout = 10 * time.Second
)

// idempotencyKey is how a client says that two requests are one. The zero key is that of a request without.
type idempotencyKey struct {
	name     string
	bodyHash string
}

var validKey = regexp.MustCompile(`^[!-~]{1,255}$`)

// readKey reads the header Idempotency-Key.
func readKey(c *fiber.Ctx) (idempotencyKey, error) {
	values := c.Request().Header.PeekAll("Idempotency-Key")
	if len(values) == 0 {
		return idempotencyKey{}, nil
	}
	if len(values) > 1 || !validKey.Match(values[0]) {
		return idempotencyKey{}, httpapi.BadRequest("Idempotency-Key must be one value of 1 to 255 printable ASCII characters.")
	}
	hash := sha256.Sum256(c.BodyRaw())
	return idempotencyKey{name: string(values[0]), bodyHash: hex.EncodeToString(hash[:])}, nil
}

// claim makes the key its request's own in the request's transaction, or returns the answer that an earlier
// request of that key got. While another transaction claims the key it waits for the outcome: a request that
// is refused keeps nothing, so that the next one is free to try.
func (k idempotencyKey) claim(tx *gorm.DB, userID int64) (answer []byte, replayed bool, err error) {
	if k.name == "" {
		return nil, false, nil
	}
	now := database.Now()
	claimed := tx.Exec(`INSERT INTO order_keys (user_id, key, body_hash, answer, created_at) VALUES (?, ?, ?, '', ?)
		ON CONFLICT (user_id, key) DO UPDATE SET body_hash = excluded.body_hash, answer = '', created_at = excluded.created_at
			WHERE order_keys.created_at < ?`, userID, k.name, k.bodyHash, now, now.Add(-keyLifetime))
	if claimed.Error != nil {
		return nil, false, fmt.Errorf("claim an idempotency key of user %d: %w", userID, claimed.Error)
	}
	if claimed.RowsAffected == 1 {
		return nil, false, nil
	}
	var first struct{ BodyHash, Answer string }
	err = tx.Raw("SELECT body_hash, answer FROM order_keys WHERE user_id = ? AND key = ?", userID, k.name).Take(&first).Error
	if err != nil {
		return nil, false, fmt.Errorf("read an idempotency key of user %d: %w", userID, err)
	}
	if first.BodyHash != k.bodyHash {
		return nil, false, &httpapi.Error{
			Status: http.StatusUnprocessableEntity, Message: "Idempotency-Key was used for a request with another body.",
		}
	}
	return []byte(first.Answer), true, nil
}

// keep stores the answer to the request that claimed the key.
func (k idempotencyKey) keep(tx *gorm.DB, userID int64, answer []byte) error {
	if k.name == "" {
		return nil
	}
	err := tx.Exec("UPDATE order_keys SET answer = ? WHERE user_id = ? AND key = ?", string(answer), userID, k.name).Error
	if err != nil {
		return fmt.Errorf("keep the answer to an idempotency key of user %d: %w", userID, err)
	}
	return nil
}

// Run forgets answers that are no longer given again, until ctx ends.
func (s *Orders) Run(ctx context.Context, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery/2 + rand.N(sweepEvery)): //nolint:gosec // jitter, so that pods take turns
		}
		if _, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			log.Warn("old idempotency keys stay for now", "error", err)
		}
	}
}

// Sweep deletes expired idempotency keys, a few at a time, so that no order waits for it.
func (s *Orders) Sweep(ctx context.Context) (deleted int64, err error) {
	for before := database.Now().Add(-keyLifetime); ; {
		batch, err := s.sweepBatch(ctx, before)
		deleted += batch
		if err != nil || batch < sweepBatch {
			return deleted, err
		}
	}
}

func (s *Orders) sweepBatch(ctx context.Context, before time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	expired := s.db.WithContext(ctx).Exec(`DELETE FROM order_keys WHERE created_at < ? AND (user_id, key) IN
		(SELECT user_id, key FROM order_keys WHERE created_at < ? ORDER BY created_at LIMIT ?)`, before, before, sweepBatch)
	if expired.Error != nil {
		return 0, fmt.Errorf("delete expired idempotency keys: %w", expired.Error)
	}
	return expired.RowsAffected, nil
}
