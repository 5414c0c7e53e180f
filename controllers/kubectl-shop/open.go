package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// lookForPod is how often a pod is looked for after the one before went away.
const lookForPod = time.Second

func (p *plugin) openCommand() *cobra.Command {
	ports := map[builders.Component]*int{builders.ComponentAPI: new(0), builders.ComponentNotifications: new(0)}
	command := &cobra.Command{
		Use:   "open [NAME]",
		Short: "Forward ports of this machine to a Shop, and print its addresses",
		Long: "Forward ports of this machine to the REST API and the notifications of a Shop,\n" +
			"and print their addresses, until it is interrupted. When the pod behind a port\n" +
			"goes, as in a rollout, another takes its place.",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeShops,
		RunE: func(command *cobra.Command, arguments []string) error {
			cluster, shop, err := p.find(command.Context(), arguments)
			if err != nil {
				return err
			}
			return p.open(command.Context(), cluster, shop, ports)
		},
	}
	command.Flags().IntVar(ports[builders.ComponentAPI], "api-port", 8000, "`port` of this machine for the REST API; 0 for any")
	command.Flags().IntVar(ports[builders.ComponentNotifications], "notifications-port", 8001, "`port` of this machine for the notifications; 0 for any")
	p.addOutput(command)
	return command
}

// open forwards until the context ends, and prints the addresses when both are
// open.
func (p *plugin) open(ctx context.Context, cluster *cluster, shop *shopv1.Shop, ports map[builders.Component]*int) error {
	api := &forward{cluster: cluster, shop: shop, component: builders.ComponentAPI, remote: 8000, notes: p.ErrOut}
	notifications := &forward{cluster: cluster, shop: shop, component: builders.ComponentNotifications, remote: 8001, notes: p.ErrOut}
	forwards, ctx := errgroup.WithContext(ctx)
	for _, f := range []*forward{api, notifications} {
		f.opened = make(chan struct{})
		f.tellOpened = sync.OnceFunc(func() { close(f.opened) })
		if err := f.choosePort(*ports[f.component]); err != nil {
			return err
		}
		forwards.Go(func() error { return f.run(ctx) })
	}
	for _, f := range []*forward{api, notifications} {
		select {
		case <-f.opened:
		case <-ctx.Done():
			return forwards.Wait()
		}
	}
	if err := p.tellAddresses(shop, api.local, notifications.local); err != nil {
		return err
	}
	return forwards.Wait()
}

func (p *plugin) tellAddresses(shop *shopv1.Shop, api, notifications int) error {
	apiURL := fmt.Sprintf("http://localhost:%d/", api)
	notificationsURL := fmt.Sprintf("ws://localhost:%d/ws/notifications/", notifications)
	if p.output == jsonOutput {
		return writeJSON(p.Out, map[string]string{
			"name": shop.Name, "namespace": shop.Namespace, "api": apiURL, "notifications": notificationsURL,
		})
	}
	_, err := fmt.Fprintf(p.Out, `REST API:       %sapi/products/
Description:    %sapi/docs/
Notifications:  %s{user_id}/
Staff login:    kubectl get secret %s --namespace %s -o jsonpath='{.data.password}' | base64 --decode
Interrupt (Ctrl-C) to end.
`, apiURL, apiURL, notificationsURL, builders.AdminName(shop), shop.Namespace)
	return err
}

// forward is one port of this machine that leads to pods of a part of a shop,
// to one at a time.
type forward struct {
	cluster       *cluster
	shop          *shopv1.Shop
	component     builders.Component
	local, remote int
	notes         io.Writer
	opened        chan struct{} // closed when it first leads to a pod
	tellOpened    func()
	wasOpen       bool
}

// choosePort settles which port it will be, so that it stays the same when the
// pod changes.
func (f *forward) choosePort(wanted int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("localhost", strconv.Itoa(wanted))) //nolint:noctx // returns at once
	if err != nil {
		return fmt.Errorf("open port %d for %s: %w; choose another with --%s-port, or 0 for any", wanted, f.component, err, f.component)
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("open port %d: it is %s", wanted, listener.Addr())
	}
	f.local = address.Port
	return listener.Close()
}

// run forwards until the context ends. Only before the first connection is a
// pod that is missing an error; later it is one that is being replaced.
func (f *forward) run(ctx context.Context) error {
	for {
		err := f.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was interrupted
		case !f.wasOpen:
			return err
		case !errors.Is(err, portforward.ErrLostConnectionToPod):
			fmt.Fprintf(f.notes, "%s: %v; it is tried again\n", f.component, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookForPod):
		}
	}
}

// once forwards to one pod until that goes or the context ends.
func (f *forward) once(ctx context.Context) error {
	pod, err := f.cluster.readyPod(ctx, f.shop, f.component)
	if err != nil {
		return err
	}
	target := f.cluster.pods.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	dialer, err := f.dialer(target)
	if err != nil {
		return fmt.Errorf("prepare to forward to pod %s: %w", pod.Name, err)
	}
	opened := make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"localhost"},
		[]string{fmt.Sprintf("%d:%d", f.local, f.remote)}, opened, io.Discard, f.notes)
	if err != nil {
		return fmt.Errorf("prepare to forward to pod %s: %w", pod.Name, err)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-opened:
			f.tellOpened()
		case <-watching.Done():
		}
	}()
	err = forwarder.ForwardPorts()
	select {
	case <-opened:
		f.wasOpen = true
	default:
	}
	return fmt.Errorf("forward to pod %s: %w", pod.Name, err)
}

// dialer goes by a WebSocket, and by SPDY where something between here and the
// API server does not let one through.
func (f *forward) dialer(target *url.URL) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(f.cluster.config)
	if err != nil {
		return nil, err
	}
	bySPDY := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	bySocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, f.cluster.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(bySocket, bySPDY, cannotUpgrade), nil
}
