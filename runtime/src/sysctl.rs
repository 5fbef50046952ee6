//! Names of kernel parameters.

/// The name below `/proc/sys`, as sysctl(8) reads it: the separator that comes first is the one
/// that separates, and the other one is a plain character then, but that `.` stands for `/` and
/// `/` for `.` in names with dots (`net.ipv4.conf.eth0/100.forwarding`). `None` for a name that
/// leads nowhere, or out of there.
pub(crate) fn path(name: &str) -> Option<String> {
    let first = name.find(['.', '/'])?;
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = match name.as_bytes()[first] {
        b'/' => name.to_owned(),
        _ => name.chars().map(swap).collect(),
    };
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (plain && !path.contains('\0')).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_name_has_dots_or_slashes() {
        let eth0 = Some("net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("net.ipv4.ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding").as_deref(), eth0);
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding").as_deref(), eth0);
    }

    #[test]
    fn a_name_that_leads_out_is_none() {
        let out = ["../sysrq-trigger", "kernel/../../sysrq-trigger", "", "/kernel", "a//b"];
        // In the last one the slashes are dots of a name.
        for name in out.into_iter().chain(["kernel.//./x", "a.\0"]) {
            assert_eq!(path(name), None, "{name}");
        }
    }
}
