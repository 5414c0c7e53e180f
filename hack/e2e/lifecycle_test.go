//go:build e2e

// Package e2e drives a Shop on a real cluster through its whole life, by the interfaces that users have:
// the Kubernetes API, the REST ingress and the notification ingress. `make up` first, then `make e2e`.
package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	nextVersion       = "0.1.1"
	nextSchemaVersion = 2
)

// TestLife is one story; each step stands on the one before.
func TestLife(t *testing.T) {
	s := newStory(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *story)
	}{
		{"a Shop applied becomes Ready", becomesReady},
		{"a customer buys while sockets listen on both pods", buysWhileSocketsListen},
		{"kubectl shop looks after it", looksAfterItByKubectl},
		{"a deleted pod is replaced and no request fails", survivesPodDeletion},
		{"a child changed by hand is repaired", repairsDrift},
		{"an upgrade migrates first and no request fails", upgrades},
		{"a scale up and down loses no request and no notification", scales},
		{"a drain of a node loses no request and no notification", survivesDrain},
		{"new passwords and keys lose no request, no notification and no login", rotates},
		{"a deleted Shop leaves only its data", leavesItsData},
		{"the same Shop applied again finds its data", findsItsData},
	} {
		started := time.Now()
		if !t.Run(step.name, func(t *testing.T) { step.run(t, s) }) {
			t.FailNow()
		}
		t.Logf("%6.1f s  %s", time.Since(started).Seconds(), step.name)
	}
}

func becomesReady(t *testing.T, s *story) {
	s.apply(t)
	s.awaitReady(t)
	for _, name := range []string{"acme-api", "acme-notifications"} {
		deployment := get[appsv1.Deployment](t, s.cluster, name)
		if deployment.Status.ReadyReplicas != 2 {
			t.Errorf("%s has %d ready pods, want 2", name, deployment.Status.ReadyReplicas)
		}
	}
}

func buysWhileSocketsListen(t *testing.T, s *story) {
	s.staff = s.logIn(t, s.secret(t, "acme-admin", "email"), s.secret(t, "acme-admin", "password"))
	category := s.staff.post(t, "/api/categories/", object{"name": "Electronics"}, http.StatusCreated).id()
	s.product = s.staff.post(t, "/api/products/", object{
		"name": "Smartphone Pro Max", "price": "999.99", "stock": 50000, "category": category, "featured": true,
		"image": "https://example.com/image.jpg",
	}, http.StatusCreated).id()
	s.customer = s.register(t, "user@example.com")

	s.spreadOverBothAPIPods(t)
	sockets := s.openSocketsOnBothPods(t)
	s.customer.post(t, "/api/cart/items/", object{"product_id": s.product, "quantity": 2}, http.StatusCreated)
	cart := s.customer.get(t, "/api/cart/")
	if cart["total_price"] != "1999.98" || cart["total_items"] != 2.0 {
		t.Fatalf("the cart is %v, want 2 items for 1999.98", cart)
	}
	s.order = s.customer.post(t, "/api/orders/", object{
		"shipping_address": "123 Main St, City, Country", "phone_number": "+1234567890", "notes": "Leave at door",
	}, http.StatusCreated).id()
	s.staff.patch(t, fmt.Sprintf("/api/orders/%d/status/", s.order), object{"status": "shipped"}, http.StatusOK)

	want := []string{
		fmt.Sprintf(`{"type":"order_notification","order_id":%d,"message":"Order created successfully"}`, s.order),
		fmt.Sprintf(`{"type":"order_status_update","order_id":%d,"old_status":"pending","new_status":"shipped",`+
			`"message":"Order #%d status updated from pending to shipped"}`, s.order, s.order),
	}
	for _, socket := range sockets {
		socket.expect(t, want...)
	}
}

func survivesPodDeletion(t *testing.T, s *story) {
	traffic := s.keepReading(t)
	victims := s.pods(t, "api")
	remove(t, s.cluster, &victims[0])
	eventually(t, time.Minute, "two ready pods and the deleted one gone", func() error {
		if find[corev1.Pod](t, s.cluster, victims[0].Name) != nil {
			return fmt.Errorf("pod %s is still there", victims[0].Name)
		}
		return s.deploymentIsComplete(t, "acme-api")
	})
	traffic.stop(t)
	s.awaitReady(t)
}

func repairsDrift(t *testing.T, s *story) {
	patch(t, s.cluster, &appsv1.Deployment{}, "acme-notifications", `{"spec":{"replicas":0}}`)
	service := get[corev1.Service](t, s.cluster, "acme-api")
	remove(t, s.cluster, service)
	eventually(t, time.Minute, "the replicas and the Service are back", func() error {
		again := find[corev1.Service](t, s.cluster, "acme-api")
		if again == nil || again.UID == service.UID {
			return fmt.Errorf("the Service acme-api is not back")
		}
		if n := *get[appsv1.Deployment](t, s.cluster, "acme-notifications").Spec.Replicas; n != 2 {
			return fmt.Errorf("acme-notifications wants %d pods", n)
		}
		return s.deploymentIsComplete(t, "acme-notifications")
	})
	s.awaitReady(t)
}

func upgrades(t *testing.T, s *story) {
	buildNextImage(t)
	socket := s.openSocket(t)
	traffic := s.keepBuying(t)
	patch(t, s.cluster, s.newShop(), "acme", fmt.Sprintf(`{"spec":{"version":%q}}`, nextVersion))
	eventually(t, 3*time.Minute, "the new version runs", func() error {
		status := s.status(t)
		if status["version"] != nextVersion || status["schemaVersion"] != int64(nextSchemaVersion) {
			return fmt.Errorf("status has version %v and schema %v", status["version"], status["schemaVersion"])
		}
		return nil
	})
	s.awaitReady(t)
	traffic.stop(t)
	socket.expectClose(t, 1012)

	migrated := s.migrationOf(t, nextVersion)
	for _, role := range []string{"api", "notifications"} {
		for _, pod := range s.pods(t, role) {
			if pod.CreationTimestamp.Time.Before(migrated) {
				t.Errorf("pod %s started at %s, before the migration ended at %s", pod.Name, pod.CreationTimestamp, migrated)
			}
		}
	}
}

func leavesItsData(t *testing.T, s *story) {
	s.placed = s.customer.get(t, "/api/orders/")["count"]
	remove(t, s.cluster, s.newShop())
	eventually(t, 2*time.Minute, "the Shop and its workloads are gone", func() error {
		if left := s.workloads(t); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	for _, name := range []string{"acme-db", "acme-admin", "acme-auth"} {
		get[corev1.Secret](t, s.cluster, name)
	}
	if volumes := list[corev1.PersistentVolumeClaimList](t, s.cluster).Items; len(volumes) == 0 {
		t.Error("no volume is left")
	}
	if jobs := list[batchv1.JobList](t, s.cluster).Items; len(jobs) > 0 {
		t.Errorf("%d Jobs are left", len(jobs))
	}
}

func findsItsData(t *testing.T, s *story) {
	s.version = nextVersion
	s.apply(t)
	s.awaitReady(t)
	s.awaitIngress(t)
	orders := s.customer.get(t, "/api/orders/") // with the token of before
	if orders["count"] != s.placed {
		t.Errorf("the customer's orders are %v, want the %v made before", orders["count"], s.placed)
	}
	s.logIn(t, "user@example.com", customerPassword)
}
