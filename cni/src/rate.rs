//! Rates of a pod's traffic, as its annotations say them.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Which way, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Ingress,
    Egress,
}

impl Way {
    /// `ingress` or `egress`.
    pub fn name(self) -> &'static str {
        match self {
            Way::Ingress => "ingress",
            Way::Egress => "egress",
        }
    }
}

/// The rate of one way in bits a second: `kubernetes.io/ingress-bandwidth` and `egress-bandwidth`.
///
/// # Errors
/// `Invalid`, with the annotation, for what is no quantity.
pub fn of(annotations: &BTreeMap<String, String>, way: Way) -> Result<Option<u64>> {
    let name = format!("kubernetes.io/{}-bandwidth", way.name());
    let Some(text) = annotations.get(&name) else { return Ok(None) };
    let refused =
        || Error::invalid(format!("annotations: {name}: {text:?} is no rate such as 10M"));
    quantity(text).map(Some).ok_or_else(refused)
}

/// A Kubernetes quantity, rounded up.
fn quantity(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let scale = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let value = (number.parse::<f64>().ok()? * scale).ceil();
    (value >= 1.0 && value < u64::MAX as f64).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("10M", Some(10_000_000)),
            ("1.5Ki", Some(1536)),
            ("512", Some(512)),
            ("1e3", Some(1000)),
            ("1500m", Some(2)),
            ("", None),
            ("-5", None),
            ("fast", None),
            ("1e99", None),
        ] {
            assert_eq!(quantity(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_by_its_annotation() {
        let name = "kubernetes.io/egress-bandwidth";
        let mut annotations = BTreeMap::from([(name.to_owned(), "1M".to_owned())]);
        assert_eq!(of(&annotations, Way::Egress).unwrap(), Some(1_000_000));
        assert_eq!(of(&annotations, Way::Ingress).unwrap(), None);
        annotations.insert(name.to_owned(), "fast".to_owned());
        let refused = of(&annotations, Way::Egress).unwrap_err().to_string();
        assert_eq!(refused, format!("annotations: {name}: \"fast\" is no rate such as 10M"));
    }
}
