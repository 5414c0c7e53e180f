package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lease is what operators settle by which of them works. One that finds it with
// another, though it held it itself, was asleep meanwhile: it is told at once,
// and not after it has tried for a while to get it back, at work beside the other.
type lease struct {
	resourcelock.Interface

	isHeld bool
	lost   func(holder string)
}

// newLease is nil where an operator works alone.
func newLease(o *options, cluster *rest.Config) (resourcelock.Interface, error) {
	if !o.leaderElect {
		return nil, nil //nolint:nilnil // it needs none
	}
	namespace := cmp.Or(o.leaseNamespace, o.defaults.Namespace)
	if namespace == "" {
		return nil, errors.New("--leader-election-namespace: must be set outside a cluster")
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find a name for the lease: %w", err)
	}
	config := rest.AddUserAgent(rest.CopyConfig(cluster), "leader-election")
	config.Timeout = o.leaseFor / 3 // for a second try before the lease has to be renewed
	leases, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("set up the lease: %w", err)
	}
	return &lease{
		Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: o.lease},
			Client:     leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
		},
		lost: func(holder string) {
			o.logger.Error("this operator was asleep, and another one works now: it ends", "lease", namespace+"/"+o.lease, "holder", holder)
			os.Exit(1)
		},
	}, nil
}

// Get reads who has the lease.
func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil && l.isHeld && record.HolderIdentity != "" && record.HolderIdentity != l.Identity() {
		l.lost(record.HolderIdentity)
	}
	return record, raw, err
}

// Create takes a lease that nobody ever had.
func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.note(record, l.Interface.Create(ctx, record))
}

// Update takes it, keeps it or lets it go.
func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.note(record, l.Interface.Update(ctx, record))
}

func (l *lease) note(written resourcelock.LeaderElectionRecord, err error) error {
	if err == nil {
		l.isHeld = written.HolderIdentity == l.Identity()
	}
	return err
}
