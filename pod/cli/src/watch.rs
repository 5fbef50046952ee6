//! Lines of pods that change, one after the other.

use crate::table;
use crate::terminal::Told;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often records are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A pod's line, and what must have changed for it to be printed again.
pub struct Line<const N: usize> {
    pub uid: String,
    pub changes: String,
    pub cells: [String; N],
}

/// Prints a table, and after it the line of each pod that has become another, until nobody reads. The
/// line of one that is gone is printed once more, as kubectl does. A look that fails is told, and changes
/// nothing.
pub async fn watch<const N: usize>(
    head: Option<[String; N]>,
    mut look: impl AsyncFnMut() -> Result<Vec<Line<N>>>,
) -> Result<()> {
    let mut lines = look().await?;
    let mut rows: Vec<[String; N]> = head.into_iter().collect();
    rows.extend(lines.iter().map(|line| line.cells.clone()));
    if !table::shown(&table::format(&rows))? {
        return Ok(());
    }
    let widths = table::widths(&rows);
    let mut faults = Told::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let fresh = look().await;
        faults.tell(fresh.as_ref().err());
        let Ok(fresh) = fresh else { continue };
        let known: BTreeMap<String, Line<N>> = std::mem::replace(&mut lines, fresh)
            .into_iter()
            .map(|line| (line.uid.clone(), line))
            .collect();
        let is_new =
            |line: &&Line<N>| known.get(&line.uid).is_none_or(|old| old.changes != line.changes);
        let is_gone = |line: &&Line<N>| lines.iter().all(|other| other.uid != line.uid);
        let changed = lines.iter().filter(is_new).chain(known.values().filter(is_gone));
        for line in changed {
            if !table::shown(&table::line(&line.cells, &widths))? {
                return Ok(());
            }
        }
    }
}
