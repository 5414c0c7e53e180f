package main

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// health is how an object is doing, in the words of this plugin.
type health string

const (
	healthy     health = "Ready"
	progressing health = "Progressing"
	failed      health = "Failed"
	terminating health = "Terminating"
	unknown     health = "Unknown"
)

// healthOf judges as kstatus does, which Argo CD and Flux go by too; and of
// pods it says what holds them up.
func healthOf(object *unstructured.Unstructured) (health, string) {
	if object.GetKind() == "Pod" && object.GetDeletionTimestamp() == nil {
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod); err == nil {
			return podHealth(pod)
		}
	}
	result, err := status.Compute(object)
	if err != nil {
		return unknown, err.Error()
	}
	switch result.Status {
	case status.CurrentStatus:
		return healthy, worthSaying(result.Message)
	case status.InProgressStatus:
		return progressing, result.Message
	case status.FailedStatus:
		return failed, result.Message
	case status.TerminatingStatus:
		return terminating, finalizers(object)
	default:
		return unknown, result.Message
	}
}

// worthSaying leaves out what "Ready" says already.
func worthSaying(message string) string {
	if strings.HasPrefix(message, "Resource is ") {
		return ""
	}
	return message
}

func finalizers(object *unstructured.Unstructured) string {
	if holding := object.GetFinalizers(); len(holding) > 0 {
		return "held by finalizer " + strings.Join(holding, ", ")
	}
	return ""
}

func podHealth(pod *corev1.Pod) (health, string) {
	containers := append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...)
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return healthy, "Completed"
	case corev1.PodFailed:
		return failed, firstOf(pod.Status.Reason+": "+pod.Status.Message, lastEnd(containers))
	case corev1.PodPending, corev1.PodRunning, corev1.PodUnknown:
	}
	for _, container := range containers {
		if waiting := container.State.Waiting; waiting != nil && isTrouble(waiting.Reason) {
			return failed, firstOf(waiting.Reason+": "+firstOf(lastEnd(containers), waiting.Message), waiting.Reason)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return progressing, condition.Reason + ": " + condition.Message
		}
	}
	if isReady(pod) {
		return healthy, restarts(containers)
	}
	return progressing, firstOf(restarts(containers), waitsFor(containers))
}

// isTrouble reports whether a container waits for someone's help. The rest of
// the reasons are stations on the way up.
func isTrouble(reason string) bool {
	return reason != "" && reason != "ContainerCreating" && reason != "PodInitializing"
}

// lastEnd says how the container that ended in an error did.
func lastEnd(containers []corev1.ContainerStatus) string {
	for _, container := range containers {
		ended := container.State.Terminated
		if ended == nil {
			ended = container.LastTerminationState.Terminated
		}
		if ended != nil && ended.ExitCode != 0 {
			return strings.TrimSpace(fmt.Sprintf("container %s: %s, exit code %d: %s", container.Name, ended.Reason, ended.ExitCode, lastLine(ended.Message)))
		}
	}
	return ""
}

func restarts(containers []corev1.ContainerStatus) string {
	var sum int32
	for _, container := range containers {
		sum += container.RestartCount
	}
	switch {
	case sum == 0:
		return ""
	case lastEnd(containers) == "":
		return fmt.Sprintf("%d restarts", sum)
	default:
		return fmt.Sprintf("%d restarts, the last: %s", sum, lastEnd(containers))
	}
}

func waitsFor(containers []corev1.ContainerStatus) string {
	for _, container := range containers {
		if container.State.Waiting != nil {
			return container.State.Waiting.Reason
		}
	}
	return "its readiness probe does not succeed yet"
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// firstOf is the first text that says something.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text = strings.Trim(text, ": "); text != "" {
			return text
		}
	}
	return ""
}
