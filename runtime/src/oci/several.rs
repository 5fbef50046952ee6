//! One container by its id, or all whose ids match an expression: `kill --regex`, `delete --regex`.

use crate::id::Id;
use crate::invalid;
use crate::list;
use crate::log::Log;
use rrun_runtime::Result;
use rrun_sys::regex::Regex;
use std::path::Path;

/// Does something to the container with this id; where `regex` is set, to each that matches. As
/// crun has it, what cannot be done to one of several is told, is no failure, and leaves the others.
pub fn each(
    root: &Path,
    id: &str,
    regex: bool,
    log: &Log,
    act: impl Fn(&Id) -> Result<()>,
) -> Result<()> {
    if !regex {
        return act(&id.parse()?);
    }
    let expression = Regex::new(id)
        .map_err(|words| invalid(format!("{id:?} is no regular expression: {words}")))?;
    for id in list::ids(root)?.iter().filter(|id| expression.matches(id.as_str())) {
        if let Err(error) = act(id) {
            log.warning(&error.to_string());
        }
    }
    Ok(())
}
