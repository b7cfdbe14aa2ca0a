package node

import (
	"context"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kontor/flow/job"
)

// gauges is what the node tells Prometheus: docs/operations.md lists it.
type gauges struct {
	n       *Institution
	reg     *prometheus.Registry
	steps   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	bytes   *prometheus.CounterVec

	jobs, queued, hosted, expires, renewFailed, free, reached, peers, entries *prometheus.Desc
}

func newGauges(n *Institution) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kontor_"+name, help, labels, nil)
	}
	g := &gauges{n: n, reg: prometheus.NewRegistry(),
		steps:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kontor_step_attempts_total", Help: "Attempts at steps that ended at this node, by kind and how."}, []string{"kind", "state"}),
		seconds:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kontor_step_seconds", Help: "Time that attempts at steps took.", Buckets: prometheus.ExponentialBuckets(0.01, 4, 10)}, []string{"kind"}),
		bytes:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kontor_session_bytes_total", Help: "Bytes of sessions, by peer and direction."}, []string{"peer", "direction"}),
		jobs:        desc("jobs", "Jobs in the journal, by state.", "state"),
		queued:      desc("jobs_queued", "Jobs that wait for a free place."),
		hosted:      desc("steps_hosted", "Steps that run here for other institutions."),
		expires:     desc("certificate_expiry_seconds", "Seconds until the node's certificate ends."),
		renewFailed: desc("certificate_renewal_failed", "1 if the last attempt to renew the certificate failed."),
		free:        desc("disk_free_bytes", "Free space where the node's folder is."),
		peers:       desc("peers", "Institutions that are trusted."),
		reached:     desc("peer_reached", "1 if the last attempt to reach the peer succeeded.", "peer"),
		entries:     desc("audit_entries", "Entries in the audit log."),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kontor_build_info", Help: "The version that runs.", ConstLabels: prometheus.Labels{"version": Version}})
	info.Set(1)
	g.reg.MustRegister(g, g.steps, g.seconds, g.bytes, info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return g
}

func (g *gauges) handler() http.Handler { return promhttp.HandlerFor(g.reg, promhttp.HandlerOpts{}) }

// stepEnded counts an attempt at a step.
func (g *gauges) stepEnded(s job.StepRecord) {
	g.steps.WithLabelValues(s.Kind, s.State).Inc()
	g.seconds.WithLabelValues(s.Kind).Observe(s.Ended.Sub(s.Started).Seconds())
	if s.Result == nil {
		return
	}
	for _, t := range s.Result.Report.Traffic {
		direction := "received"
		if t.Sent {
			direction = "sent"
		}
		g.bytes.WithLabelValues(t.Peer, direction).Add(float64(t.Bytes))
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.jobs, g.queued, g.hosted, g.expires, g.renewFailed, g.free, g.reached, g.peers, g.entries} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	n := g.n
	if counts, err := n.jobs.Counts(ctx); err == nil {
		for state, c := range counts {
			put(g.jobs, float64(c), string(state))
		}
	}
	queued, hosting := n.jobs.Load()
	put(g.queued, float64(queued))
	put(g.hosted, float64(hosting))
	put(g.expires, n.home.Identity.NotAfter().Sub(n.now()).Seconds())
	var fs syscall.Statfs_t
	if syscall.Statfs(n.home.Dir, &fs) == nil {
		put(g.free, float64(fs.Bavail)*float64(fs.Bsize))
	}
	if ps, err := n.home.Peers.List(); err == nil {
		put(g.peers, float64(len(ps)))
	}
	if head, err := n.account.Head(ctx); err == nil {
		put(g.entries, float64(head.Seq))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	failed := 0.0
	if n.alarm != nil && n.alarm.Err != nil {
		failed = 1
	}
	put(g.renewFailed, failed)
	for peer, s := range n.seen {
		ok := 0.0
		if s.err == "" {
			ok = 1
		}
		put(g.reached, ok, peer)
	}
}
