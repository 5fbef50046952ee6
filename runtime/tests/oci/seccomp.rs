//! Filters, seen from inside.

use crate::bundle::Bundle;
use crate::is_peer;
use rrun_runtime::seccomp::{Arch, runtime_default};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};

#[test]
fn a_call_that_is_refused_gets_the_errno_of_its_rule() {
    let mut bundle = Bundle::sh("mkdir /tmp/x 2>&1; grep ^Seccomp: /proc/self/status");
    bundle.linux()["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat", "no_such_call"],
                       "action": "SCMP_ACT_ERRNO", "errnoRet": 122 }]
    });
    let output = bundle.prints();
    assert!(output.contains("quota") && output.contains("Seccomp:\t2"), "{output}");
}

/// Tries each number below the bound in a process of its own, with arguments that no call can do
/// anything with, and prints number and errno. A call that ends its process or blocks was let
/// through.
const TRY_ALL: &str = r#"
$| = 1;
for my $nr (0 .. $ARGV[0]) {
    pipe(my $r, my $w);
    my $pid = fork();
    if ($pid == 0) {
        alarm 1;
        my $x = -1;
        $! = 0;
        my $ret = syscall($nr, $x, $x, $x, $x, $x, $x);
        syswrite($w, ($ret == -1 ? $!+0 : 0) . "\n");
        kill 9, $$;
    }
    close $w;
    my $errno = <$r>;
    $errno = defined $errno ? $errno : "0\n";
    print "$nr $errno";
    waitpid($pid, 0);
}
"#;

/// Calls that cannot be tried: two would fork the one who tries; `uprobe` is of the kernel's own
/// trampolines, and since it is there no filter is asked about it.
const UNTRIED: [&str; 3] = ["fork", "vfork", "uprobe"];

/// Number and errno, tried in a container that has the capabilities `names`, under the profile for
/// `caps`.
fn tried(caps: u64, names: &[&str]) -> BTreeMap<u32, i32> {
    let mut bundle = Bundle::new(&["/usr/bin/perl", "/try.pl", "512"]);
    // perl is on every Debian: the host's /usr over an empty root.
    for dir in ["bin", "lib", "lib64"] {
        let path = bundle.rootfs().join(dir);
        let _ = std::fs::remove_dir_all(&path);
        std::os::unix::fs::symlink(format!("usr/{dir}"), &path).unwrap();
    }
    std::fs::write(bundle.rootfs().join("try.pl"), TRY_ALL).unwrap();
    bundle.mount(json!({
        "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]
    }));
    bundle.process()["capabilities"] =
        json!({ "bounding": names, "effective": names, "permitted": names });
    // landlock_restrict_self wants this, or CAP_SYS_ADMIN; else its own EPERM would hide ours.
    bundle.process()["noNewPrivileges"] = true.into();
    bundle.linux()["seccomp"] = serde_json::to_value(runtime_default(caps)).unwrap();
    let output = bundle.prints();
    let pairs = output.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(nr, errno)| (nr.parse().unwrap(), errno.parse().unwrap())).collect()
}

#[test]
fn every_number_tried_from_inside_gets_what_the_default_profile_says() {
    // Other runtimes' libraries are older than some of the calls.
    if is_peer() {
        return;
    }
    let allowed: HashSet<&str> = include_str!("../../src/seccomp/allowed.txt").lines().collect();
    const ADMIN: &str = "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick \
         lookup_dcookie mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare";
    let admin: HashSet<&str> = ADMIN.split_whitespace().collect();
    for (caps, names) in
        [(0, &["CAP_SETGID"][..]), (1 << 21, &["CAP_SETGID", "CAP_SYSLOG", "CAP_SYS_ADMIN"])]
    {
        let results = tried(caps, names);
        assert_eq!(results.len(), 513);
        let mut wrong = Vec::new();
        let known: BTreeMap<u32, &str> =
            Arch::NATIVE.table().iter().map(|(name, nr)| (*nr, *name)).collect();
        for (nr, errno) in results {
            let name = known.get(&nr).copied().unwrap_or("");
            if UNTRIED.contains(&name) {
                continue;
            }
            let open = allowed.contains(name) || (caps != 0 && admin.contains(name));
            // socket(-1) passes its rule: what is above 40 is.
            let open = open || name == "socket";
            let right = match (open, name) {
                (true, _) => errno != libc::EPERM,
                (false, "clone3") => errno == libc::ENOSYS,
                (false, "") if nr > Arch::NATIVE.last() => errno == libc::ENOSYS,
                (false, _) => errno == libc::EPERM,
            };
            if !right {
                wrong.push(format!("{nr} {name}: {errno}"));
            }
        }
        assert!(wrong.is_empty(), "with capabilities {caps:#x}: {wrong:#?}");
    }
}
