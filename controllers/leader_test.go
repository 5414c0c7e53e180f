package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
	"github.com/shopkeeper-dev/shopkeeper/controllers/shop"
)

// asOperator in the environment makes this test's program an operator.
const asOperator = "SHOPKEEPER_TEST_OPERATOR"

// operate is main with leases that a test can wait for.
func operate() {
	options, err := parse(os.Args[1:], io.Discard)
	if err == nil {
		options.leaseFor = 3 * time.Second
		err = run(options)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestOneOperatorWorks: of two processes one writes; the other takes over when it
// is told to stop, when it is killed, and when it is stopped in the middle of a
// write: awake again, it finds that another one works, and its write too late.
func TestOneOperatorWorks(t *testing.T) {
	installRights(t)
	scheme, err := shop.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	administrator, err := client.New(cluster, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	h := &handover{Client: administrator, t: t, namespace: kubetest.Namespace(t, administrator)}
	if err := h.Create(kubetest.Context(t), &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "acme"}}); err != nil {
		t.Fatal(err)
	}

	first := h.start("first")
	h.expectWork("100")
	second := h.start("second")
	h.expectWork("101")
	first.end(syscall.SIGTERM, true)
	h.expectWork("102")
	third := h.start("third")
	second.end(syscall.SIGKILL, false)
	h.expectWork("103")
	fourth := h.start("fourth")
	release := h.hold("third")
	h.change("104")
	<-h.held
	third.signal(syscall.SIGSTOP)
	h.expectWork("105")
	release()
	kubetest.Eventually(t, func() error { return h.isRefused("third") })
	third.end(syscall.SIGCONT, false)
	if !strings.Contains(third.log.String(), "another one works now") {
		t.Errorf("one that slept did not find out: %s", third.log)
	}
	h.expectWork("106")
	fourth.end(syscall.SIGTERM, true)

	if writers := slices.Compact(slices.Clone(h.writers)); !slices.Equal(writers, []string{"first", "second", "third", "fourth"}) {
		t.Errorf("one after another these wrote: %q", writers)
	}
}

// handover is a namespace with a Shop, and operators that may look after it.
type handover struct {
	client.Client
	t         *testing.T
	namespace string

	mutex   sync.Mutex
	writers []string // who made each write
	refused []string // who tried to make one that came too late
	heard   []string // who asked for the lease

	sleeper string        // whose next write is held back
	held    chan struct{} // closed when it is
	passes  chan struct{} // closed when it goes on
}

// hold holds back the next write of an operator until release.
func (h *handover) hold(name string) (release func()) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.sleeper, h.held, h.passes = name, make(chan struct{}), make(chan struct{})
	return sync.OnceFunc(func() { close(h.passes) })
}

func (h *handover) isRefused(name string) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if !slices.Contains(h.refused, name) {
		return fmt.Errorf("no write of the %s operator was refused", name)
	}
	return nil
}

// operator is one process.
type operator struct {
	t       *testing.T
	process *exec.Cmd
	log     *strings.Builder
	ended   chan error
}

// start runs an operator until it asks for the lease.
func (h *handover) start(name string) *operator {
	h.t.Helper()
	executable, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	o := &operator{t: h.t, log: &strings.Builder{}, ended: make(chan error, 1)}
	o.process = exec.Command(executable, "--watch-namespaces="+h.namespace, "--leader-elect", "--leader-election-namespace="+operatorNamespace,
		"--metrics-bind-address=0", "--health-probe-bind-address=0")
	o.process.Env = append(os.Environ(), asOperator+"=1", "KUBECONFIG="+h.door(name))
	o.process.Stdout, o.process.Stderr = o.log, o.log
	if err := o.process.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { o.ended <- o.process.Wait() }()
	h.t.Cleanup(func() { _ = o.process.Process.Kill() })
	kubetest.Eventually(h.t, func() error {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		if !slices.Contains(h.heard, name) {
			return fmt.Errorf("the %s operator does not ask for the lease", name)
		}
		return nil
	})
	return o
}

func (o *operator) signal(signal syscall.Signal) {
	o.t.Helper()
	if err := o.process.Process.Signal(signal); err != nil {
		o.t.Fatal(err)
	}
}

// end ends an operator, which ends well if it is asked to.
func (o *operator) end(by syscall.Signal, isWell bool) {
	o.t.Helper()
	o.signal(by)
	select {
	case err := <-o.ended:
		if (err == nil) != isWell {
			o.t.Errorf("an operator ended with %v: %s", err, o.log)
		}
	case <-time.After(kubetest.Timeout):
		o.t.Fatalf("an operator does not end")
	}
}

// door is the way of an operator to the API server, which writes down who came
// through. It returns the kubeconfig.
func (h *handover) door(name string) string {
	h.t.Helper()
	account := rest.CopyConfig(cluster)
	account.Impersonate.UserName = "system:serviceaccount:" + operatorNamespace + ":shopkeeper-operator"
	onward, err := rest.TransportFor(account)
	if err != nil {
		h.t.Fatal(err)
	}
	target, err := url.Parse(cluster.Host)
	if err != nil {
		h.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: onward, FlushInterval: -1,
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(target)
			h.pass(name, request.Out)
		},
		ModifyResponse: func(response *http.Response) error { h.note(name, response); return nil },
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewTLSServer(proxy)
	h.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return kubetest.Kubeconfig(h.t, &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: authority}}, operatorNamespace)
}

// pass lets a request through, when it may.
func (h *handover) pass(name string, request *http.Request) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if strings.Contains(request.URL.Path, "/leases") {
		h.heard = append(h.heard, name)
	}
	if isWrite(request) && name == h.sleeper {
		h.sleeper = ""
		body, err := io.ReadAll(request.Body) // all of it, for the sender may be asleep soon
		if err != nil {
			h.t.Error(err)
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		close(h.held)
		h.mutex.Unlock()
		<-h.passes
		h.mutex.Lock()
	}
}

// note takes down what came of a write.
func (h *handover) note(name string, response *http.Response) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	switch {
	case !isWrite(response.Request):
	case response.StatusCode == http.StatusConflict:
		h.refused = append(h.refused, name)
	default:
		h.writers = append(h.writers, name)
	}
}

func isWrite(request *http.Request) bool {
	path := request.URL.Path
	return request.Method != http.MethodGet && !strings.Contains(path, "/leases") && !strings.Contains(path, "/events")
}

// change changes the Shop.
func (h *handover) change(connections string) {
	h.t.Helper()
	ctx, acme := kubetest.Context(h.t), &shopv1.Shop{}
	kubetest.Eventually(h.t, func() error {
		if err := h.Get(ctx, client.ObjectKey{Namespace: h.namespace, Name: "acme"}, acme); err != nil {
			return err
		}
		acme.Spec.Database.Managed.Parameters = map[string]string{"max_connections": connections}
		return h.Update(ctx, acme)
	})
}

// expectWork changes the Shop, and waits until the change has reached PostgreSQL.
func (h *handover) expectWork(connections string) {
	h.t.Helper()
	h.change(connections)
	ctx := kubetest.Context(h.t)
	kubetest.Eventually(h.t, func() error {
		set := &appsv1.StatefulSet{}
		if err := h.Get(ctx, client.ObjectKey{Namespace: h.namespace, Name: "acme-db"}, set); err != nil {
			return err
		}
		if !slices.Contains(set.Spec.Template.Spec.Containers[0].Args, "max_connections="+connections) {
			return errors.New("nobody brings the change to PostgreSQL")
		}
		return nil
	})
}
