package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// errMoved is how a node takes leave of a channel that another node is in charge of now.
var errMoved = errors.New("the channel has moved to another node of the cluster")

// recognize asks the Redis what it is.
func (c *Client) recognize(ctx context.Context) error {
	if err := c.Ping(ctx); err != nil {
		return err
	}
	single := c.server.Load()
	if c.embedded != nil || single.cluster || single.options == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	info, err := single.Info(ctx, "cluster").Result()
	if _, refused := errors.AsType[redis.Error](err); refused {
		return nil // who may not ask has no cluster to manage
	}
	if err != nil {
		return fmt.Errorf("ask Redis what it is: %w", err)
	}
	if strings.Contains(info, "cluster_enabled:1") {
		c.log.Info("Redis is a cluster")
		c.use(dialCluster(single.options))
		return single.Close()
	}
	return nil
}

// dialCluster reaches all nodes of a cluster through the one that is known.
func dialCluster(one *redis.Options) *server {
	nodes := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{one.Addr}, Username: one.Username, Password: one.Password, TLSConfig: one.TLSConfig,
		Protocol: one.Protocol, DialTimeout: one.DialTimeout, DialerRetries: one.DialerRetries,
		ReadTimeout: one.ReadTimeout, WriteTimeout: one.WriteTimeout, ContextTimeoutEnabled: one.ContextTimeoutEnabled,
		MaintNotificationsConfig: one.MaintNotificationsConfig,
	})
	return &server{UniversalClient: nodes, options: one, cluster: true}
}

// listenSharded listens to each channel at the node in charge of it: in a cluster a message that is published
// the old way goes to every node, and sharded it does not leave its own. When one subscription is lost, all
// begin anew, so that there is one moment from which on nothing is missed.
func (c *Client) listenSharded(ctx context.Context, nodes *server, channels []string, listener Listener) error {
	if cluster, ok := nodes.UniversalClient.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx) // channels may have moved
	}
	var turn sync.Mutex
	missing := len(channels)
	inTurn := Listener{
		Subscribed: func() {
			turn.Lock()
			defer turn.Unlock()
			if missing--; missing == 0 {
				listener.Subscribed()
			}
		},
		Received: func(payload string) {
			turn.Lock()
			defer turn.Unlock()
			listener.Received(payload)
		},
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, channel := range c.prefixed(channels) {
		group.Go(func() error {
			subscription := nodes.SSubscribe(ctx)
			return receive(ctx, subscription, subscription.SSubscribe, []string{channel}, inTurn)
		})
	}
	return group.Wait()
}
