package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// exec runs a command in a container of a pod and returns what it prints. Its
// error says what the command said of the failure.
func (c *cluster) exec(ctx context.Context, pod *corev1.Pod, container string, stdin io.Reader, command ...string) (string, error) {
	request := c.pods.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	bySockets, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, request.URL().String())
	if err != nil {
		return "", fmt.Errorf("prepare to run a command: %w", err)
	}
	bySPDY, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, request.URL())
	if err != nil {
		return "", fmt.Errorf("prepare to run a command: %w", err)
	}
	executor, err := remotecommand.NewFallbackExecutor(bySockets, bySPDY, cannotUpgrade)
	if err != nil {
		return "", fmt.Errorf("prepare to run a command: %w", err)
	}
	var stdout, stderr strings.Builder
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &stdout, Stderr: &stderr})
	if err == nil {
		return stdout.String(), nil
	}
	if said := strings.TrimSpace(stderr.String()); said != "" {
		err = errors.New(said)
	}
	return "", fmt.Errorf("in pod %s: %w", pod.Name, err)
}

// cannotUpgrade reports whether something between here and the API server does
// not let WebSockets through.
func cannotUpgrade(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}
