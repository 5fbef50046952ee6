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
pub const BARS: [(&str, Bar); 29] = [
    ("pod network: start", Bar::Ratio(0.25)),
    ("pod network: end", Bar::Ratio(0.25)),
    ("ExecSync, one at a time", Bar::Ratio(0.25)),
    ("100 pods at concurrency 10: start [s]", Bar::Ratio(0.25)),
    ("100 pods: errors", Bar::Absolute(0.0)),
    ("100 pods: memory per pod [MiB]", Bar::Absolute(1.0)),
    ("100 static pods: CPU [% of a core]", Bar::Absolute(5.0)),
    ("100 static pods: memory per pod [MiB]", Bar::Absolute(0.5)),
    ("pull: 150 MB in one layer [s]", Bar::Ratio(1.0)),
    ("pull one: until it answers [s]", Bar::Ratio(0.35)),
    ("pull one: CPU [s]", Bar::Ratio(0.35)),
    ("pull one: peak of memory [MiB]", Bar::Absolute(64.0)),
    ("remove one: until it answers", Bar::Absolute(5.0)),
    ("pull six: until it answers [s]", Bar::Ratio(0.3)),
    ("pull six: CPU [s]", Bar::Ratio(0.3)),
    ("pull six: peak of memory [MiB]", Bar::Absolute(64.0)),
    ("remove six: until it answers", Bar::Absolute(5.0)),
    ("pull small: until it answers [s]", Bar::Ratio(0.2)),
    ("pull small: CPU [s]", Bar::Ratio(0.2)),
    ("pull small: peak of memory [MiB]", Bar::Absolute(64.0)),
    ("remove small: until it answers", Bar::Absolute(5.0)),
    ("pull real: until it answers [s]", Bar::Ratio(0.3)),
    ("pull real: CPU [s]", Bar::Ratio(0.3)),
    ("pull real: peak of memory [MiB]", Bar::Absolute(64.0)),
    ("remove real: until it answers", Bar::Absolute(5.0)),
    ("ListImages of 1,000", Bar::Absolute(2.0)),
    ("ImageStatus of 1,000", Bar::Absolute(0.3)),
    ("ImageFsInfo of 1,000", Bar::Absolute(0.5)),
    ("OCI: create + start + delete", Bar::Ratio(0.3)),
];

/// Width of a column of ratios.
const RATIO: usize = 20;

/// Figures of several subjects: first ours, as a rule one, then the peer whom bars name.
pub struct Table {
    subjects: Vec<String>,
    ours: usize,
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
        Self { subjects, ours: 1, rows: Vec::new(), bars: &BARS }
    }

    /// The same, for what no bar is meant for: two builds of one program.
    pub fn without_bars(subjects: Vec<String>) -> Self {
        Self { subjects, ours: 1, rows: Vec::new(), bars: &[] }
    }

    /// So many of the first subjects are ours: each is held to the bars.
    pub fn with_ours(self, ours: usize) -> Self {
        Self { ours, ..self }
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
        for (own, peer) in self.pairs() {
            let label = format!("÷ {}", first_word(&self.subjects[peer]));
            let label = match own {
                0 => label,
                own => format!("{} {label}", first_word(&self.subjects[own])),
            };
            let _ = write!(text, "{label:>RATIO$}");
        }
        text.push('\n');
        let mut missed = 0;
        for row in &self.rows {
            let (line, misses) = self.line(row);
            text += &line;
            missed += misses;
        }
        (text, missed)
    }

    /// Whose ratios are shown: of each of ours to each peer.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let peers = self.ours..self.subjects.len();
        (0..self.ours).flat_map(|own| peers.clone().map(move |peer| (own, peer))).collect()
    }

    fn line(&self, row: &Row) -> (String, usize) {
        let mut text = format!("{:44}", row.name);
        for values in &row.values {
            let _ = write!(text, "{:>21}", cell(values));
        }
        for (own, peer) in self.pairs() {
            let ratio = row.ratio(own, peer).filter(|ratio| ratio.is_finite());
            let ratio = ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
            let _ = write!(text, "{ratio:>RATIO$}");
        }
        let bar = self.bars.iter().find(|(name, _)| *name == row.name).map(|(_, bar)| *bar);
        let (judged, missed) = bar.map_or_else(Default::default, |bar| self.judge(row, bar));
        (text + &judged + "\n", missed)
    }

    /// What is said of a row with a bar, and how many of ours missed it.
    fn judge(&self, row: &Row, bar: Bar) -> (String, usize) {
        let (limit, values): (f64, Vec<_>) = match bar {
            // Alone, ratios have nobody to be held against.
            Bar::Ratio(_) if self.subjects.len() == self.ours => return Default::default(),
            Bar::Ratio(limit) => {
                (limit, (0..self.ours).map(|own| row.ratio(own, self.ours)).collect())
            }
            Bar::Absolute(limit) => {
                (limit, row.values[..self.ours].iter().map(|v| median(v)).collect())
            }
        };
        if values.iter().all(Option::is_none) {
            return ("   MISSED: no figure".to_owned(), 1);
        }
        let met: Vec<_> = values.iter().map(|value| value.is_some_and(|v| v <= limit)).collect();
        let words: Vec<_> = met.iter().map(|met| if *met { "met" } else { "MISSED" }).collect();
        let missed = met.iter().filter(|met| !**met).count();
        (format!("   ≤ {limit}: {}", words.join(", ")), missed)
    }
}

impl Row {
    /// Of the medians of two subjects.
    fn ratio(&self, own: usize, peer: usize) -> Option<f64> {
        Some(median(&self.values[own])? / median(&self.values[peer])?)
    }
}

fn first_word(name: &str) -> &str {
    name.split(' ').next().unwrap_or_default()
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
    fn each_of_ours_is_held_to_a_bar() {
        let mut table = Table::new(vec!["a".into(), "b".into(), "peer".into()]).with_ours(2);
        for (at, value) in [30.0, 20.0, 100.0].into_iter().enumerate() {
            table.add("pod network: start", at, value);
        }
        let (text, missed) = table.render();
        assert_eq!(missed, 1);
        assert!(text.contains("≤ 0.25: MISSED, met"), "{text}");
        assert!(text.contains("b ÷ peer"), "{text}");
    }

    #[test]
    fn a_bar_is_not_judged_without_its_peer() {
        let mut table = Table::new(vec!["ours".into()]);
        table.add("pod network: start", 0, 30.0);
        assert_eq!(table.render().1, 0);
    }
}
