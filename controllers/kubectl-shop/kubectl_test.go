package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// server is an API server with no other controllers: the tests play their part.
var server *rest.Config

func TestMain(m *testing.M) { kubetest.Main(m, &server) }

// user is someone with a shell and a namespace.
type user struct {
	client.Client
	namespace, kubeconfig string
}

func newUser(t *testing.T) *user {
	t.Helper()
	scheme := clientgoscheme.Scheme
	if err := shopv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	cluster, err := client.New(server, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	namespace := kubetest.Namespace(t, cluster)
	return &user{cluster, namespace, kubetest.Kubeconfig(t, server, namespace)}
}

// run runs kubectl shop.
func (u *user) run(t *testing.T, arguments ...string) (stdout, stderr string, err error) {
	t.Helper()
	return u.runWith(kubetest.Context(t), "", arguments...)
}

func (u *user) runWith(ctx context.Context, stdin string, arguments ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	command := newCommand(genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &errOut})
	command.SetArgs(append(arguments, "--kubeconfig", u.kubeconfig))
	err = explain(command.ExecuteContext(ctx))
	return out.String(), errOut.String(), err
}

// mustRun is run for what must succeed.
func (u *user) mustRun(t *testing.T, arguments ...string) string {
	t.Helper()
	stdout, stderr, err := u.run(t, arguments...)
	if err != nil {
		t.Fatalf("kubectl shop %s: %v\n%s", strings.Join(arguments, " "), err, stderr)
	}
	return stdout
}

// makeShop makes a Shop with the conditions, each "Type Status Reason message".
func (u *user) makeShop(t *testing.T, name string, conditions ...string) *shopv1.Shop {
	t.Helper()
	shop := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: name}}
	u.make(t, shop)
	shop.Status = shopv1.ShopStatus{ObservedGeneration: shop.Generation, Version: "0.1.0", SchemaVersion: 1}
	for _, condition := range conditions {
		words := strings.SplitN(condition, " ", 4)
		shop.Status.Conditions = append(shop.Status.Conditions, metav1.Condition{
			Type: words[0], Status: metav1.ConditionStatus(words[1]), Reason: words[2], Message: words[3],
			ObservedGeneration: shop.Generation, LastTransitionTime: metav1.Now(),
		})
	}
	u.report(t, shop)
	return shop
}

func (u *user) make(t *testing.T, object client.Object) {
	t.Helper()
	object.SetNamespace(u.namespace)
	if err := u.Create(kubetest.Context(t), object); err != nil {
		t.Fatal(err)
	}
}

// report writes the status of an object.
func (u *user) report(t *testing.T, object client.Object) {
	t.Helper()
	if err := u.Status().Update(kubetest.Context(t), object); err != nil {
		t.Fatal(err)
	}
}

// child is the metadata of an object of a shop.
func child(name string, shop *shopv1.Shop, component builders.Component, owner client.Object) metav1.ObjectMeta {
	kinds := map[string]schema.GroupVersionKind{
		"*v1alpha1.Shop": shopv1.GroupVersion.WithKind("Shop"),
		"*v1.Deployment": appsv1.SchemeGroupVersion.WithKind("Deployment"),
		"*v1.ReplicaSet": appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
	}
	meta := metav1.ObjectMeta{Name: name, Labels: builders.ChildLabels(shop, component)}
	if owner != nil {
		meta.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, kinds[fmt.Sprintf("%T", owner)])}
	}
	return meta
}

func podTemplate(labels map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: restricted()}
}

func restricted() corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy:   corev1.RestartPolicyAlways,
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "server", Image: "server", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}
}

// makeAPI makes the API's Deployment, its ReplicaSet, and a pod in that state.
func (u *user) makeAPI(t *testing.T, shop *shopv1.Shop, state corev1.PodStatus) {
	t.Helper()
	labels := builders.ChildLabels(shop, builders.ComponentAPI)
	selector := &metav1.LabelSelector{MatchLabels: labels}
	deployment := &appsv1.Deployment{
		ObjectMeta: child("acme-api", shop, builders.ComponentAPI, shop),
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(1)), Selector: selector, Template: podTemplate(labels)},
	}
	u.make(t, deployment)
	replicas := &appsv1.ReplicaSet{
		ObjectMeta: child("acme-api-1", shop, builders.ComponentAPI, deployment),
		Spec:       appsv1.ReplicaSetSpec{Replicas: new(int32(1)), Selector: selector, Template: podTemplate(labels)},
	}
	u.make(t, replicas)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	u.make(t, account)
	pod := &corev1.Pod{ObjectMeta: child("acme-api-1-x", shop, builders.ComponentAPI, replicas), Spec: restricted()}
	u.make(t, pod)
	pod.Status = state
	u.report(t, pod)
}

// TestStatus shows a shop whose API does not start: what holds it up stands at
// the pod, and above it what the operator says.
func TestStatus(t *testing.T) {
	u := newUser(t)
	shop := u.makeShop(t, "acme",
		"Ready False Starting the API is starting", "Reconciling True Progressing the API is starting",
		"DatabaseReady True Available PostgreSQL accepts connections.", "APIReady False Starting its first pods are not ready yet")
	u.makeAPI(t, shop, corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "server", RestartCount: 3,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 1, Message: "a log\nbad settings"}},
	}}})
	secret := &corev1.Secret{ObjectMeta: child("acme-db", shop, builders.ComponentDatabase, nil), StringData: map[string]string{"password": "hunter2"}}
	u.make(t, secret)
	stranger := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}}
	u.make(t, stranger)

	text := u.mustRun(t, "status")
	for _, line := range []string{
		`Shop/acme                           Progressing  0s   Starting: the API is starting`,
		`├─ database                         Ready        -    PostgreSQL accepts connections.`,
		`│  └─ Secret/acme-db                Ready        0s`,
		`└─ api                              Progressing  -    Starting: its first pods are not ready yet`,
		`   └─ Deployment/acme-api           Progressing  0s   `,
		`      └─ Pod/acme-api-1-x           Failed       0s   CrashLoopBackOff: container server: Error, exit code 1: bad settings`,
	} {
		if !strings.Contains(ageless(text), strings.Join(strings.Fields(ageless(line)), " ")) {
			t.Errorf("no line\n%s\nin\n%s", line, text)
		}
	}
	for _, no := range []string{"hunter2", "stranger", "ReplicaSet"} {
		if strings.Contains(text, no) {
			t.Errorf("the tree has %s:\n%s", no, text)
		}
	}

	root := &node{}
	if err := json.Unmarshal([]byte(u.mustRun(t, "status", "acme", "-o", "json")), root); err != nil {
		t.Fatal(err)
	}
	api := root.Children[len(root.Children)-1]
	if root.Kind != "Shop" || root.Health != progressing || api.Children[0].Children[0].Health != failed {
		t.Errorf("the tree in JSON is %+v", root)
	}
}

// ageless leaves out what depends on the time, and the width of columns.
func ageless(text string) string {
	var words []string
	for word := range strings.FieldsSeq(text) {
		if strings.TrimLeft(word, "0123456789") != "s" {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

func TestPodHealth(t *testing.T) {
	waits := func(reason, message string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "server", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
	readyNow := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for name, c := range map[string]struct {
		status  corev1.PodStatus
		health  health
		message string
	}{
		"serves":        {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: readyNow}, healthy, ""},
		"restarted":     {corev1.PodStatus{Phase: corev1.PodRunning, Conditions: readyNow, ContainerStatuses: []corev1.ContainerStatus{{Name: "server", RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}}}}}, healthy, "2 restarts, the last: container server: OOMKilled, exit code 137:"},
		"no image":      {corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: waits("ImagePullBackOff", "no such tag")}, failed, "ImagePullBackOff: no such tag"},
		"starts":        {corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: waits("ContainerCreating", "")}, progressing, "ContainerCreating"},
		"not ready":     {corev1.PodStatus{Phase: corev1.PodRunning}, progressing, "its readiness probe does not succeed yet"},
		"unschedulable": {corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes"}}}, progressing, "Unschedulable: 0/1 nodes"},
		"evicted":       {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "disk"}, failed, "Evicted: disk"},
		"completed":     {corev1.PodStatus{Phase: corev1.PodSucceeded}, healthy, "Completed"},
	} {
		health, message := podHealth(&corev1.Pod{Status: c.status})
		if health != c.health || message != c.message {
			t.Errorf("%s: %s %q, want %s %q", name, health, message, c.health, c.message)
		}
	}
}

// TestHibernateAndWake: the spec is changed once, the operator is waited for,
// and another tool that applies the Shop is named.
func TestHibernateAndWake(t *testing.T) {
	u := newUser(t)
	shop := u.makeShop(t, "acme", "Ready True Available it serves")
	applied := shopv1.Shop{TypeMeta: metav1.TypeMeta{APIVersion: shopv1.GroupVersion.String(), Kind: "Shop"}, ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: "acme"}}
	applied.Spec.Version = "0.1.0"
	if err := u.Patch(kubetest.Context(t), &applied, client.Apply, client.FieldOwner("flux")); err != nil { //nolint:staticcheck // as a tool applies
		t.Fatal(err)
	}
	_, warning, err := u.run(t, "hibernate", "--wait=false")
	if err != nil || !strings.Contains(warning, "flux applies this Shop too") {
		t.Errorf("error %v, warning %q", err, warning)
	}
	_, _, err = u.run(t, "hibernate", "acme", "--timeout=1s")
	kubetest.MustContain(t, err, "the operator has not seen it yet: see that it runs")

	if err := u.Get(kubetest.Context(t), client.ObjectKeyFromObject(shop), shop); err != nil {
		t.Fatal(err)
	}
	if !shop.Spec.Hibernated {
		t.Error("spec.hibernated is not set")
	}
	shop.Status.ObservedGeneration = shop.Generation
	u.report(t, shop)
	if told := u.mustRun(t, "hibernate", "acme"); told != "shop acme is hibernated already\n" {
		t.Errorf("told %q", told)
	}
	if told := u.mustRun(t, "wake", "acme", "--wait=false", "-o", "json"); !strings.Contains(told, `"hibernated": false`) || !strings.Contains(told, `"changed": true`) {
		t.Errorf("told %s", told)
	}
}

func TestMigrateStatus(t *testing.T) {
	u := newUser(t)
	shop := u.makeShop(t, "acme", "Migrated False MigrationFailed table products: permission denied")
	job := &batchv1.Job{
		ObjectMeta: child("acme-migrate-1", shop, builders.ComponentMigration, shop),
		Spec:       batchv1.JobSpec{Template: podTemplate(nil)},
	}
	job.Labels[builders.LabelVersion] = "0.2.0"
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	u.make(t, job)
	text := u.mustRun(t, "migrate", "status")
	for _, part := range []string{
		"Version that serves: 0.1.0\n", "Schema:              version 1\n",
		"Migrated:            False, MigrationFailed: table products: permission denied\n", "acme-migrate-1  0.2.0    Pending  -        -",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	status := &migrationStatus{}
	if err := json.Unmarshal([]byte(u.mustRun(t, "migrate", "status", "-o", "json")), status); err != nil {
		t.Fatal(err)
	}
	if status.SchemaVersion != 1 || len(status.Jobs) != 1 || status.Jobs[0].State != "Pending" {
		t.Errorf("in JSON: %+v", status)
	}
}

// TestErrors: whatever goes wrong is told with what to do about it.
func TestErrors(t *testing.T) {
	empty, one, two := newUser(t), newUser(t), newUser(t)
	one.makeShop(t, "acme", "Ready True Available it serves")
	two.makeShop(t, "acme", "Ready True Available it serves")
	two.makeShop(t, "beta", "Ready True Available it serves")
	asleep := newUser(t)
	asleep.makeShop(t, "acme", "Ready True Hibernated it sleeps")
	asleep.mustRun(t, "hibernate", "--wait=false")

	for complaint, attempt := range map[string]struct {
		user      *user
		arguments string
	}{
		"has no Shop: choose another with --namespace":                  {empty, "status"},
		`has no Shop "other"; it has acme`:                              {one, "status other"},
		"has several Shops, say which: acme, beta":                      {two, "migrate status"},
		"no pod of api of shop acme is ready; why: kubectl shop status": {one, "create-admin a@example.com"},
		" of shop acme is ready; why: kubectl shop":                     {one, "open --api-port=0 --notifications-port=0"},
		"shop acme is hibernated: wake it with kubectl shop wake acme":  {asleep, "create-admin acme a@example.com"},
		"shop acme has no pods of api, notifications; why: ":            {one, "logs"},
		"shop acme is hibernated and has no such pods":                  {asleep, "logs"},
		`--role "web": must be of api, notifications, migrate`:          {one, "logs --role=web"},
		`"acme" is no e-mail address`:                                   {one, "create-admin acme"},
		"--password-stdin: standard input has no password":              {one, "create-admin a@example.com --password-stdin"},
		"must be json, or left out":                                     {one, "status -o yaml"},
		`context "nowhere" does not exist`:                              {one, "status --context=nowhere"},
		"The cluster cannot be reached: see that it runs":               {one, "status --server=https://127.0.0.1:1"},
		"You lack the right: looking needs the cluster role view":       {one, "status --as=nobody"},
		"accepts at most 1 arg(s), received 2":                          {one, "status a b"},
		`unknown command "sell" for "kubectl shop"`:                     {one, "sell"},
	} {
		_, _, err := attempt.user.run(t, strings.Fields(attempt.arguments)...)
		if err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("kubectl shop %s: %v\nwant: %s", attempt.arguments, err, complaint)
		}
	}
}

// TestCompletion is what the shell gets from kubectl_complete-shop.
func TestCompletion(t *testing.T) {
	u := newUser(t)
	u.makeShop(t, "acme", "Ready True Available it serves")
	u.makeShop(t, "beta", "Ready True Available it serves")
	for line, want := range map[string]string{
		"status |":           "acme\nbeta\n:4\n",
		"wake a|":            "acme\nbeta\n:4\n", // the shell filters
		"status acme |":      ":4\n",
		"migrate |":          "status\tTell the schema's version, and how its migrations did\n:4\n",
		"logs --role |":      "api\nnotifications\nmigrate\ndatabase\nredis\n:4\n",
		"status -o |":        "json\n:4\n",
		"status --context |": "test\n:4\n",
	} {
		arguments := strings.Split(strings.TrimSuffix(line, "|"), " ")
		var out bytes.Buffer
		command := newCommand(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: io.Discard})
		command.SetArgs(append([]string{"__complete", "--kubeconfig", u.kubeconfig}, arguments...))
		if err := command.ExecuteContext(kubetest.Context(t)); err != nil || out.String() != want {
			t.Errorf("%s: %v, %q, want %q", line, err, out.String(), want)
		}
	}
}
