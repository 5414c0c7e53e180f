package pubsub_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

func TestClusterCarriesEachChannelAtItsOwnNode(t *testing.T) {
	t.Parallel()
	cluster := databasetest.StartRedisCluster(t)
	client := open(t, cluster[0].URL(), "shop")
	if err := client.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	var channels []string
	for n := range 12 {
		channels = append(channels, fmt.Sprintf("channel:%d", n))
	}
	listener := listen(t, client, channels...)
	carrying := 0
	for _, node := range cluster {
		options, err := redis.ParseURL(node.URL())
		if err != nil {
			t.Fatal(err)
		}
		one := redis.NewClient(options)
		t.Cleanup(func() { _ = one.Close() })
		sharded, err := one.PubSubShardChannels(t.Context(), "*").Result()
		classic, otherErr := one.PubSubChannels(t.Context(), "*").Result()
		if err != nil || otherErr != nil || len(classic) != 0 {
			t.Errorf("classic channels %v (%v, %v), want none", classic, err, otherErr)
		}
		if len(sharded) > 0 {
			carrying++
		}
	}
	if carrying < 2 {
		t.Errorf("%d nodes carry channels, want them spread", carrying)
	}
	for n, channel := range channels {
		publish(t, client, channel, fmt.Sprint(n, " a"), fmt.Sprint(n, " b"))
		listener.expect(t, fmt.Sprint(n, " a"), fmt.Sprint(n, " b"))
	}
	if answer, err := client.Run(t.Context(), pubsub.NewScript("return {7}"), "key"); err != nil || answer[0] != 7 {
		t.Errorf("a script answered %v (%v)", answer, err)
	}

	cluster[1].Stop(t)
	cluster[1].Start(t)
	listener.expectSubscribed(t)
	for _, channel := range channels {
		publish(t, client, channel, "again")
		listener.expect(t, "again")
	}
}
