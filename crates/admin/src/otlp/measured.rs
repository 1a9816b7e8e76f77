//! The metrics of `/metrics` as a request to a collector.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::super::engine::Seen;
use super::super::exposition::MetricKind;
use super::super::metrics::{distribution, samples};
use super::super::source::Metric as Listed;
use super::super::table::METRICS;
use super::resource::{scope, text};

/// All metrics at one moment. Those without a number are left out.
pub(super) fn request(seen: &Seen, resource: &Resource) -> ExportMetricsServiceRequest {
    let span = Since::of(seen);
    let metrics = METRICS
        .iter()
        .filter_map(|listed| metric(listed, seen, span));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: metrics.collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

/// The time that counters count over, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct Since {
    begun: u64,
    now: u64,
}

impl Since {
    fn of(seen: &Seen) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        let begun = seen.status["supervisor"]["started_at"].as_u64();
        Self {
            begun: begun.unwrap_or_default().saturating_mul(1_000_000_000),
            now,
        }
    }
}

fn metric(listed: &Listed, seen: &Seen, since: Since) -> Option<Metric> {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match listed.kind {
        MetricKind::Histogram => Data::Histogram(Histogram {
            data_points: vec![histogram(listed, seen, since)?],
            aggregation_temporality: cumulative,
        }),
        MetricKind::Counter => Data::Sum(Sum {
            data_points: points(listed, seen, since)?,
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricKind::Gauge => Data::Gauge(Gauge {
            data_points: points(listed, seen, since)?,
        }),
    };
    Some(Metric {
        name: listed.name.to_owned(),
        description: listed.help.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// The samples; `None` if there are none.
fn points(listed: &Listed, seen: &Seen, since: Since) -> Option<Vec<NumberDataPoint>> {
    let samples = samples(listed, seen).into_iter();
    let point = |(values, number): (Vec<String>, f64)| NumberDataPoint {
        attributes: (listed.labels.iter().zip(&values))
            .map(|(label, value)| text(label, value))
            .collect(),
        start_time_unix_nano: since.begun,
        time_unix_nano: since.now,
        value: Some(Number::AsDouble(number)),
        ..NumberDataPoint::default()
    };
    let points: Vec<_> = samples.map(point).collect();
    (!points.is_empty()).then_some(points)
}

fn histogram(listed: &Listed, seen: &Seen, since: Since) -> Option<HistogramDataPoint> {
    let (counts, sum) = distribution(listed, seen)?;
    // A bucket has the number of bits that its times have in microseconds; the last has all longer ones.
    let bound = |at: usize| 1e-6 * 2f64.powi(i32::try_from(at).unwrap_or(i32::MAX));
    Some(HistogramDataPoint {
        start_time_unix_nano: since.begun,
        time_unix_nano: since.now,
        count: counts.iter().sum(),
        sum: Some(sum),
        explicit_bounds: (0..counts.len().saturating_sub(1)).map(bound).collect(),
        bucket_counts: counts,
        ..HistogramDataPoint::default()
    })
}
