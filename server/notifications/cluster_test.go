package notifications

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// On a Redis Cluster every partition is published and heard at the node in charge of it, and when that node
// goes, every socket gets from the database what it missed.
func TestHubOnARedisCluster(t *testing.T) {
	t.Parallel()
	const users = 64 // more than there are partitions
	cluster := databasetest.StartRedisCluster(t)
	databaseURL, redisURL := databasetest.Migrated(t), cluster[0].URL()
	pods := []*pod{startPod(t, databasetest.Open(t, databaseURL), redisURL), startPod(t, databasetest.Open(t, databaseURL), redisURL)}
	publisher := startPod(t, databasetest.Open(t, databaseURL), redisURL)
	var staying [users]*client
	var resuming [users]resumer
	for i := range staying {
		user := int64(i + 1)
		publisher.addUsers(t, user)
		staying[i] = pods[i%2].connect(t, user)
		resuming[i].connect(t, pods[(i+1)%2], user)
	}
	expectListening(t, pods, true)
	expectSharded(t, cluster)
	n := 0
	next := func(record func(user int64, frame numbered)) {
		n++
		for i := range staying {
			record(int64(i+1), numbered{User: int64(i + 1), N: n})
		}
	}
	notify := func(user int64, frame numbered) { publisher.notify(t, user, frame) }
	expectAll := func(from int) {
		t.Helper()
		for i := range staying {
			staying[i].expect(t, upTo(int64(i+1), n)[from:]...)
			resuming[i].expect(t, int64(n))
		}
	}
	next(notify)
	expectAll(0)

	cluster[1].Stop(t)
	next(func(user int64, frame numbered) { publisher.commitUnheard(t, user, frame) })
	expectAll(1)
	next(notify) // the relay publishes what cannot be published now
	cluster[1].Start(t)
	expectAll(2)
	expectListening(t, pods, true)
	next(notify)
	expectAll(3)
	for i := range staying {
		if extra := len(staying[i].frames) + len(resuming[i].frames); extra > 0 {
			t.Errorf("user %d got %d frames twice", i+1, extra)
		}
	}
}

// expectSharded checks that all channels are sharded ones, spread over the nodes.
func expectSharded(t *testing.T, cluster []*databasetest.Server) {
	t.Helper()
	channels := 0
	for _, node := range cluster {
		options, err := redis.ParseURL(node.URL())
		if err != nil {
			t.Fatal(err)
		}
		one := redis.NewClient(options)
		t.Cleanup(func() { _ = one.Close() })
		sharded, err := one.PubSubShardChannels(t.Context(), "*").Result()
		if err != nil || len(sharded) == 0 {
			t.Errorf("a node carries %d channels (%v)", len(sharded), err)
		}
		channels += len(sharded)
		if classic, err := one.PubSubChannels(t.Context(), "*").Result(); err != nil || len(classic) > 0 {
			t.Errorf("classic channels %v (%v), want none", classic, err)
		}
	}
	if channels != 32 {
		t.Errorf("%d channels, want one a partition", channels)
	}
}
