package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// fault is what befalls a call of the operator.
type fault string

const (
	nothing   fault = ""
	cutBefore fault = "cut before"   // the operator dies, and the call is not made
	cutAfter  fault = "cut after"    // the operator dies, and the call is made
	conflict  fault = "conflict"     // somebody was faster
	lost      fault = "timeout"      // the call is made, and the answer is lost
	broken    fault = "server error" // the API server has trouble of its own
)

var faults = []fault{cutBefore, cutAfter, conflict, lost, broken}

// call is one request of the operator.
type call struct{ method, path string }

func (c call) String() string { return c.method + " " + c.path }

func (c call) isRead() bool { return c.method == http.MethodGet }

// wire is the operator's connection to the API server: it sees each call, and
// does to it what disturb says.
type wire struct {
	next    http.RoundTripper
	replica *replica

	mutex    sync.Mutex
	disturb  func(int, call) fault // given the number of the call, from 0
	rotating bool                  // credentials may change
	started  map[string]started    // by the hash of credentials that a pod template bears
	calls    []call
	dead     bool
	breaches []string
	jobs     int // that were made
}

// started is what pods of one template log in and sign with.
type started struct {
	password string   // of the database
	keys     []string // of the ring, by their ids
}

var errDead = errors.New("the operator is dead")

// reset forgets the calls so far; the next ones are disturbed.
func (w *wire) reset(disturb func(int, call) fault) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.calls, w.jobs, w.disturb = nil, 0, disturb
}

func (w *wire) made() []call {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.calls)
}

func (w *wire) isDead() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.dead
}

func (w *wire) isDisturbed() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.disturb != nil
}

func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := bodyOf(request)
	if err != nil {
		return nil, err
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.dead {
		return nil, errDead
	}
	made := call{request.Method, request.URL.Path}
	befalls := nothing
	if w.disturb != nil {
		befalls = w.disturb(len(w.calls), made)
	}
	w.calls = append(w.calls, made)
	w.judgeRequest(made, body)

	switch {
	case befalls == cutBefore:
		w.dead = true
		return nil, errDead
	case befalls == conflict && !made.isRead():
		return refuse(request, http.StatusConflict, metav1.StatusReasonConflict), nil
	case befalls == broken:
		return refuse(request, http.StatusInternalServerError, metav1.StatusReasonInternalError), nil
	}
	response, change, err := w.replica.send(w.next, request)
	if err == nil && change != nil {
		w.judge(response.StatusCode, *change)
	}
	switch {
	case err != nil:
		return nil, err
	case befalls == cutAfter:
		w.dead = true
		return nil, errDead
	case befalls == lost:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	return response, nil
}

// judgeRequest has what the operator must never ask for.
func (w *wire) judgeRequest(made call, body []byte) {
	if made.method == http.MethodDelete {
		options := &metav1.DeleteOptions{}
		err := json.Unmarshal(body, options)
		if err != nil || options.Preconditions == nil || options.Preconditions.UID == nil || options.Preconditions.ResourceVersion == nil {
			w.breach("%s without the preconditions UID and resourceVersion", made)
		}
		if strings.Contains(made.path, "/persistentvolumeclaims/") {
			w.breach("%s: data is deleted", made)
		}
	}
	if !made.isRead() && path.Base(path.Dir(made.path)) == "shops" {
		w.breach("%s: the spec is the user's", made)
	}
}

// judge has what must never come to be by a call of the operator.
func (w *wire) judge(status int, c change) {
	switch c.key.kind {
	case "Job":
		if status == http.StatusCreated {
			w.jobs++
			if others := w.replica.migrationsAtWork(); others > 1 {
				w.breach("%d migrations at once", others)
			}
		}
	case "Deployment":
		w.judgeDeployment(c)
	case "Secret":
		if c.before != nil {
			w.judgeSecret(c)
		}
	}
}

func (w *wire) judgeDeployment(c change) {
	version := c.object.GetLabels()[builders.LabelVersion]
	isNew := c.before == nil || c.before.GetLabels()[builders.LabelVersion] != version
	if c.object.GetDeletionTimestamp() == nil && isNew && !w.replica.isMigratedTo(version) {
		w.breach("%s is of version %s before the migration to it has ended", c.key, version)
	}
	hash := secretsHash(as(c.object, &appsv1.Deployment{}))
	if _, isKnown := w.started[hash]; isKnown {
		return
	}
	if w.started == nil {
		w.started = map[string]started{}
	}
	w.started[hash] = started{w.replica.secret("acme-db")["password"], keyIDs(w.replica.secret("acme-keyring"))}
}

// judgeSecret has how credentials may change: those that somebody took away or
// replaced, and no other; and none may go, nor be signed with, before every pod
// can do with it.
func (w *wire) judgeSecret(c change) {
	before, after := dataOf(c.before), dataOf(c.object)
	for _, name := range []string{"password", "signing-keys"} {
		if before[name] != "" && before[name] != after[name] && !w.rotating {
			w.breach("%s: %s has changed", c.key, name)
		}
	}
	switch c.key.name {
	case "acme-db":
		if strings.Contains(after["login.sql"], "DROP ROLE") && !w.replica.isEveryPod(func(pod *appsv1.Deployment) bool {
			return w.started[secretsHash(pod)].password == after["password"]
		}) {
			w.breach("%s: logins are dropped that pods may use", c.key)
		}
	case "acme-keyring":
		known, ring := keyIDs(before), keyIDs(after)
		for _, id := range known {
			if !slices.Contains(ring, id) {
				w.breach("%s: the key %s is gone, and who had a token of it is logged out", c.key, id)
			}
		}
		if len(known) > 0 && known[0] != ring[0] && !w.replica.isEveryPod(func(pod *appsv1.Deployment) bool {
			return slices.Contains(w.started[secretsHash(pod)].keys, ring[0])
		}) {
			w.breach("%s: the key %s signs, and not every pod knows it", c.key, ring[0])
		}
	}
}

func (w *wire) breach(format string, arguments ...any) {
	w.breaches = append(w.breaches, fmt.Sprintf(format, arguments...))
}

func bodyOf(request *http.Request) ([]byte, error) {
	if request.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(request.Body)
	request.Body = io.NopCloser(bytes.NewReader(body))
	return body, errors.Join(err)
}

// refuse is an answer of the API server's without its being asked.
func refuse(request *http.Request, code int32, reason metav1.StatusReason) *http.Response {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: "a test wants it so",
	})
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: request,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
	}
}
