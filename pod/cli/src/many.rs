//! The pods of a manifest: a process for each, where they are several or of a Job.

use crate::args;
use crate::context::Context;
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use rrun_pod::model::Pod;
use rrun_pod::supervise::Definition;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// The pods that are asked for.
pub struct Asked {
    definition: Definition,
    /// In the manifest's order.
    pub pods: Vec<Pod>,
    /// The manifest, if it was on standard input: there it can be read once.
    pub input: Option<Vec<u8>>,
    /// Whether the manifest has others too.
    of_many: bool,
}

/// Reads the manifest.
pub fn read(context: &Context, args: &args::Run) -> Result<Asked> {
    let definition = Definition::read(args.manifest(), &args.objects, context.endpoint.clone())?;
    let input = if args.reads_stdin() { Some(definition.text()?) } else { None };
    let mut pods = definition.pods()?;
    let of_many = pods.len() > 1;
    if let Some(name) = &args.pod {
        pods.retain(|pod| full_name(pod) == *name || pod.meta.name == *name);
        match pods.as_slice() {
            [_] => {}
            [] => bail!("{}: no Pod {name} in it", args.manifest().display()),
            _ => bail!("{}: several Pods {name}: want namespace/name", args.manifest().display()),
        }
    }
    let definition = definition.again(args.tries.unwrap_or(0));
    Ok(Asked { definition, pods, input, of_many })
}

/// `namespace/name`
pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.meta.namespace, pod.meta.name)
}

impl Asked {
    /// The one pod, with the definition that says which it is.
    pub fn only(mut self) -> Result<(Definition, Pod)> {
        let pod = self.pods.pop().context("no Pod in it")?;
        let definition = self.definition_of(&pod);
        let pod = definition.pod()?;
        Ok((definition, pod))
    }

    /// What says what one of the pods is.
    pub fn definition_of(&self, pod: &Pod) -> Definition {
        let definition = self.definition.clone();
        if self.of_many { definition.of(&full_name(pod)) } else { definition }
    }

    /// Whether one process is not enough.
    pub fn has_several_processes(&self) -> bool {
        self.pods.len() > 1 || self.pods.iter().any(|pod| pod.job.is_some())
    }

    /// This very command for one of the pods, with these options.
    pub fn command(&self, pod: &Pod, options: &[&str]) -> Result<Command> {
        let name = full_name(pod);
        let mut options = options.to_vec();
        if self.has_several_processes() {
            options.extend(["--only", &name]);
        }
        self.again(&options)
    }

    /// This very command with these options before it, away from the terminal's signals.
    pub fn again(&self, options: &[&str]) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(options).process_group(0);
        command.args(asked_for(std::env::args_os().skip(1)));
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin);
        Ok(command)
    }
}

/// Arguments without the options that [`Asked::again`] put before them: those of the process of a Job
/// are not for the processes that it starts.
fn asked_for(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut args = args.peekable();
    while let Some(option) = args.peek().and_then(|option| option.to_str()) {
        let values = match option {
            "--background" => 0,
            "--job" | "--only" | "--tries" => 1,
            _ => break,
        };
        args.by_ref().take(1 + values).for_each(drop);
    }
    args
}

/// Gives a process its standard input. One that does not want all of it has ended.
pub async fn give(child: &mut Child, input: Option<&[u8]>) {
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        let _ = stdin.write_all(input).await;
    }
}

/// Prints what of the manifest is not done, each once.
pub fn print_notes(pods: &[Pod]) {
    let mut told = BTreeSet::new();
    for note in pods.iter().flat_map(|pod| &pod.notes) {
        if told.insert(note) {
            terminal::tell(note);
        }
    }
}
