// Package kubetest gives tests a real kube-apiserver on a real etcd, with the
// Shop's CRD installed. There are no other controllers and no kubelet: a test
// plays their part.
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/shopkeeper-dev/shopkeeper/hack/scratch"
)

// Timeout bounds whatever a test waits for.
const Timeout = 30 * time.Second

// Main runs the tests of a package with an API server of their own, and leaves
// how to reach it in config. crds are folders to install beside the Shop's CRD.
func Main(m *testing.M, config **rest.Config, crds ...string) {
	debug.SetGCPercent(scratch.Garbage)
	code, err := run(m, config, crds)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	scratch.Sweep()
	os.Exit(code)
}

func run(m *testing.M, config **rest.Config, crds []string) (code int, err error) {
	started, stop, err := Start(append(crds, filepath.Join(Root(), "config", "crd", "bases"))...)
	if err != nil {
		return 1, err
	}
	*config = started
	(*config).QPS = -1
	defer func() { err = errors.Join(err, stop()) }()
	return m.Run(), nil
}

// Start starts an API server with the CRDs of some folders. It ends when stop is called, and when this process is
// killed.
func Start(crds ...string) (config *rest.Config, stop func() error, err error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return nil, nil, errors.New("an API server needs kube-apiserver and etcd in the folder KUBEBUILDER_ASSETS: run make test, which builds them")
	}
	environment := &envtest.Environment{CRDDirectoryPaths: crds, ErrorIfCRDPathMissing: true}
	etcd, apiServer := &envtest.Etcd{}, environment.ControlPlane.GetAPIServer()
	environment.ControlPlane.Etcd = etcd
	if etcd.DataDir, etcd.Path, err = leashed(assets, "etcd"); err != nil {
		return nil, nil, err
	}
	// Room for the Services of many tests.
	apiServer.Configure().Set("service-cluster-ip-range", "10.0.0.0/16")
	if apiServer.CertDir, apiServer.Path, err = leashed(assets, "kube-apiserver"); err != nil {
		return nil, nil, err
	}
	if config, err = environment.Start(); err != nil {
		return nil, nil, fmt.Errorf("start a Kubernetes API server: %w", err)
	}
	return config, func() error {
		return errors.Join(environment.Stop(), os.RemoveAll(etcd.DataDir), os.RemoveAll(apiServer.CertDir))
	}, nil
}

// leashed gives one of the assets a folder, and a path under which it ends with this process.
func leashed(assets, name string) (folder, path string, err error) {
	if folder, err = scratch.Folder(name); err != nil {
		return "", "", err
	}
	path, err = scratch.Leash(folder, filepath.Join(assets, name))
	return folder, path, err
}

// Root is the folder of the repository: the one above a test's that has go.mod.
func Root() string {
	folder, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		if folder == filepath.Dir(folder) {
			break
		}
		folder = filepath.Dir(folder)
	}
	panic("a test runs outside the repository")
}

// Namespace makes a namespace of the test's own, that takes none but restricted
// pods.
func Namespace(t *testing.T, c client.Client) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "test-",
		Labels:       map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := c.Create(Context(t), namespace); err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	return namespace.Name
}

// Context ends with the test, and in any case after Timeout.
func Context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits until check returns nil, and fails with its last error. It
// asks less and less often: each look costs the API server, which others wait for.
func Eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	pause := 10 * time.Millisecond
	for deadline := time.Now().Add(Timeout); time.Now().Before(deadline); time.Sleep(pause) {
		if err = check(); err == nil {
			return
		}
		pause = min(pause*3/2, 200*time.Millisecond)
	}
	t.Fatalf("after %s: %v", Timeout, err)
}

// Kubeconfig writes a file with which kubectl and its like reach the API server
// as config does, in a namespace.
func Kubeconfig(t *testing.T, config *rest.Config, namespace string) string {
	t.Helper()
	const name = "test"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		CurrentContext: name,
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name, Namespace: namespace}},
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Impersonate: config.Impersonate.UserName,
		}},
	}, file)
	if err != nil {
		t.Fatalf("write a kubeconfig: %v", err)
	}
	return file
}

// MustContain fails unless the error's text has the part.
func MustContain(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v\ndoes not say %q", err, part)
	}
}
