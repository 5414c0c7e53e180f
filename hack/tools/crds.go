//go:build tools

// Package tools names what is generated from and is no tool.
package tools

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1" // the CRDs of ServiceMonitor and its like
