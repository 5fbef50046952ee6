use super::interpreter::run;
use super::table::{Arch, X32_BIT};
use super::{compile, runtime_default};
use oci_spec::runtime::LinuxSeccomp;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

const X64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;
const SYS_ADMIN: u64 = 1 << 21;

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

fn filter(json: &str) -> Vec<u8> {
    compile(&profile(json), Arch::X86_64).unwrap().filter
}

/// The table of the reference, restated as a function of a call's name.
fn expected(name: &str, caps: u64, arg0: u64) -> u32 {
    static PLAIN: LazyLock<HashSet<&str>> =
        LazyLock::new(|| include_str!("allowed.txt").lines().collect());
    const BY_CAP: [(u32, &str); 14] = [
        (2, "open_by_handle_at"),
        (
            21,
            "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
             mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd \
             setdomainname sethostname setns syslog umount umount2 unshare",
        ),
        (22, "reboot"),
        (18, "chroot"),
        (16, "delete_module init_module finit_module"),
        (20, "acct"),
        (19, "kcmp pidfd_getfd process_madvise"),
        (17, "iopl ioperm"),
        (25, "settimeofday stime clock_settime clock_settime64"),
        (26, "vhangup"),
        (23, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
        (34, "syslog"),
        (39, "bpf"),
        (38, "perf_event_open"),
    ];
    let has = |list: &str| list.split_whitespace().any(|one| one == name);
    let by_cap = BY_CAP.iter().any(|(cap, list)| caps & (1 << cap) != 0 && has(list));
    let by_arg = match name {
        "socket" => arg0 < 38 || arg0 == 39 || arg0 > 40,
        "personality" => [0, 8, 0x20000, 0x20008, 0xffff_ffff].contains(&arg0),
        "clone" => arg0 & 0x7e02_0000 == 0,
        _ => false,
    };
    match name {
        _ if PLAIN.contains(name) || by_cap || by_arg => ALLOW,
        "clone3" => ENOSYS,
        _ => EPERM,
    }
}

fn numbers(arch: Arch) -> HashMap<u32, &'static str> {
    arch.table().iter().map(|(name, nr)| (nr + arch.base(), *name)).collect()
}

#[test]
fn an_architecture_of_this_machine_that_is_not_built_in_is_told_and_a_foreign_one_is_not() {
    let listed = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures":
            ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X86", "SCMP_ARCH_S390X"]}"#,
    );
    let words = "SCMP_ARCH_ARM is not built in: its calls kill the process";
    assert_eq!(super::warnings(&listed, Arch::Aarch64), [words]);
    assert!(super::warnings(&listed, Arch::X86_64).is_empty());
    const ARM: u32 = 0x4000_0028;
    let filter = compile(&listed, Arch::Aarch64).unwrap().filter;
    assert_eq!(run(&filter, ARM, 1, [0; 6]), KILL_PROCESS);
    assert_eq!(run(&filter, Arch::Aarch64.audit(), 1, [0; 6]), ALLOW);
}

#[test]
fn the_names_of_what_is_built_in_are_those_that_a_filter_answers() {
    for (native, foreign) in [(Arch::X86_64, "SCMP_ARCH_AARCH64"), (Arch::Aarch64, "SCMP_ARCH_X86")]
    {
        for name in Arch::names(native) {
            let arch = Arch::from_name(serde_json::from_value((*name).into()).unwrap(), native);
            assert!(arch.is_some_and(|arch| arch.runs_on(native)), "{name} on {native:?}");
        }
        assert!(!Arch::names(native).contains(&foreign));
    }
}

#[test]
fn every_number_of_every_architecture_gets_what_the_table_says() {
    let args = [0, 8, 0x11, 16, 38, 39, 40, 41, 0x20000, 0x20008, 0x1000_0000, 0xffff_ffff];
    let one_each = (0..=40).map(|cap| 1 << cap);
    for caps in one_each.chain([0, SYS_ADMIN | 1 << 2, u64::MAX]) {
        let filter = compile(&runtime_default(caps), Arch::X86_64).unwrap().filter;
        for (arch, audit) in [(Arch::X86_64, X64), (Arch::X86, I386), (Arch::X32, X64)] {
            let names = numbers(arch);
            let looked_at = ["socket", "personality", "clone"].map(|name| arch.number(name));
            let some = |nr| if looked_at.contains(&Some(nr)) { &args[..] } else { &args[..1] };
            let all = (0..=600).map(|nr| nr + arch.base());
            for (nr, arg0) in all.flat_map(|nr| some(nr).iter().map(move |arg| (nr, *arg))) {
                let got = run(&filter, audit, nr, [arg0, 0, 0, 0, 0, 0]);
                let want = match names.get(&nr) {
                    Some(name) => expected(name, caps, arg0),
                    // Newer than this release: as a kernel without it would say.
                    None if nr > arch.last() => ENOSYS,
                    None => EPERM,
                };
                let name = names.get(&nr);
                assert_eq!(got, want, "{arch:?} {nr} {name:?} arg {arg0:#x} caps {caps:#x}");
            }
        }
    }
}

#[test]
fn an_upper_half_of_an_argument_counts_where_arguments_have_one() {
    let filter = compile(&runtime_default(0), Arch::X86_64).unwrap().filter;
    let socket = Arch::X86_64.number("socket").unwrap();
    let high = 1 << 32 | 38;
    assert_eq!(run(&filter, X64, socket, [high, 0, 0, 0, 0, 0]), ALLOW, "above 40");
    let clone = Arch::X86_64.number("clone").unwrap();
    assert_eq!(run(&filter, X64, clone, [0x1000_0000, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(run(&filter, X64, clone, [0x11, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn every_operator_compares_all_64_bits() {
    let values = [0, 1, 5, 6, 7, 1 << 32, (1 << 32) + 5, (1 << 32) + 6, (1 << 32) + 7, u64::MAX];
    type Holds = fn(u64, u64) -> bool;
    let tests: [(&str, Holds); 6] = [
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_GT", |a, b| a > b),
        ("SCMP_CMP_GE", |a, b| a >= b),
    ];
    let read = Arch::X86_64.number("read").unwrap();
    for (op, holds) in tests {
        for value in values {
            let filter = filter(&format!(
                r#"{{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[{{"names":["read"],
                "action":"SCMP_ACT_ALLOW","args":[{{"index":2,"value":{value},"op":"{op}"}}]}}]}}"#
            ));
            for arg in values {
                let got = run(&filter, X64, read, [0, 0, arg, 0, 0, 0]) == ALLOW;
                assert_eq!(got, holds(arg, value), "{arg:#x} {op} {value:#x}");
            }
        }
    }
}

#[test]
fn conditions_on_two_arguments_must_both_hold_and_two_on_one_are_alternatives() {
    let read = Arch::X86_64.number("read").unwrap();
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[
            {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]},
        {"names":["write"],"action":"SCMP_ACT_ALLOW","args":[
            {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    assert_eq!(run(&filter, X64, read, [1, 2, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&filter, X64, read, [1, 3, 0, 0, 0, 0]), EPERM);
    let write = read + 1;
    assert_eq!(run(&filter, X64, write, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&filter, X64, write, [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&filter, X64, write, [3, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn each_action_has_its_answer() {
    for (action, errno, answer) in [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, KILL_PROCESS),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, EPERM),
        ("SCMP_ACT_ERRNO", Some(38), ENOSYS),
        ("SCMP_ACT_ERRNO", Some(0), 0x0005_0000),
        ("SCMP_ACT_TRACE", Some(7), 0x7ff0_0007),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", None, ALLOW),
    ] {
        let errno = errno.map_or(String::new(), |n| format!(r#","errnoRet":{n}"#));
        let filter = filter(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {{"names":["read","no_such_call"],"action":"{action}"{errno}}}]}}"#
        ));
        assert_eq!(run(&filter, X64, 0, [0; 6]), answer, "{action}");
        assert_eq!(run(&filter, X64, 1, [0; 6]), ALLOW, "{action}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    for (json, part) in [
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY needs listenerPath"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}"#,
            "listenerMetadata goes with listenerPath",
        ),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"s"}"#, "not absolute"),
        // The default is what the one call gets that must not wait for an answer.
        (
            r#"{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/s"}"#,
            "SCMP_ACT_NOTIFY of sendmsg",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s","syscalls":[
            {"names":["sendmsg"],"action":"SCMP_ACT_NOTIFY",
             "args":[{"index":0,"value":9,"op":"SCMP_CMP_EQ"}]}]}"#,
            "SCMP_ACT_NOTIFY of sendmsg",
        ),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#, "4096"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#, "errnoRet"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#,
            "WAIT_KILLABLE_RECV",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],
            "action":"SCMP_ACT_LOG","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "argument 6",
        ),
    ] {
        let error = compile(&profile(json), Arch::X86_64).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_profile_has_a_listener_where_a_call_is_left_to_one() {
    let with = |more: &str| {
        let json = format!(r#"{{"listenerPath":"/run/s","listenerMetadata":"m",{more}}}"#);
        compile(&profile(&json), Arch::X86_64).unwrap()
    };
    let read = r#""syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]"#;
    let filter = with(&format!(r#""defaultAction":"SCMP_ACT_ALLOW",{read}"#));
    let listener = filter.listener.unwrap();
    assert_eq!((listener.path.as_str(), listener.metadata.as_deref()), ("/run/s", Some("m")));
    assert_eq!(filter.flags, 4 | 8);
    assert_eq!(run(&filter.filter, X64, 0, [0; 6]), 0x7fc0_0000);
    let flags = r#""flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV","SECCOMP_FILTER_FLAG_TSYNC"]"#;
    let filter = with(&format!(r#""defaultAction":"SCMP_ACT_ALLOW",{read},{flags}"#));
    assert_eq!(filter.flags, 8 | 32);
    // Everything but the call that sends the listener.
    let send = r#""syscalls":[{"names":["sendmsg"],"action":"SCMP_ACT_ALLOW"}]"#;
    let filter = with(&format!(r#""defaultAction":"SCMP_ACT_NOTIFY",{send}"#));
    assert_eq!(run(&filter.filter, X64, 0, [0; 6]), 0x7fc0_0000);
    let filter = with(r#""defaultAction":"SCMP_ACT_ALLOW""#);
    assert_eq!((filter.listener, filter.flags), (None, 4));
}

#[test]
fn an_architecture_that_is_not_listed_kills() {
    let filter = filter(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    assert_eq!(run(&filter, X64, 0, [0; 6]), ALLOW);
    assert_eq!(run(&filter, I386, 0, [0; 6]), KILL_PROCESS);
    assert_eq!(run(&filter, X64, X32_BIT, [0; 6]), KILL_PROCESS);
    assert_eq!(run(&filter, 0xc000_00b7, 0, [0; 6]), KILL_PROCESS);
    // A tracer skips a call by making its number -1.
    assert_eq!(run(&filter, X64, u32::MAX, [0; 6]), ALLOW);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":38,
         "args":[{"index":0,"value":240,"valueTwo":16,"op":"SCMP_CMP_MASKED_EQ"}]},
        {"names":["read"],"action":"SCMP_ACT_ALLOW"},
        {"names":["read"],"action":"SCMP_ACT_LOG"}]}"#,
    );
    assert_eq!(run(&filter, X64, 0, [0x1f, 0, 0, 0, 0, 0]), ENOSYS);
    assert_eq!(run(&filter, X64, 0, [0x2f, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn a_profile_with_a_rule_for_every_call_and_argument_still_fits_far_jumps() {
    let names: Vec<String> =
        Arch::X86_64.table().iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let rules: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            format!(
                r#"{{"names":[{name}],"action":"SCMP_ACT_ALLOW",
                "args":[{{"index":{},"value":{at},"op":"SCMP_CMP_EQ"}}]}}"#,
                at % 6
            )
        })
        .collect();
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, rules.join(","));
    let filter = filter(&json);
    for (at, (name, nr)) in Arch::X86_64.table().iter().enumerate() {
        let mut args = [u64::MAX; 6];
        assert_eq!(run(&filter, X64, *nr, args), EPERM, "{name}");
        args[at % 6] = at as u64;
        assert_eq!(run(&filter, X64, *nr, args), ALLOW, "{name}");
    }
}

#[test]
fn the_default_profile_is_small_and_shallow() {
    let filter = compile(&runtime_default(0), Arch::X86_64).unwrap();
    assert!(filter.filter.len() / 8 < 1000, "{} instructions", filter.filter.len() / 8);
    assert_eq!(filter.flags, 4);
}
