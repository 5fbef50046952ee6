//! Medians, tails, ratios, and the bars that they are held to.

use std::fmt::Write;
use std::time::Duration;

/// What a row must reach.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// Our median over the first peer's.
    Ratio(f64),
    /// Our median, in the row's unit.
    Absolute(f64),
}

/// Rows with a bar, by name.
pub const BARS: [(&str, Bar); 8] = [
    ("pod network: start", Bar::Ratio(0.25)),
    ("pod network: end", Bar::Ratio(0.25)),
    ("ExecSync, one at a time", Bar::Ratio(0.25)),
    ("100 pods at concurrency 10: start [s]", Bar::Ratio(0.25)),
    ("100 pods: errors", Bar::Absolute(0.0)),
    ("100 pods: memory per pod [MiB]", Bar::Absolute(1.0)),
    ("pull: 150 MB in one layer [s]", Bar::Ratio(1.0)),
    ("OCI: create + start + delete", Bar::Ratio(0.3)),
];

/// Figures of several subjects; the first is ours, the second the peer whom bars name.
pub struct Table {
    subjects: Vec<String>,
    rows: Vec<Row>,
    bars: &'static [(&'static str, Bar)],
}

struct Row {
    name: String,
    /// By subject.
    values: Vec<Vec<f64>>,
}

impl Table {
    /// An empty table with a column for each subject.
    pub fn new(subjects: Vec<String>) -> Self {
        Self { subjects, rows: Vec::new(), bars: &BARS }
    }

    /// The same, for what no bar is meant for: two builds of one program.
    pub fn without_bars(subjects: Vec<String>) -> Self {
        Self { subjects, rows: Vec::new(), bars: &[] }
    }

    /// Adds a figure to the row of this name, which is made where the first figure comes.
    pub fn add(&mut self, row: &str, subject: usize, value: f64) {
        let at = self.rows.iter().position(|known| known.name == row).unwrap_or_else(|| {
            let values = vec![Vec::new(); self.subjects.len()];
            self.rows.push(Row { name: row.to_owned(), values });
            self.rows.len() - 1
        });
        self.rows[at].values[subject].push(value);
    }

    /// Adds a time in milliseconds.
    pub fn time(&mut self, row: &str, subject: usize, time: Duration) {
        self.add(row, subject, time.as_secs_f64() * 1e3);
    }

    /// The table as text, and how many bars were missed.
    pub fn render(&self) -> (String, usize) {
        let mut text = format!("{:44}", "median / p99; ms unless a unit is named");
        for subject in &self.subjects {
            let _ = write!(text, "{subject:>21}");
        }
        for peer in self.subjects.iter().skip(1) {
            let first = peer.split(' ').next().unwrap_or_default();
            let _ = write!(text, "{:>13}", format!("÷ {first}"));
        }
        text.push('\n');
        let mut missed = 0;
        for row in &self.rows {
            let (line, met) = row.render(self.bars);
            text += &line;
            missed += usize::from(!met);
        }
        (text, missed)
    }
}

impl Row {
    fn render(&self, bars: &[(&str, Bar)]) -> (String, bool) {
        let mut text = format!("{:44}", self.name);
        for values in &self.values {
            let _ = write!(text, "{:>21}", cell(values));
        }
        let ours = median(&self.values[0]);
        let ratios: Vec<_> =
            self.values[1..].iter().map(|peer| Some(ours? / median(peer)?)).collect();
        for ratio in &ratios {
            let ratio = ratio.filter(|ratio| ratio.is_finite());
            let _ = write!(text, "{:>13}", ratio.map_or_else(|| "-".into(), |r| format!("{r:.3}")));
        }
        let bar = bars.iter().find(|(name, _)| *name == self.name).map(|(_, bar)| *bar);
        let judged = match bar {
            Some(Bar::Ratio(limit)) => ratios.first().copied().flatten().map(|r| (limit, r)),
            Some(Bar::Absolute(limit)) => ours.map(|ours| (limit, ours)),
            None => None,
        };
        // Alone, ratios have nobody to be held against.
        let met = match (judged, bar) {
            (Some((limit, value)), _) => value <= limit,
            (None, bar) => bar.is_none() || ratios.is_empty(),
        };
        match (judged, met) {
            (Some((limit, _)), true) => _ = write!(text, "   ≤ {limit}: met"),
            (Some((limit, _)), false) => _ = write!(text, "   ≤ {limit}: MISSED"),
            (None, false) => text.push_str("   MISSED: no figure"),
            (None, true) => {}
        }
        text.push('\n');
        (text, met)
    }
}

/// The middle one; of an even number the lower.
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 50)
}

/// The smallest value that so many percent of all do not exceed.
fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn cell(values: &[f64]) -> String {
    match (median(values), percentile(values, 99)) {
        (Some(middle), Some(tail)) if values.len() > 1 => {
            format!("{} / {}", number(middle), number(tail))
        }
        (Some(only), _) => number(only),
        _ => "-".to_owned(),
    }
}

fn number(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(median(&values), Some(50.0));
        assert_eq!(percentile(&values, 99), Some(99.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_above_its_bar_counts_as_missed() {
        let mut table = Table::new(vec!["ours".into(), "theirs".into()]);
        table.add("pod network: start", 0, 30.0);
        table.add("pod network: start", 1, 100.0);
        table.add("pod network: end", 0, 20.0);
        table.add("pod network: end", 1, 100.0);
        let (text, missed) = table.render();
        assert_eq!(missed, 1);
        assert!(text.contains("0.300   ≤ 0.25: MISSED"), "{text}");
        assert!(text.contains("0.200   ≤ 0.25: met"), "{text}");
    }

    #[test]
    fn a_figure_that_is_missing_beside_a_peer_counts_as_missed() {
        let mut table = Table::new(vec!["ours".into(), "theirs".into()]);
        table.add("pod network: start", 0, 30.0);
        let (text, missed) = table.render();
        assert_eq!(missed, 1);
        assert!(text.contains("MISSED: no figure"), "{text}");
    }

    #[test]
    fn a_bar_is_not_judged_without_its_peer() {
        let mut table = Table::new(vec!["ours".into()]);
        table.add("pod network: start", 0, 30.0);
        assert_eq!(table.render().1, 0);
    }
}
