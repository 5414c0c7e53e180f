package catalog

import "github.com/prometheus/client_golang/prometheus"

// NewRefusals counts what is refused because too little is in stock, by where that happens.
func NewRefusals(at string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "shop_stock_refusals_total", Help: "What was refused because too little was in stock, by where.",
		ConstLabels: prometheus.Labels{"at": at},
	})
}
