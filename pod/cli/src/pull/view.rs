//! Pulls as they are shown to a person: bars on a terminal, a line for each layer elsewhere.

use crate::images::size;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rrun_images::{Digest, LayerPhase, LayerPull, Pulling, Watched};
use std::io::{IsTerminal, stderr};
use std::time::Duration;

/// How often pulls are looked at.
pub const LOOK: Duration = Duration::from_millis(100);

const LAYER: &str = "  {prefix} [{bar:30}] {binary_bytes:>11} of {binary_total_bytes:11} {msg}";
const WHOLE: &str =
    "{prefix} {msg} [{bar:30}] {binary_bytes} of {binary_total_bytes} {binary_bytes_per_sec}";

/// The pulls that are shown now.
pub struct View {
    /// Of a terminal.
    bars: Option<MultiProgress>,
    shown: Vec<Shown>,
}

/// A pull, and what was shown of it last.
struct Shown {
    pull: Watched,
    whole: Option<ProgressBar>,
    layers: Vec<(LayerPhase, Option<ProgressBar>)>,
}

impl View {
    /// With bars where standard error is a terminal that nobody else writes to.
    pub fn new(is_alone: bool) -> View {
        let bars = || MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        View { bars: (is_alone && stderr().is_terminal()).then(bars), shown: Vec::new() }
    }

    /// Shows how far these are; what is to be said in lines is returned. One that is not among them
    /// any more has ended.
    pub fn look(&mut self, running: &[Watched]) -> Vec<String> {
        for pull in running {
            if !self.shown.iter().any(|shown| shown.pull.is(pull)) {
                let whole = self.bars.as_ref().map(|bars| bar(bars, WHOLE, 0));
                self.shown.push(Shown { pull: pull.clone(), whole, layers: Vec::new() });
            }
        }
        let mut lines = Vec::new();
        for shown in &mut self.shown {
            lines.extend(shown.update(self.bars.as_ref()));
        }
        let is_running = |shown: &mut Shown| running.iter().any(|pull| shown.pull.is(pull));
        for ended in self.shown.extract_if(.., |shown| !is_running(shown)) {
            ended.clear();
        }
        lines
    }

    /// Shows no pull any more.
    pub fn end(&mut self) -> Vec<String> {
        self.look(&[])
    }

    /// Does what writes to the terminal, with the bars out of its way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) if !self.shown.is_empty() => bars.suspend(write),
            _ => write(),
        }
    }
}

impl Shown {
    fn update(&mut self, bars: Option<&MultiProgress>) -> Vec<String> {
        let now = self.pull.now();
        let mut lines = Vec::new();
        if self.layers.is_empty() && !now.layers.is_empty() {
            let bytes = now.layers.iter().map(|layer| layer.size).sum();
            let count = now.layers.len();
            let plural = if count == 1 { "" } else { "s" };
            lines.push(format!("{}: {count} layer{plural}, {}", now.reference, size(bytes)));
            self.layers = now.layers.iter().map(|_| (LayerPhase::Queued, None)).collect();
        }
        for ((before, bar), layer) in self.layers.iter_mut().zip(&now.layers) {
            lines.extend(words(*before, layer));
            *before = layer.phase;
            if let Some(bars) = bars {
                draw(bar, bars, layer);
            }
        }
        if let Some(whole) = &self.whole {
            draw_whole(whole, &now);
        }
        // The bars tell the rest.
        lines.retain(|_| bars.is_none());
        lines.extend(now.summary.map(|summary| format!("{}: {summary}", now.reference)));
        lines
    }

    fn clear(self) {
        let bars = self.layers.into_iter().filter_map(|(_, bar)| bar);
        bars.chain(self.whole).for_each(|bar| bar.finish_and_clear());
    }
}

/// What is said of a layer when it has come so far.
fn words(before: LayerPhase, layer: &LayerPull) -> Option<String> {
    if before == layer.phase {
        return None;
    }
    let name = short(&layer.digest);
    match layer.phase {
        LayerPhase::Present => Some(format!("{name}: already here")),
        LayerPhase::Unpacked => Some(format!("{name}: {}", size(layer.size))),
        LayerPhase::Waiting(on) => Some(format!("{name}: waits for {}", on.as_str())),
        LayerPhase::Queued | LayerPhase::Downloading | LayerPhase::Unpacking => None,
    }
}

fn bar(bars: &MultiProgress, style: &str, length: u64) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(length));
    // The styles are ours, and are right.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// A layer has a bar while something is done with it.
fn draw(shown: &mut Option<ProgressBar>, bars: &MultiProgress, layer: &LayerPull) {
    let words = match layer.phase {
        LayerPhase::Queued | LayerPhase::Present | LayerPhase::Unpacked => {
            if let Some(bar) = shown.take() {
                bar.finish_and_clear();
                bars.remove(&bar);
            }
            return;
        }
        LayerPhase::Waiting(on) => format!("waits for {}", on.as_str()),
        LayerPhase::Downloading => String::new(),
        LayerPhase::Unpacking => "unpacks".to_owned(),
    };
    let bar = shown.get_or_insert_with(|| {
        let made = bar(bars, LAYER, layer.size);
        made.set_prefix(short(&layer.digest));
        made
    });
    bar.set_position(layer.bytes);
    bar.set_message(words);
}

fn draw_whole(bar: &ProgressBar, now: &Pulling) {
    let came = now.layers.iter().filter(|layer| layer.phase != LayerPhase::Present);
    let (mut bytes, mut all) = (0, 0);
    for layer in came {
        bytes += layer.bytes;
        all += layer.size;
    }
    let done = now.layers.iter().filter(|layer| layer.phase.is_done()).count();
    bar.set_prefix(now.reference.to_string());
    bar.set_message(match (now.layers.len(), now.is_recording) {
        (0, _) => "asks the registry".to_owned(),
        (_, true) => "is written to the disk".to_owned(),
        (layers, false) => format!("{done} of {layers} layers"),
    });
    bar.set_length(all);
    bar.set_position(bytes);
}

/// The digits of a digest that are shown.
pub fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
