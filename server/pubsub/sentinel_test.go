package pubsub_test

import (
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

// When the master is gone, messages go by the one that the Sentinels make of its replica, and listeners are
// told that they may have missed some.
func TestSentinelsLeadToTheNextMaster(t *testing.T) {
	t.Parallel()
	sentinel, master := databasetest.StartRedisSentinel(t)
	client := open(t, sentinel.URL()+"/0?master_name=shop", "shop")
	listener := listen(t, client, "a")
	publish(t, client, "a", "1")
	listener.expect(t, "1")

	master.Stop(t)
	listener.expectSubscribed(t)
	publish(t, client, "a", "2")
	listener.expect(t, "2")
	if answer, err := client.Run(t.Context(), pubsub.NewScript("return {7}"), "key"); err != nil || answer[0] != 7 {
		t.Errorf("a script answered %v (%v)", answer, err)
	}
}
