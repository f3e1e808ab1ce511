//! The text format of Prometheus (version 0.0.4).

use std::fmt::Write;

use super::{Family, Kind};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a string cannot fail.
        let _ = write_family(&mut text, family);
    }
    text
}

fn write_family(to: &mut String, family: &Family) -> std::fmt::Result {
    let name = family.name;
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(to, "# HELP {name} {}\n# TYPE {name} {kind}", family.help)?;
    for sample in &family.samples {
        let labels: Vec<_> =
            sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        writeln!(to, "{name}{}{{{}}} {}", sample.suffix, labels.join(","), sample.value)?;
    }
    Ok(())
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::add_latency;

    #[test]
    fn the_text_format() {
        let mut requests = Family::new("requests_total", Kind::Counter, "Requests.");
        requests.add(&[("app", "blog"), ("class", "2xx")], 3.0);
        requests.add(&[("app", "a\\\"\n"), ("class", "5xx")], 0.0);
        let mut latency = Family::new("seconds", Kind::Histogram, "Time.");
        let mut counts = router::Counts { waited: std::time::Duration::from_millis(1500), ..Default::default() };
        (counts.latency[0], counts.latency[3], counts.latency[13]) = (2, 1, 1);
        add_latency(&mut latency, "blog", &counts);
        let empty = Family::new("nothing", Kind::Gauge, "Nothing.");
        insta::assert_snapshot!(text(&[requests, empty, latency]), @r#"
        # HELP requests_total Requests.
        # TYPE requests_total counter
        requests_total{app="blog",class="2xx"} 3
        requests_total{app="a\\\"\n",class="5xx"} 0
        # HELP seconds Time.
        # TYPE seconds histogram
        seconds_bucket{app="blog",le="0.001"} 2
        seconds_bucket{app="blog",le="0.0025"} 2
        seconds_bucket{app="blog",le="0.005"} 2
        seconds_bucket{app="blog",le="0.01"} 3
        seconds_bucket{app="blog",le="0.025"} 3
        seconds_bucket{app="blog",le="0.05"} 3
        seconds_bucket{app="blog",le="0.1"} 3
        seconds_bucket{app="blog",le="0.25"} 3
        seconds_bucket{app="blog",le="0.5"} 3
        seconds_bucket{app="blog",le="1"} 3
        seconds_bucket{app="blog",le="2.5"} 3
        seconds_bucket{app="blog",le="5"} 3
        seconds_bucket{app="blog",le="10"} 3
        seconds_bucket{app="blog",le="+Inf"} 4
        seconds_sum{app="blog"} 1.5
        seconds_count{app="blog"} 4
        "#);
    }
}
