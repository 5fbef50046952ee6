//! The forward policy of legacy iptables (`ip_tables`), which nftables does not show: Docker and
//! kube-proxy of older hosts set it to DROP. The kernel's interface replaces whole tables, so it is
//! left to `iptables-legacy`, under the lock that all its users share, as the CNI plugins do.

use super::net::Net;
use crate::error::{Context, Error, Kind, Result};
use crate::netlink::Family;
use rrun_sys::step;
use std::fs;
use std::process::Command;

/// Which tables are in use in the calling thread's network namespace, and the programs for them: the
/// second is the legacy one on hosts that have no other.
fn of(family: Family) -> (&'static str, [&'static str; 2]) {
    match family {
        Family::V4 => ("ip_tables_names", ["iptables-legacy", "iptables"]),
        Family::V6 => ("ip6_tables_names", ["ip6tables-legacy", "ip6tables"]),
    }
}

/// Lets pods pass a FORWARD chain that drops by its policy. A rule that is there stays.
///
/// # Errors
/// `NotFound` when the table is in use and no program for it is installed: what it forbids is not
/// known then.
pub fn accept(net: &Net, comment: &str) -> Result<()> {
    let (tables, programs) = of(net.family());
    let tables = fs::read_to_string(format!("/proc/thread-self/net/{tables}")).unwrap_or_default();
    if !tables.lines().any(|table| table == "filter") {
        return Ok(());
    }
    let program = legacy(programs)?;
    let chain = run(program, &["-S", "FORWARD"])?;
    if !forbids(&chain) {
        return Ok(());
    }
    let subnet = net.to_string();
    for direction in ["-s", "-d"] {
        let rule = format!("-A FORWARD {direction} {subnet} ");
        let has = |line: &str| line.starts_with(&rule) && line.contains(comment);
        if !chain.lines().any(has) {
            let rule = ["-I", "FORWARD", direction, &subnet, "-m", "comment", "--comment", comment];
            let insert = [&rule[..], &["-j", "ACCEPT"]].concat();
            step::run("cni.bridge.accept-legacy", || run(program, &insert))?;
        }
    }
    Ok(())
}

/// By its policy, or by a last rule that asks nothing, as many a firewall's is.
fn forbids(chain: &str) -> bool {
    let last = chain.lines().last().unwrap_or_default();
    let refuses = ["-A FORWARD -j REJECT", "-A FORWARD -j DROP"];
    chain.lines().any(|line| line == "-P FORWARD DROP")
        || refuses.iter().any(|rule| last.starts_with(rule))
}

fn legacy(programs: [&'static str; 2]) -> Result<&'static str> {
    let is_legacy = |program: &&&str| {
        let version = command(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success() && !has(&output.stdout, "nf_tables"))
    };
    programs.iter().find(is_legacy).copied().ok_or_else(|| {
        let [program, _] = programs;
        let why = format!(
            "the filter table of legacy iptables is in use, and without {program} nothing can be \
             said of its FORWARD policy"
        );
        Error::new(Kind::NotFound, why)
    })
}

fn has(bytes: &[u8], word: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(word)
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    rrun_sys::limit::hand_down(&mut command);
    command
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let doing = || format!("{program} {}", arguments.join(" "));
    // Waits for whoever has the lock, with an end.
    let output = command(program).args(["-w", "10"]).args(arguments).output();
    let output = output.context(doing)?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Error::new(Kind::Internal, said)).context(doing),
    }
}
