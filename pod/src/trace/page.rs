//! The waterfall as one HTML page, which loads nothing.

use std::fmt::Write as _;

use super::{Moment, begin, moments};
use crate::clock::Timestamp;
use crate::state::{DoneCall, PodState};

const HEAD: &str = "\
<style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse; width: 100% }
td { padding: 2px 8px; white-space: nowrap; border-bottom: 1px solid #eee }
td.n { text-align: right; font-variant-numeric: tabular-nums }
td.bar { width: 60%; padding: 0; position: relative }
td.bar i { position: absolute; top: 4px; bottom: 4px; min-width: 2px; border-radius: 2px; background: #3b82c4 }
td.bar i.pull { background: #c4873b }
td.bar i.moment { background: #2e9e5b; width: 2px }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1b1b1b } td { border-color: #333 } }
</style>
";

/// The page of a pod.
pub fn page(name: &str, state: &PodState) -> String {
    let begin = begin(state);
    let moments = moments(state);
    let ends = state.calls.iter().map(|call| call.until).chain(moments.iter().map(|m| m.at));
    let whole = ends.max().unwrap_or(begin).since(begin).as_nanos().max(1) as f64;
    let part = |from: Timestamp, to: Timestamp| to.since(from).as_nanos() as f64 * 100.0 / whole;
    let millis = |from: Timestamp, to: Timestamp| to.since(from).as_micros() as f64 / 1_000.0;
    let name = escaped(name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>rrun trace {name}</title>\n{HEAD}</head>\n<body><h1>{name}</h1>\n\
         <p>begun at {begin}, {:.1} ms in all</p>\n<table>\n",
        whole / 1_000_000.0
    );
    for DoneCall { call, since, until } in &state.calls {
        let class = if call.starts_with("PullImage") { "pull" } else { "call" };
        let (left, width) = (part(begin, *since), part(*since, *until));
        let (at, took) = (millis(begin, *since), millis(*since, *until));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=n>{at:.1}</td><td class=n>{took:.1}</td><td class=bar>\
             <i class={class} style=\"left:{left:.2}%;width:{width:.2}%\"></i></td></tr>",
            escaped(call)
        );
    }
    for Moment { what, at } in &moments {
        let (left, at) = (part(begin, *at).min(99.8), millis(begin, *at));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=n>{at:.1}</td><td class=n></td><td class=bar>\
             <i class=moment style=\"left:{left:.2}%\"></i></td></tr>",
            escaped(what)
        );
    }
    page.push_str("</table>\n</body></html>\n");
    page
}

/// An image or a pod may be called as it likes.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn a_page_has_a_bar_for_each_call_and_nothing_in_it_is_markup_of_others() {
        let at =
            |millis: i64| Timestamp::from_nanos(1_800_000_000_000_000_000 + millis * 1_000_000);
        let mut state = PodState::new(&pod("  containers: [{name: a, image: i}]\n"), at(0));
        let call = |call: &str, since: i64, until: i64| DoneCall {
            call: call.into(),
            since: at(since),
            until: at(until),
        };
        state.calls = vec![call("RunPodSandbox", 0, 30), call("PullImage <b>\"x\"", 30, 40)];
        let page = page("default/web", &state);
        assert!(page.contains("class=call style=\"left:0.00%;width:75.00%\""), "{page}");
        assert!(page.contains("PullImage &lt;b&gt;&quot;x&quot;"), "{page}");
        assert!(!page.contains("<b>") && !page.contains("src=") && !page.contains("href="));
    }
}
