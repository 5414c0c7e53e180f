//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// shopper is a customer who goes on buying, a few times a second, and hears of each order by a socket that
// takes up where it left off.
type shopper struct {
	*traffic

	orders []int64
	heard  map[int64]int // how often of each order
	last   int64         // event heard of, with no gap before it
	gaps   []string
	closes []string
}

// keepBuying lets the customer buy and listen until it is stopped.
func (s *story) keepBuying(t *testing.T) *shopper {
	t.Helper()
	reading := s.keepReading(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	buying := &shopper{traffic: reading, heard: map[int64]int{}}
	endReading := reading.end
	listening, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	reading.end = func() { endReading(); cancel() }
	buying.last = s.newestEvent(t)
	reading.finished.Go(func() {
		defer hangUp()
		s.buy(ctx, buying)
		buying.awaitNews(30 * time.Second)
	})
	reading.finished.Go(func() { s.listen(listening, buying) })
	return buying
}

var shopperLock sync.Mutex

// buy places an order about twice a second; a request that fails is a failure of the traffic.
func (s *story) buy(ctx context.Context, buying *shopper) {
	failed := func(what string, status int, body string, err error) {
		shopperLock.Lock()
		defer shopperLock.Unlock()
		buying.failures = append(buying.failures, fmt.Sprintf("%s %s: %d %s %v", time.Now().Format(time.StampMilli), what, status, body, err))
	}
	for ; ctx.Err() == nil; time.Sleep(400 * time.Millisecond) {
		whole := context.WithoutCancel(ctx)
		status, body, err := s.customer.try(whole, http.MethodPost, "/api/cart/items/", object{"product_id": s.product, "quantity": 1})
		if err != nil || status != http.StatusCreated {
			failed("cart", status, body, err)
			continue
		}
		status, body, err = s.customer.try(whole, http.MethodPost, "/api/orders/", object{"shipping_address": "1 Main St", "phone_number": "+1234567890"})
		var order object
		if err != nil || status != http.StatusCreated || json.Unmarshal([]byte(body), &order) != nil {
			failed("order", status, body, err)
			continue
		}
		shopperLock.Lock()
		buying.orders = append(buying.orders, order.id())
		shopperLock.Unlock()
	}
}

// awaitNews gives the last notifications time to arrive.
func (b *shopper) awaitNews(limit time.Duration) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		shopperLock.Lock()
		missing := len(b.orders) - len(b.heard)
		shopperLock.Unlock()
		if missing <= 0 {
			return
		}
	}
}

// listen keeps a socket open, and opens another one when it is closed.
func (s *story) listen(ctx context.Context, buying *shopper) {
	for ctx.Err() == nil {
		opened, err := s.dial(ctx, fmt.Sprintf("?last_event_id=%d", buying.last))
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = opened.Close() })
		err = buying.hear(opened)
		stop()
		_ = opened.Close()
		if ctx.Err() == nil {
			buying.closes = append(buying.closes, err.Error())
		}
	}
}

// hear takes note of every event until the socket ends.
func (b *shopper) hear(socket *websocket.Conn) error {
	for {
		_, frame, err := socket.ReadMessage()
		if err != nil {
			return err
		}
		var event struct {
			Type    string `json:"type"`
			EventID int64  `json:"event_id"`
			OrderID int64  `json:"order_id"`
		}
		if err := json.Unmarshal(frame, &event); err != nil || event.EventID == 0 {
			continue
		}
		if event.EventID != b.last+1 {
			b.gaps = append(b.gaps, fmt.Sprintf("%d after %d", event.EventID, b.last))
		}
		b.last = event.EventID
		if event.Type == "order_notification" {
			shopperLock.Lock()
			b.heard[event.OrderID]++
			shopperLock.Unlock()
		}
	}
}

// newestEvent is the number of the customer's last event.
func (s *story) newestEvent(t *testing.T) (newest int64) {
	t.Helper()
	opened, err := s.dial(t.Context(), "?last_event_id=0")
	if err != nil {
		t.Fatalf("open a socket: %v", err)
	}
	defer opened.Close()
	for {
		if err := opened.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_, frame, err := opened.ReadMessage()
		if err != nil {
			return newest
		}
		var event struct {
			EventID int64 `json:"event_id"`
		}
		if json.Unmarshal(frame, &event) == nil && event.EventID > newest {
			newest = event.EventID
		}
	}
}

// dial opens a socket of the customer.
func (s *story) dial(ctx context.Context, query string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		HandshakeTimeout: 10 * time.Second,
		Subprotocols:     []string{"bearer", s.customer.access},
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, socketAddress)
		},
	}
	opened, response, err := dialer.DialContext(ctx, fmt.Sprintf("ws://%s:8001/ws/notifications/%d/%s", host, s.customer.userID, query), nil)
	if err != nil {
		return nil, fmt.Errorf("%w %v", err, response)
	}
	return opened, nil
}

// stop ends the buying: no request may have failed, and every order was heard of once.
func (b *shopper) stop(t *testing.T) {
	t.Helper()
	b.traffic.stop(t)
	t.Logf("%d orders, %d closes of the socket meanwhile", len(b.orders), len(b.closes))
	if len(b.gaps) > 0 {
		t.Errorf("events with a gap or twice: %v", b.gaps)
	}
	if len(b.orders) == 0 {
		t.Error("no order was placed")
	}
	for _, order := range b.orders {
		if b.heard[order] != 1 {
			t.Errorf("order %d was heard of %d times", order, b.heard[order])
		}
	}
}

func scales(t *testing.T, s *story) {
	buying := s.keepBuying(t)
	for _, replicas := range []int32{4, 2} {
		patch(t, s.cluster, s.newShop(), "acme", fmt.Sprintf(`{"spec":{"api":{"replicas":%d},"notifications":{"replicas":%[1]d}}}`, replicas))
		eventually(t, 2*time.Minute, fmt.Sprintf("%d pods of each", replicas), func() error {
			for _, name := range []string{"acme-api", "acme-notifications"} {
				if got := *get[appsv1.Deployment](t, s.cluster, name).Spec.Replicas; got != replicas {
					return fmt.Errorf("%s wants %d pods", name, got)
				}
				if err := s.deploymentIsComplete(t, name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	s.awaitReady(t)
	buying.stop(t)
}

// survivesDrain empties a node of the shop's server pods as `kubectl drain` does: one that neither PostgreSQL
// nor Redis has its volume on.
func survivesDrain(t *testing.T, s *story) {
	var nodes corev1.NodeList
	if err := s.cluster.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) < 2 {
		t.Fatalf("%d node: a drain needs two, see NODES=2 hack/cluster/up", len(nodes.Items))
	}
	node := nodes.Items[len(nodes.Items)-1].Name
	cordon(t, s.cluster, node, true)
	defer cordon(t, s.cluster, node, false)
	buying := s.keepBuying(t)
	drained := s.evictServers(t, node)
	s.awaitReady(t)
	buying.stop(t)
	t.Logf("%d pods were evicted from node %s", drained, node)
	if drained == 0 {
		t.Errorf("no pod of the server ran on node %s", node)
	}
}

func cordon(t *testing.T, c *cluster, node string, unschedulable bool) {
	t.Helper()
	change := fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, unschedulable)
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	if err := c.Patch(context.WithoutCancel(t.Context()), object, client.RawPatch("application/merge-patch+json", []byte(change))); err != nil {
		t.Fatalf("cordon node %s: %v", node, err)
	}
}

// evictServers asks for the eviction of each server pod of a node until none is left; a disruption budget may
// hold it back for a while.
func (s *story) evictServers(t *testing.T, node string) int {
	t.Helper()
	evicted := map[string]bool{}
	eventually(t, 3*time.Minute, "node "+node+" is empty", func() error {
		left := 0
		for _, role := range []string{"api", "notifications"} {
			for _, pod := range s.pods(t, role) {
				if pod.Spec.NodeName != node {
					continue
				}
				left++
				eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
				err := s.cluster.clientset.CoreV1().Pods(pod.Namespace).EvictV1(t.Context(), eviction)
				if err != nil && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) {
					return err
				}
				if err == nil {
					evicted[pod.Name] = true
				}
			}
		}
		if left > 0 {
			return fmt.Errorf("%d pods are left", left)
		}
		return nil
	})
	return len(evicted)
}

// rotates replaces every Secret of the shop by deleting it, while customers buy: each password changes for
// real, no request fails, and nobody is logged out.
func rotates(t *testing.T, s *story) {
	before := s.secret(t, "acme-db", "password")
	oldURL := s.secret(t, "acme-db", "url")
	buying := s.keepBuying(t)
	for _, name := range []string{"acme-db", "acme-redis", "acme-auth"} {
		remove(t, s.cluster, get[corev1.Secret](t, s.cluster, name))
	}
	eventually(t, time.Minute, "the Secrets are made anew", func() error {
		for _, name := range []string{"acme-db", "acme-redis", "acme-auth"} {
			if find[corev1.Secret](t, s.cluster, name) == nil {
				return fmt.Errorf("no Secret %s", name)
			}
		}
		return nil
	})
	eventually(t, 5*time.Minute, "the pods run with them, and the old login is gone", func() error {
		script := s.secret(t, "acme-db", "login.sql")
		for _, name := range []string{"acme-api", "acme-notifications"} {
			if err := s.deploymentIsComplete(t, name); err != nil {
				return err
			}
		}
		if !strings.Contains(script, "DROP ROLE") {
			return fmt.Errorf("pods with the old login are left")
		}
		return nil
	})
	s.awaitReady(t)
	buying.stop(t)
	if after := s.secret(t, "acme-db", "password"); after == before || s.secret(t, "acme-db", "url") == oldURL {
		t.Error("the password of the database is the same")
	}
	s.customer.get(t, "/api/orders/") // with the token of before
}
