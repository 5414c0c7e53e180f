//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// looksAfterItByKubectl does what the plugin of kubectl cannot be tested for without a kubelet.
func looksAfterItByKubectl(t *testing.T, s *story) {
	k := &kubectlShop{program: filepath.Join(t.TempDir(), "kubectl-shop"), namespace: s.cluster.namespace}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", k.program, "../../controllers/kubectl-shop")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, output)
	}
	if tree := k.run(t, "", "status"); !strings.HasPrefix(strings.Split(tree, "\n")[1], "Shop/acme") || strings.Contains(tree, "Failed") {
		t.Errorf("the tree of a shop that serves:\n%s", tree)
	} else {
		t.Logf("\n%s", tree)
	}
	logs := k.run(t, "", "logs", "acme", "--role=api", "--since=1h")
	for _, pod := range s.pods(t, "api") {
		if !strings.Contains(logs, pod.Name+" {") {
			t.Errorf("the logs have nothing of pod %s:\n%.2000s", pod.Name, logs)
		}
	}
	makesStaff(t, s, k)
	staysOpen(t, s, k)
}

// makesStaff makes two users, one with a password that is made up and one with a password that is given.
func makesStaff(t *testing.T, s *story, k *kubectlShop) {
	made := struct {
		Password string `json:"password"`
		Created  bool   `json:"created"`
	}{}
	if err := json.Unmarshal([]byte(k.run(t, "", "create-admin", "acme", "first@example.com", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	if !made.Created {
		t.Error("first@example.com is told to be no new user")
	}
	s.logIn(t, "first@example.com", made.Password)
	k.run(t, "correct horse battery\n", "create-admin", "second@example.com", "--password-stdin")
	s.logIn(t, "second@example.com", "correct horse battery").get(t, "/api/orders/")
	if told := k.run(t, "", "create-admin", "second@example.com"); !strings.Contains(told, "the password stays as it was") {
		t.Errorf("of a user who is there already it tells %q", told)
	}
}

// staysOpen reads through the forwarded ports, also after the pod behind one is gone.
func staysOpen(t *testing.T, s *story, k *kubectlShop) {
	ctx, interrupt := context.WithCancel(t.Context())
	var notes bytes.Buffer
	open := k.command(ctx, "open", "--api-port=0", "--notifications-port=0", "-o", "json")
	open.Stderr = &notes
	stdout, err := open.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		interrupt()
		_ = open.Wait() // it was killed
		t.Logf("open said: %s", notes.String())
	})
	addresses := struct{ API, Notifications string }{}
	if err := json.NewDecoder(stdout).Decode(&addresses); err != nil {
		t.Fatalf("it prints no addresses: %v", err)
	}
	mustAnswer(t, addresses.API)
	mustAnswer(t, addresses.Notifications)
	pods := s.pods(t, "api")
	newest := slices.MaxFunc(pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	remove(t, s.cluster, &newest)
	eventually(t, time.Minute, "the pod is gone", func() error {
		if find[corev1.Pod](t, s.cluster, newest.Name) != nil {
			return fmt.Errorf("pod %s is still there", newest.Name)
		}
		return nil
	})
	mustAnswer(t, addresses.API)
	eventually(t, time.Minute, "two ready pods", func() error { return s.deploymentIsComplete(t, "acme-api") })
}

// mustAnswer asks a forwarded port for the health of what is behind it.
func mustAnswer(t *testing.T, address string) {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	eventually(t, 30*time.Second, address+" answers", func() error {
		response, err := client.Get("http://" + target.Host + "/healthz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", response.Status)
		}
		return nil
	})
}

// kubectlShop is the plugin, in a namespace.
type kubectlShop struct {
	program, namespace string
}

func (k *kubectlShop) command(ctx context.Context, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, k.program, append(arguments, "--namespace", k.namespace)...)
}

// run runs a command that ends by itself.
func (k *kubectlShop) run(t *testing.T, stdin string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := k.command(ctx, arguments...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("kubectl shop %s: %v\n%s", strings.Join(arguments, " "), err, stderr.String())
	}
	return stdout.String()
}
