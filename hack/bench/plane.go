package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	operator "github.com/shopkeeper-dev/shopkeeper/controllers/shop"
)

// What the simulated kubelets do, and what the API server is to keep.
var (
	//go:embed shops/stages.yaml
	stages []byte
	//go:embed shops/audit.yaml
	auditPolicy []byte
)

// controllersNeeded are those of Kubernetes that a shop's children need.
const controllersNeeded = "deployment-controller,replicaset-controller,statefulset-controller,job-controller,garbage-collector-controller," +
	"endpointslice-controller,persistentvolume-binder-controller,disruption-controller,namespace-controller"

// controlPlaneMemory makes all but the operator collect garbage late: the memory is there, and the processors are
// what everything waits for. With 4 GiB an API server of 1,000 Shops spends a seventh of its time on garbage.
var controlPlaneMemory = map[string]string{"GOGC": "400", "GOMEMLIMIT": "8GiB"}

// operatorManifest is of the operator as it is shipped.
const operatorManifest = "config/manager/manager.yaml"

// operatorAccount is the user that config/rbac gives the operator's rights to.
const operatorAccount = "system:serviceaccount:" + operatorNamespace + ":shopkeeper-operator"

// plane is a control plane with simulated nodes, as processes of this machine,
// and the operator.
type plane struct {
	folder      string
	environment *envtest.Environment
	config      *rest.Config // the administrator's
	client      client.WithWatch
	processes   map[string]*exec.Cmd // but for etcd and the API server, which envtest runs
	metricsURL  string
}

// startPlane builds what is lacking and starts all but the operator.
func startPlane(ctx context.Context) (*plane, error) {
	log.SetLogger(logr.Discard()) // envtest has nothing to say
	say("build")
	bin, err := output(ctx, "hack/cluster/build", "control-plane")
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "shopkeeper-bench-")
	if err != nil {
		return nil, err
	}
	p := &plane{folder: folder, processes: map[string]*exec.Cmd{}}
	for name, build := range map[string][]string{
		"kwok":     {"build", "-C", "hack/kwok", "-o", p.file("kwok"), "sigs.k8s.io/kwok/cmd/kwok"},
		"operator": {"build", "-ldflags", "-s -w", "-o", p.file("operator"), "./controllers"},
	} {
		if _, err := output(ctx, "go", build...); err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
	}
	if err := p.start(ctx, bin); err != nil {
		return nil, errors.Join(err, p.logs(), p.stop())
	}
	return p, nil
}

func (p *plane) start(ctx context.Context, bin string) error {
	for name, content := range map[string][]byte{"stages.yaml": stages, "audit-policy.yaml": auditPolicy} {
		if err := os.WriteFile(p.file(name), content, 0o600); err != nil {
			return err
		}
	}
	scheme, err := operator.NewScheme()
	if err == nil {
		err = storagev1.AddToScheme(scheme)
	}
	if err != nil {
		return err
	}
	p.environment = &envtest.Environment{
		Scheme:                scheme,
		BinaryAssetsDirectory: bin,
		CRDDirectoryPaths:     []string{filepath.Join("config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,

		ControlPlaneStopTimeout: 2 * time.Minute, // for it waits for those who watch
	}
	p.environment.ControlPlane.GetAPIServer().Configure().
		Set("service-cluster-ip-range", "10.0.0.0/16").
		Set("audit-policy-file", p.file("audit-policy.yaml")).
		Set("audit-log-path", p.file("audit.log"))
	for name, value := range controlPlaneMemory {
		if err := os.Setenv(name, value); err != nil { // etcd and the API server have the environment of this process
			return err
		}
	}
	config, err := p.environment.Start()
	if err != nil {
		return fmt.Errorf("start etcd and the API server: %w", err)
	}
	config.QPS = -1
	p.config = config
	if p.client, err = client.NewWithWatch(config, client.Options{Scheme: p.environment.Scheme}); err != nil {
		return err
	}
	admin, err := p.kubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}
	if err := p.client.Create(ctx, namespace); err != nil {
		return err
	}
	if _, err := output(ctx, filepath.Join(bin, "kubectl"), "--kubeconfig", admin, "apply", "--server-side", "-k", "config/rbac"); err != nil {
		return err
	}
	fast := []string{"--kubeconfig", admin, "--kube-api-qps=2000", "--kube-api-burst=4000", "--leader-elect=false", "--secure-port=0"}
	return errors.Join(
		p.run(ctx, "controller-manager", filepath.Join(bin, "kube-controller-manager"), append(fast, "--controllers="+controllersNeeded)...),
		p.run(ctx, "scheduler", filepath.Join(bin, "kube-scheduler"), fast...),
		p.run(ctx, "kwok", p.file("kwok"), "--kubeconfig", admin, "--manage-all-nodes=true", "--config", p.file("stages.yaml"), "--node-lease-duration-seconds=0"))
}

func (p *plane) file(name string) string { return filepath.Join(p.folder, name) }

// kubeconfig makes a user and returns the file by which it reaches the API
// server.
func (p *plane) kubeconfig(user string, groups ...string) (string, error) {
	made, err := p.environment.AddUser(envtest.User{Name: user, Groups: groups}, nil)
	if err != nil {
		return "", fmt.Errorf("make the user %s: %w", user, err)
	}
	content, err := made.KubeConfig()
	if err != nil {
		return "", err
	}
	file := p.file(strings.ReplaceAll(user, ":", "-") + ".kubeconfig")
	return file, os.WriteFile(file, content, 0o600)
}

// run starts a process whose output goes to a file.
func (p *plane) run(ctx context.Context, name, program string, arguments ...string) error {
	file, err := os.Create(p.file(name + ".log"))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // the process has its own
	command := exec.CommandContext(context.WithoutCancel(ctx), program, arguments...)
	command.Stdout, command.Stderr = file, file
	if name == "operator" {
		if command.Env, err = shippedEnvironment(); err != nil {
			return err
		}
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p.processes[name] = command
	return nil
}

// shippedEnvironment is what the operator's manifest sets.
func shippedEnvironment() ([]string, error) {
	content, err := os.ReadFile(operatorManifest)
	if err != nil {
		return nil, err
	}
	deployment := &appsv1.Deployment{}
	if err := yaml.Unmarshal(content, deployment); err != nil {
		return nil, fmt.Errorf("read %s: %w", operatorManifest, err)
	}
	environment := append(os.Environ(), "GOGC=")
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		environment = append(environment, variable.Name+"="+variable.Value)
	}
	return environment, nil
}

// startOperator starts it as its ServiceAccount, with what config/rbac gives it.
func (p *plane) startOperator(ctx context.Context) error {
	kubeconfig, err := p.kubeconfig(operatorAccount, "system:serviceaccounts")
	if err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	p.metricsURL = "http://" + address + "/metrics"
	return p.run(ctx, "operator", p.file("operator"), "--kubeconfig", kubeconfig, "--metrics-bind-address", address, "--health-probe-bind-address", "0",
		"--metrics-secure=false", "--shop-version", "0.1.0", "--log-level", "warn")
}

func (p *plane) stopOperator() { p.end("operator") }

func (p *plane) end(name string) {
	process := p.processes[name]
	if process == nil {
		return
	}
	delete(p.processes, name)
	_ = process.Process.Signal(syscall.SIGTERM)
	hurry := time.AfterFunc(20*time.Second, func() { _ = process.Process.Kill() })
	_ = process.Wait() // that it was told to end is no news
	hurry.Stop()
}

func (p *plane) stop() error {
	for _, name := range []string{"operator", "kwok", "scheduler", "controller-manager"} {
		p.end(name)
	}
	var err error
	if p.environment != nil {
		err = p.environment.Stop()
	}
	return errors.Join(err, os.RemoveAll(p.folder))
}

// logs are the last words of every process, for when something went wrong.
func (p *plane) logs() error {
	var all []error
	for _, name := range []string{"operator", "controller-manager"} {
		if content, err := os.ReadFile(p.file(name + ".log")); err == nil {
			lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
			all = append(all, fmt.Errorf("%s: %s", name, bytes.Join(lines[max(0, len(lines)-5):], []byte("\n  "))))
		}
	}
	return errors.Join(all...)
}

// processorTimes is what each component has used so far.
func (p *plane) processorTimes() map[string]time.Duration {
	times := map[string]time.Duration{}
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, entry := range entries {
		content, err := os.ReadFile(entry) //nolint:gosec // the kernel's
		if err != nil {
			continue // it has ended
		}
		// PID (NAME) STATE PARENT …, of which the 14th and 15th are the times.
		head, tail, _ := strings.Cut(string(content), ") ")
		fields := strings.Fields(tail)
		if len(fields) < 13 || fields[1] != strconv.Itoa(os.Getpid()) && !strings.HasPrefix(head, strconv.Itoa(os.Getpid())+" ") {
			continue
		}
		_, name, _ := strings.Cut(head, "(")
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		times[name] += time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
	}
	return times
}

// shares tells how the processor time since before was spent.
func (p *plane) shares(before map[string]time.Duration, took time.Duration) string {
	after, total := p.processorTimes(), time.Duration(0)
	spent := map[string]time.Duration{}
	for name, sum := range after {
		spent[name] = max(0, sum-before[name])
		total += spent[name]
	}
	names := slices.SortedFunc(maps.Keys(spent), func(a, b string) int { return int(spent[b] - spent[a]) })
	parts := []string{fmt.Sprintf("%.1f processors:", total.Seconds()/took.Seconds())}
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %.0f%%", name, 100*spent[name].Seconds()/total.Seconds()))
	}
	return strings.Join(parts, " ")
}

// objects counts what the API server has stored.
func (p *plane) objects(ctx context.Context) (int, error) {
	cluster, err := kubernetes.NewForConfig(p.config)
	if err != nil {
		return 0, err
	}
	text, err := cluster.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the API server's metrics: %w", err)
	}
	stored, err := parse(text)
	return int(metrics(stored).sum("apiserver_resource_objects", "", nil)), err
}

// measure reads the operator's metrics.
func (p *plane) measure(ctx context.Context) (metrics, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.metricsURL, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read the operator's metrics: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the operator's metrics: %w", err)
	}
	return parse(text)
}

// output runs a command to its end and returns the last line that it prints.
func output(ctx context.Context, program string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stderr = os.Stderr
	printed, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	lines := strings.Split(strings.TrimSpace(string(printed)), "\n")
	return lines[len(lines)-1], nil
}
