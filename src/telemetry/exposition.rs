//! The text formats in which metrics are served.

use std::collections::HashMap;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposition {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus' own format 0.0.4, for everybody else.
    Prometheus,
}

impl Exposition {
    /// The format that the value of an `Accept` header asks for.
    pub(super) fn asked_for(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The content type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Brings OpenMetrics text into this format.
    pub(super) fn of(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Prometheus => classic(&openmetrics),
        }
    }
}

/// In the older format a family has the name of its samples, and there is neither the type `info` nor a mark of the end.
fn classic(openmetrics: &str) -> String {
    let types = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let types: HashMap<&str, &str> = types.filter_map(|family| family.split_once(' ')).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match [(); 4].map(|()| words.next()) {
            [Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)] => {
                let kind = types.get(name).copied().unwrap_or_default();
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let rest = match (what, kind) {
                    ("TYPE", "info") => "gauge",
                    _ => rest,
                };
                text += &format!("# {what} {name}{suffix} {rest}");
            }
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_each_format_names_them() {
        let openmetrics = "# HELP a Things.\n# TYPE a counter\na_total{b=\"c d\"} 1\n# HELP v Version.\n# TYPE v info\n\
                           v_info{x=\"1\"} 1\n# HELP g Gauge.\n# TYPE g gauge\ng 2\n# EOF\n";
        let classic = "# HELP a_total Things.\n# TYPE a_total counter\na_total{b=\"c d\"} 1\n# HELP v_info Version.\n\
                       # TYPE v_info gauge\nv_info{x=\"1\"} 1\n# HELP g Gauge.\n# TYPE g gauge\ng 2\n";
        assert_eq!(Exposition::asked_for("*/*").of(openmetrics.into()), classic);
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4";
        assert_eq!(
            Exposition::asked_for(prometheus).of(openmetrics.into()),
            openmetrics
        );
    }
}
