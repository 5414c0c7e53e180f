package database

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// poolUse is how a connection pool stands, and what it did so far.
type poolUse struct {
	used, idle, opening, most int
	waits, canceled           int64         // requests for a connection that found none free; that gave up
	waited                    time.Duration // of all of them
}

// Metrics are those of the connection pool and of transactions.
func (db *DB) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		db.connections("used", func(u poolUse) int { return u.used }),
		db.connections("idle", func(u poolUse) int { return u.idle }),
		db.connections("opening", func(u poolUse) int { return u.opening }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shop_database_connections_max", Help: "Connections that the database pool opens at most.",
		}, func() float64 { return float64(db.use().most) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "shop_database_waits_total", Help: "Uses of the database that had to wait for a connection.",
		}, func() float64 { return float64(db.use().waits) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "shop_database_wait_seconds_total", Help: "Time for which uses of the database waited for a connection.",
		}, func() float64 { return db.use().waited.Seconds() }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "shop_database_canceled_waits_total", Help: "Uses of the database that gave up before they had a connection.",
		}, func() float64 { return float64(db.use().canceled) }),
		db.retries,
	}
}

func (db *DB) connections(state string, count func(poolUse) int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shop_database_connections", Help: "Connections of the database pool, by what they do.",
		ConstLabels: prometheus.Labels{"state": state},
	}, func() float64 { return float64(count(db.use())) })
}

func newRetries() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "shop_database_retries_total", Help: "Transactions begun again after a deadlock or a serialization failure.",
	})
}

// use asks the pool that hands out connections: with PostgreSQL that is pgx's.
func (db *DB) use() poolUse {
	if db.postgres != nil {
		s := db.postgres.Stat()
		return poolUse{
			used: int(s.AcquiredConns()), idle: int(s.IdleConns()), opening: int(s.ConstructingConns()), most: int(s.MaxConns()),
			waits: s.EmptyAcquireCount(), waited: s.EmptyAcquireWaitTime(), canceled: s.CanceledAcquireCount(),
		}
	}
	s := db.pool.Stats()
	return poolUse{used: s.InUse, idle: s.Idle, most: s.MaxOpenConnections, waits: s.WaitCount, waited: s.WaitDuration}
}
