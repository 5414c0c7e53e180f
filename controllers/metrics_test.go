package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// cluster is an API server with no other controllers.
var cluster *rest.Config

// TestMain runs the tests, or the operator, for a test that wants it as a process
// of its own.
func TestMain(m *testing.M) {
	if os.Getenv(asOperator) != "" {
		operate()
	}
	kubetest.Main(m, &cluster)
}

const operatorNamespace = "shopkeeper-system"

// TestMetricsAreForReaders runs the operator with the rights that config/rbac
// gives it, and asks for its metrics as this one and that.
func TestMetricsAreForReaders(t *testing.T) {
	installRights(t)
	url := startOperator(t)
	anyone := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate was made at start
	}}
	kubetest.Eventually(t, func() error { _, _, err := get(anyone, url, ""); return err })

	administrator, err := client.New(cluster, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reader := token(t, administrator, "reader")
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "shopkeeper-operator-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNamespace, Name: "reader"}},
	}
	if err := administrator.Create(kubetest.Context(t), binding); err != nil {
		t.Fatal(err)
	}
	for who, c := range map[string]struct {
		token  string
		status int
	}{
		"nobody":     {"", http.StatusUnauthorized},
		"a stranger": {"made-up", http.StatusInternalServerError}, // how controller-runtime puts it
		"a pod":      {token(t, administrator, "pod"), http.StatusForbidden},
		"a reader":   {reader, http.StatusOK},
	} {
		status, body, err := get(anyone, url, c.token)
		if err != nil || status != c.status {
			t.Errorf("%s gets %d, %v, want %d", who, status, err, c.status)
		}
		if told := strings.Contains(body, "go_goroutines"); told != (c.status == http.StatusOK) {
			t.Errorf("%s is told: %v", who, told)
		}
	}
}

// TestMetricsCertificateMissing: a folder that is wrong is said at the start,
// and not made up for by another certificate.
func TestMetricsCertificateMissing(t *testing.T) {
	_, err := metricsOptions(&options{metricsSecure: true, metricsCertificate: t.TempDir()})
	kubetest.MustContain(t, err, "--metrics-cert-dir: open ")
}

// installRights installs what config/rbac has, for the operator to be no more
// than it is on a cluster.
func installRights(t *testing.T) {
	t.Helper()
	kubectl := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	kubeconfig := kubetest.Kubeconfig(t, cluster, "default")
	for _, what := range [][]string{{"-f", "config/manager/namespace.yaml"}, {"-k", "config/rbac"}} {
		command := exec.CommandContext(t.Context(), kubectl, append([]string{"--kubeconfig", kubeconfig, "apply", "--server-side"}, what...)...) //nolint:gosec // the folder of the environment is the test's own
		command.Dir = kubetest.Root()
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
	}
}

// startOperator starts the manager as the operator's ServiceAccount, and
// returns where its metrics are.
func startOperator(t *testing.T) string {
	t.Helper()
	operator := rest.CopyConfig(cluster)
	operator.Impersonate.UserName = "system:serviceaccount:" + operatorNamespace + ":shopkeeper-operator"
	t.Setenv("KUBECONFIG", kubetest.Kubeconfig(t, operator, operatorNamespace))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	options, err := parse([]string{"--metrics-bind-address=" + address, "--health-probe-bind-address=0"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	manager, err := newManager(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the manager: %v", err)
		}
	})
	return "https://" + address + "/metrics"
}

func get(from *http.Client, url, token string) (status int, body string, err error) {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := from.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// token is one of a new ServiceAccount.
func token(t *testing.T, administrator client.Client, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}}
	if err := administrator.Create(kubetest.Context(t), account); err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := clientset.CoreV1().ServiceAccounts(operatorNamespace).CreateToken(kubetest.Context(t), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(fmt.Errorf("ask for a token: %w", err))
	}
	return answer.Status.Token
}
