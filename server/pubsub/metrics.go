package pubsub

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Metrics are those of the connection pool.
func (c *Client) Metrics() []prometheus.Collector {
	stats := func() *redis.PoolStats { return c.server.Load().PoolStats() }
	connections := func(state string, count func(*redis.PoolStats) uint32) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_redis_connections", Help: "Connections to Redis, by what they do.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(count(stats())) })
	}
	return []prometheus.Collector{
		connections("used", func(s *redis.PoolStats) uint32 { return s.TotalConns - min(s.IdleConns, s.TotalConns) }),
		connections("idle", func(s *redis.PoolStats) uint32 { return s.IdleConns }),
		connections("listening", func(s *redis.PoolStats) uint32 { return s.PubSubStats.Active }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "shop_redis_waits_total", Help: "Uses of Redis that had to wait for a connection.",
		}, func() float64 { return float64(stats().WaitCount) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "shop_redis_wait_seconds_total", Help: "Time for which uses of Redis waited for a connection.",
		}, func() float64 { return float64(stats().WaitDurationNs) / 1e9 }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "shop_redis_timeouts_total", Help: "Uses of Redis that gave up before they had a connection.",
		}, func() float64 { return float64(stats().Timeouts) }),
	}
}
