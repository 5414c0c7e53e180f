package pubsub

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Script is a program in Lua that Redis runs as one step, for whichever pod asks.
type Script struct{ script *redis.Script }

// NewScript names a script by its source. Redis gets the source once and then only its hash.
func NewScript(source string) *Script { return &Script{redis.NewScript(source)} }

// Run runs a script on one key of the shop and returns the integers that it answers. It takes no longer than
// ctx, and at most a second.
func (c *Client) Run(ctx context.Context, script *Script, key string, arguments ...any) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	answer, err := script.script.Run(ctx, c.server.Load(), []string{c.prefix + key}, arguments...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("run a script in Redis: %w", err)
	}
	return answer, nil
}
