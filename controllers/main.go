// Command controllers is the Shopkeeper operator: it runs every Shop of a
// cluster as its spec says. `go run ./controllers --help` lists its flags.
package main

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/shop"
)

// version is stamped at build time.
var version = "dev"

// garbage is how much may gather in memory, in percent of what is in use, before it is collected: a cache of
// thousands of objects is large, and what a turn needs besides is small. GOGC overrides it.
const garbage = 25

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	options, err := parse(os.Args[1:], os.Stdout)
	if err == nil && options.showVersion {
		fmt.Println(version)
		return
	}
	if err == nil {
		err = run(options)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "shopkeeper-operator:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	namespaces                   []string
	shops                        labels.Selector
	defaults                     builders.Defaults
	leaderElect                  bool
	lease, leaseNamespace        string
	leaseFor                     time.Duration // a lease that is not renewed
	concurrency                  int
	metricsAddress, probeAddress string
	metricsSecure                bool
	metricsCertificate           string
	logger                       *slog.Logger
	showVersion                  bool
}

// parse reads the command line. For --help it prints the usage and returns
// flag.ErrHelp.
func parse(arguments []string, usage io.Writer) (*options, error) {
	// Only after a crash a lease must run out; shops serve on meanwhile, so it is
	// long, and seldom renewed.
	o := options{leaseFor: 30 * time.Second}
	var namespaces, selector, logFormat string
	var logLevel slog.Level
	flags := flag.NewFlagSet("shopkeeper-operator", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	config.RegisterFlags(flags)
	flags.StringVar(&namespaces, "watch-namespaces", "", "`namespaces` to look for Shops in, with commas between; none means all")
	flags.StringVar(&selector, "watch-label-selector", "", "`selector` of the Shops to look after, such as shard=a; none means all")
	flags.StringVar(&o.defaults.Version, "shop-version", version, "`version` of a Shop that sets no spec.version")
	flags.StringVar(&o.defaults.ServerImage, "server-image", cmp.Or(os.Getenv("RELATED_IMAGE_SERVER"), "ghcr.io/shopkeeper-dev/server"),
		"`repository` of the shop server's image, without tag (RELATED_IMAGE_SERVER)")
	flags.StringVar(&o.defaults.PostgresImage, "postgres-image", cmp.Or(os.Getenv("RELATED_IMAGE_POSTGRES"), "docker.io/library/postgres:17"),
		"`image` of a new PostgreSQL (RELATED_IMAGE_POSTGRES)")
	flags.StringVar(&o.defaults.RedisImage, "redis-image", cmp.Or(os.Getenv("RELATED_IMAGE_REDIS"), "docker.io/valkey/valkey:8"),
		"`image` of a new Redis or Valkey (RELATED_IMAGE_REDIS)")
	o.defaults.Namespace = ownNamespace()
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "let only one of several operators work at a time")
	flags.StringVar(&o.lease, "leader-election-id", "shopkeeper-operator", "`name` of the lease by which it is settled which one; operators with other Shops need another")
	flags.StringVar(&o.leaseNamespace, "leader-election-namespace", "", "`namespace` of the lease; none means the operator's own")
	flags.IntVar(&o.concurrency, "concurrency", 4, "`number` of Shops to work on at a time")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "`address` of /metrics; 0 turns it off")
	flags.BoolVar(&o.metricsSecure, "metrics-secure", true, "serve /metrics by HTTPS, and only to whom the API server lets get it; =false serves anyone by HTTP")
	flags.StringVar(&o.metricsCertificate, "metrics-cert-dir", "", "`folder` of tls.crt and tls.key for /metrics, which may change; none means a certificate made at start")
	flags.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz; 0 turns them off")
	flags.StringVar(&logFormat, "log-format", "json", "`format` of the log, json or text")
	flags.TextVar(&logLevel, "log-level", slog.LevelInfo, "lowest `level` to log: debug, info, warn or error")
	flags.BoolVar(&o.showVersion, "version", false, "print the version and end")

	if err := flags.Parse(arguments); err != nil {
		printUsage(flags, err, usage)
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: there are only flags, see --help", flags.Arg(0))
	}
	if o.concurrency < 1 {
		return nil, fmt.Errorf("--concurrency %d: must be at least 1", o.concurrency)
	}
	for namespace := range strings.SplitSeq(namespaces, ",") {
		if namespace = strings.TrimSpace(namespace); namespace != "" {
			o.namespaces = append(o.namespaces, namespace)
		}
	}
	var err error
	if o.shops, err = labels.Parse(selector); err != nil {
		return nil, fmt.Errorf("--watch-label-selector: %w", err)
	}
	o.logger, err = newLogger(logFormat, logLevel)
	return &o, err
}

// ownNamespace is the namespace of the pod that this is, or "" outside the cluster.
func ownNamespace() string {
	name, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

func printUsage(flags *flag.FlagSet, cause error, usage io.Writer) {
	if !errors.Is(cause, flag.ErrHelp) {
		return
	}
	fmt.Fprint(usage, "The Shopkeeper operator runs every Shop of a cluster as its spec says.\n\nUsage: shopkeeper-operator [flags]\n\n")
	flags.VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		fmt.Fprintf(usage, "  %s\n        %s", strings.TrimSpace("--"+f.Name+" "+name), text)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(usage, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(usage)
	})
}

func newLogger(format string, level slog.Level) (*slog.Logger, error) {
	handlerOptions := &slog.HandlerOptions{Level: level}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, handlerOptions)), nil
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, handlerOptions)), nil
	default:
		return nil, fmt.Errorf("--log-format %q: must be json or text", format)
	}
}

// run is the operator, until it is told to stop.
func run(o *options) error {
	logger := logr.FromSlogHandler(o.logger.Handler())
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	manager, err := newManager(o)
	if err != nil {
		return err
	}
	measured := shop.NewMetrics(manager.GetClient(), version)
	if err := metrics.Registry.Register(measured); err != nil {
		return fmt.Errorf("set up metrics: %w", err)
	}
	reconciler := &shop.Reconciler{
		Client:   manager.GetClient(),
		Live:     manager.GetAPIReader(),
		Events:   manager.GetEventRecorder("shopkeeper"),
		Metrics:  measured,
		Defaults: o.defaults,
		Random:   rand.Reader,
		Ask:      shop.AskPod,
	}
	if err := reconciler.SetupWithManager(manager, o.concurrency); err != nil {
		return err
	}
	if err := errors.Join(
		manager.AddHealthzCheck("ping", healthz.Ping),
		manager.AddReadyzCheck("ping", healthz.Ping),
	); err != nil {
		return fmt.Errorf("set up probes: %w", err)
	}
	o.logger.Info("the operator starts", "version", version, "selector", o.shops.String(), "shopVersion", o.defaults.Version, "namespaces", o.namespaces)
	return manager.Start(ctrl.SetupSignalHandler())
}

func newManager(o *options) (ctrl.Manager, error) {
	cluster, err := config.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	cluster.UserAgent = "shopkeeper-operator/" + version
	cluster.QPS = -1                  // the API server's own priority and fairness is the better limit
	cluster.DisableCompression = true // it would cost both ends more than the way between them is worth
	scheme, err := shop.NewScheme()
	if err != nil {
		return nil, err
	}
	metrics, err := metricsOptions(o)
	if err != nil {
		return nil, err
	}
	lease, err := newLease(o, cluster)
	if err != nil {
		return nil, err
	}
	manager, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  shop.CacheOptions(o.namespaces, o.shops),
		Client:                 client.Options{Cache: shop.ClientCacheOptions(o.namespaces)},
		Metrics:                metrics,
		HealthProbeBindAddress: o.probeAddress,
		LeaderElection:         o.leaderElect,

		LeaderElectionResourceLockInterface: lease,
		// The process ends with the manager, so its lease may end with it too, and
		// the next operator need not wait for it to run out.
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(o.leaseFor),
		RenewDeadline:                 new(o.leaseFor * 2 / 3),
		RetryPeriod:                   new(o.leaseFor / 6),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return manager, nil
}

// metricsOptions are how /metrics is served. Whoever asks for it securely shows
// a token, of which the API server is asked whose it is and whether it may.
func metricsOptions(o *options) (metricsserver.Options, error) {
	if !o.metricsSecure {
		return metricsserver.Options{BindAddress: o.metricsAddress}, nil
	}
	if o.metricsCertificate != "" {
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.metricsCertificate, "tls.crt"), filepath.Join(o.metricsCertificate, "tls.key")); err != nil {
			return metricsserver.Options{}, fmt.Errorf("--metrics-cert-dir: %w", err)
		}
	}
	return metricsserver.Options{
		BindAddress:    o.metricsAddress,
		SecureServing:  true,
		CertDir:        o.metricsCertificate,
		FilterProvider: filters.WithAuthenticationAndAuthorization,
	}, nil
}
