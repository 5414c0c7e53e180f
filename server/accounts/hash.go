package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"
)

const (
	saltLength = 16 // bytes, RFC 9106, 3.1
	hashLength = 32 // bytes, RFC 9106, 4
)

// Cost is what one hash takes.
type Cost struct {
	Memory  uint32 // KiB
	Passes  uint32
	Threads uint8
}

// owaspCost is the OWASP Password Storage Cheat Sheet's choice for argon2id: 19 MiB, two passes, one thread.
var owaspCost = Cost{Memory: 19 << 10, Passes: 2, Threads: 1}

// hasher makes and checks argon2id hashes, few enough at once that they starve nothing else.
type hasher struct {
	cost   Cost
	slots  chan struct{}                                                                           // one element for each hash under way
	decoy  string                                                                                  // a hash like a user's, of no password
	derive func(password, salt []byte, passes, memory uint32, threads uint8, length uint32) []byte // argon2.IDKey

	waiting atomic.Int64
	waits   prometheus.Histogram
}

// newHasher makes a hasher that uses half of the processors at most.
func newHasher(cost Cost) *hasher {
	return &hasher{
		cost:   cost,
		slots:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		decoy:  encodeHash(cost, randomBytes(saltLength), randomBytes(hashLength)),
		derive: argon2.IDKey,
		waits:  newHashWaits(),
	}
}

// hash returns the hash of a password as a PHC string, with a salt of its own.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	salt := randomBytes(saltLength)
	return encodeHash(h.cost, salt, h.key(h.cost, password, salt)), nil
}

// matches reports whether a hash is that of a password, unless the last check, made when it is the turn of
// this password to be hashed, fails.
func (h *hasher) matches(ctx context.Context, encoded, password string, last func() error) (bool, error) {
	cost, salt, want, err := decodeHash(encoded)
	if err != nil {
		return false, err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if err := last(); err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(h.key(cost, password, salt), want) == 1, nil
}

// enter waits for a free slot until the context ends. Whoever entered leaves.
func (h *hasher) enter(ctx context.Context) (leave func(), err error) {
	started := time.Now()
	h.waiting.Add(1)
	defer func() {
		h.waiting.Add(-1)
		h.waits.Observe(time.Since(started).Seconds())
	}()
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
}

func (h *hasher) key(cost Cost, password string, salt []byte) []byte {
	return h.derive([]byte(password), salt, cost.Passes, cost.Memory, cost.Threads, hashLength)
}

func randomBytes(n int) []byte {
	bytes := make([]byte, n)
	_, _ = rand.Read(bytes) // never fails, says crypto/rand
	return bytes
}

const hashFormat = "$argon2id$v=%d$m=%d,t=%d,p=%d$"

// encodeHash writes a hash in the PHC string format.
func encodeHash(cost Cost, salt, key []byte) string {
	return fmt.Sprintf(hashFormat, argon2.Version, cost.Memory, cost.Passes, cost.Threads) +
		base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(key)
}

var errBadHash = errors.New("a stored password hash is not an argon2id PHC string")

// decodeHash reads what encodeHash wrote, whatever the cost was then.
func decodeHash(encoded string) (cost Cost, salt, key []byte, err error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 {
		return cost, nil, nil, errBadHash
	}
	var version int
	parameters := strings.Join(parts[:4], "$") + "$"
	_, scanErr := fmt.Sscanf(parameters, hashFormat, &version, &cost.Memory, &cost.Passes, &cost.Threads)
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	if errors.Join(scanErr, saltErr, keyErr) != nil || version != argon2.Version ||
		cost.Passes == 0 || cost.Threads == 0 || len(key) != hashLength {
		return cost, nil, nil, errBadHash
	}
	return cost, salt, key, nil
}
