package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const (
	shopsPerNamespace = 50
	bareShops         = 200 // at most, for the ceiling
	changeEvery       = 100 * time.Millisecond
	quietLimit        = 15 * time.Minute // for anything that is waited for
)

// benchShops runs the operator with many Shops, on a control plane of its own
// with simulated nodes and pods: from nothing to Ready, at rest, started again,
// and with a stream of changes.
func benchShops(ctx context.Context, count int, changes time.Duration) error {
	plane, err := startPlane(ctx)
	if err != nil {
		return err
	}
	defer plane.stop() //nolint:errcheck // what is left is in a temporary folder
	b := &shopsBench{plane: plane, count: count, shops: map[types.NamespacedName]shopSeen{}}
	if err := b.watch(ctx); err != nil {
		return err
	}
	for _, phase := range []func(context.Context) error{
		b.prepare, b.create, b.rest, b.restart,
		func(ctx context.Context) error { return b.change(ctx, changes) },
		b.bare,
	} {
		if err := phase(ctx); err != nil {
			return errors.Join(err, plane.logs(), b.print()) // what was measured before is true all the same
		}
	}
	return b.print()
}

// shopsBench is what has been measured.
type shopsBench struct {
	plane *plane
	count int

	mutex   sync.Mutex
	shops   map[types.NamespacedName]shopSeen
	sent    map[types.NamespacedName]time.Time // changes whose answer is awaited
	answers []time.Duration                    // from a change to its being observed

	rate float64 // Shops a second, from nothing to Ready
	rows [][]string
}

// shopSeen is what the watch told last.
type shopSeen struct {
	generation int64
	ready      bool // for that generation
}

func (b *shopsBench) row(cells ...string) { b.rows = append(b.rows, cells) }

func (b *shopsBench) print() error { return printTable(b.rows...) }

func shopName(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: fmt.Sprintf("bench-%d", i/shopsPerNamespace), Name: fmt.Sprintf("shop-%d", i)}
}

// watch keeps in mind which Shops are Ready, until ctx ends.
func (b *shopsBench) watch(ctx context.Context) error {
	events, err := b.plane.client.Watch(ctx, &shopv1.ShopList{})
	if err != nil {
		return fmt.Errorf("watch Shops: %w", err)
	}
	go func() {
		defer events.Stop()
		for event := range events.ResultChan() {
			if shop, ok := event.Object.(*shopv1.Shop); ok {
				b.see(shop)
			}
		}
	}()
	return nil
}

func (b *shopsBench) see(shop *shopv1.Shop) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	name := client.ObjectKeyFromObject(shop)
	observed := shop.Status.ObservedGeneration == shop.Generation
	b.shops[name] = shopSeen{shop.Generation, observed && meta.IsStatusConditionTrue(shop.Status.Conditions, shopv1.ConditionReady)}
	if at, ok := b.sent[name]; ok && observed {
		b.answers = append(b.answers, time.Since(at))
		delete(b.sent, name)
	}
}

func (b *shopsBench) ready() (count int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, seen := range b.shops {
		if seen.ready {
			count++
		}
	}
	return count
}

// prepare makes nodes, a storage class, a volume for each claim to come, and the
// namespaces.
func (b *shopsBench) prepare(ctx context.Context) error {
	say("a control plane with %d volumes for %d Shops", 2*b.count, b.count)
	late := storagev1.VolumeBindingWaitForFirstConsumer
	objects := []client.Object{&storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "bench", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: &late,
	}}
	for i := range 4 {
		objects = append(objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("node-%d", i), Labels: map[string]string{corev1.LabelHostname: fmt.Sprintf("node-%d", i)},
		}})
	}
	for i := 0; i < b.count; i += shopsPerNamespace {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shopName(i).Namespace}})
	}
	for i := range 2 * b.count {
		objects = append(objects, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("volume-%d", i)},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: "bench", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")},
				PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/bench"}},
			},
		})
	}
	if err := b.createAll(ctx, objects); err != nil {
		return err
	}
	return b.untaint(ctx)
}

// untaint does what the controller of nodes would: it is not there, for it would
// have to hear of every node every few seconds.
func (b *shopsBench) untaint(ctx context.Context) error {
	nodes := &corev1.NodeList{}
	if err := b.plane.client.List(ctx, nodes); err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for i := range nodes.Items {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"taints":null}}`))
		if err := b.plane.client.Patch(ctx, &nodes.Items[i], patch); err != nil {
			return fmt.Errorf("untaint a node: %w", err)
		}
	}
	return nil
}

func (b *shopsBench) createAll(ctx context.Context, objects []client.Object) error {
	for _, object := range objects {
		if err := b.plane.client.Create(ctx, object); err != nil {
			return fmt.Errorf("make %T %s: %w", object, object.GetName(), err)
		}
	}
	return nil
}

// create applies all Shops at once and waits until the last one is Ready.
func (b *shopsBench) create(ctx context.Context) error {
	if err := b.plane.startOperator(ctx); err != nil {
		return err
	}
	before, started := b.plane.processorTimes(), time.Now()
	var shops []client.Object
	for i := range b.count {
		name := shopName(i)
		shops = append(shops, &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}})
	}
	if err := b.createAll(ctx, shops); err != nil {
		return err
	}
	applied := time.Since(started)
	told := 0
	if err := b.wait(ctx, "Ready", func() bool {
		ready := b.ready()
		if ready >= told+(b.count+9)/10 {
			told = ready
			say("%d of %d Ready after %s", ready, b.count, seconds(time.Since(started)))
		}
		return ready == b.count
	}); err != nil {
		return err
	}
	took := time.Since(started)
	measured, err := b.plane.measure(ctx)
	if err != nil {
		return err
	}
	b.rate = float64(b.count) / took.Seconds()
	b.row(fmt.Sprintf("%d Shops created → Ready", b.count), seconds(took), fmt.Sprintf("%.1f/s; the last was applied after %s", b.rate, seconds(applied)))
	b.row("  processor time", b.plane.shares(before, took))
	b.row("  API calls of the operator", measured.callsPer(metrics{}, b.count, "Shop"))
	b.rowOfLoop("  ", measured, metrics{})
	return nil
}

// rest watches the operator do nothing for a minute.
func (b *shopsBench) rest(ctx context.Context) error {
	if err := b.quiet(ctx); err != nil {
		return err
	}
	say("at rest for %s", restTime)
	before, err := b.plane.measure(ctx)
	if err != nil {
		return err
	}
	times := b.plane.processorTimes()
	if err := sleep(ctx, restTime); err != nil {
		return err
	}
	after, err := b.plane.measure(ctx)
	if err != nil {
		return err
	}
	objects, err := b.plane.objects(ctx)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("at rest for %s, with %d objects", restTime, objects), fmt.Sprintf("%.0f writes, %.0f reads", after.writes()-before.writes(), after.reads()-before.reads()),
		fmt.Sprintf("operator: %.1f MiB resident, %s of processor time", after.memory()/(1<<20), seconds(b.plane.processorTimes()["operator"]-times["operator"])))
	return nil
}

// restart stops the operator and waits until the next one has looked at every
// Shop and has nothing left to do.
func (b *shopsBench) restart(ctx context.Context) error {
	say("restart")
	b.plane.stopOperator()
	started := time.Now()
	if err := b.plane.startOperator(ctx); err != nil {
		return err
	}
	if err := b.wait(ctx, "quiet", func() bool {
		m, err := b.plane.measure(ctx)
		return err == nil && m.turns() >= float64(b.count) && m.isIdle()
	}); err != nil {
		return err
	}
	took := time.Since(started)
	m, err := b.plane.measure(ctx)
	if err != nil {
		return err
	}
	b.row("restart → quiet", seconds(took), fmt.Sprintf("%.0f turns, %.0f writes, %.1f MiB resident", m.turns(), m.writes(), m.memory()/(1<<20)))
	return nil
}

// change sends a change of a spec every 100 ms: one pod of the API more, or one
// less.
func (b *shopsBench) change(ctx context.Context, lasting time.Duration) error {
	say("a change every %s for %s", changeEvery, lasting)
	before, err := b.plane.measure(ctx)
	if err != nil {
		return err
	}
	times, started, sent := b.plane.processorTimes(), time.Now(), 0
	b.mutex.Lock()
	b.sent = map[types.NamespacedName]time.Time{}
	b.mutex.Unlock()
	ticker := time.NewTicker(changeEvery)
	defer ticker.Stop()
	for time.Since(started) < lasting {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := b.scale(ctx, shopName(sent%b.count), 3-(sent/b.count)%2); err != nil {
			return err
		}
		sent++
	}
	took := time.Since(started)
	if err := b.quiet(ctx); err != nil {
		return err
	}
	after, err := b.plane.measure(ctx)
	if err != nil {
		return err
	}
	audited, err := b.plane.readAudit()
	if err != nil {
		return err
	}
	slices.Sort(b.answers)
	b.row(fmt.Sprintf("%d changes of api.replicas", sent), fmt.Sprintf("%.1f/s", float64(sent)/took.Seconds()),
		fmt.Sprintf("change → observed: median %d ms, p99 %d ms", quantileOf(b.answers, 0.5).Milliseconds(), quantileOf(b.answers, 0.99).Milliseconds()))
	b.row("  processor time", b.plane.shares(times, took))
	b.row("  API calls of the operator", after.callsPer(before, sent, "change"))
	b.rowOfLoop("  ", after, before)
	b.row("the operator's writes to one namespace", fmt.Sprintf("%d, of which %d changed nothing", audited.writes, audited.idle), audited.kinds())
	b.row("operator, resident", fmt.Sprintf("%.1f MiB", after.memory()/(1<<20)))
	return nil
}

// bare measures the ceiling of what create measured.
func (b *shopsBench) bare(ctx context.Context) error {
	children, err := b.plane.childrenOf(shopName(0))
	if err != nil {
		return err
	}
	if err := b.plane.stop(); err != nil {
		return err
	}
	count := min(b.count, bareShops)
	say("the ceiling: %d children a Shop, for %d Shops, without the operator", len(children), count)
	rate, shares, err := benchBare(ctx, count, shopName(0), children)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("the %d children of %d Shops by bare clients", len(children), count), fmt.Sprintf("%.1f/s", rate), fmt.Sprintf("Shops are Ready at %.0f%% of it", 100*b.rate/rate))
	b.row("  processor time", shares)
	return nil
}

func (b *shopsBench) scale(ctx context.Context, name types.NamespacedName, replicas int) error {
	b.mutex.Lock()
	b.sent[name] = time.Now()
	b.mutex.Unlock()
	shop := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	patch := fmt.Appendf(nil, `{"spec":{"api":{"replicas":%d}}}`, replicas)
	if err := b.plane.client.Patch(ctx, shop, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("change a spec: %w", err)
	}
	return nil
}

// rowOfLoop tells how long turns waited and took.
func (b *shopsBench) rowOfLoop(indent string, after, before metrics) {
	b.row(indent+"the loop", fmt.Sprintf("%.0f turns, %.0f errors", after.turns()-before.turns(), after.errors()-before.errors()),
		fmt.Sprintf("p99 in the queue %.2f s, p99 of a turn %.3f s",
			after.quantile(before, "workqueue_queue_duration_seconds", 0.99), after.quantile(before, "controller_runtime_reconcile_time_seconds", 0.99)))
}

// quiet waits until every Shop is Ready and the operator has had nothing to do
// for five seconds.
func (b *shopsBench) quiet(ctx context.Context) error {
	since, turns := time.Now(), -1.0
	return b.wait(ctx, "quiet", func() bool {
		m, err := b.plane.measure(ctx)
		if err != nil || b.ready() < b.count || !m.isIdle() || m.turns() != turns {
			since, turns = time.Now(), m.turns()
		}
		return time.Since(since) > 5*time.Second
	})
}

// wait asks twice a second.
func (b *shopsBench) wait(ctx context.Context, what string, is func() bool) error {
	for deadline := time.Now().Add(quietLimit); !is(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("not %s within %s: %d of %d Shops are Ready", what, quietLimit, b.ready(), b.count)
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, duration time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(duration):
		return nil
	}
}

func quantileOf(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(float64(len(sorted)-1)*q)]
}

func say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "==> "+format+"\n", arguments...)
}
